"""Answers without an end: whoever stands in Redis' place fills nobody's memory either. Real ones are in test_feed."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
from redis.asyncio import Redis

from channel import OversizedError, connect
from channel.link import reach
from channel.reply import MAX_REPLY_BYTES

Answering = Callable[[bytes], AbstractAsyncContextManager[Redis]]


@pytest.fixture
def answering() -> Answering:
    """A client of a server that answers one question so, and then says nothing more."""

    @asynccontextmanager
    async def serve(answer: bytes) -> AsyncIterator[Redis]:
        release = asyncio.Event()

        async def tell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while (line := await reader.readuntil(b"\r\n")) != b"QUESTION\r\n":
                if line == b"CLIENT\r\n":  # redis-py introduces itself
                    writer.write(b"+OK\r\n")
            writer.write(answer)
            await release.wait()
            writer.close()

        server = await asyncio.start_server(tell, "127.0.0.1", 0)
        client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 5)
        try:
            yield client
        finally:
            await client.aclose()
            release.set()
            server.close()
            await server.wait_closed()

    return serve


@pytest.mark.parametrize(
    "answer",
    [
        b"$%d\r\n" % MAX_REPLY_BYTES,
        b"*1000000000\r\n" + b":1\r\n" * (MAX_REPLY_BYTES // 4),
        b"*2\r\n$%d\r\n" % (MAX_REPLY_BYTES // 2) + b"x" * (MAX_REPLY_BYTES // 2) + b"\r\n$%d\r\n" % MAX_REPLY_BYTES,
    ],
)
async def test_more_than_an_answer_is_not_read(answering: Answering, answer: bytes) -> None:
    """A length beyond the limit ends the connection, before what it announces has come."""
    async with answering(answer) as client:
        with pytest.raises(OversizedError) as caught, reach():
            await client.execute_command("QUESTION")
        assert str(caught.value) == f"redis holds too much: expected an answer of at most {MAX_REPLY_BYTES} bytes"


@pytest.mark.parametrize("answer", [b"*1\r\n" * 100_000, b"+" + b"x" * 1_000_000, b"$one\r\n"])
async def test_what_is_no_answer_is_refused(answering: Answering, answer: bytes) -> None:
    """Lists in lists, lines without an end and lengths that are none are refused, and surprise nobody."""
    async with answering(answer) as client:
        with pytest.raises(OversizedError, match=r"^redis holds too much: redis sent what is no answer: "), reach():
            await client.execute_command("QUESTION")


async def test_largest_answer_is_read(answering: Answering) -> None:
    """An answer of just the largest size comes whole, also in pieces."""
    size = MAX_REPLY_BYTES - 12
    async with answering(b"$%d\r\n" % size + b"x" * size + b"\r\n") as client:
        with reach():
            assert await client.execute_command("QUESTION") == b"x" * size
