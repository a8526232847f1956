"""What devices report of their updates: read strictly, counted once a nonce, and never in the way of a check."""

from collections import OrderedDict
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from edge.body import MAX_STRING, Text, decode_body
from ruleset.model import Device

MAX_EVENTS = 100
# How many (device, nonce) pairs are remembered; a device repeats a report within seconds, not after a million others.
MAX_NONCES = 65_536

Outcome = Literal["downloaded", "activated", "confirmed", "failed", "fell_back"]


class Event(Struct, frozen=True, gc=False):
    """What happened to one update; `at` in seconds, `bytes` moved, `ms` taken."""

    program: Text
    to: Text
    outcome: Outcome
    nonce: Annotated[str, Meta(min_length=1, max_length=MAX_STRING)]
    at: Annotated[int, Meta(ge=0)]
    base: Text = msgspec.field(default="", name="from")
    release: Text = ""
    reason: Text = ""
    transfer: Text = ""
    bytes: Annotated[int, Meta(ge=0)] = 0
    ms: Annotated[int, Meta(ge=0)] = 0


class Report(Struct, frozen=True, gc=False):
    """What a device reports; unknown members are ignored."""

    workspace: Text
    device: Device
    events: Annotated[list[Event], Meta(min_length=1, max_length=MAX_EVENTS)]


class Seen:
    """Which (device, nonce) pairs have been counted, the newest MAX_NONCES of them."""

    def __init__(self) -> None:
        self._pairs: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admit(self, report: Report) -> list[Event]:
        """Returns a report's events that were not counted before, and remembers them."""
        device = report.device.id
        new = {event.nonce: event for event in report.events if (device, event.nonce) not in self._pairs}
        self._pairs.update(dict.fromkeys((device, nonce) for nonce in new))
        while len(self._pairs) > MAX_NONCES:
            self._pairs.popitem(last=False)
        return list(new.values())


_decoder = msgspec.json.Decoder(Report)


def parse_report(body: bytes) -> Report:
    """Returns the report that a body holds.

    Raises:
        RefusedError: `malformed_json`, `missing_field`, `bad_field` or `too_large`.
    """
    return decode_body(body, _decoder)
