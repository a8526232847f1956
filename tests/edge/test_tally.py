"""Tests of edge/tally.py."""

import socket
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from edge import tally as tally_module
from edge.report import parse_report
from edge.tally import MAX_HELD, MAX_PAGE_BYTES, PAGE, Outbox, Stay, Tally, find_stays
from tests.edge.press import OTHER_PROGRAM, PATIENCE_S, PROGRAM, WORKSPACE


def report(*events: dict[str, Any], device: str = "d-1") -> list[Stay]:
    """What a device's report says of versions that run; one event is told in each given member."""
    told = [
        {"program": PROGRAM, "to": "2.0", "outcome": "activated", "at": 1, "nonce": str(i), **event}
        for i, event in enumerate(events)
    ]
    body = {"workspace": WORKSPACE, "device": {"id": device, "platform": "ios"}, "events": told}
    parsed = parse_report(orjson.dumps(body))
    return list(find_stays(parsed, parsed.events, {PROGRAM}))


@pytest.mark.parametrize("outcome", ["activated", "confirmed", "fell_back"])
def test_outcomes_after_which_a_version_runs(outcome: str) -> None:
    """After these a device runs the version that the event goes to."""
    (stay,) = report({"outcome": outcome})
    assert (stay.workspace, stay.program, stay.version) == (WORKSPACE, PROGRAM, "2.0.0.0")


@pytest.mark.parametrize(
    "event",
    [{"outcome": "failed"}, {"outcome": "downloaded"}, {"program": OTHER_PROGRAM}, {"to": "two"}, {"to": "1.2.3.4.5"}],
)
def test_what_says_nothing_of_versions(event: dict[str, Any]) -> None:
    """A version that does not run, a program that is unknown, and what is no version are left out."""
    assert report(event) == []


def test_versions_compare_as_versions() -> None:
    """Two texts of one version are one version; an empty text is none."""
    assert [stay.version for stay in report({"to": "2"}, {"to": "02.0"}, {"to": ""})] == ["2.0.0.0", "2.0.0.0", ""]


def test_devices_are_told_apart_without_their_ids() -> None:
    """A device is known by a hash of its id, the program and the workspace."""
    (one,), (same,), (other,) = report({}), report({"to": "3"}), report({}, device="d-2")
    assert one.device == same.device != other.device
    assert "d-1" not in repr(one)


def take(tally: Tally, *stays: tuple[str, int], program: str = PROGRAM) -> None:
    """Lets a worker tell of devices that run versions."""
    tally.take(orjson.dumps([[WORKSPACE, program, version, device] for version, device in stays]))


def tell(tally: Tally, program: str = PROGRAM) -> Any:
    """What is told of a program."""
    return tally.tell(WORKSPACE, program)["versions"]


def test_device_is_counted_once() -> None:
    """However often a device reports, and whatever it came from, it counts where it was last."""
    tally = Tally()
    take(tally, ("1.0.0.0", 1), ("1.0.0.0", 2), ("2.0.0.0", 1), ("2.0.0.0", 1), ("2.0.0.0", 3))
    assert tell(tally) == {"2.0.0.0": 2, "1.0.0.0": 1}
    take(tally, ("1.0.0.0", 1), ("", 3), ("", 4))
    assert tell(tally) == {"1.0.0.0": 2}
    assert tally.tell(WORKSPACE, PROGRAM)["devices"] == 2


def test_programs_are_counted_apart() -> None:
    """Each program of each workspace has its own figures."""
    tally = Tally()
    take(tally, ("1.0.0.0", 1))
    take(tally, ("1.0.0.0", 2), program=OTHER_PROGRAM)
    assert (tell(tally), tell(tally, OTHER_PROGRAM)) == ({"1.0.0.0": 1}, {"1.0.0.0": 1})
    assert tally.tell("shop", PROGRAM) == {"workspace": "shop", "program": PROGRAM, "devices": 0, "versions": {}}


def test_devices_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of too many devices those that reported last are counted, and nothing is kept of the others."""
    monkeypatch.setattr(tally_module, "MAX_DEVICES", 3)
    tally = Tally()
    take(tally, ("1.0.0.0", 1), ("2.0.0.0", 2), ("3.0.0.0", 3), ("1.0.0.0", 1), ("4.0.0.0", 4), ("5.0.0.0", 5))
    assert tell(tally) == {"1.0.0.0": 1, "4.0.0.0": 1, "5.0.0.0": 1}
    assert len(tally._stays) == 3
    take(tally, ("", 1), ("", 4), ("", 5))
    assert (tally._stays, tally._places) == ({}, {})


def test_told_versions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """The most common versions are told, the most common one first; all devices are counted."""
    monkeypatch.setattr(tally_module, "MAX_VERSIONS", 2)
    tally = Tally()
    take(tally, ("1.0.0.0", 1), ("3.0.0.0", 2), ("2.0.0.0", 3), ("3.0.0.0", 4))
    assert list(tell(tally).items()) == [("3.0.0.0", 2), ("1.0.0.0", 1)]
    assert tally.tell(WORKSPACE, PROGRAM)["devices"] == 4


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """What a worker writes to and the syncer reads from."""
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    pair[1].settimeout(PATIENCE_S)
    yield pair
    for end in pair:
        end.close()


def make_stays(count: int) -> list[Stay]:
    """Devices that run a version."""
    return [Stay(WORKSPACE, PROGRAM, "1.0.0.0", (1 << 64) - 1 - device) for device in range(count)]


def test_outbox_tells_the_syncer(ends: tuple[socket.socket, socket.socket]) -> None:
    """What devices reported arrives, in pages that a datagram takes, once."""
    outbox, tally = Outbox(), Tally()
    outbox.add(make_stays(PAGE + 1))
    outbox.send(ends[0])
    outbox.send(ends[0])
    for _ in range(2):
        tally.take(ends[1].recv(MAX_PAGE_BYTES))
    assert tell(tally) == {"1.0.0.0": PAGE + 1}
    ends[1].settimeout(0)
    with pytest.raises(BlockingIOError):
        ends[1].recv(1)


def test_largest_page_is_taken(ends: tuple[socket.socket, socket.socket]) -> None:
    """A page of the longest names there can be passes the socket whole."""
    outbox, tally = Outbox(), Tally()
    outbox.add(Stay("\x01" * 256, "\x01" * 256, "65535.65535.65535.65535", device) for device in range(PAGE))
    outbox.send(ends[0])
    tally.take(ends[1].recv(MAX_PAGE_BYTES))
    assert tally.tell("\x01" * 256, "\x01" * 256)["devices"] == PAGE


def test_busy_syncer_is_told_later(ends: tuple[socket.socket, socket.socket]) -> None:
    """Where the socket takes no more nothing waits and nothing is lost, up to a bound: then the oldest is."""
    outbox, tally = Outbox(), Tally()
    outbox.add(make_stays(MAX_HELD + 5))
    got = 0
    while got < MAX_HELD:
        outbox.send(ends[0])
        page = ends[1].recv(MAX_PAGE_BYTES)
        got += len(orjson.loads(page))
        tally.take(page)
    assert tell(tally) == {"1.0.0.0": MAX_HELD}
    assert make_stays(6)[5].device in tally._stays
    assert make_stays(1)[0].device not in tally._stays


def test_syncer_that_is_gone_is_no_error(ends: tuple[socket.socket, socket.socket]) -> None:
    """What cannot be told now is kept."""
    outbox = Outbox()
    outbox.add(make_stays(1))
    ends[1].close()
    outbox.send(ends[0])
    assert len(outbox._held) == 1
