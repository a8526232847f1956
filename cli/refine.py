"""`graywave refine`: deltas and a smaller full transfer for a released version; what `graywave release` does last.

The release is out by then: devices that ask meanwhile move more bytes, and nothing else.
"""

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlencode

import click

from bundle import BundleError, Store, open_store, replace_file
from bundle.manifest import (
    MAX_TRANSFERS,
    Package,
    describe_delta,
    describe_full,
    merge_transfers,
    read_package,
)
from bundle.refinement import MAX_FULL_SHARE, is_worth, restore_tar, write_delta, write_full
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.http import Answer, ask
from cli.progress import Show, make_progress
from cli.publishing import Publisher, open_publisher
from ruleset import VersionError, parse_version
from trust import TrustError, read_unverified_package

DEFAULT_BASES: Final = 5
# The full transfer is one of what a document may have of a package.
MAX_BASES: Final = MAX_TRANSFERS - 1
# Others publish the same document too; who loses that often is in a fight.
MAX_ATTEMPTS: Final = 5
_NO_GAIN: Final = "it would save less than a fifth"
_THERE: Final = "there is one"

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Wish:
    """What to refine.

    Args:
        program: its program.
        version: the version that gets smaller, as the document writes it.
        bases: from how many older versions deltas are made.
        running: how many devices run which version, by the version's key; those with most come first.
        has_full: whether the full transfer is pressed too.
    """

    program: str
    version: str
    bases: int = DEFAULT_BASES
    running: Mapping[int, int] = field(default_factory=dict)
    has_full: bool = True


@dataclass(slots=True)
class Refined:
    """What came out: the transfers that are new, and the versions that no delta is made from, with the reason."""

    transfers: list[dict[str, Any]] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)
    full_size: int = 0
    revision: int | None = None

    def tell(self) -> dict[str, Any]:
        """Returns it for scripts."""
        return {
            "full": next((_shorten(part) for part in self.transfers if part["format"] == "zstd"), None),
            "deltas": [{"from": part["from"], **_shorten(part)} for part in self.transfers if part["format"] == "dcz"],
            "skipped": [{"from": version, "reason": reason} for version, reason in self.skipped],
            "revision": self.revision,
        }

    def describe(self) -> Iterator[str]:
        """Yields it as lines for people."""
        for part in self.transfers:
            if part["format"] == "zstd":
                yield f"full transfer: {part['size']} bytes now"
            else:
                share = 100 * part["size"] / self.full_size
                yield f"delta from {part['from']}: {part['size']} bytes, {share:.1f} % of the full transfer"
        yield from (f"no delta from {version}: {reason}" for version, reason in self.skipped)
        if self.revision is not None:
            yield f"published revision {self.revision}"


def _shorten(transfer: dict[str, Any]) -> dict[str, Any]:
    return {"size": transfer["size"], "sha256": transfer["sha256"]}


def take_store(function: _Function) -> _Function:
    """Gives a command the option --store, as the argument `address`."""
    help_text = "Where package files are: a folder, or s3://bucket/prefix.  [default: DATA/store]"
    return click.option("--store", "address", metavar="ADDRESS", help=help_text)(function)


def take_publisher(function: _Function) -> _Function:
    """Gives a command the options --publisher and --token-file, as the arguments `url` and `token_file`."""
    token = click.option(
        "--token-file", type=click.Path(path_type=Path), help="File of its token.  [default: DATA/token]"
    )
    url = click.option("--publisher", "url", help="Address of the publisher.  [default: the one of the data folder]")
    return url(token(function))


def take_bases(function: _Function) -> _Function:
    """Gives a command the option --bases."""
    return click.option(
        "--bases", default=DEFAULT_BASES, show_default=True, type=click.IntRange(0, MAX_BASES),
        help="From how many older versions deltas are made.",
    )(function)  # fmt: skip


@click.command(short_help="Make deltas for a version that is released.")
@click.argument("program")
@click.option("--version", help="Which version.  [default: that of the release on top]")
@take_bases
@click.option("--running", metavar="URL", help="Ask this edge's admin listener which versions most devices run.")
@click.option("--no-full", is_flag=True, help="Leave the full transfer as it is.")
@take_store
@take_publisher
@take_json
@take_home
def refine(
    program: str, version: str | None, bases: int, running: str | None, address: str | None, url: str | None,
    token_file: Path | None, home: Home, *, no_full: bool, as_json: bool,
) -> None:  # fmt: skip
    """Make what devices move for a version of PROGRAM smaller, and publish it.

    Deltas from the last versions, or from those that most devices run, and the full transfer as small as it gets.
    Files go to the store first; then the document is published once more.
    """
    store, publisher = open_files(address, home), open_publisher(home, url, token_file)
    document = read_document(publisher, program)
    name = find_version(document, version or _find_top(document))
    counts = ask_running(running, document["packages"][name], program) if running else {}
    refined = refine_version(publisher, store, Wish(program, name, bases, counts, not no_full), make_progress())
    if as_json:
        click.echo(json.dumps({"program": program, "version": name, **refined.tell()}))
        return
    lines = [*refined.describe()]
    if refined.revision is None:
        lines.append(f"{name} of {program} stays as it is")
    click.echo("\n".join(lines))


def refine_version(publisher: Publisher, store: Store, wish: Wish, show: Show | None) -> Refined:
    """Makes smaller transfers for a version, stores them, and then publishes the document once, if there are any.

    Raises:
        CommandError: the version's own full transfer cannot be read, or store or publisher refuse.
    """
    packages = read_document(publisher, wish.program)["packages"]
    if wish.version not in packages:
        raise CommandError(f"version {wish.version} of {wish.program} was removed meanwhile", Exit.REFUSED)
    entry, older = packages[wish.version], choose_bases(packages, wish.version, wish.bases, wish.running)
    refined = Refined()
    try:
        with tempfile.TemporaryDirectory() as scratch:
            _Refiner(store, Path(scratch), entry, refined, show).refine(
                {version: packages[version] for version in older}, has_full=wish.has_full
            )
    except (BundleError, OSError) as error:
        raise CommandError(f"{wish.version} of {wish.program}: {error}") from None
    if refined.transfers:
        change = partial(add_transfers, version=wish.version, seen=entry, transfers=refined.transfers)
        refined.revision = int(publish_change(publisher, wish.program, change).body["revision"])
    return refined


class _Refiner:
    """Makes transfers of one package, each in the store as soon as it is made.

    Args:
        store: where transfers are read from and put.
        scratch: a folder with room for two tars.
        entry: of the package, from its document.
        refined: what came out, filled as it comes.
        show: progress.
    """

    def __init__(self, store: Store, scratch: Path, entry: dict[str, Any], refined: Refined, show: Show | None) -> None:
        self._store, self._scratch, self._show = store, scratch, show
        self._package = read_package(entry)
        self._refined = refined
        refined.full_size = self._package.full.size

    def refine(self, bases: Mapping[str, dict[str, Any]], *, has_full: bool) -> None:
        """Makes the full transfer, if wanted, and a delta from each base; says why where there is none."""
        known = {transfer.from_sha256 for transfer in self._package.transfers}
        wanted = {}
        for version, entry in bases.items():
            if entry["sha256"] in known:
                self._refined.skipped.append((version, _THERE))
            else:
                wanted[version] = entry
        if not wanted and not has_full:
            return
        tar = self._fetch(self._package, "new")
        if has_full:
            self._add_full(tar)
        for version, entry in wanted.items():
            try:
                self._add_delta(tar, version, read_package(entry))
            except BundleError as error:
                self._refined.skipped.append((version, str(error)))

    def _add_full(self, tar: Path) -> None:
        digest = write_full(tar, self._scratch, self._package.key, self._start("packing"))
        if is_worth(digest.size, self._package.full.size, MAX_FULL_SHARE):
            self._refined.transfers.append(describe_full(digest, self._put(digest.sha256)))
            self._refined.full_size = digest.size
        (self._scratch / digest.sha256).unlink()

    def _add_delta(self, tar: Path, version: str, base: Package) -> None:
        old = self._fetch(base, "old")
        digest = write_delta(old, tar, self._scratch, self._package.key, self._start(f"delta from {version}"))
        old.unlink()
        if is_worth(digest.size, self._refined.full_size):
            transfer = describe_delta(digest, self._put(digest.sha256), version, base.sha256)
            self._refined.transfers.append(transfer)
        else:
            self._refined.skipped.append((version, _NO_GAIN))
        (self._scratch / digest.sha256).unlink()

    def _fetch(self, package: Package, name: str) -> Path:
        transfer, tar = self._scratch / f"{name}.transfer", self._scratch / f"{name}.tar"
        replace_file(transfer, self._store.read(package.full.sha256))
        restore_tar(transfer, tar, package)
        transfer.unlink()
        return tar

    def _put(self, sha256: str) -> str:
        self._store.put(self._scratch / sha256)
        return self._store.url(sha256)

    def _start(self, label: str) -> Callable[[int, int], None] | None:
        return partial(self._show, label) if self._show else None


def choose_bases(
    packages: Mapping[str, dict[str, Any]], version: str, count: int, running: Mapping[int, int]
) -> list[str]:
    """Returns `count` versions below this one, with other bytes: those that most devices run, the highest of equals."""
    key, sha256 = parse_version(version), packages[version]["sha256"]
    older = [name for name, entry in packages.items() if parse_version(name) < key and entry["sha256"] != sha256]
    ranked = sorted(older, key=lambda name: (running.get(parse_version(name), 0), parse_version(name)), reverse=True)
    return ranked[:count]


def add_transfers(
    document: dict[str, Any], version: str, seen: dict[str, Any], transfers: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Returns a document with transfers added to a version.

    Raises:
        CommandError: the version has gone, or its bytes or its key have changed, since its entry was seen.
    """
    entry = document["packages"].get(version)
    if entry is None or any(entry.get(name, "") != seen.get(name, "") for name in ("sha256", "key")):
        message = f"version {version} of {document['program']} was changed meanwhile: start again"
        raise CommandError(message, Exit.REFUSED)
    changed = entry | {"transfers": merge_transfers(entry["transfers"], transfers)}
    return document | {"packages": document["packages"] | {version: changed}}


def publish_change(publisher: Publisher, program: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Answer:
    """Publishes a change of a program's document, made anew where somebody else has published in between.

    Raises:
        CommandError: the publisher is away, or refuses; or there was somebody else each time.
    """
    for attempt in range(1, MAX_ATTEMPTS + 1):
        document, revision = publisher.get(program)
        if document is None:
            break
        try:
            return publisher.put(change(document), revision)
        except CommandError as error:
            # Refused for what it is, unless the document is another one by now.
            if error.exit_code != Exit.REFUSED or attempt == MAX_ATTEMPTS or publisher.get(program)[1] == revision:
                raise
    raise _refuse_absent(program)


def read_document(publisher: Publisher, program: str) -> dict[str, Any]:
    """Returns a program's document; CommandError where there is none."""
    document, _ = publisher.get(program)
    if document is None:
        raise _refuse_absent(program)
    return document


def _refuse_absent(program: str) -> CommandError:
    return CommandError(f"no document of program {program!r} is published", Exit.REFUSED)


def find_version(document: dict[str, Any], version: str) -> str:
    """Returns a version as the document writes it; CommandError where it has none that is equal."""
    try:
        key = parse_version(version)
    except VersionError as error:
        raise CommandError(str(error), Exit.USAGE) from None
    for name in document["packages"]:
        if parse_version(name) == key:
            return str(name)
    message = f"program {document['program']} has no version {version}: it has {', '.join(document['packages'])}"
    raise CommandError(message, Exit.REFUSED)


def _find_top(document: dict[str, Any]) -> str:
    for release in document["releases"]:
        if release.get("state") != "ended":
            return str(release["package"])
    raise CommandError(f"program {document['program']} has no release: name a --version", Exit.REFUSED)


def open_files(address: str | None, home: Home) -> Store:
    """Returns the store that an option names, or the one of the data folder; CommandError for what is none."""
    try:
        return open_store(address or str(home.store))
    except BundleError as error:
        raise CommandError(str(error), Exit.USAGE) from None


def ask_running(url: str, entry: dict[str, Any], program: str) -> dict[int, int]:
    """Returns how many devices run which version, by the version's key, as an edge has counted.

    Raises:
        CommandError: the edge is away, refuses, or counts what are no versions.
    """
    try:
        # A package says itself what workspace it is for; whether to believe it was the publisher's to check.
        workspace = read_unverified_package(entry["signature"]).workspace
    except TrustError as error:
        raise CommandError(str(error)) from None
    answer = ask("GET", f"{url.rstrip('/')}/versions?{urlencode({'workspace': workspace, 'program': program})}")
    with _no_counts(url):
        return {parse_version(name): int(count) for name, count in answer.body["versions"].items() if name}


@contextmanager
def _no_counts(url: str) -> Iterator[None]:
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, VersionError):
        raise CommandError(f"{url}: expected counts of versions, got something else", Exit.UNREACHABLE) from None
