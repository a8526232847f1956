"""Requests that come at a rate, whether or not those before them have been answered: as from a balancer.

It has a pool of connections with one request each at a time. Where all are taken, it turns the request away: what a
server does with those that reach it is measured, from the moment at which each should have been sent.
"""

import select
import socket
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from random import Random
from typing import Self

from loadtest.client import read_length
from loadtest.errors import MeasureError
from loadtest.report import MICRO

CONNECTIONS = 128
# Answers have some KiB; how long the last ones may take, in seconds.
READ_BYTES = 1 << 18
LAST_S = 5.0
BLANK_LINE = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Kind:
    """Requests of one kind, sent in turn; `part` of all that arrive are of it."""

    name: str
    requests: Sequence[bytes]
    part: float


@dataclass(slots=True)
class Fate:
    """What became of the requests of a kind; `times_us` are those of answers with 200."""

    arrived: int = 0
    turned_away: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    times_us: list[float] = field(default_factory=list)

    @property
    def answered(self) -> float:
        """The share that was answered with 200, of all that arrived."""
        return self.statuses[200] / max(1, self.arrived)

    def find_p99_ms(self) -> float:
        """Returns the time that 99 of 100 answers did not exceed, in milliseconds; 0 without any."""
        ordered = sorted(self.times_us)
        return round(ordered[-(-99 * len(ordered) // 100) - 1] / 1_000, 2) if ordered else 0.0


class Arrivals:
    """A pool of connections to a port of the loopback interface; used as a context.

    Args:
        port: the server's.
        connections: how many.
        seed: of the times and the kinds.
    """

    def __init__(self, port: int, connections: int = CONNECTIONS, seed: int = 0) -> None:
        self._random = Random(seed)
        self._poll = select.epoll()
        self._sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
        self._free = {each.fileno(): each for each in self._sockets}
        # By descriptor: the connection, the kind, when it was due, what has come of the answer.
        self._busy: dict[int, tuple[socket.socket, str, float, bytes]] = {}
        self.fates: dict[str, Fate] = {}
        self.idle_s = self.elapsed_s = self.drained_s = 0.0
        for each in self._sockets:
            each.settimeout(0)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poll.register(each.fileno(), select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in self._sockets:
            each.close()
        self._poll.close()

    def run(self, kinds: Sequence[Kind], rate: float, seconds: float) -> dict[str, Fate]:
        """Lets requests arrive at random times; returns what became of them.

        Args:
            kinds: of which each request is one.
            rate: arrivals a second, of all kinds.
            seconds: how long.

        Raises:
            MeasureError: a connection ended, or an answer did not come.
        """
        self.fates = {kind.name: Fate() for kind in kinds}
        self.idle_s, start = 0.0, time.perf_counter()
        for due, name, request in self._draw(kinds, rate, seconds):
            self._read_until(start + due)
            self._send(name, request, start + due)
        deadline = time.perf_counter() + LAST_S
        self.elapsed_s = time.perf_counter() - start
        while self._busy:
            if time.perf_counter() > deadline:
                raise MeasureError(
                    f"expected all answers within {LAST_S:.0f} s, got none to {len(self._busy)} requests"
                )
            self._read(0.1)
        self.drained_s = time.perf_counter() - start - self.elapsed_s
        return self.fates

    @property
    def load(self) -> float:
        """The share of the time in which the generator itself had to do: near 1 it is the limit, and no server."""
        return 1 - self.idle_s / self.elapsed_s

    def _draw(self, kinds: Sequence[Kind], rate: float, seconds: float) -> Iterator[tuple[float, str, bytes]]:
        names, parts = [kind.name for kind in kinds], [kind.part for kind in kinds]
        requests = {kind.name: kind.requests for kind in kinds}
        turns = dict.fromkeys(names, 0)
        due = 0.0
        while (due := due + self._random.expovariate(rate)) < seconds:
            (name,) = self._random.choices(names, parts)
            turns[name] += 1
            yield due, name, requests[name][turns[name] % len(requests[name])]

    def _read_until(self, due: float) -> None:
        """Reads answers until a request is due; where it is late, without waiting for any."""
        while True:
            wait = due - time.perf_counter()
            # epoll waits for whole milliseconds: shorter times are waited for in turns of none.
            self._read(wait if wait > 0.001 else 0.0)  # noqa: PLR2004 - as the comment says
            if wait <= 0:
                return

    def _send(self, name: str, request: bytes, due: float) -> None:
        fate = self.fates[name]
        fate.arrived += 1
        if not self._free:
            fate.turned_away += 1
            return
        descriptor, connection = self._free.popitem()
        self._busy[descriptor] = (connection, name, due, b"")
        if connection.send(request) < len(request):
            raise MeasureError(f"expected {len(request)} bytes sent at once, got fewer")

    def _read(self, wait_s: float) -> None:
        before = time.perf_counter()
        events = self._poll.poll(wait_s)
        now = time.perf_counter()
        if not events:
            self.idle_s += now - before
        for descriptor, _ in events:
            self._take(descriptor)

    def _take(self, descriptor: int) -> None:
        if descriptor not in self._busy:
            raise MeasureError("expected a connection to stay, got its end")
        connection, name, due, held = self._busy[descriptor]
        data = connection.recv(READ_BYTES)
        if not data:
            raise MeasureError("expected an answer, got the connection's end")
        held += data
        end = held.find(BLANK_LINE) + len(BLANK_LINE)
        if end < len(BLANK_LINE) or len(held) < end + read_length(held[:end]):
            self._busy[descriptor] = (connection, name, due, held)
            return
        fate, status = self.fates[name], int(held[9:12])
        fate.statuses[status] += 1
        if status == HTTPStatus.OK:
            fate.times_us.append((time.perf_counter() - due) * MICRO)
        del self._busy[descriptor]
        self._free[descriptor] = connection
