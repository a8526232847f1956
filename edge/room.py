"""How much the documents of one workspace may take of a host, so that one publisher cannot fill it. PURE."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from channel import DocumentName
from edge.kind import PROGRAM

MEGA: Final = 1_000_000


class Limits(NamedTuple):
    """What one workspace may have: programs, and millions of bytes of documents and of its audiences' files."""

    programs: int = 200_000
    document_mb: int = 2_000
    audience_mb: int = 16_000


class Load(NamedTuple):
    """What one document takes: its bytes, and those of its file."""

    document: int
    file: int = 0


_NOTHING: Final = Load(0)


class Room:
    """What is taken, by document.

    Args:
        limits: what may be taken.
        held: what is there already; it stays, whatever the limits are.
    """

    def __init__(self, limits: Limits, held: Iterable[tuple[DocumentName, Load]] = ()) -> None:
        self._limits = limits
        self._loads = dict(held)
        self._programs = sum(name.kind == PROGRAM for name in self._loads)
        self._documents = sum(load.document for load in self._loads.values())
        self._files = sum(load.file for load in self._loads.values())

    def take(self, name: DocumentName, load: Load) -> str:
        """Takes the place of a document, and gives back what the one of its name had; or says why there is none.

        What takes no more than the one before has its place in any case.
        """
        before = self._loads.get(name, _NOTHING)
        programs = self._programs + (name.kind == PROGRAM and name not in self._loads)
        documents = self._documents - before.document + load.document
        files = self._files - before.file + load.file
        limits = self._limits
        if programs > max(limits.programs, self._programs):
            return f"expected at most {limits.programs} programs in a workspace, got one more"
        if documents > max(limits.document_mb * MEGA, self._documents):
            return f"expected at most {limits.document_mb} MB of documents in a workspace, got more with this one"
        if files > max(limits.audience_mb * MEGA, self._files):
            return (
                f"expected at most {limits.audience_mb} MB of audiences' files in a workspace, got more with this one"
            )
        self._loads[name] = load
        self._programs, self._documents, self._files = programs, documents, files
        return ""
