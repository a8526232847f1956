"""A writer without HTTP and without a watcher, over a real Redis, and what an edge reads of what it publishes."""

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import orjson

from channel import DOCUMENT_TYPE, DocumentName, Position, Sender, connect, open_envelope
from publisher.precondition import Precondition
from publisher.proposal import Wish
from publisher.store import Store
from publisher.writer import Writer

NOW = 1_800_000_000


class Desk:
    """A writer without HTTP and without a watcher, so that a test says when it settles."""

    def __init__(self, writer: Writer, store: Store, sender: Sender, workshop: Any) -> None:
        self.writer, self.store, self.sender, self._workshop = writer, store, sender, workshop

    async def put(self, name: DocumentName, poll_after: int, match: str = "*", now: int = NOW) -> tuple[int, bool]:
        """Publishes a document: its revision, and whether it is distributed."""
        body = orjson.dumps(self._workshop.document(program=name.id, poll_after=poll_after))
        existing = Precondition(match=frozenset({match})) if match else Precondition(none_match=frozenset({"*"}))
        outcome = await self.writer.put(Wish(name, body, existing), now)
        return outcome.position.revision, outcome.is_distributed

    async def create(self, name: DocumentName, poll_after: int = 1) -> tuple[int, bool]:
        """Publishes a document that must not exist."""
        return await self.put(name, poll_after, match="")


@contextlib.asynccontextmanager
async def open_desk(workshop: Any, redis: str, name: str = "desk") -> AsyncIterator[Desk]:
    """A writer with a store of this name."""
    client = connect(redis, 0.5)
    feed, sender = workshop.feed(redis), Sender(client, "demo")
    with Store(workshop.folder / name, "demo") as store:
        chain = workshop.chain(store.read_roots())
        store.follow(chain.documents, chain.root.epoch)
        desk = Desk(Writer(store, chain, workshop.signer(), sender, feed), store, sender, workshop)
        try:
            yield desk
        finally:
            desk.writer.close()
            await feed.close()
            await client.aclose()


async def read_published(feed: Any, workshop: Any) -> dict[str, tuple[int, int]]:
    """What an edge would have: each program's revision and poll_after, everything verified."""
    head = await feed.read_head()
    index = await feed.index()
    assert head.documents == len(index)
    assert head.position >= max(index.values(), default=head.position)
    published = {}
    for name, envelope in zip(index, await feed.fetch(list(index)), strict=True):
        document = orjson.loads(open_envelope(envelope, workshop.root.keys("channel"), DOCUMENT_TYPE))
        assert Position(document["epoch"], document["revision"]) == index[name]
        published[document["program"]] = (document["revision"], document.get("poll_after", 1_800))
    return published
