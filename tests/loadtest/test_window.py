"""What is said of windows' figures; the measurement itself runs in the bench's quick run."""

import copy
from typing import Any

import orjson
import pytest

from loadtest.window import FAULTS, Line, judge_windows, render_windows

GOOD: dict[str, Any] = {
    "crowd": {"devices": 9, "places": 3, "told_first": 2, "told": 3, "rounds": 2, "forgotten": 0, "differing": 0},
    "made_up": {"devices": 9, "told": 0, "proven": 5, "proven_told": 5, "s": 1.0},
    "cost": {"ratio": 1.01, "live_us": 20.2, "paused_us": 20.0},
    "faults": {
        name: {"places": 3, "told": 3, "rounds": 2, "forgotten": 0, "differing": 0, "closed_s": 4.0} for name in FAULTS
    },
}


def test_good_figures_break_nothing() -> None:
    """Promises that are kept are not spoken of; each measurement has its line."""
    assert judge_windows(GOOD, is_quick=False) == []
    assert len(list(render_windows(GOOD))) == len(FAULTS) + 3


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (["crowd", "told"], 4, "expected exactly 3 devices told (crowd), got 4"),
        (["faults", "killed_redis", "told"], 2, "expected exactly 3 devices told (killed_redis), got 2"),
        (["faults", "emptied_redis", "forgotten"], 1, "expected nobody forgotten (emptied_redis), got 1"),
        (["crowd", "differing"], 1, "expected the same answer everywhere (crowd), got 1 others"),
        (["made_up", "told"], 1, "expected places for 5 proven users alone, got 1 made-up and 5 proven ones"),
        (["made_up", "proven_told"], 4, "expected places for 5 proven users alone, got 0 made-up and 4 proven ones"),
        (["cost", "ratio"], 1.06, "expected a window to cost others at most 1.05 times, got 1.06"),
    ],
)
def test_broken_promises(path: list[str], value: float, expected: str) -> None:
    """Each figure that breaks a promise has its line; only cost is not held against a quick run."""
    report = copy.deepcopy(GOOD)
    place = report
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    assert judge_windows(report, is_quick=False) == [expected]
    assert judge_windows(report, is_quick=True) == ([] if path[0] == "cost" else [expected])


def test_requests_are_whole() -> None:
    """A device's request has the length that its head says, and its proof where it has one."""
    line = Line("2021900000000001")
    head, _, body = line.make_request("d-1", "u-1", "a.b.c", "1.0").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b"Authorization: Bearer a.b.c" in head
    assert orjson.loads(body)["programs"] == {"2021900000000001": "1.0"}
    assert b"Authorization" not in line.make_request("d-1")
