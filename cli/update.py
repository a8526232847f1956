"""`graywave update`: the container SDK on a command line: check, fetch, verify, activate, report."""

import json
from pathlib import Path
from typing import Any

import click

from cli.device import take_device
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.progress import make_progress
from container import (
    ConfigError,
    Container,
    ContainerError,
    Device,
    EdgeError,
    NetworkError,
    Outcome,
    OverloadedError,
    VerificationError,
    load_config,
)

# The first that an error is an instance of says how the command ends.
_EXITS = (
    (VerificationError, Exit.UNVERIFIED),
    (NetworkError, Exit.UNREACHABLE),
    (OverloadedError, Exit.UNREACHABLE),
    (EdgeError, Exit.REFUSED),
    (ConfigError, Exit.USAGE),
    (ContainerError, Exit.FAILED),
)


@click.command(short_help="Bring programs to the version they should have.")
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
@click.option("--config", type=click.Path(path_type=Path), help="client.json.  [default: DATA/client.json]")
@click.option(
    "--folder", default="programs", show_default=True, type=click.Path(path_type=Path), help="Where to keep them."
)
@take_device
@take_json
@take_home
def update(  # noqa: PLR0913 - a command's options
    programs: tuple[str, ...], config: Path | None, folder: Path, device: Device, home: Home, *, as_json: bool
) -> None:
    """Bring each PROGRAM (without any: those installed) to the version that this device should have."""
    try:
        container = Container(load_config(config or home.client), folder, device, progress=make_progress())
        outcomes = container.update(list(programs) or None)
        lines = [] if as_json else [*map(_describe, outcomes), *_list_active(container, programs)]
    except ContainerError as error:
        raise CommandError(str(error), choose_exit(error)) from None
    if as_json:
        lines = [json.dumps([_tell(outcome) for outcome in outcomes])]
    click.echo("\n".join(lines or [f"nothing is installed in {folder}, and nothing is to be"]))
    failed = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    if failed is not None:
        raise SystemExit(choose_exit(failed))


def choose_exit(error: ContainerError) -> Exit:
    """Returns the exit code by who has to act."""
    return next(code for kind, code in _EXITS if isinstance(error, kind))


def _describe(outcome: Outcome) -> str:
    update = outcome.update
    what = f"{update.program} {outcome.before or 'nothing'} -> {update.version or 'nothing'}: {outcome.status}"
    moved = f" ({outcome.bytes} bytes, {outcome.ms} ms)" if outcome.bytes else ""
    return f"{what}{moved}{f': {outcome.error}' if outcome.error else ''}"


def _list_active(container: Container, programs: tuple[str, ...]) -> list[str]:
    return [
        f"{program} {active.version} is active in {active.folder}"
        for program, active in sorted(container.installed().items())
        if not programs or program in programs
    ]


def _tell(outcome: Outcome) -> dict[str, Any]:
    return {
        "program": outcome.update.program,
        "action": outcome.update.action,
        "before": outcome.before,
        "version": outcome.update.version,
        "status": outcome.status,
        "error": str(outcome.error) if outcome.error else "",
        "bytes": outcome.bytes,
        "ms": outcome.ms,
    }
