"""`graywave update`: the container SDK on a command line: check, fetch, verify, activate, report."""

import json
from pathlib import Path
from typing import Any

import click

from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from container import Container, ContainerError, Device, NetworkError, Outcome, VerificationError, load_config


@click.command()
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
@click.option("--config", type=click.Path(path_type=Path), help="client.json.  [default: DATA/client.json]")
@click.option(
    "--folder", default="programs", show_default=True, type=click.Path(path_type=Path), help="Where to keep them."
)
@click.option("--device", "facts", multiple=True, metavar="NAME=VALUE", help="A fact of the device, such as os=14.")
@take_json
@take_home
def update(  # noqa: PLR0913 - a command's options
    programs: tuple[str, ...], config: Path | None, folder: Path, facts: tuple[str, ...], home: Home, *, as_json: bool
) -> None:
    """Bring each PROGRAM (without any: those installed) to the version that this device should have."""
    try:
        container = Container(load_config(config or home.client), folder, _make_device(facts), progress=None)
        outcomes = container.update(list(programs) or None)
    except ContainerError as error:
        raise CommandError(str(error), _choose_exit(error)) from None
    if as_json:
        click.echo(json.dumps([_tell(outcome) for outcome in outcomes]))
    else:
        _print(container, programs, outcomes)
    failed = next((outcome.error for outcome in outcomes if outcome.error is not None), None)
    if failed is not None:
        raise SystemExit(_choose_exit(failed))


def _make_device(facts: tuple[str, ...]) -> Device:
    given = dict(fact.partition("=")[::2] for fact in facts)
    tags = {name.removeprefix("tags."): value for name, value in given.items() if name.startswith("tags.")}
    plain = {name: value for name, value in given.items() if not name.startswith("tags.")}
    try:
        return Device(**{"id": "graywave-update", "platform": "android", **plain}, tags=tags)
    except TypeError:
        known = ", ".join(name for name in Device.__dataclass_fields__ if name != "tags")
        message = f"expected --device with one of {known}, tags.<name>, got {', '.join(plain)}"
        raise CommandError(message, Exit.USAGE) from None


def _print(container: Container, programs: tuple[str, ...], outcomes: list[Outcome]) -> None:
    for outcome in outcomes:
        before = outcome.before or "nothing"
        what = f"{outcome.update.program} {before} -> {outcome.update.version or 'nothing'}: {outcome.status}"
        moved = f" ({outcome.bytes} bytes, {outcome.ms} ms)" if outcome.bytes else ""
        click.echo(f"{what}{moved}{f': {outcome.error}' if outcome.error else ''}")
    for program, active in sorted(container.installed().items()):
        if not programs or program in programs:
            click.echo(f"{program} {active.version} is active in {active.folder}")


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


def _choose_exit(error: ContainerError) -> Exit:
    if isinstance(error, VerificationError):
        return Exit.UNVERIFIED
    return Exit.UNREACHABLE if isinstance(error, NetworkError) else Exit.FAILED
