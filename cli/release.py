"""`graywave release`: a packed version to the devices that should have it: store its files, publish, then refine."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from bundle import BundleError, Store
from bundle.manifest import merge_transfers, read_manifest
from bundle.transfer import STRONG_LEVEL
from cli.draft import Json, choose_who, continue_release, count_parts, insert_release, name_release, read_ramp
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.life import COMMANDS, URGENT_POLL_S, make_urgent, show_warnings
from cli.moment import take_moment
from cli.progress import make_progress
from cli.publishing import Publisher, open_publisher
from cli.refine import Wish, open_files, refine_version, take_bases, take_publisher, take_store


def _take_parts(_ctx: click.Context, _param: click.Parameter, percent: str | None) -> int | None:
    return None if percent is None else count_parts(percent)


class _Releases(click.Group):
    """A group whose first word may be a folder instead of a command: then that is released."""

    default: Final = "packed"

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or super().get_command(ctx, self.default)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        return super().resolve_command(ctx, args if args[0] in self.commands else [self.default, *args])


@click.group(
    cls=_Releases,
    short_help="Release a packed version to devices, and what follows.",
    context_settings={"ignore_unknown_options": True},
)
def release() -> None:
    """Release the package in a folder, `graywave release PACKED`, or change releases that are out.

    `graywave release packed --help` lists the options for a folder.
    """


for _name, _command in COMMANDS.items():
    release.add_command(_command, _name)


@release.command("packed", short_help="Release a packed version to devices.")
@click.argument("packed", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--percent", "parts", callback=_take_parts, metavar="PERCENT", help="Only to this part of all devices.")
@click.option("--ramp", metavar="PERCENT@TIME,…", help="Raise that by itself, such as 5%@+1h,20%@2026-01-31T09:00.")
@click.option("--user", "users", multiple=True, help="To this user id; several times for several.")
@click.option(
    "--audience", "audiences", multiple=True, metavar="NAME", help="To this audience; several times for several."
)
@click.option("--window", type=click.IntRange(1), metavar="N", help="To the first N devices that ask.")
@click.option("--until", callback=take_moment, metavar="TIME", help="With --window: it admits nobody from then on.")
@click.option("--per-minute", type=click.IntRange(1), metavar="N", help="With --window: at most N a minute.")
@click.option("--proven", is_flag=True, help="With --window: it admits proven users instead of devices.")
@click.option("--opens", callback=take_moment, metavar="TIME", help="Nobody gets it before.")
@click.option(
    "--closes", callback=take_moment, metavar="TIME", help="Nobody gets it from then on; who has it keeps it."
)
@click.option(
    "--continues", metavar="RELEASE", help="To whom this release is for, unless told otherwise: a hotfix of it."
)
@click.option("--id", "name", help="The release's id.  [default: rN, the next number]")
@click.option("--below", help="Put it below this release instead of on top: a hotfix under a running gray.")
@click.option("--urgency", type=click.Choice(["silent", "prompt", "force"]), help="How devices take it.")
@click.option("--urgent", type=click.IntRange(1), metavar="MINUTES", help="Let devices ask more often for so long.")
@click.option("--rollback-from", "rollback", multiple=True, metavar="VERSION", help="Take devices back from this one.")
@click.option("--floor", metavar="VERSION", help="Devices do not open the program below this version any more.")
@take_bases
@click.option("--no-refine", is_flag=True, help="Make no deltas afterwards, and leave the full transfer as it is.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
@take_store
@take_publisher
@take_json
@take_home
def release_packed(
    packed: Path, parts: int | None, ramp: str | None, users: tuple[str, ...], audiences: tuple[str, ...],
    window: int | None, until: int | None, per_minute: int | None, opens: int | None, closes: int | None,
    continues: str | None, name: str | None, below: str | None, urgency: str | None, urgent: int | None,
    rollback: tuple[str, ...], floor: str | None, bases: int, address: str | None, url: str | None,
    token_file: Path | None, home: Home, *, proven: bool, no_refine: bool, dry_run: bool, as_json: bool,
) -> None:  # fmt: skip
    """Release the package in PACKED, a folder that `graywave pack` wrote; to everybody, if nothing narrows it.

    Once it is out, deltas from older versions are made and published too; that can be stopped, and done later.
    """
    now = int(time.time())
    steps = read_ramp(ramp, now) if ramp else []
    who = choose_who(parts, steps, users, audiences, make_window(window, until, per_minute, proven=proven))
    more = _choose_members(who, urgency, rollback, opens, closes)
    store, manifest = open_files(address, home), read_packed(packed)
    publisher = open_publisher(home, url, token_file)
    current, revision = publisher.get(manifest["program"])
    place_transfers(manifest, store)
    if continues is not None:
        more = continue_release(current or _new_document(manifest["program"]), continues, more)
    document, made = add_release(current, manifest, more, name, below)
    if urgent is not None:
        document["urgent"] = make_urgent(urgent, URGENT_POLL_S, now)
    if floor is not None:
        document["floor"] = floor
    if not dry_run:
        store_files(packed, manifest, document["packages"][manifest["version"]], store)
    answer = publisher.put(document, revision, dry_run=dry_run)
    told = {"program": manifest["program"], "version": manifest["version"], "release": made, **answer.body}
    if not as_json:
        show_warnings(answer.body)
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
    changed = add_package(document or _new_document(manifest["program"]), manifest)
    made = name or name_release(changed)
    return insert_release(changed, {"id": made, "package": manifest["version"], **more}, below), made


def add_package(document: Mapping[str, Any], manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Returns a program's document with the package that was packed.

    Raises:
        CommandError: its version is published with other bytes.
    """
    changed: dict[str, Any] = json.loads(json.dumps(document))
    version = manifest["version"]
    _refuse_other_bytes(changed["packages"].get(version), manifest)
    changed["packages"][version] = merge_package(changed["packages"].get(version), manifest["package"])
    return changed


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


def _refuse_other_bytes(published: dict[str, Any] | None, manifest: Mapping[str, Any]) -> None:
    """Devices that have a version would never get other bytes under its number."""
    if published is not None and published["sha256"] != manifest["package"]["sha256"]:
        message = f"version {manifest['version']} of {manifest['program']} is published with other bytes"
        raise CommandError(f"{message}: pack them as a newer version", Exit.REFUSED)


def _new_document(program: str) -> dict[str, Any]:
    return {"format": 1, "program": program, "packages": {}, "releases": []}


def make_window(limit: int | None, until: int | None, per_minute: int | None, *, proven: bool) -> Json | None:
    """Returns a window of what options say, None where they say nothing of one.

    Raises:
        CommandError: a window without an end, or what belongs to a window without one.
    """
    if limit is None:
        if until is not None or per_minute is not None or proven:
            raise CommandError("expected --window N with --until, --per-minute and --proven", Exit.USAGE)
        return None
    if until is None:
        raise CommandError("expected --until TIME with --window: a window closes", Exit.USAGE)
    rate = {} if per_minute is None else {"per_minute": per_minute}
    return {"limit": limit, "closes_at": until, **rate, **({"proven": True} if proven else {})}


def _choose_members(
    who: Json | None, urgency: str | None, rollback: tuple[str, ...], opens: int | None, closes: int | None
) -> Json:
    """A release says what differs from the defaults, and nothing else."""
    given = {
        "who": who,
        "urgency": urgency,
        "rollback": {"from": list(rollback)} if rollback else None,
        "opens_at": opens,
        "closes_at": closes,
    }
    return {name: value for name, value in given.items() if value is not None}


def read_packed(packed: Path) -> dict[str, Any]:
    """Returns the manifest of a packed folder; raises CommandError where there is none."""
    try:
        return read_manifest(packed)
    except BundleError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def store_files(packed: Path, manifest: dict[str, Any], entry: dict[str, Any], store: Store) -> None:
    """Stores the files of a packed version, before any device is told of them; those made later are there already.

    Raises:
        CommandError: a file cannot be stored, or is not what the manifest says.
    """
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
