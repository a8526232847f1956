"""From what an author sends to a document that can be signed. Pure: time and randomness are values, nothing is kept."""

from dataclasses import dataclass
from hashlib import blake2b

from msgspec.structs import replace

from publisher.errors import BadDocumentError
from ruleset.compiler import CompiledProgram, CompiledRelease, compile_program
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


def read_author(body: bytes, program_id: str) -> Program:
    """Returns the document that an author has sent for a program.

    Raises:
        BadDocumentError: it cannot be read, is about another program, or has members that are the publisher's.
    """
    program = _parse(body)
    for member in ("workspace", "epoch", "revision", "offers"):
        if getattr(program, member):
            raise BadDocumentError(f"$.{member}", "expected none in an author's document: the publisher sets it")
    if program.program != program_id:
        raise BadDocumentError("$.program", f"expected {program_id!r} as in the address, got {program.program!r}")
    return program


def complete(author: Program, current: Program | None, randomness: bytes) -> Program:
    """Returns an author's document with every salt filled in.

    An absent salt is that of the release that it continues, else that of the same release in the current document, else
    a new one: so raising a percentage only adds devices, and nobody is always among the first.

    Args:
        author: as `read_author` returns it.
        current: the document that it replaces, complete.
        randomness: unpredictable bytes, 16 to 64, for this document alone.

    Raises:
        BadDocumentError: a release continues one that is unknown.
    """
    known = _Salts(author.releases, current.releases if current else [], randomness)
    releases = [_fill(release, index, known) for index, release in enumerate(author.releases)]
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
    return doubts + _doubt_floor(author, compiled)


def _doubt_floor(author: Program, compiled: CompiledProgram) -> list[Doubt]:
    if not author.floor or author.taken_down:
        return []
    if not compiled.live:
        return [Doubt("$.floor", "no live release gives anything above it")]
    floor = parse_version(author.floor)
    message = f"devices may not open what it gives: the floor is {author.floor}"
    return [Doubt(f"{release.path}.package", message) for release in compiled.live if release.version < floor]


def _parse(body: bytes) -> Program:
    try:
        return parse_program(body)
    except DocumentError as error:
        raise BadDocumentError(error.path, error.message) from error


class _Salts:
    """Where a salt may come from."""

    def __init__(self, releases: list[Release], current: list[Release], randomness: bytes) -> None:
        self._new = {release.id: release for release in releases}
        self._old = {release.id: release for release in current}
        self._randomness = randomness

    def knows(self, release_id: str) -> bool:
        return release_id in self._new or release_id in self._old

    def inherit(self, release: Release) -> str:
        """The salt of the release that this one continues, however far back; empty where there is none."""
        seen = {release.id}
        while release.continues and release.continues not in seen:
            name = release.continues
            seen.add(name)
            salt = _salt_of(self._new.get(name)) or _salt_of(self._old.get(name))
            if salt or not self.knows(name):
                return salt
            release = self._new.get(name) or self._old[name]
        return ""

    def keep(self, release_id: str) -> str:
        """The salt that the release of this id has in the current document; empty where there is none."""
        return _salt_of(self._old.get(release_id))

    def make(self, release_id: str) -> str:
        """A new salt."""
        return blake2b(release_id.encode(), key=self._randomness, digest_size=SALT_BYTES).hexdigest()


def _salt_of(release: Release | None) -> str:
    return release.who.percent.salt if release and release.who and release.who.percent else ""


def _fill(release: Release, index: int, salts: _Salts) -> Release:
    if not release.who or not release.who.percent or release.who.percent.salt:
        return release
    salt = salts.inherit(release) or salts.keep(release.id)
    if not salt and release.continues and not salts.knows(release.continues):
        # A misspelt name would draw the devices anew, unnoticed.
        message = f"expected a release of this document or of the one it replaces, got {release.continues!r}"
        raise BadDocumentError(f"$.releases[{index}].continues", message)
    percent = replace(release.who.percent, salt=salt or salts.make(release.id))
    return replace(release, who=replace(release.who, percent=percent))


def _hides(above: CompiledRelease, below: CompiledRelease) -> bool:
    """Whether `above` decides for every device for which `below` could: it has no limits and no lower version.

    A device on a higher version than `above` passes it by, and might still be rolled back by `below`.
    """
    is_always_open = above.opens_at == 0 and above.closes_at == MAX_TIME
    takes_everybody = above.official and not above.conditions and above.clients is None and is_always_open
    return takes_everybody and max(below.rollback_from | {below.version}) <= above.version
