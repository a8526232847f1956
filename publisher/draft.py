"""From what an author sends to a document that can be signed. Pure: time and randomness are values, nothing is kept."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from publisher.errors import BadDocumentError
from ruleset.compiler import CompiledProgram, CompiledRelease, CompiledRule, compile_program
from ruleset.document import parse_program
from ruleset.errors import DocumentError
from ruleset.model import MAX_TIME, Program, Release
from ruleset.version import parse_version

SALT_BYTES = 8


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something in a document that is allowed and hardly meant; the path is where."""

    path: str
    message: str


_Document = TypeVar("_Document", bound=Struct)


def parse_author(parse: Callable[[bytes], _Document], body: bytes) -> _Document:
    """Returns the document that an author has sent.

    Args:
        parse: the reader of its kind.
        body: what was sent.

    Raises:
        BadDocumentError: it cannot be read, or has members that are the publisher's.
    """
    try:
        document = parse(body)
    except DocumentError as error:
        raise BadDocumentError(error.path, error.message) from error
    for member in ("workspace", "epoch", "revision"):
        if getattr(document, member):
            raise BadDocumentError(f"$.{member}", "expected none in an author's document: the publisher sets it")
    return document


def check_id(member: str, got: str, wanted: str) -> None:
    """Returns if a document is the one that it was sent as; raises BadDocumentError."""
    if got != wanted:
        raise BadDocumentError(f"$.{member}", f"expected {wanted!r} as in the address, got {got!r}")


def read_author(body: bytes, program_id: str) -> Program:
    """Returns the document that an author has sent for a program.

    Raises:
        BadDocumentError: it cannot be read, is about another program, or has members that are the publisher's.
    """
    program = parse_author(parse_program, body)
    if program.offers is not None:
        raise BadDocumentError("$.offers", "expected none in an author's document: the publisher sets it")
    check_id("program", program.program, program_id)
    return program


def complete(author: Program, current: Program | None, randomness: bytes, key: str = "") -> Program:
    """Returns an author's document with every salt and every window's id and key filled in.

    An absent salt is that of the release that it continues, else that of the same release in the current document, else
    a new one: so raising a percentage only adds devices, and nobody is always among the first. In the same way a window
    keeps its members.

    Args:
        author: as its kind reads it.
        current: the document that it replaces, complete.
        randomness: unpredictable bytes, 16 to 64, for this document alone.
        key: the name of the fingerprint key for new windows; empty where there is none.

    Raises:
        BadDocumentError: a release continues one that is unknown, a window has an id that no release had, or there is
            no key.
    """
    old = current.releases if current else []
    salts = _Heirloom(author.releases, old, _find_salt)
    windows = _Heirloom(author.releases, old, _find_window)
    releases = list(author.releases)
    for index, release in enumerate(releases):
        filled = _fill_salt(release, index, salts, randomness)
        releases[index] = _fill_window(filled, index, windows, randomness, key)
    return replace(author, releases=releases)


def compile_draft(program: Program) -> CompiledProgram:
    """Returns a complete document, compiled as the edge will do it; raises BadDocumentError."""
    try:
        return compile_program(program)
    except DocumentError as error:
        raise BadDocumentError(error.path, error.message) from error


def check_floor(author: Program, compiled: CompiledProgram) -> None:
    """Returns if devices could open the program, given the version below which they may not.

    Raises:
        BadDocumentError: the floor is above all that live releases give, or above what one of them rolls back to.
    """
    if not author.floor or author.taken_down:
        return
    floor = parse_version(author.floor)
    for release in compiled.live:
        if release.rollback_from and release.version < floor:
            message = f"expected a rollback to {author.floor}, the floor, or above, got one to a lower version"
            raise BadDocumentError(f"{release.path}.rollback", message)
    if compiled.live and all(release.version < floor for release in compiled.live):
        message = f"expected at most the highest version that a live release gives, got {author.floor!r}"
        raise BadDocumentError("$.floor", f"{message}: nobody could open the program")


def find_doubts(author: Program, compiled: CompiledProgram, now: int) -> list[Doubt]:
    """Returns what is probably not meant: releases that can reach nobody (now in seconds), or that nobody may open."""
    doubts = [
        Doubt(f"{release.path}.closes_at", f"it closed at {release.closes_at}, which is past (now {now})")
        for release in compiled.live
        if release.closes_at <= now
    ]
    for index, release in enumerate(compiled.live):
        above = next((other for other in compiled.live[:index] if _hides(other, release)), None)
        if above:
            doubts.append(Doubt(release.path, f"it reaches nobody: release {above.id!r} above it takes every device"))
    return doubts + _doubt_floor(author, compiled) + _doubt_trials(author, compiled)


def _doubt_floor(author: Program, compiled: CompiledProgram) -> list[Doubt]:
    if not author.floor or author.taken_down:
        return []
    if not compiled.live:
        return [Doubt("$.floor", "no live release gives anything above it")]
    floor = parse_version(author.floor)
    message = f"devices may not open what it gives: the floor is {author.floor}"
    return [Doubt(f"{release.path}.package", message) for release in compiled.live if release.version < floor]


def _doubt_trials(author: Program, compiled: CompiledProgram) -> list[Doubt]:
    """A device takes no offer below the floor, and whoever tried it would not know why."""
    if not author.floor:
        return []
    floor = parse_version(author.floor)
    message = f"devices may not open what it gives: the floor is {author.floor}"
    return [Doubt(trial.path, message) for trial in compiled.trials.values() if trial.version < floor]


class _Heirloom:
    """Something that releases hand on to each other, and where it may come from; empty where there is none."""

    def __init__(self, releases: list[Release], current: list[Release], find: Callable[[Release], str]) -> None:
        self._new = {release.id: release for release in releases}
        self._old = {release.id: release for release in current}
        self._find = find

    def knows(self, release_id: str) -> bool:
        return release_id in self._new or release_id in self._old

    def has(self, value: str) -> bool:
        """Whether a release of the current document has it."""
        return any(self._find(release) == value for release in self._old.values())

    def inherit(self, release: Release) -> str:
        """That of the release that this one continues, however far back."""
        seen = {release.id}
        while release.continues and release.continues not in seen:
            name = release.continues
            seen.add(name)
            value = self._take(self._new.get(name)) or self._take(self._old.get(name))
            if value or not self.knows(name):
                return value
            release = self._new.get(name) or self._old[name]
        return ""

    def keep(self, release_id: str) -> str:
        """That which the release of this id has in the current document."""
        return self._take(self._old.get(release_id))

    def _take(self, release: Release | None) -> str:
        return self._find(release) if release else ""


def make_value(what: str, release_id: str, randomness: bytes) -> str:
    """Returns a new value, unpredictable, that is the same for one document's randomness alone."""
    return blake2b(f"{what}{release_id}".encode(), key=randomness, digest_size=SALT_BYTES).hexdigest()


def _find_salt(release: Release) -> str:
    return release.who.percent.salt if release.who and release.who.percent else ""


def _find_window(release: Release) -> str:
    window = release.who.window if release.who else None
    return f"{window.id} {window.key}" if window and window.id else ""


def _refuse_misspelt(release: Release, index: int, known: _Heirloom) -> None:
    """A misspelt name would draw the devices anew, unnoticed."""
    if release.continues and not known.knows(release.continues):
        message = f"expected a release of this document or of the one it replaces, got {release.continues!r}"
        raise BadDocumentError(f"$.releases[{index}].continues", message)


def _fill_salt(release: Release, index: int, salts: _Heirloom, randomness: bytes) -> Release:
    if not release.who or not release.who.percent or release.who.percent.salt:
        return release
    salt = salts.inherit(release) or salts.keep(release.id)
    if not salt:
        _refuse_misspelt(release, index, salts)
    percent = replace(release.who.percent, salt=salt or make_value("", release.id, randomness))
    return replace(release, who=replace(release.who, percent=percent))


def _fill_window(release: Release, index: int, windows: _Heirloom, randomness: bytes, key: str) -> Release:
    if not release.who or not release.who.window:
        return release
    window, path = release.who.window, f"$.releases[{index}].who.window"
    if window.id or window.key:
        # Another window's id would mix the members of both, another key forget them.
        if not windows.has(f"{window.id} {window.key}"):
            got = f"{window.id!r} and {window.key!r}"
            raise BadDocumentError(path, f"expected no id and key, or those of a window before, got {got}")
        return release
    handed_on = windows.inherit(release) or windows.keep(release.id)
    if not handed_on:
        _refuse_misspelt(release, index, windows)
        if not key:
            raise BadDocumentError(path, "expected fingerprint_keys in the publisher's settings: a window needs one")
        handed_on = f"{make_value('window ', release.id, randomness)} {key}"
    id_, _, key = handed_on.partition(" ")
    return replace(release, who=replace(release.who, window=replace(window, id=id_, key=key)))


def check_windows(author: Program, current: Program | None, now: int) -> None:
    """Returns if every live release's window can still admit somebody, unless it was published before (now in seconds).

    Raises:
        BadDocumentError: one has closed already.
    """
    known = [release.who.window for release in (current.releases if current else []) if release.who]
    for i, release in enumerate(author.releases):
        window = release.who.window if release.who and release.state == "live" else None
        if window and window.closes_at <= now and window not in known:
            path = f"$.releases[{i}].who.window.closes_at"
            raise BadDocumentError(path, f"expected a time that is to come, got {window.closes_at} (now {now})")


def _hides(above: CompiledRelease, below: CompiledRelease) -> bool:
    """Whether `above` decides for every device for which `below` could: it has no limits and no lower version.

    A device on a higher version than `above` passes it by, and might still be rolled back by `below`.
    """
    return takes_everybody(above) and max(below.rollback_from | {below.version}) <= above.version


def takes_everybody(rule: CompiledRule) -> bool:
    """Says whether a rule has no limits, at no time."""
    is_always_open = rule.opens_at == 0 and rule.closes_at == MAX_TIME
    return rule.official and not rule.conditions and rule.clients is None and is_always_open
