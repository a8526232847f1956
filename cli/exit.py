"""Exit codes of `graywave`, and the error that carries one: scripts branch on these, so none changes its meaning."""

from enum import IntEnum

import click


class Exit(IntEnum):
    """What an exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    REFUSED = 3
    UNREACHABLE = 4
    UNVERIFIED = 5


class CommandError(click.ClickException):
    """A command that ends with one line on standard error and an exit code.

    Args:
        message: what was expected and what came, and what to do.
        code: who has to act.
    """

    exit_code: int  # type: ignore[misc]  # click has it a class's, every instance may have its own

    def __init__(self, message: str, code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = code

    def show(self, file: object = None) -> None:
        """Prints the message; `file` is click's and stays unused."""
        del file
        click.echo(f"graywave: {self.message}", err=True)
