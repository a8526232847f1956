"""One document on its way to be published: judged against what it replaces, then signed. Pure: nothing is kept here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from channel import DocumentName, Position
from publisher.draft import Doubt
from publisher.kind import Kind, Shelf
from publisher.precondition import Precondition
from publisher.store import Record, Signed


@dataclass(frozen=True, slots=True)
class Wish:
    """What an author wants: this document, in place of the revision that the precondition names."""

    name: DocumentName
    body: bytes
    precondition: Precondition


class Proposal:
    """A wish, read.

    Args:
        wish: what the author wants.
        kind: the kind of its document.
        shelf: what else is published; asked in the store's thread alone.
        randomness: unpredictable bytes, 16 to 64.
        now: seconds.

    Raises:
        BadDocumentError: the body is no author's document of this name.
    """

    def __init__(self, wish: Wish, kind: Kind[Any], shelf: Shelf, randomness: bytes, now: int) -> None:
        self.name, self.kind = wish.name, kind
        self._precondition, self._shelf, self._randomness, self._now = wish.precondition, shelf, randomness, now
        self._author = kind.read_author(wish.body, wish.name.id)
        self.doubts: Sequence[Doubt] = ()

    def build(self, current: Record | None, position: Position) -> Signed | None:
        """Returns the document, complete and signed for a position; None where it is the current one already.

        Raises:
            PreconditionRequiredError, ConflictError: the current record is not the one that the author has seen.
            BadDocumentError: the document cannot be published.
            SigningError: a key could not be used.
        """
        document = self.judge(current)
        return None if document is None else self.kind.sign(document, position, self._now)

    def judge(self, current: Record | None) -> Any:
        """Returns the document, complete; None where it is the current one already. Raises what `build` raises."""
        self._precondition.check_write(current.position.revision if current else None)
        known = self.kind.parse(current.signed.author) if current else None
        document = self.kind.complete(self._author, known, self._randomness)
        self.doubts = self.kind.judge(document, known, self._now, self._shelf)
        return None if document == known else document
