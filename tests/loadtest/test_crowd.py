"""The crowd: everybody is asked for once, and who has had no answer is counted."""

import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from loadtest.crowd import CONNECTIONS, Crowd
from loadtest.errors import MeasureError

CROWD = Crowd(lambda number: b"GET /%d HTTP/1.1\r\n\r\n" % number, b"yes")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"


@contextmanager
def serve(answer: Callable[[int], bytes]) -> Iterator[int]:
    """A server that answers each number so; an empty answer ends the connection. Returns its port."""

    class Talk(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            while line := self.rfile.readline():
                self.rfile.readline()  # the blank one
                told = answer(int(line.split()[1][1:]))
                if not told:
                    return
                self.wfile.write(told)

    class Server(socketserver.ThreadingTCPServer):
        request_queue_size = 2 * CONNECTIONS

    with Server(("127.0.0.1", 0), Talk) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield int(server.server_address[1])
        server.shutdown()
        thread.join()


def test_everybody_asks_once() -> None:
    """Each number is asked for, over more questions than connections, and who is told is known by number."""
    asked: list[int] = []

    def answer(number: int) -> bytes:
        asked.append(number)
        return OK + (b"yes" if number % 3 == 0 else b"no!")

    count, seen = 5 * CONNECTIONS + 3, []
    with serve(answer) as port:
        tally = CROWD.ask([port], count, seen.append)
    assert sorted(asked) == list(range(count))
    assert tally.told == set(range(0, count, 3))
    assert tally.unanswered == 0
    assert seen == list(range(1, len(tally.told) + 1))


def test_ended_connections_are_counted() -> None:
    """Where a connection ends, those who waited on it are counted, and the others go on."""
    ended = [7]
    with serve(lambda number: b"" if number in ended and ended.pop() else OK + b"yes") as port:
        tally = CROWD.ask([port], 20)
    assert tally.unanswered >= 1
    assert len(tally.told) == 20 - tally.unanswered


def test_other_answers_end_the_measurement() -> None:
    """An answer that is no 200 is no answer to count."""
    with (
        serve(lambda _: b"HTTP/1.1 503 No\r\nContent-Length: 3\r\n\r\nno!") as port,
        pytest.raises(MeasureError, match="expected 200"),
    ):
        CROWD.ask([port], 1)
