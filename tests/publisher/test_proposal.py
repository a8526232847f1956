"""A proposal: judged against what it replaces before anything is signed."""

from typing import Any

import orjson
import pytest

from channel import DocumentName, Position
from publisher import BadDocumentError, ConflictError
from publisher.kind import Kinds
from publisher.precondition import Precondition
from publisher.proposal import Proposal, Wish
from publisher.store import Record

NAME = DocumentName("program", "2021000000000001")
FIRST = Position(1, 1)


class EmptyShelf:
    """Where nothing else is published."""

    def find(self, name: DocumentName) -> None:
        """Finds nothing."""

    def read_kind(self, kind: str) -> list[Record]:
        """Finds nothing."""
        return []


SHELF = EmptyShelf()


def propose(workshop: Any, document: Any, if_match: str | None = None) -> Proposal:
    """A proposal of a document."""
    wish = Wish(NAME, orjson.dumps(document), Precondition.read(if_match, None))
    return Proposal(wish, Kinds(workshop.signer(), ["k1"]).find("program"), SHELF, b"r" * 32, now=1_000)


def keep(workshop: Any, document: Any) -> Record:
    """The record of a document that was published first."""
    signed = propose(workshop, document).build(None, FIRST)
    assert signed is not None
    return Record(NAME, FIRST, signed)


def test_unreadable_wish_is_no_proposal(workshop: Any) -> None:
    """What cannot be read is refused before the store is asked anything."""
    with pytest.raises(BadDocumentError):
        propose(workshop, {"format": 2})


def test_proposal_is_signed_for_its_position(workshop: Any) -> None:
    """A document that is fine is signed for the position that it will have."""
    signed = propose(workshop, workshop.document()).build(None, Position(3, 9))
    assert signed is not None
    published = orjson.loads(signed.envelope.split(b"\n", 1)[1])
    assert (published["epoch"], published["revision"]) == (3, 9)


def test_current_document_is_left(workshop: Any) -> None:
    """The same document once more is nothing to publish; another one is."""
    document = workshop.document({"id": "r1", "package": "1.0.0.0", "who": {"percent": {"parts": 1}}})
    current = keep(workshop, document)
    assert propose(workshop, document, '"1"').build(current, Position(1, 2)) is None
    assert propose(workshop, workshop.document(), '"1"').build(current, Position(1, 2)) is not None


def test_revision_is_checked_before_the_document(workshop: Any) -> None:
    """Who has not seen the current revision learns that first."""
    current = keep(workshop, workshop.document())
    with pytest.raises(ConflictError):
        propose(workshop, workshop.document({"id": "r1", "package": "9.0"}), '"7"').build(current, Position(1, 2))


def test_forged_package_is_refused_even_if_it_is_current(workshop: Any) -> None:
    """A document is judged by the root of today, also where it was published yesterday."""
    document = workshop.document()
    current = keep(workshop, document)
    document["packages"]["1.0.0.0"]["signature"] = "e30.e30.e30"
    with pytest.raises(BadDocumentError):
        propose(workshop, document, '"1"').build(current, Position(1, 2))


def test_doubts_are_gathered(workshop: Any) -> None:
    """What is hardly meant is known once the document was judged."""
    releases = [{"id": name, "package": "1.0.0.0"} for name in ("a", "b")]
    proposal = propose(workshop, workshop.document(*releases))
    assert proposal.doubts == ()
    proposal.build(None, FIRST)
    assert [doubt.path for doubt in proposal.doubts] == ["$.releases[1]"]
