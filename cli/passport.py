"""What a command brings along for the user that it asks for: a proof and trials, each in a file.

Tokens stand in files, since other users of the machine see the words of a command.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cli.exit import CommandError, Exit

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)


@dataclass(frozen=True, slots=True)
class FilePassport:
    """A passport from files; see the SDK's `Passport`."""

    proof_file: Path | None
    trial_files: tuple[Path, ...]

    def proof(self) -> str:
        """Returns the JWT; raises CommandError where its file cannot be read."""
        return read_token(self.proof_file) if self.proof_file else ""

    def trials(self) -> Sequence[str]:
        """Returns the tokens; raises CommandError where a file cannot be read."""
        return [read_token(path) for path in self.trial_files]


def take_passport(function: _Function) -> _Function:
    """Gives a command the options --proof and --trial, as the arguments `proof` and `trials`."""
    proof = click.option("--proof", type=_FILE, help="File of the JWT that proves the user.")
    trial = click.option("--trial", "trials", multiple=True, type=_FILE, help="File of a trial's token; several times.")
    return proof(trial(function))


def read_token(path: Path) -> str:
    """Returns the token of a file.

    Raises:
        CommandError: it cannot be read, or has more than a line.
    """
    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read the token: {error}", Exit.USAGE) from None
    if not token.isprintable():  # it becomes a header's value
        raise CommandError(f"cannot read the token: expected one line in {path}", Exit.USAGE)
    return token
