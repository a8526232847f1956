"""Simulation: who moves between two documents, with the lists of the samples, and nobody is asked."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ruleset.compiler import CompiledProgram
from ruleset.evaluator import Reason
from ruleset.model import Device
from ruleset.sample import Sample
from ruleset.simulation import MAX_EXAMPLES, Outcome, simulate

Json = dict[str, Any]
Compile = Callable[..., CompiledProgram]

NOW = 1_000
PROGRAM = "2021000000000001"
WINDOW_ID = "0" * 16


def take(number: int = 1, installed: str | None = "1", **members: Any) -> Sample:
    """Returns the sample of a device with this number."""
    device = {"id": f"d-{number}", "platform": "android", "user": f"u-{number}", **members.pop("device", {})}
    programs = {"2021000000000002": "1"} if installed is None else {PROGRAM: installed}
    return msgspec.convert({"at": 1, "workspace": "demo", "device": device, "programs": programs, **members}, Sample)


def tell(current: CompiledProgram | None, changed: CompiledProgram, *samples: Sample, now: int = NOW) -> list[Any]:
    """Returns the moves, as plain values."""
    moves = simulate(current, changed, samples, now).moves
    return [((move.before.release, move.before.reason), (move.after.release, move.after.reason), move.count)
            for move in moves]  # fmt: skip


def test_who_moves_comes_first(compile_releases: Compile) -> None:
    """Moves are counted by the release and reason before and after; what stays comes last."""
    current = compile_releases({"id": "all"})
    changed = compile_releases(
        {"id": "gray", "package": "3", "when": [{"attribute": "os", "op": "in", "values": ["14"]}]}, {"id": "all"}
    )
    old, new = {"device": {"os": "13"}}, {"device": {"os": "14"}}
    samples = [*(take(n, **old) for n in range(3)), *(take(n, **new) for n in range(2)), take(9, "2", **new)]
    assert tell(current, changed, *samples) == [
        (("all", "install"), ("gray", "install"), 2),
        (("all", "current"), ("gray", "install"), 1),
        (("all", "install"), ("all", "install"), 3),
    ]
    simulation = simulate(current, changed, samples, NOW)
    assert (simulation.asked, simulation.moved) == (6, 3)


def test_the_same_release_in_another_version_is_a_move(compile_releases: Compile) -> None:
    """Who gets another version from a release of the same id moves."""
    current, changed = (compile_releases({"id": "all", "package": version}) for version in ("2", "3"))
    (move,) = simulate(current, changed, [take()], NOW).moves
    assert move.is_one
    assert (move.before, move.after) == (
        Outcome("all", "2.0.0.0", Reason.INSTALL),
        Outcome("all", "3.0.0.0", Reason.INSTALL),
    )


def test_before_anything_is_published(compile_releases: Compile) -> None:
    """Without a document before, everybody comes from nowhere."""
    moves = tell(None, compile_releases({"who": {"users": ["u-1"]}}), take(1), take(2))
    assert moves == [((None, None), ("r0", "install"), 1), ((None, None), (None, "no_release"), 1)]


@pytest.mark.parametrize("installed", [None, "1.x", "1.2.3.4.5"])
def test_who_does_not_ask_is_passed_over(compile_releases: Compile, installed: str | None) -> None:
    """A sample without the program, or with what is no version of it, says nothing."""
    program = compile_releases({})
    assert simulate(program, program, [take(1, installed)], NOW).asked == 0


def test_who_has_nothing_installed(compile_releases: Compile) -> None:
    """An empty version is none."""
    program = compile_releases({}, taken_down=True)
    assert tell(program, program, take(1, "")) == [((None, "gone"), (None, "gone"), 1)]


def test_audiences_stand_in_samples(compile_releases: Compile) -> None:
    """An audience holds whom it held when the sample was taken, and no other one does."""
    changed = compile_releases({"who": {"audiences": ["qa"]}})
    samples = (take(1, audiences=["qa"]), take(2, audiences=["staff"]), take(3))
    assert tell(None, changed, *samples)[0] == ((None, None), (None, "no_release"), 2)
    assert tell(None, changed, *samples)[1] == ((None, None), ("r0", "install"), 1)


def test_windows_are_not_asked(compile_releases: Compile) -> None:
    """Who was in a window is in; all others would have to be asked for, while it is open."""
    window = {"limit": 1, "closes_at": NOW + 1, "id": WINDOW_ID, "key": "k1"}
    changed = compile_releases({"who": {"window": window}})
    samples = (take(1, windows=[WINDOW_ID]), take(2, windows=["1" * 16]), take(3))
    assert tell(None, changed, *samples) == [
        ((None, None), ("r0", "ask"), 2), ((None, None), ("r0", "install"), 1),
    ]  # fmt: skip
    assert tell(None, changed, *samples, now=NOW + 1)[0] == ((None, None), (None, "no_release"), 2)


@pytest.mark.parametrize(("proven", "reason"), [(False, "no_release"), (True, "ask")])
def test_proven_users_stand_in_samples(compile_releases: Compile, proven: bool, reason: str) -> None:
    """A window of proven users is asked for those who were proven."""
    window = {"limit": 1, "closes_at": NOW + 1, "id": WINDOW_ID, "key": "k1", "proven": True}
    ((_, after, _),) = tell(None, compile_releases({"who": {"window": window}}), take(1, proven=proven))
    assert after[1] == reason


def test_examples_are_few(compile_releases: Compile) -> None:
    """Of each move some devices are shown, the first ones."""
    (move,) = simulate(None, compile_releases({}), [take(n) for n in range(20)], NOW).moves
    assert (move.count, [device.id for device in move.examples]) == (20, [f"d-{n}" for n in range(MAX_EXAMPLES)])
    assert isinstance(move.examples[0], Device)
