"""`graywave document`: a document of any kind, as a control plane reads and publishes it."""

import json
from pathlib import Path
from typing import Any, BinaryIO

import click

from cli.exit import CommandError, Exit
from cli.home import Home, take_home
from cli.publishing import KINDS, find_name, open_publisher


@click.group()
def document() -> None:
    """Read and publish documents: programs, audiences and switch sets."""


@document.command()
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default=KINDS[0], show_default=True, help="Of which kind it is.")
@click.option("--publisher", "url", help="Address of the publisher.  [default: the one of the data folder]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File of its token.  [default: DATA/token]")
@take_home
def get(name: str, kind: str, url: str | None, token_file: Path | None, home: Home) -> None:
    """Print the document of the program, the audience or the switch set NAME as JSON."""
    found, revision = open_publisher(home, url, token_file).get(name, kind)
    if found is None:
        raise CommandError(f"no document of {kind} {name!r} is published", Exit.REFUSED)
    click.echo(json.dumps(found, indent=2, ensure_ascii=False))
    click.echo(f"revision {revision}", err=True)


@document.command()
@click.argument("file", type=click.File("rb"))
@click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
@click.option("--revision", help="Publish only over this revision.  [default: the one there now]")
@click.option("--publisher", "url", help="Address of the publisher.  [default: the one of the data folder]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File of its token.  [default: DATA/token]")
@take_home
def put(
    file: BinaryIO, revision: str | None, url: str | None, token_file: Path | None, home: Home, *,
    dry_run: bool,
) -> None:  # fmt: skip
    """Publish the document in FILE (- for standard input)."""
    wanted = read_document(file)
    publisher = open_publisher(home, url, token_file)
    if revision is None:
        kind, id_ = find_name(wanted)
        _, revision = publisher.get(id_, kind)
    answer = publisher.put(wanted, revision, dry_run=dry_run)
    click.echo(json.dumps(answer.body, indent=2, ensure_ascii=False))


def read_document(file: BinaryIO) -> dict[str, Any]:
    """Returns the document in a file.

    Raises:
        CommandError: it is no JSON, or no object.
    """
    try:
        document: Any = json.load(file)
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{file.name}: expected JSON: {error}", Exit.USAGE) from None
    if not isinstance(document, dict):
        raise CommandError(f"{file.name}: expected a JSON object, got {document!r:.100}", Exit.USAGE)
    return document
