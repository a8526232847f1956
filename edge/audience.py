"""Audiences, ready to ask: documents and the files on this host's disk made into whitelists, replaced as one table.

A file is mapped, never read into memory, so that all processes of a host share it. What cannot be asked, because its
key is unknown or its file is not there, holds nobody, and says why. Where files come from is `edge.library`'s matter.
"""

import logging
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from channel import Position
from ruleset import Audience, AudienceDocument, Fingerprinter, FingerprintError, Fingerprints, compile_patterns

FOLDER: Final = "audiences"

_log = logging.getLogger("graywave.edge")


class Whitelist:
    """The users of one audience: those that fit a pattern, and those whose fingerprints are in its file."""

    __slots__ = ("holds",)

    holds: Callable[[str], bool]
    """Says whether a user is one of them."""

    def __init__(
        self,
        match: Callable[[str], object] | None,
        fingerprinter: Fingerprinter | None = None,
        fingerprints: Fingerprints | None = None,
    ) -> None:
        self.holds = _choose_look(match, fingerprinter, fingerprints)


def _choose_look(
    match: Callable[[str], object] | None, fingerprinter: Fingerprinter | None, fingerprints: Fingerprints | None
) -> Callable[[str], bool]:
    """What is not there is not asked for at a check."""
    if fingerprinter is None or fingerprints is None:
        return (lambda user: match(user) is not None) if match else (lambda _: False)
    look = fingerprints.make_look(fingerprinter)
    return look if match is None else lambda user: match(user) is not None or look(user)


@dataclass(frozen=True, slots=True)
class Opened:
    """An audience as this process holds it; `problem` says why its file is not asked, empty where nothing is wrong.

    `inode` is the mapped file's, 0 without one: a file that was put in its place anew is another one.
    """

    document: AudienceDocument
    whitelist: Whitelist
    problem: str = ""
    inode: int = 0

    @property
    def position(self) -> Position:
        """Where the document was published."""
        return Position(self.document.epoch, self.document.revision)


class Opener:
    """Opens audiences.

    Args:
        folder: the host's data folder.
        keys: the fingerprint keys by their ids.
    """

    def __init__(self, folder: Path, keys: Mapping[str, bytes]) -> None:
        self._folder = folder / FOLDER
        self._fingerprinters = {name: Fingerprinter(key) for name, key in keys.items()}

    def open(self, document: AudienceDocument) -> Opened:
        """Returns an audience, ready to ask; one whose file cannot be used holds nobody, its patterns' users neither.

        An audience is whole or not there at all: half of one would be a list that nobody has made.
        """
        match = compile_patterns(document.patterns, "$.patterns") if document.patterns else None
        if not document.sha256:
            return Opened(document, Whitelist(match))
        fingerprinter = self._fingerprinters.get(document.key)
        if fingerprinter is None:
            return Opened(document, NOBODY, f"fingerprint key {document.key!r} is not in this edge's settings")
        path = self._folder / document.sha256
        inode = _find_inode(path)
        try:
            fingerprints = map_fingerprints(path)
        except (OSError, ValueError, FingerprintError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            return Opened(document, NOBODY, f"its file cannot be used: {reason}", inode)
        if fingerprints.mark != fingerprinter.mark:
            message = f"another key made its file than the one that this edge knows as {document.key!r}"
            return Opened(document, NOBODY, message, inode)
        return Opened(document, Whitelist(match, fingerprinter, fingerprints), inode=inode)

    def is_current(self, opened: Opened) -> bool:
        """Says whether opening an audience again would change nothing; asks the disk, and does not read."""
        sha256 = opened.document.sha256
        if not sha256 or opened.document.key not in self._fingerprinters:
            return True
        return _find_inode(self._folder / sha256) == opened.inode


NOBODY: Final = Whitelist(None)


def _find_inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0


def map_fingerprints(path: Path) -> Fingerprints:
    """Returns a file's fingerprints; the map lives as long as they do.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is empty.
        FingerprintError: it is no such file.
    """
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    # Read in now and not at a check, which would wait for the disk.
    mapped.madvise(mmap.MADV_WILLNEED)
    return Fingerprints(memoryview(mapped))


@dataclass(slots=True)
class Table:
    """The audiences of one workspace in a worker, by name; the mapping that checks read is replaced, never changed."""

    workspace: str
    opener: Opener
    opened: dict[str, Opened] = field(default_factory=dict)

    def put(self, changed: Mapping[str, AudienceDocument]) -> Mapping[str, Audience] | None:
        """Takes documents, and looks again at what was not right; returns the new mapping, None where nothing changed.

        A document that is older than the one that is here comes from an older source, and changes nothing.
        """
        fresh = {name: document for name, document in changed.items() if self._is_newer(name, document)}
        again = {name: one.document for name, one in self.opened.items() if not self.opener.is_current(one)}
        if not fresh and not again:
            return None
        for name, document in {**again, **fresh}.items():
            held, self.opened[name] = self.opened.get(name), self.opener.open(document)
            problem = self.opened[name].problem
            if problem and not (held and held.problem == problem):
                _log.error("workspace %s: audience %s holds nobody: %s", self.workspace, name, problem)
        return self.audiences

    @property
    def audiences(self) -> Mapping[str, Audience]:
        """The audiences that there are, in a mapping of their own."""
        return {name: one.whitelist for name, one in self.opened.items() if not one.document.removed}

    @property
    def mark(self) -> bytes:
        """Stands for the audiences that there are: the same bytes in every process that holds the same ones."""
        held = sorted((name, one.position, bool(one.problem)) for name, one in self.opened.items())
        return repr(held).encode()

    @property
    def broken(self) -> int:
        """How many audiences cannot be asked."""
        return sum(bool(one.problem) for one in self.opened.values())

    def _is_newer(self, name: str, document: AudienceDocument) -> bool:
        held = self.opened.get(name)
        return held is None or held.position <= Position(document.epoch, document.revision)
