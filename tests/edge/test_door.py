"""Tests of edge/door.py: two workers' doors in one process, with real sockets and pages."""

import asyncio
import mmap
import os
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from edge import door
from edge.connection import Connections
from edge.door import Doors, Place, Slot
from edge.listener import OwnSlot, bind
from edge.metrics import PAGE_BYTES, Counters, read_page
from tests.edge.press import eventually


class Echo(asyncio.Protocol):
    """A connection that says who serves it, and may move unless something has begun on it."""

    def __init__(self, worker: "House") -> None:
        self.worker = worker
        self.deadline = self.life_end = 0.0
        self.is_busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.worker.served.append(self)
        self.worker.connections.add(self, transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        self.worker.connections.remove(self)

    def data_received(self, data: bytes) -> None:
        self.is_busy = data == b"wait"
        self.transport.write(b"%d:" % self.worker.own + data)

    def expire(self) -> None:
        self.transport.abort()

    def retire(self) -> None:
        self.is_busy = True

    def end_idle(self) -> None:
        self.transport.close()

    def find_descriptor(self) -> int:
        return -1 if self.is_busy else int(self.transport.get_extra_info("socket").fileno())


class House:
    """What one worker has: its doors, connections and counters."""

    def __init__(self, own: int, slots: list[OwnSlot], pages: list[mmap.mmap]) -> None:
        self.own = own
        self.counters = Counters()
        self.connections = Connections(1_000)
        self.served: list[Echo] = []
        self.asked_to_catch_up = 0
        given = [Slot(*map(os.dup, slot.descriptors)) for slot in slots]
        self.place = Place(own, given, pages)
        self.doors = Doors(self.place, self.counters, self.connections, lambda: Echo(self), self.catch_up)
        self.task: asyncio.Task[None] | None = None

    def catch_up(self) -> None:
        self.asked_to_catch_up += 1
        self.counters.cursor += 1

    async def open(self) -> None:
        """Begins to serve."""
        await self.doors.look()
        self.counters.ready = 1
        self.doors._show()
        self.task = asyncio.create_task(self.doors.keep())

    async def close(self) -> None:
        """Ends, as a process would."""
        if self.task is not None:
            self.task.cancel()
            with suppress(asyncio.CancelledError):
                await self.task
        self.doors.close()
        for served in list(self.connections._open):
            assert isinstance(served, Echo)
            served.transport.abort()
        await asyncio.sleep(0.02)
        for each in (*self.doors._givers, *self.doors._takers):
            assert each is not None
            each.close()
        for slot in self.place.slots:
            os.close(slot.listener)


class Street:
    """A host of so many workers, which all run here."""

    def __init__(self, count: int) -> None:
        listeners = bind("127.0.0.1", 0, count)
        self.slots = [OwnSlot.make(listener) for listener in listeners]
        self.pages = [mmap.mmap(-1, PAGE_BYTES) for _ in range(count)]
        self.houses = [House(own, self.slots, self.pages) for own in range(count)]
        self.clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def connect(self, count: int) -> None:
        """So many clients connect."""
        for _ in range(count):
            self.clients.append(await asyncio.open_connection(*self.slots[0].listener.getsockname()))

    async def connect_to(self, house: House) -> int:
        """Clients connect until one has come to this worker; returns that one. All workers' slots have to be open."""
        while True:
            await self.connect(1)
            client = len(self.clients) - 1
            if await self.ask(client) == house.own:
                return client

    async def ask(self, client: int, question: bytes = b"x") -> int:
        """One client asks; returns the number of the worker that answers."""
        reader, writer = self.clients[client]
        writer.write(question)
        worker, _, answer = (await asyncio.wait_for(reader.read(100), 30)).partition(b":")
        assert answer == question
        return int(worker)

    def count(self) -> list[int]:
        """How many connections each worker has."""
        return [len(house.connections) for house in self.houses]

    async def close(self) -> None:
        """Ends everything."""
        for house in self.houses:
            await house.close()
        for _, writer in self.clients:
            writer.close()
        for slot in self.slots:
            slot.close()


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    """A host of two workers, neither of which serves yet."""
    street = Street(2)
    yield street
    await street.close()


async def test_worker_helps_until_the_other_serves(street: Street) -> None:
    """The sockets of a worker that does not serve are served by another, and left to it as soon as it does."""
    first, second = street.houses
    await first.open()
    await eventually(lambda: first.doors._open.keys() == {0, 1})
    await street.connect(20)
    assert {await street.ask(client) for client in range(20)} == {0}
    await second.open()
    await eventually(lambda: first.doors._open.keys() == {0})
    await eventually(lambda: second.doors._open.keys() == {1})
    await eventually(lambda: street.count() == [10, 10])  # they are shared, and none of them was cut
    assert {await street.ask(client) for client in range(20)} == {0, 1}
    await eventually(lambda: read_page(street.pages[0])["moved"] == 10)


async def test_nudged_worker_helps_at_once(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that has ended is helped without waiting for the next look."""
    monkeypatch.setattr(door, "PULSE_S", 600.0)
    first, second = street.houses
    await second.open()
    await first.open()
    street.pages[1][:] = bytes(PAGE_BYTES)
    first.doors.nudge()
    await eventually(lambda: first.doors._open.keys() == {0, 1})


async def test_worker_without_descriptors_lives_on(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no descriptor is to be had a worker helps nobody, serves those that it has, and helps later."""
    (first, _) = street.houses
    asked: list[int] = []

    def refuse(descriptor: int) -> int:
        asked.append(descriptor)
        raise OSError(24, "Too many open files")

    await first.doors.look()
    with monkeypatch.context() as patch:
        patch.setattr(os, "dup", refuse)
        await first.open()
        await eventually(lambda: len(asked) > 1)
    await eventually(lambda: first.doors._open.keys() == {0, 1})


async def test_silent_worker_is_helped(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose page says that it serves, but stands still, is helped before anybody has killed it."""
    monkeypatch.setattr(door, "SILENT_MS", 300)
    first, second = street.houses
    await first.open()
    await second.open()
    await eventually(lambda: first.doors._open.keys() == {0})
    assert second.task is not None
    second.task.cancel()
    await eventually(lambda: first.doors._open.keys() == {0, 1})
    assert second.doors._open.keys() == {1}


async def test_hand_over(street: Street) -> None:
    """A worker that leaves gives all it has to the other, between two requests; who is busy waits for the answer."""
    first, second = street.houses
    await first.open()
    await street.connect(8)
    for client in range(7):
        await street.ask(client)
    await street.ask(7, b"wait")
    busy = next(served for served in first.served if served.is_busy)
    await second.doors.look()
    assert first.task is not None
    first.task.cancel()
    leaving = asyncio.create_task(first.doors.hand_over(time.monotonic() + 30))
    second.counters.ready = 1
    second.doors._show()
    street.pages[0][:] = bytes(PAGE_BYTES)
    second.task = asyncio.create_task(second.doors.keep())
    await eventually(lambda: street.count() == [1, 7])
    assert [await street.ask(client) for client in range(7)] == [1] * 7
    assert not leaving.done()
    busy.is_busy = False
    await asyncio.wait_for(leaving, 30)
    assert await street.ask(7) == 1
    assert first.doors._open == {}
    assert first.counters.moved == 8


async def test_hand_over_has_an_end(street: Street) -> None:
    """What cannot be given is left at the end, to whoever ends it."""
    (first, _) = street.houses
    await first.open()
    await street.connect(1)
    await street.ask(0, b"wait")
    assert first.task is not None
    first.task.cancel()
    await first.doors.hand_over(time.monotonic())
    assert len(first.connections) == 1
    assert first.connections.is_draining


async def test_deadline_and_life_move_along(street: Street) -> None:
    """A connection that moves gets no new life by it, and is given the time that it had."""
    first, second = street.houses
    await first.doors.look()
    await second.doors.look()
    await street.connect_to(first)
    (served,) = first.served
    served.deadline = time.monotonic() + 500
    served.life_end = 77.0
    first.doors._give([1], 1)
    await eventually(lambda: 77.0 in [each.life_end for each in second.served])
    assert second.served[-1].deadline == served.deadline


async def test_no_answer_is_older_than_the_last(street: Street) -> None:
    """A worker that is behind the one that gives it a connection catches up before it serves it."""
    first, second = street.houses
    await first.doors.look()
    await second.doors.look()
    client = await street.connect_to(first)
    first.counters.cursor, second.counters.cursor = 10, 7
    first.doors._give([1], 1)
    assert await street.ask(client) == 1
    assert (second.asked_to_catch_up, second.counters.cursor) == (3, 10)


async def test_catching_up_is_not_for_ever(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge.db that begins anew has lower rows: the connection is served all the same."""
    monkeypatch.setattr(door, "CATCH_UP_S", 0.02)
    first, second = street.houses
    await first.doors.look()
    await second.doors.look()
    client = await street.connect_to(first)
    first.counters.cursor = 1 << 40
    first.doors._give([1], 1)
    assert await street.ask(client) == 1


async def test_full_slot_takes_no_more(street: Street) -> None:
    """Where nobody takes what is given, the rest stays where it is, and is served."""
    first, second = street.houses
    await first.doors.look()
    await second.doors.look()
    client = await street.connect_to(first)
    second.doors.close()
    giver = first.doors._givers[1]
    assert giver is not None
    with suppress(BlockingIOError):
        while True:
            socket.send_fds(giver, [b"x"], [giver.fileno()])
    first.doors._give([1], 1)
    assert await street.ask(client) == 0
    assert len(first.connections) == 1
    assert first.counters.moved == 0


@pytest.mark.parametrize("fields", [b"", b"x", struct.pack("<BddQ", 9, 0, 0, 0)], ids=["none", "short", "another form"])
async def test_fields_of_another_form(street: Street, fields: bytes) -> None:
    """What another code has given with a connection cannot be read: the connection ends, and nothing else does."""
    (first, _) = street.houses
    await first.open()
    ours, theirs = socket.socketpair()
    socket.send_fds(street.slots[0].giving, [fields or b"\0"], [theirs.fileno()])
    theirs.close()
    loop = asyncio.get_running_loop()
    ours.settimeout(0)
    assert await asyncio.wait_for(loop.sock_recv(ours, 1), 30) == b""
    ours.close()
    await street.connect(1)
    assert await street.ask(0) == 0


async def test_connection_that_is_gone_when_it_arrives(street: Street, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that has gone meanwhile is no error."""
    (first, _) = street.houses

    async def refuse(*_: object) -> Any:
        raise ConnectionResetError

    with monkeypatch.context() as patch:
        patch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", refuse, raising=False)
        ours, theirs = socket.socketpair()
        await first.doors._arrive(door._FIELDS.pack(1, 0.0, 0.0, 0), theirs)
        assert ours.recv(1) == b""
        ours.close()
    assert first.served == []


async def test_worker_that_is_alone() -> None:
    """A worker without others serves its socket, and has nobody to give to."""
    (listener,) = bind("127.0.0.1", 0, 1)
    page = mmap.mmap(-1, PAGE_BYTES)
    place = Place.alone(listener.fileno(), page)
    doors = Doors(place, Counters(), Connections(9), asyncio.Protocol, lambda: None)
    await doors.look()
    _, writer = await asyncio.open_connection(*listener.getsockname())
    writer.close()
    doors.close()
    listener.close()
