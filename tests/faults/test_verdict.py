"""What a soak amounts to: which failures a fault explains, and which promises are broken."""

from typing import Any

import pytest

from tests.faults.verdict import assess, draw, explain, judge_answers, judge_times, render

KILL = {"fault": "kill worker", "host": 1, "began": 100.0, "ended": 103.0}
STOP = {"fault": "stop worker", "host": 0, "began": 110.0, "ended": 120.0}
DEATH = {"fault": "kill host", "host": 0, "began": 130.0, "ended": 135.0}
RELOAD = {"fault": "reload", "host": 1, "began": 140.0, "ended": 150.0}
EVENTS = [KILL, STOP, DEATH, RELOAD]
REACH = {"publishes": 9, "workers": 4, "from_request": {"median_ms": 9.0, "p99_ms": 20.0, "max_ms": 21.0}}
REACH["from_answer"] = REACH["from_request"]
SHARES = {"at_first": {"largest": 1.2}, "after_a_death": {"largest": 1.3}}


def fail(what: str, host: int, at: float, *, is_retry: bool = False) -> dict[str, Any]:
    """A question that got no answer, or a connection that was refused."""
    return {"what": what, "host": host, "at": at, "is_retry": is_retry}


def make_crowd(**members: Any) -> dict[str, Any]:
    """What the crowd says of a good run."""
    counts = {"attempts": 200_000, "retried": 3, "late": 0, "lost": 0, "older": 0, "slowest_ms": 410.0, "misses": []}
    answers = {"judged": 200_001, "wrong": 0, "wrong_examples": [], "published": {"good": 9, "forged head": 1}}
    failures = [fail("ended", 1, 100.1), fail("silent", 0, 111.0), fail("ended", 0, 130.0)]
    refusals = [fail("ConnectionRefusedError", 0, 131.0)]
    return {**counts, **answers, "surprises": [], "refusals": refusals, "failures": failures, **members}


def test_good_run_breaks_no_promise() -> None:
    """Failures that faults explain are counted with these, and break nothing."""
    main = assess(make_crowd(), EVENTS, [])
    assert main["failed_by_fault"] == {"kill worker": 1, "stop worker": 1, "kill host": 1}
    assert (main["refused_by_dead_hosts"], main["refused_otherwise"]) == (1, 0)
    assert judge_answers(main) == judge_times(main, REACH, SHARES) == []


@pytest.mark.parametrize(
    ("failure", "cause"),
    [
        (fail("ended", 1, 100.2), "kill worker"),
        (fail("ended", 0, 100.2), ""),
        (fail("silent", 1, 100.2), ""),
        (fail("ended", 1, 99.0), ""),
        (fail("ended", 1, 105.0), ""),
        (fail("ended", 0, 120.5), "stop worker"),
        (fail("ConnectionRefusedError", 0, 134.0), "kill host"),
        (fail("ConnectionRefusedError", 1, 145.0), ""),
        (fail("503", 0, 131.0), ""),
        (fail("ended", 1, 145.0), ""),
    ],
    ids=["killed", "elsewhere", "otherwise", "before", "after", "hung", "dead", "reload", "status", "cut by reload"],
)
def test_what_a_fault_explains(failure: dict[str, Any], cause: str) -> None:
    """A fault explains what it does to the devices of its host, while it lasts, and nothing else; a reload nothing."""
    assert explain(failure, EVENTS) == cause


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"wrong": 2}, "expected no wrong answer, got 2"),
        ({"older": 1}, "expected no answer older than the last one on its connection, got 1"),
        ({"lost": 1}, "expected every retry answered, got 1"),
        ({"failures": [fail("ended", 1, 100.1, is_retry=True)]}, "expected every retry to succeed, got 1"),
        (
            {"refusals": [fail("ConnectionRefusedError", 1, 145.0)]},
            "expected no connection refused but by dead hosts, got 1",
        ),
        (
            {"failures": [fail("silent", 1, 145.0)]},
            "expected no failed request but those open on what was killed, got 1",
        ),
        ({"surprises": ["the editor failed"]}, "the editor failed"),
    ],
)
def test_broken_promise(members: dict[str, Any], said: str) -> None:
    """Each promise that does not hang on the machine has its line."""
    assert any(line.startswith(said) for line in judge_answers(assess(make_crowd(**members), EVENTS, [])))


def heal(took_s: float, *, is_silent: bool = False) -> dict[str, Any]:
    """How long something took to heal."""
    return {"faults": ("kill redis",), "took_s": took_s, "is_silent": is_silent, "at": 0.0}


def test_slow_healing() -> None:
    """Five seconds are promised after a fault, fifteen where no signal came."""
    healings = [heal(5.1), heal(14.9, is_silent=True)]
    assert judge_times(assess(make_crowd(), EVENTS, healings), REACH, SHARES) == [
        "expected every worker well within 5 s, got 5.1 s"
    ]
    assert judge_times(assess(make_crowd(), EVENTS, [heal(15.1, is_silent=True)]), REACH, SHARES) == [
        "expected every worker well within 15 s without a signal, got 15.1 s"
    ]


def test_availability_reach_and_shares() -> None:
    """Three late ones of 200,000 are too many; times and shares have their limits."""
    assert judge_times(assess(make_crowd(late=2), EVENTS, []), REACH, SHARES) == []
    slow = {**REACH, "from_request": {"median_ms": 50.0, "p99_ms": 250.0, "max_ms": 300.0}}
    shares = {**SHARES, "after_a_death": {"largest": 1.6}}
    assert judge_times(assess(make_crowd(late=3), EVENTS, []), slow, shares) == [
        "expected 99.999% of attempts right within 1 s, got 99.9985%",
        "expected a median reach under 50 ms, got 50.0 ms",
        "expected a 99th percentile of reach under 250 ms, got 250.0 ms",
        "expected the largest share at most 1.5 times the mean, got 1.6",
    ]


def test_report() -> None:
    """Text and picture tell the figures and what is broken."""
    main = assess(make_crowd(), EVENTS, [heal(1.5)])
    report = {"machine": {"description": "a machine"}, "minutes": 20.0, "seed": 1, "main": main, "reach": REACH}
    report |= {"shares": SHARES, "failures": ["expected good luck, got none"]}
    text = render(report)
    assert "attempts   200000, right within 1 s 100.00000% (0 late, 0 lost, slowest 410.0 ms)" in text
    assert "published  10, of which 1 bad" in text
    assert text.endswith("\nbroken     expected good luck, got none")
    assert draw(report, {"100": [300, 0, 5.0], "111": [300, 2, 1_400.0]}, EVENTS).startswith(b"\x89PNG")
