"""`graywave check`: asks an edge as a device would, and shows what it is told."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from cli.device import take_device
from cli.home import Home, take_home
from cli.http import TIMEOUT_S, ask
from cli.passport import read_token, take_passport
from container import Device
from container.wire import encode_question

HIDDEN: Final = "***"


@click.command(short_help="Ask an edge what a device should have.")
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM[=VERSION]...")
@click.option("--workspace", default="demo", show_default=True, help="The workspace asked in.")
@click.option("--edge", "url", help="Address of the edge.  [default: the one of the data folder]")
@click.option(
    "--wait", "wait_s", type=click.IntRange(0), default=0, metavar="SECONDS",
    help="Where there is nothing to do, be held until there is, for as long as the edge allows.",
)  # fmt: skip
@take_passport
@take_device
@take_home
def check(
    programs: tuple[str, ...], workspace: str, url: str | None, wait_s: int, proof: Path | None,
    trials: tuple[Path, ...], device: Device, home: Home,
) -> None:  # fmt: skip
    """Ask what a device should have of each PROGRAM; without a VERSION it is not installed.

    Keys of sealed packages are not shown.
    """
    asked = dict(part.partition("=")[::2] for part in programs)
    address = (url or home.read_address("edge")).rstrip("/")
    question = encode_question(workspace, device, asked, [read_token(path) for path in trials])
    headers = {"Authorization": f"Bearer {read_token(proof)}"} if proof else {}
    if wait_s:
        headers["Prefer"] = f"wait={wait_s}"
    started = time.perf_counter()
    answer = ask("POST", f"{address}/v1/check", body=question, headers=headers, timeout_s=TIMEOUT_S + wait_s)
    spent_ms = (time.perf_counter() - started) * 1000
    click.echo(json.dumps(_hide_keys(answer.body), indent=2, ensure_ascii=False))
    click.echo(f"answered in {spent_ms:.1f} ms", err=True)


def _hide_keys(answer: dict[str, Any]) -> dict[str, Any]:
    """The answer as it may stand in a log: keys of sealed packages are for devices alone."""
    updates = answer.get("updates")
    for update in updates if isinstance(updates, list) else []:
        if isinstance(update, dict) and "key" in update:
            update["key"] = HIDDEN
    return answer
