"""One document on its way to be published: judged against what it replaces, then signed. Pure: nothing is kept here."""

from collections.abc import Sequence
from dataclasses import dataclass

from channel import DocumentName, Position
from publisher.draft import Doubt, check_floor, compile_draft, complete, find_doubts, read_author
from publisher.precondition import Precondition
from publisher.signer import Signer
from publisher.store import Record, Signed
from ruleset.document import parse_program
from ruleset.model import Program


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
        signer: checks packages, and signs.
        randomness: unpredictable bytes, 16 to 64.
        now: seconds.

    Raises:
        BadDocumentError: the body is no author's document of this name.
    """

    def __init__(self, wish: Wish, signer: Signer, randomness: bytes, now: int) -> None:
        self.name = wish.name
        self._precondition, self._signer, self._randomness, self._now = wish.precondition, signer, randomness, now
        self._author = read_author(wish.body, wish.name.id)
        self.doubts: Sequence[Doubt] = ()

    def build(self, current: Record | None, position: Position) -> Signed | None:
        """Returns the document, complete and signed for a position; None where it is the current one already.

        Raises:
            PreconditionRequiredError, ConflictError: the current record is not the one that the author has seen.
            BadDocumentError: the document cannot be published.
            SigningError: a key could not be used.
        """
        program = self.judge(current)
        return self._signer.sign(program, position, self._now) if program else None

    def judge(self, current: Record | None) -> Program | None:
        """Returns the document, complete; None where it is the current one already. Raises what `build` raises."""
        self._precondition.check_write(current.position.revision if current else None)
        known = parse_program(current.signed.author) if current else None
        program = complete(self._author, known, self._randomness)
        compiled = compile_draft(program)
        check_floor(program, compiled)
        self.doubts = find_doubts(program, compiled, self._now)
        self._signer.check_packages(program)
        return None if program == known else program
