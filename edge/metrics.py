"""A worker's counters: plain integers while it works, copied ten times a second into a page that other processes read.

The page is a shared memory map, one a process, made by the parent. It is also the heartbeat: the last copy's time
stands in it. Nothing here is ever waited for.
"""

import asyncio
import mmap
import os
import struct
import time
from typing import Final

BEAT_S = 1.0
FIELDS: Final = (
    "beat",
    "pulse_ms",
    "pid",
    "ready",
    "checks",
    "refused",
    "handed_over",
    "flag_requests",
    "flags_unchanged",
    "reports",
    "downloaded",
    "activated",
    "confirmed",
    "failed",
    "fell_back",
    "files",
    "connections",
    "moved",
    "held",
    "held_told",
    "changes",
    "broken_rows",
    "broken_audiences",
    "window_asked",
    "window_admitted",
    "window_refused",
    "window_expired",
    "window_fenced",
    "keyless_windows",
    "cursor",
    "load_us",
    "proven",
    "proofs_verified",
    "proofs_refused",
    "proof_keys_problem",
    "place_database_problem",
    "busy_percent",
    "shed_interactive",
    "shed_background",
    "shed_reports",
    "limited",
    "turned_away",
)
PAGE_BYTES: Final = mmap.PAGESIZE
_LAYOUT = struct.Struct(f"<{len(FIELDS)}Q")


class Counters:
    """What one worker counts. `cursor` is the newest row that it has applied.

    `beat` is when the last copy was made, in seconds of the clock that all processes of a machine share and nobody sets
    (CLOCK_MONOTONIC); 0 before the first. `pulse_ms` is the same in milliseconds: other workers go by it, and want to
    know sooner than the parent when one of them is silent.

    `flag_requests` are OFREP's, of which `flags_unchanged` were answered with 304.

    `downloaded` to `fell_back` count the events of reports by outcome; they and all others only grow, except:
    `connections` is how many are open now, `held` how many checks wait for news, `busy_percent` how busy the worker is;
    `load_us` is how long it took at the start
    until every program was compiled, in microseconds;
    `proof_keys_problem` is how many key files could not be read anew, `place_database_problem` 1 where its file could
    not; `broken_audiences` is how many hold nobody, because their key is unknown or their file cannot be used.

    `keyless_windows` is how many windows are under a fingerprint key that this host has not.

    `window_asked` are the questions for a place that went to Redis, `window_admitted` the places given,
    `window_refused` who got none, `window_expired` the checks that were answered without waiting for Redis any longer,
    and `window_fenced` the questions that met a Redis, or a host, that may tell nobody of a place.

    `moved` are the connections that it gave to other workers of the host.

    `held_told` are the held checks that were told of something to do.

    `proven` are checks with a user that was proven, `proofs_refused` those with a token that proved nothing, and
    `proofs_verified` the signatures that were verified for them.

    `shed_interactive`, `shed_background` and `shed_reports` are costly requests that it had no time for, `limited`
    those of a workspace that had all that it may have, and `turned_away` the connections that were ended at once
    because there were too many.
    """

    __slots__ = FIELDS

    def __init__(self) -> None:
        for field in FIELDS:
            setattr(self, field, 0)

    beat: int
    pulse_ms: int
    pid: int
    ready: int
    checks: int
    refused: int
    handed_over: int
    flag_requests: int
    flags_unchanged: int
    reports: int
    downloaded: int
    activated: int
    confirmed: int
    failed: int
    fell_back: int
    files: int
    connections: int
    moved: int
    held: int
    held_told: int
    changes: int
    broken_rows: int
    broken_audiences: int
    window_asked: int
    window_admitted: int
    window_refused: int
    window_expired: int
    window_fenced: int
    keyless_windows: int
    cursor: int
    load_us: int
    proven: int
    proofs_verified: int
    proofs_refused: int
    proof_keys_problem: int
    place_database_problem: int
    busy_percent: int
    shed_interactive: int
    shed_background: int
    shed_reports: int
    limited: int
    turned_away: int

    def mark_beat(self) -> None:
        """Says that the process is alive now."""
        now = time.monotonic()
        self.beat, self.pulse_ms = int(now), int(now * 1_000)

    def write(self, page: mmap.mmap) -> None:
        """Copies the counters into their page."""
        _LAYOUT.pack_into(page, 0, *[getattr(self, field) for field in FIELDS])


def read_page(page: mmap.mmap) -> dict[str, int]:
    """Returns the counters that a worker copied last, by name."""
    return dict(zip(FIELDS, _LAYOUT.unpack_from(page), strict=True))


def open_page(descriptor: int) -> mmap.mmap:
    """Maps the page behind an inherited descriptor."""
    return mmap.mmap(descriptor, PAGE_BYTES)


async def keep_beating(page: mmap.mmap) -> None:
    """Shows that this process's loop turns, for as long as it does."""
    counters = Counters()
    counters.pid = os.getpid()
    while True:
        counters.mark_beat()
        counters.write(page)
        await asyncio.sleep(BEAT_S)
