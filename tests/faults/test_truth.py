"""What a soak takes for true: an answer is judged by the state of its own revision, and as soon as that is known."""

from typing import Any

import orjson
import pytest

from contract.oracle import answer
from tests.faults.truth import Said, Truth, read_revision

PROGRAM = "2021000000000001"
NOW = 1_800_000_000
QUESTION: dict[str, Any] = {
    "workspace": "main",
    "device": {"id": "d-1", "platform": "android"},
    "programs": {PROGRAM: ""},
}


def make_document(version: str) -> dict[str, Any]:
    """A published document that gives everybody a version."""
    package = {"sha256": "5e" * 32, "size": 7, "signature": "s", "transfers": []}
    offers = {"expires": 1 << 39, "install": {version: "an offer"}}
    releases = [{"id": "r1", "package": version}]
    return {"program": PROGRAM, "packages": {version: package}, "releases": releases, "offers": offers}


def say(revision: int, version: str, told: int | None = None) -> Said:
    """What a server says of the state with that version, under a revision."""
    body = orjson.dumps(answer([make_document(version)], told or revision, 1, QUESTION, NOW))
    return Said(0, read_revision(body), body, NOW, NOW)


@pytest.fixture
def truth() -> Truth:
    """A workspace that had 1.0 at revision 3, and has 2.0 since 5; 4 is there, and changed nothing."""
    truth = Truth([QUESTION])
    truth.note(3, {PROGRAM: make_document("1.0")})
    truth.note(4, {})
    truth.note(5, {PROGRAM: make_document("2.0")})
    return truth


@pytest.mark.parametrize(("revision", "version"), [(3, "1.0"), (4, "1.0"), (5, "2.0")])
def test_each_state_is_right_under_its_revision(truth: Truth, revision: int, version: str) -> None:
    """What was published before is right, too: nobody is told when he has to have what is newest."""
    for _ in range(2):  # the second time it is known by its bytes
        truth.hear(say(revision, version))
    assert (truth.judged, truth.wrong) == (2, [])


@pytest.mark.parametrize(
    ("revision", "version"), [(3, "2.0"), (5, "1.0"), (4, "2.0"), (2, "1.0"), (6, "2.0"), (5, "3.0")]
)
def test_other_answers_are_wrong(truth: Truth, revision: int, version: str) -> None:
    """Another state under a revision is wrong, and so is a revision that never was."""
    truth.hear(say(revision, version))
    assert len(truth.wrong) == 1
    assert f'"revision":{revision}' in truth.wrong[0]


def test_what_is_being_published_is_judged_later(truth: Truth) -> None:
    """An answer may be faster than the publisher's; it is judged when the revision is known, and counts until then."""
    truth.begin()
    truth.hear(say(6, "3.0"))
    truth.hear(say(6, "4.0"))
    truth.hear(say(5, "1.0"))  # this one can be judged at once
    assert (truth.judged, len(truth.wrong)) == (1, 1)
    truth.note(6, {PROGRAM: make_document("3.0")})
    truth.settle()
    assert (truth.judged, len(truth.wrong)) == (3, 2)


def test_what_never_comes_true_is_wrong(truth: Truth) -> None:
    """An answer of a revision that nobody has published is found out in the end."""
    truth.begin()
    truth.hear(say(9, "2.0"))
    truth.settle()
    assert len(truth.wrong) == 1


def test_revisions_only_grow(truth: Truth) -> None:
    """A revision that was given twice would be the publisher's fault, and is not taken."""
    with pytest.raises(ValueError, match="expected a revision beyond 5, got 5"):
        truth.note(5, {})
