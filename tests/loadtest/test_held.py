"""What is said of held checks' figures; the measurement itself runs in the bench's quick run."""

import copy
import os
from typing import Any

import orjson
import pytest

from loadtest.client import read_length
from loadtest.held import FIRST, PROGRAM, judge_held, make_document, make_request, read_memory, render_held, version

ROUND = {
    "told_of_others": 0, "wrong": 0, "last_s": 2.1, "half_s": 1.0, "quiet_checks": 900, "quiet_median_ms": 0.1,
    "quiet_p99_ms": 0.2, "busy_checks": 900, "busy_median_ms": 0.1, "busy_p99_ms": 0.4, "p99_ratio": 2.0,
    "processor_us_each": 30.0,
}  # fmt: skip
GOOD: dict[str, Any] = {
    "devices": 15_000,
    "bytes_each": 2_500,
    "bytes_of_connection": 1_400,
    "rounds": [ROUND, {**ROUND, "last_s": 2.2, "p99_ratio": 2.5}, {**ROUND, "p99_ratio": 9.0}],
}


def test_good_figures_break_nothing() -> None:
    """Promises that are kept are not spoken of; the slowest round counts for the last device, the median for p99."""
    assert judge_held(GOOD, is_quick=False) == []
    lines = list(render_held(GOOD))
    assert "2.2 s" in lines[1]
    assert lines[2].endswith("p99 0.4 ms, quiet 0.2 ms, ratio 2.5")


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("devices", 14_999, "expected at least 15000 held checks, got 14999"),
        ("bytes_each", 4_097, "expected at most 4096 bytes a held check, got 4097"),
        ("last_s", 3.1, "expected all told within 3 s of a publish, got 3.1 s"),
        ("p99_ratio", 3.1, "expected ordinary checks' p99 at most 3 times the quiet one, got 3.1"),
        ("wrong", 1, "expected each told of its own news, got 1 wrong answers, 0 of others' news"),
        ("told_of_others", 2, "expected each told of its own news, got 0 wrong answers, 2 of others' news"),
    ],
)
def test_broken_promises(member: str, value: float, expected: str) -> None:
    """Each figure that breaks a promise has its line; only wrong answers are held against a quick run."""
    report = copy.deepcopy(GOOD)
    if member in report:
        report[member] = value
    else:
        report["rounds"] = [{**ROUND, member: value}]
    assert judge_held(report, is_quick=False) == [expected]
    assert judge_held(report, is_quick=True) == ([expected] if "own news" in expected else [])


@pytest.mark.parametrize(("wait_s", "prefers"), [(0, False), (50, True)])
def test_requests_are_whole(wait_s: int, *, prefers: bool) -> None:
    """A device's request has the length that its head says, and says that it would wait where it would."""
    head, _, body = make_request(PROGRAM, 7, FIRST, wait_s).partition(b"\r\n\r\n")
    assert read_length(head) == len(body)
    assert (b"\r\nPrefer: wait=50\r\n" in head) is prefers
    assert orjson.loads(body)["programs"] == {PROGRAM: FIRST}


def test_each_turn_brings_a_version() -> None:
    """A turn's document gives everybody a version that no other turn gives."""
    first, second = make_document(PROGRAM, 1), make_document(PROGRAM, 2)
    assert list(first["packages"]) == [version(1)] == [first["releases"][0]["package"]]
    assert list(second["packages"]) == [version(2)]


def test_memory_of_a_process() -> None:
    """A process's memory is read in bytes."""
    assert read_memory(os.getpid()) > 1_000_000
