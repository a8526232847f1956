"""What commands ask of a host's admin listener, with its token."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.exit import CommandError, Exit
from cli.home import Home
from cli.http import ask

# A host that is asked about a large document answers within a second; one that is busy, later.
TIMEOUT_S = 30.0

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Admin:
    """A host's admin listener.

    Args:
        url: where it listens.
        token: its bearer token.
    """

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}

    def get(self, path: str) -> dict[str, Any]:
        """Returns what it answers; raises CommandError."""
        return self._ask("GET", path, None)

    def post(self, path: str, question: dict[str, Any]) -> dict[str, Any]:
        """Returns what it answers to a question; raises CommandError."""
        return self._ask("POST", path, question)

    def _ask(self, method: str, path: str, body: object) -> dict[str, Any]:
        answer = ask(method, f"{self._url}{path}", body=body, headers=self._headers, timeout_s=TIMEOUT_S)
        told: dict[str, Any] = answer.body
        return told


def take_admin(function: _Function) -> _Function:
    """Gives a command the options --admin and --admin-token-file, as the arguments `admin_url` and `admin_token`."""
    token = click.option(
        "--admin-token-file", "admin_token", type=click.Path(path_type=Path),
        help="File of its token.  [default: DATA/token]",
    )  # fmt: skip
    url = click.option(
        "--admin", "admin_url", help="Address of an edge's admin listener.  [default: the one of the data folder]"
    )
    return url(token(function))


def open_admin(home: Home, url: str | None, token_file: Path | None) -> Admin:
    """Returns the admin listener that options name, or the one of the data folder.

    Raises:
        CommandError: none runs there, or the token cannot be read.
    """
    return Admin(url or home.read_address("admin"), read_token(token_file or home.token, "the edge's admin token"))


def read_token(path: Path, what: str) -> str:
    """Returns the token in a file, which becomes a header's value; raises CommandError, naming `what`."""
    try:
        token = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise CommandError(f"cannot read {what}: {error}", Exit.USAGE) from None
    if not token.isprintable():
        raise CommandError(f"cannot read {what}: expected one line in {path}", Exit.USAGE)
    return token
