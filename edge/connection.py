"""The connections of one worker: how many there may be, how long each may take, and when each has to go.

It knows no protocol: whatever serves a connection registers itself here and is told when its time is over.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Protocol, cast

from edge.errors import EdgeError
from edge.jitter import vary
from edge.quota import Quota

# A head or body sent a byte at a time would hold a connection for ever.
REQUEST_DEADLINE_S = 15.0
# An idle client costs memory; a polling device comes back in minutes and may connect again.
IDLE_DEADLINE_S = 75.0
# 200 MiB at 3 Mbit/s.
DOWNLOAD_DEADLINE_S = 600.0
# Long-lived connections end, so that they spread over workers and hosts anew: 10 min, give or take 20 %.
LIFE_S = 600.0
LIFE_SPREAD = 0.2
# A held check is noticed so long before its time is over that it is answered within it, in seconds: one to be answered
# in, and half of one because seconds are not counted to the millisecond.
HELD_MARGIN_S = 1.5
# A draining worker ends connections on which nobody has asked for so long, in seconds: one that asks sooner gets its
# answer, with the word that it is the last.
QUIET_S = 2.0


class Served(Protocol):
    """Whatever serves a connection."""

    deadline: float
    life_end: float

    def expire(self) -> None:
        """Ends the connection now: its deadline is over."""

    def retire(self) -> None:
        """Lets the next answer be the last: a client that is just asking gets it, and is told that no other comes."""

    def end_idle(self) -> None:
        """Ends the connection now, where no message has begun and no answer is owed."""

    def find_descriptor(self) -> int:
        """Returns the descriptor of a connection that another process can go on with now, else -1."""


class FullError(EdgeError):
    """One connection more than the worker, or one peer, may have."""


class Connections:
    """The open connections of a worker.

    Args:
        limit: how many there may be in all.
        peer_limit: how many one peer address may have; 0 where peers are balancers.
        quota: is told of connections that end; None where workspaces have no limits.
    """

    def __init__(self, limit: int, peer_limit: int = 0, quota: Quota | None = None) -> None:
        self._limit = limit
        self._peer_limit = peer_limit
        self._quota = quota
        self.turned_away = 0
        self._open: dict[Served, str] = {}
        self._peers: Counter[str] = Counter()
        self._expected: set[Served] = set()
        self.is_draining = False
        self.emptied = asyncio.Event()
        self._now = 0.0
        self.request_deadline = 0.0
        self.idle_deadline = 0.0
        self.download_deadline = 0.0
        self.tick(time.monotonic())

    def __len__(self) -> int:
        return len(self._open)

    def add(self, served: Served, transport: asyncio.BaseTransport) -> None:
        """Registers a new connection and gives it its first deadline and the end of its life.

        Raises:
            FullError: the limit is reached; the connection is to be aborted.
        """
        peer = self._name_peer(transport)
        if served in self._expected:
            self._expected.remove(served)
        elif len(self._open) >= self._limit or (self._peer_limit and self._peers[peer] >= self._peer_limit):
            self.turned_away += 1
            raise FullError(f"expected at most {self._limit} connections, {self._peer_limit} a peer")
        self._open[served] = peer
        self._peers[peer] += 1
        served.deadline = self.request_deadline
        served.life_end = time.monotonic() + vary(LIFE_S, LIFE_SPREAD)

    def expect(self, served: Served) -> None:
        """Says that another worker gives a connection: it was let in there, and is not refused here by any limit."""
        self._expected.add(served)

    def replace(self, served: Served, successor: Served) -> None:
        """Lets another protocol serve a connection that is registered; the end of its life stays."""
        self._open[successor] = self._open.pop(served)
        successor.life_end = served.life_end
        successor.deadline = self.request_deadline
        if self._quota is not None:
            self._quota.replace(served, successor)

    def remove(self, served: Served) -> None:
        """Forgets a connection that is closed; one that was replaced or never added is no error."""
        self._expected.discard(served)
        if self._quota is not None:
            self._quota.release(served)
        peer = self._open.pop(served, None)
        if peer is None:
            return
        if self.is_draining and not self._open:
            self.emptied.set()
        self._peers[peer] -= 1
        if not self._peers[peer]:
            del self._peers[peer]

    def tick(self, now: float) -> None:
        """Once a second: ends what is over its deadline, retires what is at the end of its life. `now` is monotonic."""
        self._now = now
        self.request_deadline = now + REQUEST_DEADLINE_S
        self.idle_deadline = now + IDLE_DEADLINE_S
        self.download_deadline = now + DOWNLOAD_DEADLINE_S
        for served in list(self._open):
            if served.deadline < now:
                served.expire()
            elif self.is_draining and self._is_quiet(served):
                served.end_idle()
            elif served.life_end < now:
                served.retire()  # an idle one ends with its deadline

    def find_end(self, wait_s: int) -> float:
        """Returns the deadline of whoever is to have its answer within so many seconds."""
        return self._now + max(wait_s - HELD_MARGIN_S, 0)

    def _is_quiet(self, served: Served) -> bool:
        """Says whether nothing has come for QUIET_S; a deadline tells when it was given."""
        newest = self.request_deadline if served.deadline <= self.request_deadline else self.idle_deadline
        return served.deadline <= newest - QUIET_S

    def list_movable(self, count: int) -> Iterator[Served]:
        """Yields up to so many connections that another process can go on with; each may be let go meanwhile."""
        movable = (served for served in list(self._open) if served.find_descriptor() >= 0)
        return islice(movable, count)

    def let_go(self, served: Served) -> None:
        """Forgets a connection that another process goes on with, and closes it here alone."""
        self.remove(served)
        served.expire()

    def pass_on(self) -> None:
        """Says that others go on with what can be moved; what cannot ends as one of a draining worker does."""
        self.is_draining = True

    def drain(self) -> None:
        """Retires every connection, and each new one after its first answer."""
        self.is_draining = True
        if not self._open:
            self.emptied.set()
        for served in list(self._open):
            served.retire()

    def _name_peer(self, transport: asyncio.BaseTransport) -> str:
        return name_peer(transport) if self._peer_limit else ""


def name_peer(transport: asyncio.BaseTransport) -> str:
    """Returns the address at the other end; empty for a unix socket's, or where the connection has gone already."""
    peer = cast("tuple[str, int] | str | None", transport.get_extra_info("peername"))
    return peer[0] if isinstance(peer, tuple) else ""
