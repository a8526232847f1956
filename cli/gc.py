"""`graywave gc`: files leave the store that no release and no rule needs; what is needed is decided without acting.

Needed is
1. each transfer of a package that a release names which has not ended, or that trials may give, and the file of each
   audience;
2. the full transfers of a program's newest versions: deltas are made from them;
3. what was put lately: it may be about to be released.

Files are listed before documents are read, and looked at again before they are removed: what is put or released
meanwhile stays.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import click
import msgspec

from bundle import BundleError, Store, StoredFile
from bundle.manifest import Sha256
from cli.exit import CommandError
from cli.home import Home, take_home, take_json
from cli.http import escape
from cli.publishing import Publisher, open_publisher
from cli.refine import open_files, take_publisher, take_store
from ruleset import VersionError, parse_version

DAY_S: Final = 86_400
DEFAULT_DAYS: Final = 30
# At least a day, so that clocks that differ and a release under way lose nothing.
MIN_DAYS: Final = 1
MAX_DAYS: Final = 3650
DEFAULT_VERSIONS: Final = 5
MAX_VERSIONS: Final = 200
_PROGRAM: Final = "program"
# A kind whose documents name no files.
_SWITCHES: Final = "switches"
_KINDS: Final = (_PROGRAM, "audience", _SWITCHES)


class _Transfer(msgspec.Struct):
    format: Literal["zstd", "dcz"]
    sha256: Sha256


class _Package(msgspec.Struct):
    transfers: Annotated[list[_Transfer], msgspec.Meta(min_length=1)]


class _Release(msgspec.Struct):
    package: str
    state: Literal["live", "paused", "ended"] = "live"


class _Document(msgspec.Struct):
    """What of a document decides about files; what it cannot mean is refused, since a guess would remove something."""

    packages: dict[str, _Package]
    releases: list[_Release]
    trials: list[str] = []


class _Audience(msgspec.Struct):
    """What of an audience's document decides about files."""

    audience: str
    sha256: Annotated[str, msgspec.Meta(pattern="^([0-9a-f]{64})?$")] = ""


@dataclass(slots=True)
class Result:
    """What was found, and what became of it.

    Args:
        kept: how many files stay because they are needed or young.
        unneeded: files that nothing needs.
        strangers: names of what is no package file.
        removed: those of `unneeded` that are gone.
    """

    kept: int
    unneeded: list[StoredFile]
    strangers: list[str]
    removed: list[StoredFile] = field(default_factory=list)

    def tell(self) -> dict[str, Any]:
        """Returns it for scripts: sizes in bytes, times in seconds since 1970."""
        gone = {file.sha256 for file in self.removed}
        return {
            "kept": self.kept,
            "unneeded": [
                {"sha256": file.sha256, "size": file.size, "stored_at": file.stored_at, "removed": file.sha256 in gone}
                for file in self.unneeded
            ],
            "total": _sum(self.unneeded),
            "removed": _sum(self.removed),
            "strangers": self.strangers,
        }

    def describe(self, *, is_dry: bool) -> Iterator[str]:
        """Yields it as lines for people."""
        files = self.unneeded if is_dry else self.removed
        yield from (f"{file.sha256} {file.size} bytes" for file in files)
        verb = "would remove" if is_dry else "removed"
        yield f"{verb} {len(files)} of {self.kept + len(self.unneeded)} files, {_sum(files)} bytes"


@click.command(short_help="Remove files that nothing needs.")
@click.option(
    "--keep-days", default=DEFAULT_DAYS, show_default=True, type=click.IntRange(MIN_DAYS, MAX_DAYS),
    help="Keep files that were put within so many days.",
)  # fmt: skip
@click.option(
    "--keep-versions", default=DEFAULT_VERSIONS, show_default=True, type=click.IntRange(0, MAX_VERSIONS),
    help="Keep the full transfers of so many newest versions of each program.",
)  # fmt: skip
@click.option("--delete", is_flag=True, help="Remove the files; without this they are only listed.")
@take_store
@take_publisher
@take_json
@take_home
def gc(
    keep_days: int, keep_versions: int, address: str | None, url: str | None, token_file: Path | None, home: Home, *,
    delete: bool, as_json: bool,
) -> None:  # fmt: skip
    """List the files in the store that no release and no audience of the publisher needs, and no rule keeps.

    A store that several workspaces share in one place must not be cleaned: give each its own folder or prefix.
    """
    store, publisher = open_files(address, home), open_publisher(home, url, token_file)
    before = int(time.time()) - keep_days * DAY_S
    result = _look(store, publisher, keep_versions, before)
    try:
        if delete:
            remove(store, result, before)
    except BundleError as error:
        raise CommandError(str(error)) from None
    finally:
        _tell(result, is_dry=not delete, as_json=as_json)


def _look(store: Store, publisher: Publisher, keep_versions: int, before: int) -> Result:
    try:
        files, strangers = list(store.files()), list(store.strangers())
    except BundleError as error:
        raise CommandError(str(error)) from None
    needed = read_needed(publisher, keep_versions)
    refuse_other_store(files, needed)
    return sort_out(files, strangers, needed, before)


def read_needed(publisher: Publisher, keep_versions: int) -> set[str]:
    """Returns the digests that rules 1 and 2 keep, over all documents of a publisher.

    Raises:
        CommandError: one of them cannot be read or understood; nothing may be removed then.
    """
    needed: set[str] = set()
    for kind, name in publisher.list_names():
        if kind not in _KINDS:
            expected = ", ".join(map(repr, _KINDS))
            message = f"expected documents of kinds {expected} alone, got {kind!r:.100}: what it needs is not known"
            raise CommandError(f"{message}; nothing is removed")
        if kind == _SWITCHES:
            continue
        document, _ = publisher.get(name, kind)
        try:
            needed |= list_needed(document, keep_versions) if kind == _PROGRAM else list_audience_needs(document)
        except (ValueError, VersionError) as error:
            message = f"document of {kind} {escape(name)}: {escape(str(error))}; nothing is removed"
            raise CommandError(message) from None
    return needed


def list_audience_needs(document: Any) -> set[str]:
    """Returns the digest of the file that an audience's document needs, if it has one; raises ValueError."""
    read = msgspec.convert(document, _Audience)
    return {read.sha256} if read.sha256 else set()


def list_needed(document: Any, keep_versions: int) -> set[str]:
    """Returns the digests of the files that one document needs, by rules 1 and 2.

    Raises:
        ValueError: it is no document, or a release or its trials name a package that it has not.
        VersionError: a version in it is none.
    """
    read = msgspec.convert(document, _Document)
    live = {release.package for release in read.releases if release.state != "ended"} | set(read.trials)
    if unknown := live - read.packages.keys():
        raise ValueError(f"expected packages for all releases and trials, got none of version {min(unknown)!r}")
    newest = sorted(read.packages, key=parse_version, reverse=True)[:keep_versions]
    needed = {transfer.sha256 for version in live for transfer in read.packages[version].transfers}
    bases = (transfer for version in newest for transfer in read.packages[version].transfers)
    return needed | {transfer.sha256 for transfer in bases if transfer.format == "zstd"}


def refuse_other_store(files: Iterable[StoredFile], needed: set[str]) -> None:
    """Raises CommandError if nothing in a store is needed: such a store is likely another workspace's."""
    digests = {file.sha256 for file in files}
    if digests and not digests & needed:
        message = "expected a store with files of the publisher's documents, got one with none of them"
        raise CommandError(f"{message}: is it another's? nothing is removed")


def sort_out(files: Sequence[StoredFile], strangers: list[str], needed: set[str], before: int) -> Result:
    """Returns which files are not needed and were put `before` (seconds since 1970, rule 3), the largest first."""
    unneeded = [file for file in files if file.sha256 not in needed and file.stored_at < before]
    unneeded.sort(key=lambda file: (-file.size, file.sha256))
    return Result(len(files) - len(unneeded), unneeded, strangers)


def remove(store: Store, result: Result, before: int) -> None:
    """Removes what is not needed, but for what was put again since it was listed; notes what is gone.

    Raises:
        BundleError: the store refuses; what was removed until then is noted.
    """
    for file in result.unneeded:
        now = store.find(file.sha256)
        if now is not None and now.stored_at < before:
            store.remove(file.sha256)
            result.removed.append(file)


def _tell(result: Result, *, is_dry: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(result.tell()))
        return
    for name in result.strangers:
        click.echo(f"left alone, no package file: {escape(name)}", err=True)
    for line in result.describe(is_dry=is_dry):
        click.echo(line)


def _sum(files: Iterable[StoredFile]) -> int:
    return sum(file.size for file in files)
