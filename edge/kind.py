"""The kinds of documents that an edge takes: how each is read and judged, and what becomes of it in a worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from channel import Position
from edge.answer import compile_entry
from edge.switch import compile_set
from ruleset import DocumentError, check_audience, parse_audience, parse_program, parse_switches

PROGRAM: Final = "program"
AUDIENCE: Final = "audience"
SWITCHES: Final = "switches"


class Compiled(Protocol):
    """What a worker holds of a document."""

    @property
    def position(self) -> Position:
        """Where the document was published."""


class Read(NamedTuple):
    """A document that was read, and what it says of itself."""

    workspace: str
    id: str
    position: Position
    document: Any


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of documents.

    Args:
        read: makes a document of its payload; raises DocumentError.
        judge: returns if a worker could use it; raises DocumentError.
    """

    read: Callable[[bytes], Read]
    judge: Callable[[Any], object]


def _read_program(payload: bytes) -> Read:
    program = parse_program(payload)
    return Read(program.workspace, program.program, Position(program.epoch, program.revision), program)


def _read_audience(payload: bytes) -> Read:
    audience = parse_audience(payload)
    return Read(audience.workspace, audience.audience, Position(audience.epoch, audience.revision), audience)


def _read_switches(payload: bytes) -> Read:
    document = parse_switches(payload)
    return Read(document.workspace, document.switches, Position(document.epoch, document.revision), document)


KINDS: Final[Mapping[str, Kind]] = {
    PROGRAM: Kind(_read_program, compile_entry),
    AUDIENCE: Kind(_read_audience, check_audience),
    SWITCHES: Kind(_read_switches, compile_set),
}


def find_kind(kind: str) -> Kind:
    """Returns the kind of that name.

    Raises:
        DocumentError: this edge does not know it.
    """
    found = KINDS.get(kind)
    if found is None:
        raise DocumentError(
            "$", f"expected a document of kind {' or '.join(KINDS)}, got {kind}: a newer edge may know it"
        )
    return found
