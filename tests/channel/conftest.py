"""What the channel's tests share: keys of one workspace, and both sides of a real Redis."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from redis.asyncio import Redis

from channel import (
    DOCUMENT_TYPE,
    DocumentName,
    Feed,
    Position,
    SealedDocument,
    Sender,
    connect,
    encode_head,
    make_head,
    seal,
)
from cli.embedded import PrivateRedis
from trust import PrivateKey

WORKSPACE = "demo"


@pytest.fixture(scope="session")
def key() -> PrivateKey:
    """The workspace's channel key."""
    return PrivateKey.generate()


@pytest.fixture
async def client(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of the real Redis, for looking and for breaking things."""
    client = connect(redis_server.url, 5)
    yield client
    await client.aclose()


@pytest.fixture
def sender(client: Redis) -> Sender:
    """The publisher's side."""
    return Sender(client, WORKSPACE)


@pytest.fixture
async def feed(redis_server: PrivateRedis, key: PrivateKey) -> AsyncIterator[Feed]:
    """The reader's side."""
    feed = Feed(redis_server.url, WORKSPACE, {key.kid: key.public})
    yield feed
    await feed.close()


@pytest.fixture
def seal_document(key: PrivateKey) -> Callable[[str, Position], SealedDocument]:
    """Makes a sealed document of an id at a position."""

    def make(id_: str, position: Position) -> SealedDocument:
        payload = f'{{"program":"{id_}","at":"{position}"}}'.encode()
        return SealedDocument(DocumentName("program", id_), position, seal(payload, key, DOCUMENT_TYPE))

    return make


@pytest.fixture
def sign_head(key: PrivateKey) -> Callable[[Position], bytes]:
    """Makes a signed head at a position."""
    return lambda position: encode_head(make_head(WORKSPACE, position, documents=1, now=1_000), key)


@pytest.fixture
def publish(
    sender: Sender,
    seal_document: Callable[[str, Position], SealedDocument],
    sign_head: Callable[[Position], bytes],
) -> Callable[..., object]:
    """Publishes a document of an id at a position, after the one before it."""

    async def run(id_: str, position: Position, expected: Position | None = None) -> object:
        before = expected if expected is not None else Position(position.epoch, position.revision - 1)
        return await sender.publish(seal_document(id_, position), sign_head(position), before)

    return run


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Waits until something becomes true; a test that waits in vain fails instead of hanging."""

    async def wait(is_true: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while not await is_true():  # noqa: ASYNC110, what is waited for happens in another process
                await asyncio.sleep(0.01)

    return wait
