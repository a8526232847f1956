"""`graywave release`: a packed version to the devices that should have it: store its files, publish, then refine."""

import json
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click

from bundle import BundleError, Store
from bundle.manifest import merge_transfers, read_manifest
from bundle.transfer import STRONG_LEVEL
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.progress import make_progress
from cli.publishing import Publisher, open_publisher
from cli.refine import Wish, open_files, refine_version, take_bases, take_publisher, take_store

# Documents have percentages in parts of a million.
PARTS = 1_000_000


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
@click.option(
    "--audience", "audiences", multiple=True, help="To the users of this audience; several times for several."
)
@click.option("--id", "name", help="The release's id.  [default: rN, the next number]")
@click.option("--below", help="Put it below this release instead of on top: a hotfix under a running gray.")
@click.option("--urgency", type=click.Choice(["silent", "prompt", "force"]), help="How devices take it.")
@click.option("--rollback-from", "rollback", multiple=True, metavar="VERSION", help="Take devices back from this one.")
@click.option("--floor", metavar="VERSION", help="Devices do not open the program below this version any more.")
@take_bases
@click.option("--no-refine", is_flag=True, help="Make no deltas afterwards, and leave the full transfer as it is.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
@take_store
@take_publisher
@take_json
@take_home
def release(  # noqa: PLR0913, PLR0917 - a command's options
    packed: Path, parts: int | None, users: tuple[str, ...], audiences: tuple[str, ...], name: str | None,
    below: str | None, urgency: str | None, rollback: tuple[str, ...], floor: str | None, bases: int,
    address: str | None, url: str | None, token_file: Path | None, home: Home, *,
    no_refine: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Release the package in PACKED, a folder that `graywave pack` wrote; to everybody, if nothing narrows it.

    Once it is out, deltas from older versions are made and published too; that can be stopped, and done later.
    """
    store, manifest = open_files(address, home), _read_manifest(packed)
    publisher = open_publisher(home, url, token_file)
    current, revision = publisher.get(manifest["program"])
    place_transfers(manifest, store)
    more = _choose_members(_choose_who(parts, users, audiences), urgency, rollback)
    document, made = add_release(current, manifest, more, name, below)
    if floor is not None:
        document["floor"] = floor
    if not dry_run:
        _store(packed, manifest, document["packages"][manifest["version"]], store)
    answer = publisher.put(document, revision, dry_run=dry_run)
    told = {"program": manifest["program"], "version": manifest["version"], "release": made, **answer.body}
    if not as_json:
        for warning in answer.body.get("warnings", []):
            click.echo(f"warning: {warning['path']}: {warning['message']}", err=True)
        verb = "would release" if dry_run else "released"
        click.echo(f"{verb} {told['version']} of {told['program']} as {made}, revision {told['revision']}")
    if not (dry_run or no_refine):
        told["refined"] = _follow_up(publisher, store, manifest, bases, as_json=as_json)
    if as_json:
        click.echo(json.dumps(told))


def _follow_up(
    publisher: Publisher, store: Store, manifest: dict[str, Any], bases: int, *, as_json: bool
) -> dict[str, Any] | None:
    """Refines what has just been released; whatever goes wrong, the release is out, so that it is only told."""
    is_quick = manifest.get("level", STRONG_LEVEL) < STRONG_LEVEL
    wish = Wish(manifest["program"], manifest["version"], bases, has_full=is_quick)
    try:
        refined = refine_version(publisher, store, wish, make_progress())
    except CommandError as error:
        click.echo(f"warning: released, but not refined (graywave refine): {error.message}", err=True)
        return None
    if not as_json:
        for line in refined.describe():
            click.echo(line)
    return refined.tell()


def add_release(
    document: dict[str, Any] | None, manifest: dict[str, Any], more: Mapping[str, Any] = MappingProxyType({}),
    name: str | None = None, below: str | None = None,
) -> tuple[dict[str, Any], str]:  # fmt: skip
    """Returns a program's document with one more package and release, and the release's id.

    Args:
        document: the one before, None if there is none.
        manifest: of what was packed.
        more: members of the release, such as `who`.
        name: the release's id, if not the next number.
        below: the release that it goes below.

    Raises:
        CommandError: `below` is no release of the program, or the version is published with other bytes.
    """
    changed = json.loads(json.dumps(document)) if document else _new_document(manifest["program"])
    version = manifest["version"]
    _refuse_other_bytes(changed["packages"].get(version), manifest)
    changed["packages"][version] = merge_package(changed["packages"].get(version), manifest["package"])
    releases = changed["releases"]
    ids = [release["id"] for release in releases]
    made = name or next(f"r{n}" for n in range(1, len(ids) + 2) if f"r{n}" not in ids)
    if below is not None and below not in ids:
        raise CommandError(f"expected a release of {', '.join(ids) or 'none'} for --below, got {below}", Exit.USAGE)
    place = ids.index(below) + 1 if below is not None else 0
    releases.insert(place, {"id": made, "package": version, **more})
    return changed, made


def merge_package(published: dict[str, Any] | None, packed: dict[str, Any]) -> dict[str, Any]:
    """Returns the entry of a package whose bytes may be published already: what was made of it since then stays.

    That is its deltas, its smaller full transfer, and its key, which may have been changed after a leak.
    """
    if published is None:
        return packed
    key = published.get("key", "")
    transfers = published["transfers"]
    if key == packed.get("key", ""):
        here = {transfer["sha256"]: transfer for transfer in packed["transfers"]}
        known = [here.get(transfer["sha256"], transfer) for transfer in transfers]
        transfers = merge_transfers(packed["transfers"], known)
    return {name: value for name, value in packed.items() if name != "key"} | (
        {"transfers": transfers, "key": key} if key else {"transfers": transfers}
    )


def place_transfers(manifest: dict[str, Any], store: Store) -> None:
    """Names in a manifest where devices will fetch its transfers."""
    for transfer in manifest["package"]["transfers"]:
        transfer["url"] = store.url(transfer["sha256"])


def _refuse_other_bytes(published: dict[str, Any] | None, manifest: dict[str, Any]) -> None:
    """Devices that have a version would never get other bytes under its number."""
    if published is not None and published["sha256"] != manifest["package"]["sha256"]:
        message = f"version {manifest['version']} of {manifest['program']} is published with other bytes"
        raise CommandError(f"{message}: pack them as a newer version", Exit.REFUSED)


def _new_document(program: str) -> dict[str, Any]:
    return {"format": 1, "program": program, "packages": {}, "releases": []}


def _choose_who(parts: int | None, users: tuple[str, ...], audiences: tuple[str, ...]) -> dict[str, Any] | None:
    who: dict[str, Any] = {"users": list(users)} if users else {}
    if audiences:
        who["audiences"] = list(audiences)
    if parts is not None:
        who["percent"] = {"parts": parts}
    return who or None


def _choose_members(who: dict[str, Any] | None, urgency: str | None, rollback: tuple[str, ...]) -> dict[str, Any]:
    """A release says what differs from the defaults, and nothing else."""
    given = {"who": who, "urgency": urgency, "rollback": {"from": list(rollback)} if rollback else None}
    return {name: value for name, value in given.items() if value is not None}


def _read_manifest(packed: Path) -> dict[str, Any]:
    try:
        return read_manifest(packed)
    except BundleError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def _store(packed: Path, manifest: dict[str, Any], entry: dict[str, Any], store: Store) -> None:
    """The files are there before any device is told of them; those that were made later are in the store already."""
    wanted = {transfer["sha256"] for transfer in entry["transfers"]}
    for sha256 in [transfer["sha256"] for transfer in manifest["package"]["transfers"]]:
        if sha256 not in wanted:
            continue
        try:
            stored = store.put(packed / sha256)
        except BundleError as error:
            raise CommandError(str(error)) from None
        if stored != sha256:
            raise CommandError(f"{packed}: expected a file of sha256 {sha256}, got {stored}")
