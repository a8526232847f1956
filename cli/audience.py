"""`graywave audience`: whitelists by name: made of files of user ids, stored, and published.

Of the ids nothing but fingerprints under a key leaves this machine. The file is in the store before the document that
names it is published; no program is published anew, whatever becomes of a list.
"""

import json
import mmap
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TypeVar

import click

from bundle import BundleError, Store, replace_file
from bundle.transfer import measure_file
from cli.exit import CommandError, Exit
from cli.home import FINGERPRINT_KEY_ID, Home, take_home, take_json
from cli.http import Answer, escape
from cli.identity import IdentityError, read_identities
from cli.progress import Show, make_progress
from cli.publishing import Publisher, open_publisher
from cli.refine import open_files, take_publisher, take_store
from ruleset import DocumentError, FingerprintError, Fingerprints, check_audience, parse_audience
from ruleset.fingerprint import compute_odds
from ruleset.roster import Roster
from settings.key import read_key

KIND: Final = "audience"

_Function = TypeVar("_Function", bound=Callable[..., Any])
_FILE = click.Path(exists=True, dir_okay=False, readable=True, allow_dash=True)


@dataclass(frozen=True, slots=True)
class Key:
    """The key under which fingerprints are made, and what publisher and edges call it."""

    id: str
    secret: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What becomes of an audience: the users in the inputs, and the patterns, that are put, added or removed.

    Args:
        name: the audience.
        inputs: the names of files of user ids, - for standard input.
        column: of a CSV.
        patterns: of user ids.
    """

    name: str
    inputs: Sequence[str]
    column: str | None
    patterns: Sequence[str]


@dataclass(frozen=True, slots=True)
class Desk:
    """Where audiences are changed: the publisher, the store, the key, who looks at it, and whether it is in earnest."""

    publisher: Publisher
    store: Store
    home: Home
    key_option: str | None
    show: Show | None
    is_dry: bool

    def open_key(self) -> Key:
        """Returns the key that was named, or that of the data folder; raises CommandError."""
        id_, _, path = (self.key_option or f"{FINGERPRINT_KEY_ID}={self.home.fingerprint_key}").partition("=")
        if not id_ or not path:
            raise CommandError(
                f"expected --key ID=FILE, such as k1=fingerprint.key, got {self.key_option!r}", Exit.USAGE
            )
        try:
            return Key(id_, read_key(Path(path)))
        except ValueError as error:
            raise CommandError(str(error), Exit.USAGE) from None


@click.group(short_help="Make, change and show whitelists.")
def audience() -> None:
    """Make, change and show audiences: named lists of users, which releases name under who.audiences.

    A FILE has one user id a line, or is a CSV with --column; it may be compressed with gzip, and - is standard input.
    Ids are compared exactly. Several files are united.
    """


def _take_change(function: _Function) -> _Function:
    """Gives a command what a change is made of, and where."""
    for option in (
        click.argument("name"),
        click.argument("files", nargs=-1, type=_FILE, metavar="[FILE]..."),
        click.option("--column", metavar="NAME", help="The files are CSV: a column by its name, or its number from 1."),
        click.option(
            "--pattern", "patterns", multiple=True, metavar="PATTERN",
            help="Also all users whose id looks like this, such as 'qa-*'; several times for several.",
        ),
        click.option(
            "--key", metavar="ID=FILE",
            help=f"Key of the fingerprints, and its id.  [default: {FINGERPRINT_KEY_ID}=DATA/keys/fingerprint.key]",
        ),
        click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing."),
        take_store,
        take_publisher,
        take_json,
        take_home,
    )[::-1]:  # fmt: skip
        function = option(function)
    return function


@audience.command(short_help="Make an audience, or put another list in its place.")
@_take_change
def put(**given: Any) -> None:
    """Make the audience NAME of the users in FILE, or put them in the place of those that it has."""
    _run(given, _put)


@audience.command(short_help="Add users to an audience.")
@_take_change
def add(**given: Any) -> None:
    """Add the users in FILE to the audience NAME."""
    _run(given, _add)


@audience.command(short_help="Take users out of an audience.")
@_take_change
def remove(**given: Any) -> None:
    """Take the users in FILE out of the audience NAME; a --pattern goes that it has."""
    _run(given, _remove)


@audience.command(short_help="Remove an audience.")
@click.argument("name")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
@take_publisher
@take_json
@take_home
def drop(name: str, url: str | None, token_file: Path | None, home: Home, *, dry_run: bool, as_json: bool) -> None:
    """Remove the audience NAME; refused while a release that has not ended names it."""
    publisher = open_publisher(home, url, token_file)
    _, revision = _find(publisher, name)
    answer = publisher.put({"format": 1, KIND: name, "removed": True}, revision, dry_run=dry_run)
    _tell(f"{'would remove' if dry_run else 'removed'} audience {name}", answer, as_json=as_json)


@audience.command("list", short_help="List all audiences.")
@take_publisher
@take_json
@take_home
def list_(url: str | None, token_file: Path | None, home: Home, *, as_json: bool) -> None:
    """List all audiences, with how many users and patterns each has."""
    publisher = open_publisher(home, url, token_file)
    names = sorted(name for kind, name in publisher.list_names() if kind == KIND)
    found = [document for name in names if (document := publisher.get(name, KIND)[0]) and not document.get("removed")]
    if as_json:
        click.echo(json.dumps({"audiences": found}))
        return
    for document in found:
        click.echo(f"{escape(document[KIND])}  {_describe(document)}")


@audience.command(short_help="Show an audience.")
@click.argument("name")
@take_publisher
@take_json
@take_home
def show(name: str, url: str | None, token_file: Path | None, home: Home, *, as_json: bool) -> None:
    """Show what the audience NAME is: of whom it is, nobody can tell from it."""
    document, revision = _find(open_publisher(home, url, token_file), name)
    if as_json:
        click.echo(json.dumps(document | {"revision": int(revision)}))
        return
    click.echo(f"{escape(name)}  {_describe(document)}, revision {revision}")
    for pattern in document.get("patterns", []):
        click.echo(f"pattern {escape(pattern)}")
    if document.get("sha256"):
        click.echo(f"file {document['sha256']}, {document['size']} bytes, under key {escape(document['key'])}")
        odds = 1 / compute_odds(document["count"])
        click.echo(f"of {odds:.1e} users that are not on the list, one is taken for one that is")


def _describe(document: Mapping[str, Any]) -> str:
    if document.get("removed"):
        return "removed"
    patterns = len(document.get("patterns", []))
    words = f", {patterns} pattern{'s' if patterns != 1 else ''}" if patterns else ""
    users = document.get("count", 0)
    return f"{users} user{'s' if users != 1 else ''}{words}"


def _find(publisher: Publisher, name: str) -> tuple[dict[str, Any], str]:
    document, revision = publisher.get(name, KIND)
    if document is None:
        raise CommandError(f"no audience {name!r} is published", Exit.REFUSED)
    return document, revision


def _refuse_early(change: Change) -> None:
    """A name or a pattern that the publisher would refuse is not worth building a list for."""
    draft = {"format": 1, KIND: change.name, "patterns": list(change.patterns) or ["*"]}
    try:
        check_audience(parse_audience(json.dumps(draft).encode()))
    except DocumentError as error:
        raise CommandError(str(error), Exit.REFUSED) from None


_Make = Callable[[Desk, Change, Mapping[str, Any] | None], dict[str, Any]]


def _run(given: Mapping[str, Any], make: _Make) -> None:
    """Makes a document and publishes it over the one that it was made from."""
    home: Home = given["home"]
    publisher = open_publisher(home, given["url"], given["token_file"])
    desk = Desk(publisher, open_files(given["address"], home), home, given["key"], make_progress(), given["dry_run"])
    change = Change(given["name"], given["files"], given["column"], given["patterns"])
    _refuse_early(change)
    current, revision = publisher.get(change.name, KIND)
    try:
        document = make(desk, change, current)
    except FingerprintError as error:
        raise CommandError(f"audience {change.name}: {error}", Exit.REFUSED) from None
    except (OSError, BundleError) as error:
        raise CommandError(f"audience {change.name} cannot be stored: {error}") from None
    answer = publisher.put(document, revision, dry_run=given["dry_run"])
    verb = "would publish" if given["dry_run"] else "published"
    _tell(f"{verb} audience {change.name}: {_describe(document)}", answer, as_json=given["as_json"])


def _tell(words: str, answer: Answer, *, as_json: bool) -> None:
    click.echo(json.dumps(answer.body) if as_json else f"{words}, revision {answer.body['revision']}")


def _put(desk: Desk, change: Change, _current: Mapping[str, Any] | None) -> dict[str, Any]:
    if not change.inputs and not change.patterns:
        raise CommandError("expected a FILE of user ids or a --pattern, got neither", Exit.USAGE)
    return _make_document(change, change.patterns, {} if not change.inputs else _store(desk, change))


def _add(desk: Desk, change: Change, current: Mapping[str, Any] | None) -> dict[str, Any]:
    before = _need_current(change, current)
    patterns = list(dict.fromkeys([*before.get("patterns", []), *change.patterns]))
    file = _store(desk, change, before) if change.inputs else _keep(before)
    return _make_document(change, patterns, file)


def _remove(desk: Desk, change: Change, current: Mapping[str, Any] | None) -> dict[str, Any]:
    before = _need_current(change, current)
    missing = [pattern for pattern in change.patterns if pattern not in before.get("patterns", [])]
    if missing:
        raise CommandError(f"expected a pattern that audience {change.name} has, got {missing[0]!r}", Exit.REFUSED)
    if change.inputs and not before.get("sha256"):
        raise CommandError(f"audience {change.name} has patterns alone, and no users to take out", Exit.REFUSED)
    patterns = [pattern for pattern in before.get("patterns", []) if pattern not in change.patterns]
    file = _store(desk, change, before, is_removal=True) if change.inputs else _keep(before)
    return _make_document(change, patterns, file)


def _need_current(change: Change, current: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if current is None or current.get("removed"):
        message = f"no audience {change.name!r} is published: make it with graywave audience put"
        raise CommandError(message, Exit.REFUSED)
    if not change.inputs and not change.patterns:
        raise CommandError("expected a FILE of user ids or a --pattern, got neither", Exit.USAGE)
    return current


def _keep(document: Mapping[str, Any]) -> dict[str, Any]:
    """What a document says of its file."""
    return {name: document[name] for name in ("key", "count", "size", "sha256", "url") if name in document}


def _make_document(change: Change, patterns: Iterable[str], file: Mapping[str, Any]) -> dict[str, Any]:
    listed = list(patterns)
    return {"format": 1, KIND: change.name, **file, **({"patterns": listed} if listed else {})}


def _store(
    desk: Desk, change: Change, before: Mapping[str, Any] | None = None, *, is_removal: bool = False
) -> dict[str, Any]:
    """What a document says of the file that is built and stored: of the inputs, with or without those of `before`."""
    key = desk.open_key()
    roster, read = Roster(key.secret), Roster(key.secret)
    with tempfile.TemporaryDirectory(prefix="graywave-") as folder:
        if before is not None and before.get("sha256"):
            _add_stored(desk, key, before, roster, Path(folder))
        for name in change.inputs:
            _read(name, change.column, read if is_removal else roster, desk.show)
        built = roster.build(read if is_removal else None, _label(desk.show, "sorting"))
        path = Path(folder) / "fingerprints"
        replace_file(path, built.chunks)
        sha256 = measure_file(path).sha256 if desk.is_dry else desk.store.put(path)
    return {"key": key.id, "count": built.count, "size": built.size, "sha256": sha256, "url": desk.store.url(sha256)}


def _label(show: Show | None, label: str) -> Callable[[int, int], None] | None:
    return (lambda done, total: show(label, done, total)) if show else None


def _add_stored(desk: Desk, key: Key, before: Mapping[str, Any], roster: Roster, folder: Path) -> None:
    """Adds what the store has; made under another key, it cannot be told which user is which."""
    if before["key"] != key.id:
        message = f"audience {before[KIND]} was made under key {before['key']}, not {key.id}: put it anew, whole"
        raise CommandError(message, Exit.REFUSED)
    path = folder / "before"
    replace_file(path, desk.store.read(before["sha256"]))
    with path.open("rb") as file:
        roster.add_file(Fingerprints(memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))))


def _read(name: str, column: str | None, roster: Roster, show: Show | None) -> None:
    with click.open_file(name, "rb") as file:
        total = _measure(file)
        try:
            for identities in read_identities(file, column):
                roster.add(identities)
                if show and total:
                    show(f"reading {name}", min(file.tell(), total), total)
        except IdentityError as error:
            raise CommandError(f"{name}, {error}", Exit.USAGE) from None


def _measure(file: IO[bytes]) -> int:
    """A file's bytes; 0 for what has no end yet."""
    if not file.seekable():
        return 0
    total = file.seek(0, 2)
    file.seek(0)
    return total
