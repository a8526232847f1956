"""A light, steady stream of ordinary checks, in a process of its own: how long each took, by the machine's clock.

    python -m loadtest.stream PORT < REQUEST

It asks until it gets SIGTERM, and then writes when each check was due and how many milliseconds later its answer came.
"""

import os
import signal
import socket
import sys
import time
from contextlib import suppress
from types import FrameType

import orjson

from loadtest.client import read_length

# Between two checks, in seconds: far from anything that would keep a worker busy.
EVERY_S = 0.002
BLANK_LINE = b"\r\n\r\n"
READ_BYTES = 1 << 16
MILLI = 1_000
_is_over = False


def ask_on(port: int, request: bytes) -> list[tuple[float, float]]:
    """Asks over one connection until the process is to end; returns each check's due time and its milliseconds."""
    took = []
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        due = time.monotonic()
        while not _is_over:
            connection.sendall(request)
            _read(connection)
            now = time.monotonic()
            took.append((due, (now - due) * MILLI))
            # Each is due EVERY_S behind the one before, or when that was answered; a late alarm is not the server's.
            time.sleep(max(due + EVERY_S - now, 0.0))
            due = time.monotonic()
    return took


def _read(connection: socket.socket) -> None:
    held = b""
    while (end := held.find(BLANK_LINE)) < 0 or len(held) < end + len(BLANK_LINE) + read_length(held[:end]):
        data = connection.recv(READ_BYTES)
        if not data:
            sys.exit("expected an answer, got the connection's end")
        held += data


def _end(_number: int, _frame: FrameType | None) -> None:
    global _is_over  # noqa: PLW0603 - what a signal can reach
    _is_over = True


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end)
    with suppress(PermissionError):  # else it waits for the devices' own process, and that is measured, too
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    sys.stdout.buffer.write(orjson.dumps(ask_on(int(sys.argv[1]), sys.stdin.buffer.read())))
