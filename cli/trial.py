"""`graywave trial`: a token that gives some users a version before it is released, and the document that allows it."""

import json
import time
from pathlib import Path
from typing import Any, Final

import click

from bundle import Store
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.publishing import Publisher, open_publisher
from cli.refine import open_files, take_publisher, take_store
from cli.release import add_package, place_transfers, read_packed, store_files

DAY_S: Final = 86_400
DEFAULT_DAYS: Final = 7
MAX_DAYS: Final = 30


@click.command(short_help="Give some users a version before it is released.")
@click.argument("program")
@click.argument("version")
@click.option("--user", "users", multiple=True, required=True, help="For this user id; several times for several.")
@click.option(
    "--days", default=DEFAULT_DAYS, show_default=True, type=click.IntRange(1, MAX_DAYS), help="How long it lasts."
)
@click.option(
    "--packed", type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Bring the package too: a folder that `graywave pack` wrote.",
)  # fmt: skip
@take_store
@take_publisher
@take_json
@take_home
def trial(
    program: str, version: str, users: tuple[str, ...], days: int, packed: Path | None, address: str | None,
    url: str | None, token_file: Path | None, home: Home, *, as_json: bool,
) -> None:  # fmt: skip
    """Make a token by which users get VERSION of PROGRAM although it is not released to them.

    It is printed alone, to be brought to their phones. Only edges that want proof of users heed it.
    """
    publisher = open_publisher(home, url, token_file)
    document, revision = publisher.get(program)
    wanted = document or {"format": 1, "program": program, "packages": {}, "releases": []}
    if packed is not None:
        wanted = _bring(packed, program, version, wanted, open_files(address, home))
    _allow(publisher, wanted, version, revision, is_changed=packed is not None)
    made = publisher.make_trial(program, version, users, int(time.time()) + days * DAY_S)
    if as_json:
        click.echo(json.dumps(made))
        return
    until = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(made["expires"]))
    click.echo(f"trial {made['id']}: {version} of {program} for {len(set(users))} users until {until}", err=True)
    click.echo(made["trial"])


def _bring(packed: Path, program: str, version: str, document: dict[str, Any], store: Store) -> dict[str, Any]:
    """Returns the document with a packed version more, whose files are in the store."""
    manifest = read_packed(packed)
    got = (manifest["program"], manifest["version"])
    if got != (program, version):
        raise CommandError(f"expected {version} of {program} in {packed}, got {got[1]} of {got[0]}", Exit.USAGE)
    place_transfers(manifest, store)
    changed = add_package(document, manifest)
    store_files(packed, manifest, changed["packages"][version], store)
    return changed


def _allow(publisher: Publisher, document: dict[str, Any], version: str, revision: str, *, is_changed: bool) -> None:
    """Publishes the document with the version among its trials, if it was not."""
    if version not in document["packages"]:
        known = ", ".join(document["packages"]) or "none"
        message = f"expected a version that is published, {known}, got {version}: bring it with --packed"
        raise CommandError(message, Exit.USAGE)
    trials = document.get("trials", [])
    if is_changed or version not in trials:
        listed = trials if version in trials else [*trials, version]
        publisher.put({**document, "trials": listed}, revision)
