"""Changes are measured from sending a document to an answer that shows it, on real servers."""

import asyncio

import pytest

from loadtest.change import make_probe, make_question, measure_changes, name_turn, read_release
from loadtest.errors import MeasureError
from loadtest.population import parse_question
from loadtest.stage import Edge, Stage

SEED = 7


def test_each_turn_has_a_release_of_its_own() -> None:
    """The newest release is named by the turn, reaches everybody, and the others stay."""
    document = make_probe(SEED, 3)
    assert [release["id"] for release in document["releases"]] == ["turn-3", "r4", "r3", "r2", "r1"]
    assert document["releases"][0].keys() == {"id", "package"}


def test_the_asking_device_has_nothing_installed() -> None:
    """The device asks about the changing program alone, so that each turn shows in its answer."""
    assert parse_question(make_question(SEED))["programs"] == {make_probe(SEED, 0)["program"]: ""}


def test_changes_are_seen(stage: Stage, edge: Edge) -> None:
    """Each change is seen by a device, and takes time; the last one is what is published afterwards."""
    before = stage.read_revision()
    changes = asyncio.run(measure_changes(stage.make_author(), edge.port, SEED, 1, 3))
    assert len(changes) == 3
    assert all(one.reached_ms > 0 and one.published_ms > 0 for one in changes)
    assert stage.read_revision() == before + 3
    program = make_probe(SEED, 0)["program"]
    assert stage.read_truth([program]).documents[program]["releases"][0]["id"] == name_turn(3)


def test_a_change_that_never_shows_is_given_up(stage: Stage, edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting for a change is bounded."""
    monkeypatch.setattr("loadtest.change.CHANGE_TIMEOUT_S", 0.0)
    with pytest.raises(MeasureError, match="expected turn-9 in an answer within 0 s, it did not come"):
        asyncio.run(measure_changes(stage.make_author(), edge.port, SEED, 9, 1))


@pytest.mark.parametrize(
    ("body", "release"),
    [(b'{"updates":[]}', ""), (b'{"updates":[{"release":"turn-1"}]}', "turn-1"), (b'{"error":{}}', "")],
)
def test_the_release_is_read_from_an_answer(body: bytes, release: str) -> None:
    """An answer without an update, and an error, name no release."""
    assert read_release(body) == release
