"""How many devices run which version, as they report: workers gather, the host's syncer counts each device once.

Reports are unproven, so that this is for people and for choosing deltas, and decides nothing. No device's id is kept.
"""

import hashlib
import socket
from collections import deque
from collections.abc import Container, Iterable
from contextlib import suppress
from typing import Final

import msgspec
from msgspec import Struct

from edge.report import Event, Report
from ruleset import VersionError, format_version, parse_version

# After these outcomes a device runs the version that the event goes to.
SETTLING: Final = frozenset({"activated", "confirmed", "fell_back"})
# Devices counted on a host, those that reported last: made-up ones cost no more memory than this, some 25 MB.
MAX_DEVICES: Final = 200_000
# Versions told of one program, the most common ones: made-up ones fill no operator's screen.
MAX_VERSIONS: Final = 200
# What a worker holds for a syncer that is busy or just starting.
MAX_HELD: Final = 10_000
# Told at once, in a datagram: names have 256 characters at most, of 6 bytes where they are escaped, and a socket takes
# 200 KB by default.
PAGE: Final = 50
MAX_PAGE_BYTES: Final = 1 << 18
_DEVICE_BYTES: Final = 8


class Stay(Struct, frozen=True, array_like=True, gc=False):
    """A device that runs a version of a program now, none where that is empty; `device` is a hash of it and both."""

    workspace: str
    program: str
    version: str
    device: int


_decoder = msgspec.json.Decoder(list[Stay])


def find_stays(report: Report, events: Iterable[Event], programs: Container[str]) -> Iterable[Stay]:
    """Yields what events of a report say of versions that run; unknown programs and what is no version are left out."""
    for event in events:
        if event.outcome in SETTLING and event.program in programs:
            with suppress(VersionError):
                version = format_version(parse_version(event.to)) if event.to else ""
                yield Stay(report.workspace, event.program, version, _hash(report, event.program))


def _hash(report: Report, program: str) -> int:
    text = f"{report.workspace}\0{program}\0{report.device.id}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=_DEVICE_BYTES).digest())


class Outbox:
    """A worker's: what is to be told to the syncer, the oldest of it dropped where there is too much."""

    def __init__(self) -> None:
        self._held: deque[Stay] = deque(maxlen=MAX_HELD)

    def add(self, stays: Iterable[Stay]) -> None:
        """Takes what devices have reported."""
        self._held.extend(stays)

    def send(self, to: socket.socket) -> None:
        """Tells as much as a datagram socket takes now, without ever waiting."""
        while self._held:
            page = [self._held[i] for i in range(min(PAGE, len(self._held)))]
            try:
                to.send(msgspec.json.encode(page), socket.MSG_DONTWAIT)
            except OSError:  # full, or nobody is there: later
                return
            for _ in page:
                self._held.popleft()


class _Place:
    """A version of a program, and how many devices run it."""

    __slots__ = ("count", "program", "version")

    def __init__(self, program: tuple[str, str], version: str) -> None:
        self.program, self.version, self.count = program, version, 0


class Tally:
    """The syncer's: the version that each device has reported last. It begins empty with each start of the syncer."""

    def __init__(self) -> None:
        # In the order of their reports, the oldest first.
        self._stays: dict[int, _Place] = {}
        self._places: dict[tuple[str, str], dict[str, _Place]] = {}

    def take(self, page: bytes) -> None:
        """Counts what a worker tells."""
        for stay in _decoder.decode(page):
            self._leave(stay.device)
            if stay.version:
                self._enter(stay)
            if len(self._stays) > MAX_DEVICES:
                self._leave(next(iter(self._stays)))

    def tell(self, workspace: str, program: str) -> dict[str, object]:
        """Returns how many devices are counted, and how many run which version, the most common ones first."""
        places = self._places.get((workspace, program), {}).values()
        told = sorted(places, key=lambda place: (-place.count, place.version))[:MAX_VERSIONS]
        return {
            "workspace": workspace,
            "program": program,
            "devices": sum(place.count for place in places),
            "versions": {place.version: place.count for place in told},
        }

    def _enter(self, stay: Stay) -> None:
        program = (stay.workspace, stay.program)
        versions = self._places.setdefault(program, {})
        place = versions.setdefault(stay.version, _Place(program, stay.version))
        place.count += 1
        self._stays[stay.device] = place

    def _leave(self, device: int) -> None:
        place = self._stays.pop(device, None)
        if place is None:
            return
        place.count -= 1
        if not place.count:
            versions = self._places[place.program]
            del versions[place.version]
            if not versions:
                del self._places[place.program]
