"""`graywave doctor`: what keeps a device from its updates, a line for each check; the checks are the SDK's."""

import json
import time
from pathlib import Path
from typing import Any

import click

from cli.device import take_device
from cli.exit import Exit
from cli.home import Home, take_home, take_json
from cli.http import escape
from cli.update import choose_exit
from container import Device, HttpFetcher
from container.doctor import Finding, examine


@click.command(short_help="Say what keeps a device from its updates.")
@click.option("--config", type=click.Path(path_type=Path), help="client.json.  [default: DATA/client.json]")
@click.option(
    "--folder", default="programs", show_default=True, type=click.Path(path_type=Path), help="The container's."
)
@click.option("--program", "programs", multiple=True, metavar="ID", help="Whose package to look at; several.")
@take_device
@take_json
@take_home
def doctor(
    config: Path | None, folder: Path, programs: tuple[str, ...], device: Device, home: Home, *, as_json: bool
) -> None:
    """Look at all that an update needs, from the clock to ranges of a file, and name the first fault.

    A package is fetched and thrown away; nothing is installed or changed. The exit code is that of the first fault:
    1 this device, 2 its configuration, 3 what the edge or the store refuses, 4 unreachable, 5 not to be believed.
    """
    findings = []
    for finding in examine(config or home.client, folder, device, programs, fetcher=HttpFetcher(), now=time.time):
        findings.append(finding)
        if not as_json:
            click.echo(_describe(finding))
    first = next((finding for finding in findings if finding.error is not None), None)
    if as_json:
        told = {"checks": [_tell(finding) for finding in findings], "first_fault": first.check if first else None}
        click.echo(json.dumps(told, ensure_ascii=False))
    else:
        click.echo(f"first fault: {first.check}" if first else "no fault")
    if first is not None and first.error is not None:
        raise SystemExit(choose_exit(first.error))


def _describe(finding: Finding) -> str:
    return f"{finding.check:9} {_judge(finding):7} {escape(_say(finding))}"


def _judge(finding: Finding) -> str:
    return "FAULT" if finding.error is not None else "skipped" if finding.is_skipped else "ok"


def _say(finding: Finding) -> str:
    return finding.seen if finding.error is None else f"{finding.error}; {finding.advice}"


def _tell(finding: Finding) -> dict[str, Any]:
    return {
        "check": finding.check,
        "status": _judge(finding).lower(),
        "seen": finding.seen,
        "fault": str(finding.error) if finding.error is not None else "",
        "advice": finding.advice,
        "code": int(choose_exit(finding.error)) if finding.error is not None else int(Exit.OK),
    }
