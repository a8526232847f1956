"""docs/settings.md, made from the dataclasses that read the settings, so that it says what the servers do."""

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

import click

from cli.serve import SETTINGS
from settings import Row, describe

_HEAD: Final = """\
# Settings

A server takes each setting from its environment, else from its TOML file (`graywave edge --config edge.toml`), else its
default. All problems are reported at once, with exit code 2. Relative paths in a file start from the file's folder.
This page is made by `scripts/graywave reference > docs/settings.md`, and the tests hold it current.
"""
_MADE: Final = "from the machine"


@click.command(hidden=True)
def reference() -> None:
    """Print docs/settings.md."""
    click.echo(make_reference(), nl=False)


def make_reference() -> str:
    """Returns the page: a table for each server, a row for each setting, nothing that differs between machines."""
    return "\n".join([_HEAD, *(line for name in SETTINGS for line in _make_table(name))])


def _make_table(name: str) -> Iterator[str]:
    cls, prefix, section = SETTINGS[name]()
    yield f"## `graywave {name}`\n"
    yield f"| variable | key of `[{section}]` | takes | default | |\n| --- | --- | --- | --- | --- |"
    made = {field.name for field in dataclasses.fields(cls) if _is_made(field)}
    for row in describe(cls):
        yield _make_row(prefix, row._replace(default=_MADE) if row.name in made else row)
    yield ""


def _is_made(field: "dataclasses.Field[Any]") -> bool:
    """Whether a default is found out on the machine; an empty table is the same on all."""
    return field.default_factory not in {dataclasses.MISSING, dict}


def _make_row(prefix: str, row: Row) -> str:
    cells = (f"`{prefix}{row.name.upper()}`", f"`{row.name}`", row.type, _show(row.default), row.help)
    return "| " + " | ".join(cells) + " |"


def _show(default: str) -> str:
    """A default as it would be written; `describe` has texts in quotes, an absent one as null, a secret one as ***."""
    plain = default.strip("'")
    if plain in ("", "null", "***", "empty"):
        return "none"
    return plain if plain in ("required", _MADE) else f"`{plain}`"
