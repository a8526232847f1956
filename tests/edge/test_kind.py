"""The kinds of documents that an edge takes."""

import orjson
import pytest

from channel import Position
from edge.kind import KINDS, find_kind
from ruleset import DocumentError
from tests.edge.press import PROGRAM, WORKSPACE, make_document, make_switches

AUDIENCE = {"format": 1, "audience": "qa", "workspace": WORKSPACE, "epoch": 1, "revision": 4, "patterns": ["qa-*"]}


@pytest.mark.parametrize(
    ("kind", "document", "id_"),
    [
        ("program", make_document(revision=4), PROGRAM),
        ("audience", AUDIENCE, "qa"),
        ("switches", make_switches(revision=4, a={}), "app"),
    ],
)
def test_documents_say_what_they_are(kind: str, document: object, id_: str) -> None:
    """Of every kind it is known whose document it is, and when it was published."""
    read = find_kind(kind).read(orjson.dumps(document))
    assert (read.workspace, read.id, read.position) == (WORKSPACE, id_, Position(1, 4))
    find_kind(kind).judge(read.document)


def test_judges_refuse() -> None:
    """What reads and cannot be used is refused before it is written anywhere."""
    read = find_kind("audience").read(orjson.dumps({**AUDIENCE, "size": 7}))
    with pytest.raises(DocumentError, match="expected none without sha256"):
        find_kind("audience").judge(read.document)


def test_unknown_kind_is_named() -> None:
    """A kind of a newer publisher's is told apart from a broken document."""
    with pytest.raises(DocumentError) as caught:
        find_kind("songs")
    assert caught.value.message.startswith(f"expected a document of kind {' or '.join(KINDS)}, got songs")
