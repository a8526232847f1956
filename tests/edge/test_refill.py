"""What a host has kept, put back into an emptied Redis: others believe it, and nothing newer is lost by it."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from channel import Feed, LinkAwayError, Position, connect
from cli.embedded import PrivateRedis
from edge.cache import FILE_NAME, Cache
from edge.chain import Chain
from edge.errors import CacheError, RefillError
from edge.refill import Stock, refill, take_stock
from edge.syncer import WorkspaceSync
from tests.edge.press import (
    NEXT_KEYS,
    PINNED,
    ROOT,
    WORKSPACE,
    make_library,
    make_successor,
    sign_head,
)
from tests.edge.source import FAR, NAME, Source
from trust import PrivateKey

OTHER = "2021000000000002"


@pytest.fixture
async def source(redis_server: PrivateRedis) -> AsyncIterator[Source]:
    """An empty Redis."""
    client = connect(redis_server.url, 5)
    yield Source(client)
    await client.aclose()


async def look(redis: PrivateRedis, folder: Path, pinned: Chain = PINNED) -> WorkspaceSync:
    """Has a host with this folder look at Redis once; returns its syncer, closed."""
    cache = Cache(folder)
    feed = Feed(redis.url, WORKSPACE, pinned.root.keys("channel"))
    sync = WorkspaceSync(WORKSPACE, pinned, feed, cache, make_library(folder), lambda: None)
    await sync.look()
    await feed.close()
    cache.close()
    return sync


@pytest.fixture
async def stock(source: Source, redis_server: PrivateRedis, tmp_path: Path) -> Stock:
    """What a host has that has followed two programs and a new root; Redis is empty since."""
    await source.publish("1.0.0.0")
    await source.publish("1.0.0.0", OTHER)
    await look(redis_server, tmp_path / "a")
    await source.put_root(4, make_successor(epoch=2))
    source.key, source.epoch = NEXT_KEYS["channel"], 2
    await source.publish("2.0.0.0")
    await source.publish("2.0.0.0", OTHER)
    assert (await look(redis_server, tmp_path / "a")).state.problem == ""
    await source.client.flushall()
    return take_stock(tmp_path / "a", PINNED)


async def test_another_host_believes_what_is_put_back(stock: Stock, redis_server: PrivateRedis, tmp_path: Path) -> None:
    """A new host, with the pinned root alone, follows a Redis that was refilled, and has all of it."""
    done = await refill(stock, redis_server.url, 5)
    assert (done.found, done.is_ahead, list(done.strangers), list(stock.left)) == (None, False, [], [])
    sync = await look(redis_server, tmp_path / "b")
    assert (sync.state.problem, sync.state.position, sync.state.root.number) == ("", Position(2, 4), 4)
    found = take_stock(tmp_path / "b", PINNED)
    assert (found.signed, set(found.documents)) == (stock.signed, set(stock.documents))


async def test_what_is_newer_in_redis_stays(stock: Stock, source: Source, redis_server: PrivateRedis) -> None:
    """A Redis that is further than the host loses nothing."""
    last = Position(2, 9)
    fields = {"epoch": 2, "revision": 9, "signed": sign_head(last, 2, FAR, NEXT_KEYS["channel"])}
    await source.client.hset(source.keys.head, mapping=fields)
    await source.client.hset(source.keys.index, str(NAME), "2-9")
    before = await source.client.dump(source.keys.head), await source.client.hgetall(source.keys.index)
    done = await refill(stock, redis_server.url, 5)
    assert (done.found, done.is_ahead) == (last, True)
    assert before == (await source.client.dump(source.keys.head), await source.client.hgetall(source.keys.index))


async def test_head_that_was_signed_later_stays(stock: Stock, source: Source, redis_server: PrivateRedis) -> None:
    """Documents that are missing come back; the head of their position, which a publisher has signed anew, stays."""
    signed = sign_head(stock.head.position, 2, FAR + 7_200, NEXT_KEYS["channel"])
    fields = {"epoch": 2, "revision": 4, "signed": signed}
    await source.client.hset(source.keys.head, mapping=fields)
    await refill(stock, redis_server.url, 5)
    assert await source.client.hget(source.keys.head, "signed") == signed
    assert await source.client.hlen(source.keys.index) == 2


async def test_strangers_in_redis_are_told(stock: Stock, source: Source, redis_server: PrivateRedis) -> None:
    """Another root in its place is told, and stays; a head that nobody believes ends it before anything is done."""
    await source.put_root(4, b"another")
    assert list((await refill(stock, redis_server.url, 5)).strangers) == [4]
    await source.client.flushall()
    forged = sign_head(Position(2, 9), 2, FAR, PrivateKey.generate())
    await source.client.hset(source.keys.head, mapping={"epoch": 2, "revision": 9, "signed": forged})
    with pytest.raises(RefillError, match=r"^redis has a head that is not to be believed, delete it first: "):
        await refill(stock, redis_server.url, 5)
    assert await source.client.keys() == [source.keys.head.encode()]
    redis_server.kill()
    with pytest.raises(LinkAwayError):
        await refill(stock, redis_server.url, 0.5)


async def test_head_is_kept_when_it_is_signed_anew(source: Source, redis_server: PrivateRedis, tmp_path: Path) -> None:
    """A host keeps the newest head of where it is, also one that brings no document, and wakes nobody for it."""
    position = await source.publish()
    cache, woken = Cache(tmp_path), []
    feed = Feed(redis_server.url, WORKSPACE, ROOT.keys("channel"))
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(tmp_path), lambda: woken.append(True))
    await sync.look()
    first, woken_before = cache.read_head(WORKSPACE), len(woken)
    await source.set_head(position, 1, FAR + 3_600)
    await sync.look()
    assert first != cache.read_head(WORKSPACE) == sign_head(position, 1, FAR + 3_600)
    assert len(woken) == woken_before
    await source.set_head(Position(1, 0), 1, FAR + 7_200)
    await sync.look()
    assert cache.read_head(WORKSPACE) == sign_head(position, 1, FAR + 3_600)
    await feed.close()
    cache.close()


def test_file_without_a_head_is_refused(cache: Cache, tmp_path: Path) -> None:
    """A host that has followed nobody, or an edge that kept no heads, has nothing to give."""
    with pytest.raises(
        RefillError, match=r"has no head of workspace 'demo' that can be believed: expected a signature"
    ):
        take_stock(tmp_path, PINNED)
    with sqlite3.connect(cache.path) as db:
        db.execute("DROP TABLE head")
    db.close()
    with pytest.raises(RefillError, match="has no head"):
        take_stock(tmp_path, PINNED)


def test_head_of_a_later_epoch_is_refused(cache: Cache, tmp_path: Path) -> None:
    """A head that the host's root does not cover is not put anywhere."""
    cache.write_head(WORKSPACE, sign_head(Position(2, 1), 0))
    with pytest.raises(RefillError, match="an epoch of at most 1"):
        take_stock(tmp_path, PINNED)


async def test_file_with_gaps_is_refused(source: Source, redis_server: PrivateRedis, tmp_path: Path) -> None:
    """Edges would refuse an index with fewer documents than the head counts: so it is not put there at all."""
    await source.publish()
    await source.publish("1.0.0.0", OTHER)
    await look(redis_server, tmp_path)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE document SET envelope = x'00' WHERE id = ?", (OTHER,))
    db.close()
    with pytest.raises(RefillError) as caught:
        take_stock(tmp_path, PINNED)
    wanted = "expected the 2 documents that the head at 1-2 counts, got 1: take another host's folder"
    assert str(caught.value) == wanted


def test_folder_without_a_file(tmp_path: Path) -> None:
    """A folder that is no edge's is told."""
    with pytest.raises(CacheError, match="cannot be used"):
        take_stock(tmp_path, PINNED)
