"""What is said of overload's figures, and who asks; the measurement itself runs in the bench's quick run."""

import copy
from typing import Any

import pytest

from edge.budget import COSTLY_BYTES
from edge.head import read_head
from edge.question import parse_question as parse_body
from loadtest.arrival import Fate
from loadtest.hostile import CROWDS
from loadtest.overload import MANY, judge_overload, mark_interactive, merge_many, render_overload, tell_fate
from loadtest.population import Population

FATE = {"arrived": 9, "answered": 0.9, "turned_away": 0, "statuses": {"200": 9}, "p99_ms": 4.0}
GOOD: dict[str, Any] = {
    "above": {"saturation": 20_000, "rate": 26_000, "core": 0.99, "generator": 0.5, **FATE},
    "mix": {
        "saturation": 5_000, "core": 0.9, "generator": 0.3, "recovery_s": 0.1,
        "fates": {"one": FATE, "many_interactive": FATE, "many_background": FATE},
    },
    "crowds": {"kept": dict.fromkeys(CROWDS, 0.9), "rounds": []},
}  # fmt: skip


def test_good_figures_break_nothing() -> None:
    """Promises that are kept are not spoken of; each measurement has its line."""
    assert judge_overload(GOOD, is_quick=False) == []
    assert len(list(render_overload(GOOD))) == 4 + 3 + len(CROWDS)


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["above", "core"], 0.94, "expected a saturated worker at 1.3 times saturation, got 94% of its core"),
        (["above", "p99_ms"], 50.0, "expected a p99 of under 50 ms above saturation, got 50.0"),
        (
            ["mix", "fates", "one", "answered"],
            0.7,
            "expected 0.8 of checks for one program answered beside costly ones, got 0.7",
        ),
        (["mix", "recovery_s"], 1.1, "expected recovery within 1.0 s, got 1.1"),
        (
            ["crowds", "kept", "idle"],
            0.7,
            "expected ordinary checks to keep 0.8 of their rate beside the crowd idle, got 0.7",
        ),
    ],
)
def test_broken_promises(path: list[str], value: float, expected: str) -> None:
    """Each figure that breaks a promise has its line; a quick run proves nothing."""
    report = copy.deepcopy(GOOD)
    place = report
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert judge_overload(report, is_quick=False) == [expected]
    assert judge_overload(report, is_quick=True) == []


def test_costly_requests_are_costly(population: Population) -> None:
    """Each asks about so many programs, has a body that the edge takes for costly, and is a whole request."""
    requests = list(merge_many(list(population.render(population.draw_records(0, 2_000)))))
    assert len(requests) > 2
    for request in (requests[0], mark_interactive(requests[1])):
        head, _, body = request.partition(b"\r\n\r\n")
        assert read_head(head + b"\r\n\r\n")[:2] == (len(body), True)
        assert len(body) > COSTLY_BYTES
        assert len(parse_body(body).programs) == MANY
    assert b"\r\nX-Graywave-Interactive: 1\r\n" in mark_interactive(requests[1])


def test_fate_is_told() -> None:
    """What came of requests, in numbers."""
    fate = Fate(arrived=3, turned_away=1, times_us=[2_000.0])
    fate.statuses[200], fate.statuses[503] = 1, 1
    assert tell_fate(fate) == {
        "arrived": 3, "answered": 0.3333, "turned_away": 1, "statuses": {"200": 1, "503": 1}, "p99_ms": 2.0,
    }  # fmt: skip
