"""Tests of container/passport.py: what a container tells edges of its user, and nobody else."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from container import NoPassport
from container.passport import MAX_TRIALS
from tests.container.world import EDGE, PROGRAM, World


class Papers:
    """A user who has these."""

    def __init__(self, proof: str = "", trials: Sequence[str] = ()) -> None:
        self.given, self.tried = proof, trials

    def proof(self) -> str:
        return self.given

    def trials(self) -> Sequence[str]:
        return self.tried


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world with a version to install."""
    world = World(tmp_path)
    world.publish(world.pack("1.0"))
    return world


def test_proof_and_trials_go_with_a_check(world: World) -> None:
    """An edge is told both; the proof goes with checks alone, and neither to files nor to reports."""
    container = world.container(passport=Papers("a.b.c", ["t1", "t2"]))
    assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
    assert world.proofs == [(f"{EDGE}/v1/check", "Bearer a.b.c")]
    assert world.questions[0]["trials"] == ["t1", "t2"]
    assert len(world.requests) > 2


def test_they_are_asked_for_each_time(world: World) -> None:
    """Whoever has logged out proves nothing any more."""
    papers = Papers("a.b.c", ["t1"])
    container = world.container(passport=papers)
    container.check([PROGRAM])
    papers.given, papers.tried = "", ()
    container.check([PROGRAM])
    assert len(world.proofs) == 1
    assert ["trials" in question for question in world.questions] == [True, False]


def test_no_more_trials_than_an_edge_takes(world: World) -> None:
    """Of too many the first are told, instead of a question that is refused."""
    world.container(passport=Papers(trials=[f"t{n}" for n in range(9)])).check([PROGRAM])
    assert world.questions[0]["trials"] == [f"t{n}" for n in range(MAX_TRIALS)]


def test_nobody_is_logged_in(world: World) -> None:
    """Without a passport nothing of it is told."""
    assert (NoPassport().proof(), NoPassport().trials()) == ("", ())
    world.container().check([PROGRAM])
    assert (world.proofs, "trials" in world.questions[0]) == ([], False)
