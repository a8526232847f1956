"""The data folder of a local Graywave, and where in it everything is: `graywave up` makes it, others find it."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from cli.exit import CommandError, Exit

DEFAULT_FOLDER: Final = Path("data")
# By which id the servers of a data folder know its fingerprint key.
FINGERPRINT_KEY_ID: Final = "k1"

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Home:
    """A data folder: keys, package files, the publisher's store, edge.db, and where the servers listen."""

    folder: Path

    @property
    def keys(self) -> Path:
        """Private keys and root.json."""
        return self.folder / "keys"

    @property
    def fingerprint_key(self) -> Path:
        """The key of audiences' and windows' fingerprints, whose id is FINGERPRINT_KEY_ID."""
        return self.keys / "fingerprint.key"

    @property
    def store(self) -> Path:
        """Package files, each named by its SHA-256."""
        return self.folder / "store"

    @property
    def publisher(self) -> Path:
        """The publisher's store."""
        return self.folder / "publisher"

    @property
    def edge(self) -> Path:
        """The folder of edge.db."""
        return self.folder / "edge"

    @property
    def redis(self) -> Path:
        """What the private Redis keeps."""
        return self.folder / "redis"

    @property
    def token(self) -> Path:
        """The bearer token of the publisher, and of the edge's protected admin routes."""
        return self.folder / "token"

    @property
    def client(self) -> Path:
        """client.json, which a host app ships."""
        return self.folder / "client.json"

    @property
    def addresses(self) -> Path:
        """Where the servers of this folder listen, while they run."""
        return self.folder / "addresses.json"

    def read_address(self, server: str) -> str:
        """Returns where `edge`, `admin` or `publisher` listens.

        Raises:
            CommandError: nothing runs in this folder.
        """
        try:
            return str(json.loads(self.addresses.read_text("utf-8"))[server])
        except (OSError, ValueError, KeyError, TypeError):
            message = f"nothing runs in {self.folder}: start scripts/run, or name the address yourself"
            raise CommandError(message, Exit.UNREACHABLE) from None


def take_home(function: _Function) -> _Function:
    """Gives a command the option --data, as the argument `home`."""

    def make(_ctx: click.Context, _param: click.Parameter, value: Path) -> Home:
        return Home(value)

    return click.option(
        "--data",
        "home",
        envvar="GRAYWAVE_DATA",
        default=str(DEFAULT_FOLDER),
        show_default=True,
        show_envvar=True,
        type=click.Path(path_type=Path, file_okay=False),
        callback=make,
        help="Folder of keys, package files and servers' data.",
    )(function)


def take_json(function: _Function) -> _Function:
    """Gives a command the option --json, as the argument `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")(function)
