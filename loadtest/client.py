"""A device over a real socket: one question at a time on a kept-alive connection, the answer read by its length."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from loadtest.errors import MeasureError

# How long one answer may take, in seconds.
ANSWER_TIMEOUT_S = 10.0
CONNECTIONS = 32
# An answer has a few KiB; a server that sends a larger head is none that the bench started.
MAX_HEAD_BYTES = 16_384


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer, and between which two seconds the server's clock stood when it was made."""

    status: int
    head: bytes
    body: bytes
    asked_at: int
    answered_at: int


class Connection:
    """One connection; made by `Connection.open`, used as an asynchronous context."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> Self:
        """Connects to a port of the loopback interface; raises OSError."""
        return cls(*await asyncio.open_connection("127.0.0.1", port, limit=MAX_HEAD_BYTES))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._writer.close()

    async def ask(self, request: bytes) -> Answer:
        """Returns the answer to a whole HTTP request.

        Raises:
            MeasureError: none came within ANSWER_TIMEOUT_S, or the connection ended.
        """
        asked_at = int(time.time())
        self._writer.write(request)
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                head = await self._reader.readuntil(b"\r\n\r\n")
                body = await self._reader.readexactly(read_length(head))
        except (TimeoutError, asyncio.IncompleteReadError, ConnectionError) as error:
            raise MeasureError(f"expected an answer, got none ({type(error).__name__})") from error
        return Answer(int(head[9:12]), head, body, asked_at, int(time.time()))


def read_length(head: bytes) -> int:
    """Returns the length of the body that follows a head.

    Raises:
        MeasureError: the head does not say.
    """
    for line in head.lower().split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name == b"content-length":
            return int(value)
    raise MeasureError(f"expected a Content-Length, got {head[:200]!r}")


async def ask_one(port: int, request: bytes) -> Answer:
    """Returns the answer to one request on a connection of its own."""
    async with await Connection.open(port) as connection:
        return await connection.ask(request)


async def ask_all(port: int, requests: Sequence[bytes], connections: int = CONNECTIONS) -> list[Answer]:
    """Returns the answers to all requests, in their order, over several connections; raises what `ask` does."""
    answers: list[Answer | None] = [None] * len(requests)

    async def work(first: int) -> None:
        async with await Connection.open(port) as connection:
            for place in range(first, len(requests), connections):
                answers[place] = await connection.ask(requests[place])

    await asyncio.gather(*[work(first) for first in range(min(connections, len(requests)))])
    return [answer for answer in answers if answer is not None]
