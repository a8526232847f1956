"""A device of the soak: one question, one retry at most, and where that goes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.edge.press import eventually
from tests.faults import device
from tests.faults.device import Device, Outcome

REQUEST = b"GET / HTTP/1.1\r\n\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]


def make_answer(body: bytes, *, status: bytes = b"200 OK", is_last: bool = False) -> bytes:
    """An answer as an edge sends it."""
    last = b"Connection: close\r\n" if is_last else b""
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, last, len(body), body)


class Street:
    """Two hosts; each does what it was told to, and counts its connections."""

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.connections = [0, 0]
        self.answers: list[list[bytes | None]] = [[], []]
        self._servers: list[asyncio.Server] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def open(self) -> None:
        """Both listen."""
        for host in range(2):
            server = await asyncio.start_server(self._make_serve(host), "127.0.0.1", 0)
            self._servers.append(server)
            self.addresses.append(server.sockets[0].getsockname())

    def _make_serve(self, host: int) -> Serve:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self.connections[host] += 1
            self._writers.append(writer)
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                while True:
                    await reader.readuntil(b"\r\n\r\n")
                    answer = self.answers[host].pop(0) if self.answers[host] else make_answer(b"%d" % host)
                    if answer is None:
                        await reader.read()  # silence, until the device has had enough
                    elif not answer:
                        break
                    writer.write(answer)
            writer.close()

        return serve

    async def kill(self, host: int) -> None:
        """One host refuses connections from now on."""
        self._servers[host].close()
        await self._servers[host].wait_closed()

    def end_all(self) -> None:
        """Every connection ends."""
        for writer in self._writers:
            writer.close()

    async def close(self) -> None:
        """Both end."""
        for server in self._servers:
            server.close()
        self.end_all()
        await asyncio.sleep(0)


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    """Two hosts that answer with their number."""
    street = Street()
    await street.open()
    yield street
    await street.close()


@pytest.fixture
def outcome() -> Outcome:
    """Nothing has been asked yet."""
    return Outcome()


async def test_connection_is_kept(street: Street, outcome: Outcome) -> None:
    """A device asks on one connection, until an answer says that it is the last."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    street.answers[0] = [make_answer(b"a"), make_answer(b"b", is_last=True)]
    for expected in (b"a", b"b", b"0"):
        assert await one.ask(REQUEST) == expected
        one.note_revision("main", 1)
    assert street.connections == [2, 0]
    assert (outcome.attempts, outcome.retried, outcome.failures) == (3, 0, [])
    one.close()


async def test_fresh_connection_each_time(street: Street, outcome: Outcome) -> None:
    """A device that keeps none makes a new one for each question."""
    one = Device(street.addresses, 1, outcome, keeps=False)
    for _ in range(2):
        await one.ask(REQUEST)
        one.note_revision("main", 1)
    assert street.connections == [0, 2]


async def test_connection_that_ends_between_questions(street: Street, outcome: Outcome) -> None:
    """A connection that has ended while nobody asked is made anew: no question has failed by it."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    await one.ask(REQUEST)
    street.end_all()
    assert one._line is not None
    await eventually(lambda: one._line is None or one._line.is_over)
    assert await one.ask(REQUEST) == b"0"
    assert (street.connections, outcome.failures) == ([2, 0], [])
    one.close()


async def test_ended_connection_is_retried_elsewhere(street: Street, outcome: Outcome) -> None:
    """A host whose connection ends may be dying: the retry goes to another one, and is one attempt."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    street.answers[0] = [b""]
    assert await one.ask(REQUEST) == b"1"
    assert street.connections == [1, 1]
    assert (outcome.attempts, outcome.retried, outcome.lost) == (1, 1, 0)
    assert [(failure.what, failure.host, failure.is_retry) for failure in outcome.failures] == [("ended", 0, False)]
    one.close()


async def test_silence_is_left(street: Street, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no answer comes in time the retry goes to another host, and the device keeps that connection."""
    monkeypatch.setattr(device, "FIRST_S", 0.1)
    one = Device(street.addresses, 0, outcome, keeps=True)
    street.answers[0] = [None]
    assert await one.ask(REQUEST) == b"1"
    monkeypatch.setattr(device, "FIRST_S", 20.0)
    assert await one.ask(REQUEST) == b"1"
    assert street.connections == [1, 1]
    assert [failure.what for failure in outcome.failures] == ["silent"]
    one.close()


async def test_device_comes_home(street: Street, outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection is kept for some time; the next one begins with the device's own host again."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    street.answers[0] = [b""]
    monkeypatch.setattr(device, "KEPT_S", 1e-9)
    assert await one.ask(REQUEST) == b"1"
    one.note_revision("main", 1)
    assert await one.ask(REQUEST) == b"0"
    one.close()


async def test_dead_host_costs_no_attempt(street: Street, outcome: Outcome) -> None:
    """A connection that is refused is made to the next address at once; it is counted by itself."""
    await street.kill(0)
    one = Device(street.addresses, 0, outcome, keeps=False)
    assert await one.ask(REQUEST) == b"1"
    assert (outcome.retried, outcome.failures) == (0, [])
    assert [(one.what, one.host) for one in outcome.refusals] == [("ConnectionRefusedError", 0)]


async def test_nobody_is_there(street: Street, outcome: Outcome) -> None:
    """Where both tries fail the question is lost; what happened is told of both."""
    for host in range(2):
        await street.kill(host)
    one = Device(street.addresses, 0, outcome, keeps=True)
    assert await one.ask(REQUEST) is None
    assert (outcome.attempts, outcome.lost, len(outcome.misses)) == (1, 1, 1)
    assert [(failure.what, failure.is_retry) for failure in outcome.failures] == [("refused", False), ("refused", True)]


async def test_other_status_is_no_answer(street: Street, outcome: Outcome) -> None:
    """What is not 200 is a failure with its status, and asked again."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    street.answers[0] = [make_answer(b"", status=b"503 Service Unavailable")]
    assert await one.ask(REQUEST) == b"1"
    assert [failure.what for failure in outcome.failures] == ["503"]
    one.close()


async def test_older_answer_is_counted(street: Street, outcome: Outcome) -> None:
    """On one connection revisions do not fall, by workspace; on another one they may."""
    one = Device(street.addresses, 0, outcome, keeps=True)
    for workspace, revision in (("main", 5), ("hand", 2), ("main", 5), ("main", 4)):
        await one.ask(REQUEST)
        one.note_revision(workspace, revision)
    assert outcome.older == 1
    one.close()
    await one.ask(REQUEST)
    one.note_revision("main", 1)
    assert outcome.older == 1
    one.close()


def test_late_answer_is_counted(outcome: Outcome) -> None:
    """What took more than a second is late; the second that it ended in has its longest time."""
    outcome.note(0.2, 0, is_retried=False, is_lost=False)
    outcome.note(1.2, 0, is_retried=True, is_lost=False)
    assert (outcome.attempts, outcome.retried, outcome.late, outcome.lost) == (2, 1, 1, 0)
    assert outcome.slowest_ms == 1_200
    assert sum(second[0] for second in outcome.seconds.values()) == 2
    assert max(second[2] for second in outcome.seconds.values()) == 1_200
