"""The bench's own client, against a server that misbehaves to order."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from loadtest.client import Connection, ask_all, ask_one, read_length
from loadtest.errors import MeasureError

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serve(talk: Talk) -> AsyncIterator[int]:
    """A server of one conversation a connection; its port."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        finally:
            writer.close()

    async with await asyncio.start_server(handle, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each four bytes with themselves, byte by byte."""
    while data := await reader.read(4):
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n" + data:
            writer.write(bytes([byte]))
            await writer.drain()


async def test_answers_come_in_the_order_of_the_requests() -> None:
    """Answers that arrive byte by byte, over several connections, stand beside their requests."""
    requests = [b"%04d" % number for number in range(50)]
    async with serve(echo) as port:
        answers = await ask_all(port, requests, connections=7)
    assert [answer.body for answer in answers] == requests
    assert {answer.status for answer in answers} == {200}
    assert all(answer.asked_at <= answer.answered_at for answer in answers)


async def test_a_connection_is_kept() -> None:
    """Two questions go over one connection."""
    async with serve(echo) as port, await Connection.open(port) as connection:
        assert [(await connection.ask(text)).body for text in (b"aaaa", b"bbbb")] == [b"aaaa", b"bbbb"]


async def test_a_connection_that_ends_gives_no_answer() -> None:
    """Half an answer is none."""

    async def break_off(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(4)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")

    async with serve(break_off) as port:
        with pytest.raises(MeasureError, match=r"expected an answer, got none \(IncompleteReadError\)"):
            await ask_one(port, b"what")


async def test_silence_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that says nothing is given up."""

    async def say_nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    monkeypatch.setattr("loadtest.client.ANSWER_TIMEOUT_S", 0.01)
    async with serve(say_nothing) as port:
        with pytest.raises(MeasureError, match=r"expected an answer, got none \(TimeoutError\)"):
            await ask_one(port, b"what")


def test_a_head_without_length_is_refused() -> None:
    """The client reads by length alone."""
    assert read_length(b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 12\r\n\r\n") == 12
    with pytest.raises(MeasureError, match=r"expected a Content-Length, got b'HTTP/1.1 200 OK"):
        read_length(b"HTTP/1.1 200 OK\r\n\r\n")
