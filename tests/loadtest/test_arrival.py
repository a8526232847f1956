"""Tests of loadtest/arrival.py."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadtest.arrival import Arrivals, Fate, Kind
from loadtest.errors import MeasureError

BUSY = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 2\r\n\r\n{}"
GOOD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@contextmanager
def serve(answer: Callable[[socket.socket, bytes], None]) -> Iterator[int]:
    """A server of one connection that does this with each request; its port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                while data := connection.recv(100):
                    answer(connection, data)

        thread = threading.Thread(target=run)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_what_becomes_of_requests() -> None:
    """Each kind has its own fate: what came in pieces is one answer, and only a 200 has a time."""

    def answer(connection: socket.socket, data: bytes) -> None:
        said = GOOD if data == b"a" else BUSY
        connection.sendall(said[:20])
        connection.sendall(said[20:])

    kinds = [Kind("good", [b"a"], 0.5), Kind("busy", [b"b"], 0.5)]
    with serve(answer) as port, Arrivals(port, 1) as arrivals:
        fates = arrivals.run(kinds, 1_000, 0.2)
        assert 0 < arrivals.load <= 1
    good, busy = fates["good"], fates["busy"]
    assert good.arrived > 50 < busy.arrived
    assert good.statuses[200] + good.turned_away == good.arrived
    assert busy.statuses[503] + busy.turned_away == busy.arrived
    assert (len(good.times_us), good.statuses[503], busy.times_us) == (good.statuses[200], 0, [])
    assert good.answered == good.statuses[200] / good.arrived > 0 == busy.answered


def test_no_connection_is_free() -> None:
    """While the only connection waits for its answer, what arrives is turned away, and counts as not answered."""
    kinds = [Kind("one", [b"a"], 1.0)]
    ended = threading.Event()

    def answer(connection: socket.socket, _: bytes) -> None:
        ended.wait(30)
        connection.sendall(GOOD)

    with serve(answer) as port, Arrivals(port, 1) as arrivals:
        send, sent = arrivals._send, []

        def note(name: str, request: bytes, due: float) -> None:
            sent.append(due)
            if len(sent) == 50:
                ended.set()
            send(name, request, due)

        arrivals._send = note
        fate = arrivals.run(kinds, 1_000, 0.2)["one"]
    assert fate.turned_away >= 49
    assert fate.answered <= (fate.arrived - 49) / fate.arrived


def test_connection_that_ends() -> None:
    """A server that hangs up has no rate."""
    with (
        serve(lambda connection, _: connection.shutdown(socket.SHUT_WR)) as port,
        Arrivals(port, 1) as arrivals,
        pytest.raises(MeasureError, match="expected an answer, got the connection's end"),
    ):
        arrivals.run([Kind("one", [b"a"], 1.0)], 1_000, 0.05)


def test_99th_percentile() -> None:
    """It is the smallest time that 99 of 100 do not exceed."""
    assert Fate(times_us=[1_000.0 * number for number in range(1, 201)]).find_p99_ms() == 198
    assert Fate(times_us=[5_000.0]).find_p99_ms() == 5
    assert Fate().find_p99_ms() == 0
