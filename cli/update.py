"""`graywave update`: the container SDK on a command line: check, fetch, verify, activate, report.

What waits for the user's word is activated at once: whoever runs the command has given it.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from cli.device import take_device
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.passport import FilePassport, take_passport
from cli.progress import Show, make_progress
from container import (
    ConfigError,
    Container,
    ContainerError,
    Device,
    EdgeError,
    FloorError,
    NetworkError,
    NoEvents,
    Outcome,
    OverloadedError,
    VerificationError,
    load_config,
)
from container.decision import is_below
from container.storage import Storage

# The first that an error is an instance of says how the command ends.
_EXITS = (
    (VerificationError, Exit.UNVERIFIED),
    (NetworkError, Exit.UNREACHABLE),
    (OverloadedError, Exit.UNREACHABLE),
    (EdgeError, Exit.REFUSED),
    (FloorError, Exit.REFUSED),
    (ConfigError, Exit.USAGE),
    (ContainerError, Exit.FAILED),
)
_WORDS = {
    "ready": "ready, and activated since you ask for it",
    "declined": "declined, since it did not come up here before",
    "stale": "stale, the edge is behind",
    "deferred": "deferred until there is Wi-Fi",
}


class _Watcher(NoEvents):
    """Shows how far a download is."""

    def __init__(self, show: Show | None) -> None:
        self._show = show

    def progress(self, program: str, done: int, total: int) -> None:
        """See `Events`."""
        if self._show:
            self._show(program, done, total)


@dataclass(frozen=True, slots=True)
class _Active:
    """An active version, and the floor below which its program may not be opened; empty for none."""

    program: str
    version: str
    folder: Path
    floor: str

    @property
    def error(self) -> ContainerError | None:
        """Why it may not be opened."""
        if not is_below(self.version, self.floor):
            return None
        return FloorError(f"{self.program}: expected version {self.floor} or later to open, got {self.version}")


@click.command(short_help="Bring programs to the version they should have.")
@click.argument("programs", nargs=-1, metavar="[PROGRAM]...")
@click.option("--config", type=click.Path(path_type=Path), help="client.json.  [default: DATA/client.json]")
@click.option(
    "--folder", default="programs", show_default=True, type=click.Path(path_type=Path), help="Where to keep them."
)
@take_passport
@take_device
@take_json
@take_home
def update(
    programs: tuple[str, ...], config: Path | None, folder: Path, proof: Path | None, trials: tuple[Path, ...],
    device: Device, home: Home, *, as_json: bool,
) -> None:  # fmt: skip
    """Bring each PROGRAM to the version that this device should have.

    Without any: those installed, and those that client.json names. A version that would wait for the user's word is
    activated at once.
    """
    try:
        believed = load_config(config or home.client)
        passport = FilePassport(proof, trials)
        container = Container(believed, folder, device, events=_Watcher(make_progress()), passport=passport)
        outcomes = container.update(list(programs) or None)
        for outcome in outcomes:
            if outcome.status == "ready":
                container.apply_now(outcome.update.program)
        active = _list_active(container, Storage(folder / believed.folder_name))
    except ContainerError as error:
        raise CommandError(str(error), choose_exit(error)) from None
    if as_json:
        click.echo(json.dumps([_tell(outcome, active.get(outcome.update.program)) for outcome in outcomes]))
    else:
        listed = [active[program] for program in sorted(active) if not programs or program in programs]
        lines = [*map(_describe, outcomes), *map(_describe_active, listed)]
        idle = [one for one in programs if one not in active and one not in {two.update.program for two in outcomes}]
        lines += [f"{one} is not installed, and not to be: not released to this device, or unknown" for one in idle]
        click.echo("\n".join(lines or [f"nothing is installed in {folder}, and nothing is to be"]))
    errors = [outcome.error for outcome in outcomes]
    errors += [active[program].error for program in programs if program in active]
    failed = next(filter(None, errors), None)
    if failed is not None:
        raise SystemExit(choose_exit(failed))


def choose_exit(error: ContainerError) -> Exit:
    """Returns the exit code by who has to act."""
    return next(code for kind, code in _EXITS if isinstance(error, kind))


def _list_active(container: Container, storage: Storage) -> dict[str, _Active]:
    state = storage.load()
    return {
        program: _Active(program, active.version, active.folder, state.record(program).floor)
        for program, active in container.installed().items()
    }


def _describe(outcome: Outcome) -> str:
    update, status = outcome.update, _WORDS.get(outcome.status, outcome.status)
    what = f"{update.program} {outcome.before or 'nothing'} -> {update.version or 'nothing'}: {status}"
    moved = f" ({outcome.bytes} bytes, {outcome.ms} ms)" if outcome.bytes else ""
    return f"{what}{moved}{f': {outcome.error}' if outcome.error else ''}"


def _describe_active(active: _Active) -> str:
    blocked = f", but may not be opened: {active.floor} is the lowest that may" if active.error else ""
    return f"{active.program} {active.version} is active in {active.folder}{blocked}"


def _tell(outcome: Outcome, active: _Active | None) -> dict[str, Any]:
    return {
        "program": outcome.update.program,
        "action": outcome.update.action,
        "before": outcome.before,
        "version": outcome.update.version,
        "status": outcome.status,
        "error": str(outcome.error) if outcome.error else "",
        "reason": outcome.error.reason if outcome.error else "",
        "transfer": outcome.transfer,
        "bytes": outcome.bytes,
        "ms": outcome.ms,
        "active": active.version if active else "",
        "floor": active.floor if active else "",
    }
