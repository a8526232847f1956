"""Tests of edge/report.py."""

from typing import Any

import orjson
import pytest

from edge import report as report_module
from edge.errors import RefusedError
from edge.report import MAX_EVENTS, Seen, parse_report
from tests.edge.press import PROGRAM, WORKSPACE


def make_event(nonce: str = "n-1", **members: Any) -> dict[str, Any]:
    """A confirmed update."""
    return {"program": PROGRAM, "to": "1.0.0.0", "outcome": "confirmed", "nonce": nonce, "at": 1_800_000_000, **members}


def make_report(*events: dict[str, Any], device: str = "d-1") -> bytes:
    """A device's report of events."""
    return orjson.dumps(
        {"workspace": WORKSPACE, "device": {"id": device, "platform": "ios"}, "events": events, "later": 1}
    )


def test_report_is_read() -> None:
    """A report has its events, with all that a device may say and what it left out at its default."""
    full = make_event(**{"from": "0.9"}, release="r1", reason="none", transfer="dcz", bytes=12_455, ms=840)
    report = parse_report(make_report(full, make_event("n-2")))
    first, second = report.events
    assert (first.base, first.release, first.transfer, first.bytes, first.ms) == ("0.9", "r1", "dcz", 12_455, 840)
    assert (second.base, second.bytes, second.outcome) == ("", 0, "confirmed")


@pytest.mark.parametrize(
    ("event", "code", "place"),
    [
        (make_event(outcome="exploded"), "bad_field", "`$.events[0].outcome`"),
        (make_event(at=-1), "bad_field", "`$.events[0].at`"),
        (make_event(bytes=-1), "bad_field", "`$.events[0].bytes`"),
        (make_event(ms=1.5), "bad_field", "`$.events[0].ms`"),
        (make_event(reason="x" * 257), "bad_field", "`$.events[0].reason`"),
        ({"program": PROGRAM}, "missing_field", "`$.events[0]`"),
    ],
)
def test_event_is_refused(event: dict[str, Any], code: str, place: str) -> None:
    """What an event may not be is refused, with its place."""
    with pytest.raises(RefusedError) as caught:
        parse_report(make_report(event))
    assert caught.value.code == code
    assert caught.value.message.endswith(place)


@pytest.mark.parametrize("count", [0, MAX_EVENTS + 1])
def test_number_of_events_is_bounded(count: int) -> None:
    """A report has 1 to MAX_EVENTS events."""
    with pytest.raises(RefusedError, match=r"length .* `\$\.events`"):
        parse_report(make_report(*[make_event()] * count))


def test_most_events_are_read() -> None:
    """MAX_EVENTS events are allowed."""
    assert len(parse_report(make_report(*[make_event()] * MAX_EVENTS)).events) == MAX_EVENTS


def test_event_counts_once() -> None:
    """The same device and nonce count once, within a report and over several; another device's are its own."""
    seen = Seen()
    report = parse_report(make_report(make_event("n-1"), make_event("n-2"), make_event("n-1")))
    assert [event.nonce for event in seen.admit(report)] == ["n-1", "n-2"]
    assert seen.admit(report) == []
    assert len(seen.admit(parse_report(make_report(make_event("n-1"), device="d-2")))) == 1
    assert [event.nonce for event in seen.admit(parse_report(make_report(make_event("n-1"), make_event("n-3"))))] == [
        "n-3"
    ]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest MAX_NONCES are remembered, and the oldest forgotten first."""
    monkeypatch.setattr(report_module, "MAX_NONCES", 3)
    seen = Seen()
    for number in range(4):
        seen.admit(parse_report(make_report(make_event(f"n-{number}"))))
    assert len(seen._pairs) == 3
    assert seen.admit(parse_report(make_report(make_event("n-1"), make_event("n-2"), make_event("n-3")))) == []
    assert len(seen.admit(parse_report(make_report(make_event("n-0"))))) == 1
