"""Where a worker's connections come from: the slots that it serves, and the connections that other workers give it.

A slot is a listening socket and a pair of sockets through which connections are given; the parent keeps all of them
open, every worker has all of them, and `edge.slot` decides who serves which. A connection is given between two of its
requests, as it is: its client notices nothing. What a request says is not known here.
"""

import asyncio
import contextlib
import mmap
import os
import socket
import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Final, Self, cast

from edge.connection import Connections, Served
from edge.listener import BACKLOG
from edge.metrics import Counters, read_page
from edge.slot import Share, choose_slots, plan_moves

# How often a worker shows that it serves, and looks at the others, in seconds.
PULSE_S: Final = 0.1
# A worker that has not shown for so long that it serves, in milliseconds, gets help. Helping one that was only busy
# harms nothing. A device that knows one address alone waits so long, and a pulse, where it hangs: with the 0.4 s after
# which it asks anew that has to be less than a second.
SILENT_MS: Final = 500
# Connections taken before the loop gets its turn.
TAKEN_AT_ONCE: Final = 64
# How long a connection waits for this worker to know what the one that gave it knew, in seconds: then it has to do.
CATCH_UP_S: Final = 1.0
CATCH_UP_LOOK_S: Final = 0.005
# How often a worker that gives everything away tries again with what was busy, in seconds.
GIVE_EVERY_S: Final = 0.02
# What goes with a connection: the form of these fields, its deadline and the end of its life, and the last row of
# edge.db that the giver has applied. Old and new code meet here at a reload: other fields are another form.
_FORM: Final = 1
_FIELDS: Final = struct.Struct("<BddQ")


@dataclass(frozen=True, slots=True)
class Slot:
    """A listening socket, and the two ends through which whoever serves it is given connections; by descriptor."""

    listener: int
    giving: int
    taking: int


@dataclass(frozen=True, slots=True)
class Place:
    """A worker's place among the workers of a host: its number, all slots, and all workers' pages."""

    own: int
    slots: Sequence[Slot]
    pages: Sequence[mmap.mmap]

    @classmethod
    def alone(cls, listener: int, page: mmap.mmap) -> Self:
        """The place of the only worker there is, whom nobody can give anything."""
        return cls(0, [Slot(listener, -1, -1)], [page])


class Doors:
    """Opens and closes a worker's slots as it should serve them, and moves connections so that each has its share.

    Args:
        place: the worker's.
        counters: the worker's.
        connections: the worker's.
        serve: makes the protocol of a new connection.
        catch_up: makes the worker look for what is new in edge.db.
    """

    def __init__(
        self,
        place: Place,
        counters: Counters,
        connections: Connections,
        serve: Callable[[], asyncio.Protocol],
        catch_up: Callable[[], None],
    ) -> None:
        self._place = place
        self._counters = counters
        self._connections = connections
        self._serve = serve
        self._catch_up = catch_up
        self._open: dict[int, asyncio.AbstractServer] = {}
        self._arriving: set[asyncio.Task[None]] = set()
        self._nudged = asyncio.Event()
        self._givers = [_wrap(slot.giving) for slot in place.slots]
        self._takers = [_wrap(slot.taking) for slot in place.slots]

    def nudge(self) -> None:
        """Some worker may have ended: looks now."""
        self._nudged.set()

    async def keep(self) -> None:
        """Shows that this worker serves, and looks after its slots and its share, for ever."""
        while True:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._nudged.wait(), PULSE_S)
            self._nudged.clear()
            self._show()
            with contextlib.suppress(OSError):  # no descriptor to be had now: those that are open are served
                await self.look()

    def _show(self) -> None:
        self._counters.mark_beat()
        self._counters.connections = len(self._connections)
        self._counters.write(self._place.pages[self._place.own])

    async def look(self) -> None:
        """Serves the slots that are to be served now, and gives away what is more than this worker's share."""
        shares = [_read_share(page) for page in self._place.pages]
        own = self._place.own
        wanted = choose_slots(own, len(self._place.slots), shares)
        for slot in wanted - self._open.keys():
            await self._serve_slot(slot)
        for slot in self._open.keys() - wanted:
            self._leave_slot(slot)
        for worker, count in plan_moves(own, shares).items():
            self._give([worker], count)

    def close(self) -> None:
        """Serves no slot any more; what waits there waits for another worker."""
        for slot in list(self._open):
            self._leave_slot(slot)

    async def hand_over(self, until: float) -> None:
        """Gives every connection to the workers that follow, each as soon as no request is under way on it.

        What cannot be given ends with its next answer. `until` is of the monotonic clock: what is then left is left.
        """
        self.close()
        await asyncio.gather(*self._arriving)
        self._connections.pass_on()
        while len(self._connections) and time.monotonic() < until:
            self._give(range(len(self._givers)), len(self._connections))
            await asyncio.sleep(GIVE_EVERY_S)

    async def _serve_slot(self, number: int) -> None:
        listener = socket.socket(fileno=os.dup(self._place.slots[number].listener))
        loop = asyncio.get_running_loop()
        self._open[number] = await loop.create_server(self._serve, sock=listener, backlog=BACKLOG)
        taker = self._takers[number]
        if taker is not None:
            loop.add_reader(taker, self._take, taker)

    def _leave_slot(self, number: int) -> None:
        self._open.pop(number).close()
        taker = self._takers[number]
        if taker is not None:
            asyncio.get_running_loop().remove_reader(taker)

    def _give(self, workers: Iterable[int], count: int) -> None:
        """Gives so many connections to these workers in turn, fewer where fewer are idle or taken now."""
        turns = cycle(workers)
        for served in self._connections.list_movable(count):
            giver = self._givers[next(turns)]
            fields = _FIELDS.pack(_FORM, served.deadline, served.life_end, self._counters.cursor)
            try:
                # Never None: who is alone has nobody to give to.
                socket.send_fds(cast("socket.socket", giver), [fields], [served.find_descriptor()])
            except OSError:  # too many are on their way: later
                return
            self._connections.let_go(served)
            self._counters.moved += 1

    def _take(self, taker: socket.socket) -> None:
        for _ in range(TAKEN_AT_ONCE):
            try:
                fields, descriptors, _, _ = socket.recv_fds(taker, _FIELDS.size, 1)
            except OSError:  # no more, or another worker was first
                return
            for descriptor in descriptors:
                task = asyncio.create_task(self._arrive(fields, socket.socket(fileno=descriptor)))
                self._arriving.add(task)
                task.add_done_callback(self._arriving.discard)

    async def _arrive(self, fields: bytes, connection: socket.socket) -> None:
        """Serves a connection that was given, once no answer on it can be older than the last one."""
        if len(fields) != _FIELDS.size or fields[0] != _FORM:
            connection.close()
            return
        _, deadline, life_end, cursor = _FIELDS.unpack(fields)
        until = time.monotonic() + CATCH_UP_S
        while self._counters.cursor < cursor and time.monotonic() < until:
            self._catch_up()
            await asyncio.sleep(CATCH_UP_LOOK_S)
        protocol = self._serve()
        served = cast("Served", protocol)
        self._connections.expect(served)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, connection)
        except OSError:  # its client is gone
            self._connections.remove(served)
            connection.close()
            return
        served.deadline, served.life_end = max(served.deadline, deadline), life_end


def _wrap(descriptor: int) -> socket.socket | None:
    if descriptor < 0:
        return None
    wrapped = socket.socket(fileno=descriptor)
    wrapped.settimeout(0)  # send_fds and recv_fds of the standard library heed no flags
    return wrapped


def _read_share(page: mmap.mmap) -> Share:
    found = read_page(page)
    is_heard = time.monotonic() * 1_000 - found["pulse_ms"] < SILENT_MS
    return Share(bool(found["ready"]) and is_heard, found["connections"])
