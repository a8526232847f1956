"""`graywave check`: asks an edge as a device would, and shows what it is told."""

import json
import time

import click

from cli.exit import CommandError, Exit
from cli.home import Home, take_home
from cli.http import ask


@click.command()
@click.argument("programs", nargs=-1, required=True, metavar="PROGRAM[=VERSION]...")
@click.option("--workspace", default="demo", show_default=True, help="The workspace asked in.")
@click.option("--edge", "url", help="Address of the edge.  [default: the one of the data folder]")
@click.option("--device", "facts", multiple=True, metavar="NAME=VALUE", help="A fact of the device, such as os=14.")
@take_home
def check(programs: tuple[str, ...], workspace: str, url: str | None, facts: tuple[str, ...], home: Home) -> None:
    """Ask what a device should have of each PROGRAM; without a VERSION it is not installed."""
    device = {"id": "graywave-check", "platform": "android", **dict(_split(fact, "--device") for fact in facts)}
    asked = dict(part.partition("=")[::2] for part in programs)
    started = time.perf_counter()
    address = url or home.read_address("edge")
    answer = ask("POST", f"{address}/v1/check", body={"workspace": workspace, "device": device, "programs": asked})
    spent_ms = (time.perf_counter() - started) * 1000
    click.echo(json.dumps(answer.body, indent=2, ensure_ascii=False))
    click.echo(f"answered in {spent_ms:.1f} ms", err=True)


def _split(fact: str, option: str) -> tuple[str, str]:
    name, equals, value = fact.partition("=")
    if not equals or not name:
        raise CommandError(f"expected {option} NAME=VALUE, got {fact!r}", Exit.USAGE)
    return name, value
