"""`graywave release`: a packed version to the devices that should have it: store its file, publish its release."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import msgspec

from bundle import BundleError, LocalStore
from bundle.pack import MANIFEST_NAME
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.publishing import open_publisher
from trust.claim import Program, Sha256, Version

# Documents have percentages in parts of a million.
PARTS = 1_000_000


class _Transfer(msgspec.Struct):
    """A transfer; a digest that is none could name a file outside of the folder."""

    sha256: Sha256


class _Package(msgspec.Struct):
    sha256: Sha256
    transfers: list[_Transfer]


class _Manifest(msgspec.Struct):
    """What is read of package.json here; the rest is the publisher's to judge."""

    program: Program
    version: Version
    package: _Package


def count_parts(percent: str) -> int:
    """Returns how many parts of a million a percentage is, exactly.

    Raises:
        CommandError: it is none, or finer than a part.
    """
    try:
        parts = Decimal(percent) * PARTS / 100
        if parts == int(parts) and 0 <= parts <= PARTS:
            return int(parts)
    except (ArithmeticError, ValueError):
        pass  # no number, or none that is finite
    raise CommandError(f"expected --percent from 0 to 100 in steps of 0.0001, got {percent!r}", Exit.USAGE)


def _take_parts(_ctx: click.Context, _param: click.Parameter, percent: str | None) -> int | None:
    return None if percent is None else count_parts(percent)


@click.command(short_help="Release a packed version to devices.")
@click.argument("packed", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--percent", "parts", callback=_take_parts, metavar="PERCENT", help="Only to this part of all devices.")
@click.option("--user", "users", multiple=True, help="To this user id; several times for several.")
@click.option("--id", "name", help="The release's id.  [default: rN, the next number]")
@click.option("--below", help="Put it below this release instead of on top: a hotfix under a running gray.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
@click.option("--store", type=click.Path(path_type=Path), help="Folder of package files.  [default: DATA/store]")
@click.option("--publisher", "url", help="Address of the publisher.  [default: the one of the data folder]")
@click.option("--token-file", type=click.Path(path_type=Path), help="File of its token.  [default: DATA/token]")
@take_json
@take_home
def release(  # noqa: PLR0913, PLR0917 - a command's options
    packed: Path, parts: int | None, users: tuple[str, ...], name: str | None, below: str | None,
    store: Path | None, url: str | None, token_file: Path | None, home: Home, *, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Release the package in PACKED, a folder that `graywave pack` wrote; to everybody, if nothing narrows it."""
    manifest = _read_manifest(packed)
    publisher = open_publisher(home, url, token_file)
    current, revision = publisher.get(manifest["program"])
    document, made = add_release(current, manifest, _choose_who(parts, users), name, below)
    if not dry_run:
        _store(packed, manifest, LocalStore(store or home.store))
    answer = publisher.put(document, revision, dry_run=dry_run)
    told = {"program": manifest["program"], "version": manifest["version"], "release": made, **answer.body}
    if as_json:
        click.echo(json.dumps(told))
        return
    for warning in answer.body.get("warnings", []):
        click.echo(f"warning: {warning}", err=True)
    verb = "would release" if dry_run else "released"
    click.echo(f"{verb} {told['version']} of {told['program']} as {made}, revision {told['revision']}")


def add_release(
    document: dict[str, Any] | None, manifest: dict[str, Any], who: dict[str, Any] | None, name: str | None,
    below: str | None,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Returns a program's document with one more package and release, and the release's id.

    Raises:
        CommandError: `below` is no release of the program, or the version is published with other bytes.
    """
    changed = json.loads(json.dumps(document)) if document else _new_document(manifest["program"])
    _refuse_other_bytes(changed["packages"].get(manifest["version"]), manifest)
    changed["packages"][manifest["version"]] = manifest["package"]
    releases = changed["releases"]
    ids = [release["id"] for release in releases]
    made = name or next(f"r{n}" for n in range(1, len(ids) + 2) if f"r{n}" not in ids)
    if below is not None and below not in ids:
        raise CommandError(f"expected a release of {', '.join(ids) or 'none'} for --below, got {below}", Exit.USAGE)
    place = ids.index(below) + 1 if below is not None else 0
    releases.insert(place, {"id": made, "package": manifest["version"]} | ({"who": who} if who else {}))
    return changed, made


def _refuse_other_bytes(published: dict[str, Any] | None, manifest: dict[str, Any]) -> None:
    """Devices that have a version would never get other bytes under its number."""
    if published is not None and published["sha256"] != manifest["package"]["sha256"]:
        message = f"version {manifest['version']} of {manifest['program']} is published with other bytes"
        raise CommandError(f"{message}: pack them as a newer version", Exit.REFUSED)


def _new_document(program: str) -> dict[str, Any]:
    return {"format": 1, "program": program, "packages": {}, "releases": []}


def _choose_who(parts: int | None, users: tuple[str, ...]) -> dict[str, Any] | None:
    who: dict[str, Any] = {"users": list(users)} if users else {}
    if parts is not None:
        who["percent"] = {"parts": parts}
    return who or None


def _read_manifest(packed: Path) -> dict[str, Any]:
    try:
        text = (packed / MANIFEST_NAME).read_bytes()
        msgspec.json.decode(text, type=_Manifest)
        manifest: dict[str, Any] = json.loads(text)
    except (OSError, ValueError) as error:
        message = f"{packed}: expected a folder that graywave pack wrote: {error}"
        raise CommandError(message, Exit.USAGE) from None
    return manifest


def _store(packed: Path, manifest: dict[str, Any], store: LocalStore) -> None:
    """The file is there before any device is told of it."""
    for transfer in manifest["package"]["transfers"]:
        try:
            stored = store.put(packed / transfer["sha256"])
        except BundleError as error:
            raise CommandError(str(error)) from None
        if stored != transfer["sha256"]:
            raise CommandError(f"{packed}: expected a file of sha256 {transfer['sha256']}, got {stored}")
