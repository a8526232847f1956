"""Tests of edge/syncer.py, with a real Redis."""

import asyncio
import hashlib
import logging
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channel import DocumentName, Feed, Position, connect
from channel.publish import LOG_ENTRIES
from cli.embedded import PrivateRedis
from edge import syncer
from edge.cache import FILE_NAME, Cache, Document, Refusal
from edge.chain import Chain
from edge.errors import CacheDamageError, CacheError
from edge.kind import find_kind
from edge.library import File, Library, Need
from edge.room import Limits
from edge.syncer import WAITING, WorkspaceSync, judge_document
from tests.edge.press import (
    KEYS,
    NEXT_KEYS,
    NOW,
    OTHER_PROGRAM,
    PINNED,
    PROGRAM,
    ROOT,
    ROOT_BYTES,
    WORKSPACE,
    build_file,
    eventually,
    keep_file,
    make_audience,
    make_audience_row,
    make_document,
    make_library,
    make_package,
    make_successor,
    seal_document,
)
from tests.edge.source import Source
from trust import PrivateKey

NAME = DocumentName("program", PROGRAM)
OTHER_NAME = DocumentName("program", OTHER_PROGRAM)
LATER_EPOCH = "expected an epoch of at most 1, as the root has it, got 2-2"
STRANGER = {role: PrivateKey.generate() for role in KEYS}


def judge(envelope: bytes | None, held: Position | None = None) -> Document | Refusal | None:
    """What becomes of an envelope that was asked for as PROGRAM."""
    return judge_document(envelope, WORKSPACE, NAME, ROOT, held)


def test_newer_document_is_taken() -> None:
    """A document that is signed, compiles and is newer than the held one is written as it came."""
    envelope = seal_document(make_document(revision=5))
    assert judge(envelope, Position(1, 4)) == judge(envelope) == Document(NAME, Position(1, 5), envelope)


def test_held_document_is_nothing_new() -> None:
    """The document that this host has is neither written nor refused."""
    assert judge(seal_document(make_document(revision=5)), Position(1, 5)) is None


@pytest.mark.parametrize(
    ("envelope", "held", "position", "reason"),
    [
        (None, Position(1, 2), Position(1, 2), "redis names it and does not have it"),
        (b"junk", None, Position(0, 0), "expected a signature line of at most 1024 bytes, got b'junk'"),
        (seal_document(make_document(), PrivateKey.generate()), None, Position(0, 0), "key"),
        (seal_document(make_document()).replace(b"r1", b"r2"), None, Position(0, 0), "signature"),
        (seal_document([]), None, Position(0, 0), "$: expected `object`, got `array`"),
        (seal_document(make_document(format=2)), None, Position(0, 0), "$.format: invalid enum value 2"),
        (
            seal_document(make_document(workspace="shop")),
            None,
            Position(1, 1),
            f"expected a document of 'demo', '{PROGRAM}', got one of 'shop', '{PROGRAM}'",
        ),
        (
            seal_document(make_document(program=OTHER_PROGRAM)),
            None,
            Position(1, 1),
            f"expected a document of 'demo', '{PROGRAM}', got one of 'demo', '{OTHER_PROGRAM}'",
        ),
        (
            seal_document(make_document(revision=4)),
            Position(1, 5),
            Position(1, 4),
            "redis has it at 1-4, older than 1-5 here",
        ),
        (seal_document(make_document(offers=None)), None, Position(1, 1), "$.offers: expected the publisher's offers"),
        (
            seal_document(make_document(releases=[{"id": "r1", "package": "9.9"}])),
            None,
            Position(1, 1),
            "$.releases[0].package",
        ),
    ],
    ids=[
        "missing",
        "junk",
        "forged",
        "altered",
        "malformed",
        "newer format",
        "another workspace",
        "another program",
        "older",
        "without offers",
        "does not compile",
    ],
)
def test_document_is_refused(envelope: bytes | None, held: Position | None, position: Position, reason: str) -> None:
    """What is not to be believed is refused with its position and a reason for people."""
    refused = judge(envelope, held)
    assert isinstance(refused, Refusal)
    assert (refused.name, refused.position) == (NAME, position)
    assert reason in refused.reason


def test_surprise_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that makes our own code fail is refused like any other: it must not keep out all others."""

    def fail(_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr(syncer, "find_kind", lambda kind: replace(find_kind(kind), judge=fail))
    refused = judge(seal_document(make_document(revision=3)))
    assert refused == Refusal(NAME, Position(1, 3), "it cannot be compiled: KeyError('a defect')")


@pytest.fixture
async def source(redis_server: PrivateRedis) -> AsyncIterator[Source]:
    """An empty Redis."""
    client = connect(redis_server.url, 5)
    yield Source(client)
    await client.aclose()


@pytest.fixture
def woken() -> list[bool]:
    """How often workers were woken."""
    return []


@pytest.fixture
async def feed(redis_server: PrivateRedis) -> AsyncIterator[Feed]:
    """The host's way to Redis."""
    feed = Feed(redis_server.url, WORKSPACE, ROOT.keys("channel"))
    yield feed
    await feed.close()


@pytest.fixture
def sync(feed: Feed, cache: Cache, woken: list[bool]) -> WorkspaceSync:
    """A workspace that is followed, a look at a time."""
    return WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: woken.append(True))


async def test_news_are_taken(source: Source, sync: WorkspaceSync, cache: Cache, woken: list[bool]) -> None:
    """What was published is written with how far it goes, and workers are woken; then there is nothing to do."""
    await source.publish()
    last = await source.publish(program=OTHER_PROGRAM)
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 1), OTHER_NAME: last}
    assert cache.read_progress(WORKSPACE) == sync.state.position == last
    assert (sync.state.problem, str(sync.state.standing)) == ("", "current")
    assert sync.state.looked_at > 0
    assert woken == [True, True]  # for the pinned root and for the news
    await sync.look()
    assert woken == [True, True]


async def test_one_change_costs_one_document(
    source: Source, sync: WorkspaceSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change is followed by the log: no other document is asked for."""
    await source.publish(program=OTHER_PROGRAM)
    await sync.look()
    asked: list[DocumentName] = []
    fetch = sync._feed.fetch

    async def note(names: list[DocumentName]) -> list[bytes | None]:
        asked.extend(names)
        return await fetch(names)

    monkeypatch.setattr(sync._feed, "fetch", note)
    await source.publish("1.0.1.0")
    await source.publish("1.0.2.0")
    await sync.look()
    assert asked == [NAME]


async def test_many_are_taken_in_chunks(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """Of many documents each chunk is written, and the workspace has come to the end with the last one only."""
    seen: list[Position] = []
    sync._wake = lambda: seen.append(cache.read_progress(WORKSPACE))
    for number in range(syncer.CHUNK + 1):
        await source.publish(program=f"{number:016}")
    await sync.look()
    assert seen == [Position(0, 0), Position(0, 0), Position(1, syncer.CHUNK + 1)]
    assert len(cache.read_positions(WORKSPACE)) == syncer.CHUNK + 1


def publish_at_fetches(source: Source, sync: WorkspaceSync, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """With each of the next fetches two documents are published just before, the one that is asked for among them."""
    fetch, left = sync._feed.fetch, list(range(times))

    async def publish_and_fetch(names: list[DocumentName]) -> list[bytes | None]:
        if left:
            left.pop()
            await source.publish(program=OTHER_PROGRAM)
            await source.publish()
        return await fetch(names)

    monkeypatch.setattr(sync._feed, "fetch", publish_and_fetch)


async def test_what_is_published_meanwhile_is_taken_whole(
    source: Source, sync: WorkspaceSync, cache: Cache, woken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A document that was replaced while it was fetched comes with all that was published until then, in one step."""
    await source.publish()
    publish_at_fetches(source, sync, monkeypatch, 2)
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 5), OTHER_NAME: Position(1, 4)}
    assert cache.read_progress(WORKSPACE) == sync.state.position == source.position == Position(1, 5)
    assert (str(sync.state.standing), sync.state.problem) == ("current", "")
    found = await sync._feed.read_signed()
    assert found
    assert cache.read_head(WORKSPACE) == found[1]
    assert woken == [True, True]  # for the pinned root and for the news


async def test_pursuit_has_an_end(
    source: Source, sync: WorkspaceSync, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A publisher who never rests keeps nothing from being written; the rest comes with the next look."""
    await source.publish()
    publish_at_fetches(source, sync, monkeypatch, 2 * syncer.MAX_PURSUITS)
    await sync.look()
    assert cache.read_progress(WORKSPACE) == Position(1, 1 + 2 * syncer.MAX_PURSUITS)
    await sync.look()
    assert cache.read_progress(WORKSPACE) == source.position == cache.read_positions(WORKSPACE)[NAME]


async def test_pursuit_without_the_log_is_left_to_the_next_look(
    source: Source, sync: WorkspaceSync, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the log was cut meanwhile what was fetched is written, and the next look compares the index."""
    await source.publish()
    fetch = sync._feed.fetch

    async def publish_and_cut(names: list[DocumentName]) -> list[bytes | None]:
        monkeypatch.undo()
        await source.publish(program=OTHER_PROGRAM)
        await source.publish()
        await source.client.delete(source.keys.log)
        return await fetch(names)

    monkeypatch.setattr(sync._feed, "fetch", publish_and_cut)
    await sync.look()
    assert cache.read_progress(WORKSPACE) == Position(1, 1)
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 3), OTHER_NAME: Position(1, 2)}


async def test_cut_log_is_replaced_by_the_index(
    source: Source, sync: WorkspaceSync, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the log was cut, what differs in the index is taken."""
    await source.publish()
    await sync.look()
    await source.publish("1.0.1.0", program=OTHER_PROGRAM)
    last = await source.publish("1.0.2.0", program=OTHER_PROGRAM)
    await source.client.xtrim(source.keys.log, maxlen=1, approximate=False)
    with caplog.at_level(logging.INFO):
        await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 1), OTHER_NAME: last}
    assert cache.read_progress(WORKSPACE) == last
    assert "comparing the index, because the log was cut: expected an entry 1-2, got 1-3" in caplog.text
    assert LOG_ENTRIES > 1


async def test_index_that_lost_documents_is_not_believed(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A host does not take a part for the whole: it stays where it is until the index has all that the head counts."""
    await source.publish()
    last = await source.publish(program=OTHER_PROGRAM)
    await source.client.delete(source.keys.log)
    await source.client.hdel(source.keys.index, str(NAME))
    await sync.look()
    assert sync.state.problem == "expected 2 documents in the index of redis, got 1"
    assert cache.read_progress(WORKSPACE) == Position(0, 0)
    await source.client.hset(source.keys.index, str(NAME), "1-1")
    await sync.look()
    assert (sync.state.problem, cache.read_progress(WORKSPACE)) == ("", last)


@pytest.mark.parametrize("break_it", ["flush", "older"])
async def test_source_that_came_back_empty_or_older(
    source: Source, sync: WorkspaceSync, cache: Cache, break_it: str, caplog: pytest.LogCaptureFixture
) -> None:
    """An emptied or restored Redis changes nothing; the host says so once, and when it is over."""
    await source.publish()
    last = await source.publish("1.0.1.0")
    await sync.look()
    if break_it == "flush":
        await source.client.flushall()
    else:
        await source.put(seal_document(make_document(revision=1)))
        await source.set_head(Position(1, 1))
    await sync.look()
    await sync.look()
    standing = "empty" if break_it == "flush" else "older"
    assert str(sync.state.standing) == standing
    said = f"redis is {standing}: serving what is here, 1-2"
    assert (sync.state.problem, caplog.text.count(said)) == (said, 1)
    assert cache.read_positions(WORKSPACE) == {NAME: last}
    await source.set_head(last)
    await sync.look()
    assert sync.state.problem == ""
    assert "following again" in caplog.text


async def test_forged_head_is_not_believed(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A head that nobody of this workspace has signed leads nowhere."""
    await source.publish()
    await source.client.hset(source.keys.head, "revision", 9)
    await sync.look()
    assert "expected a head at 1-1 as signed" in sync.state.problem
    assert cache.read_progress(WORKSPACE) == Position(0, 0)


async def test_expired_head_is_told(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A Redis that somebody froze is found out: what is new is taken, and the age is told."""
    await source.publish()
    await source.set_head(Position(1, 1), now=1_000_000_000)
    await sync.look()
    assert sync.state.problem == "the head has expired: no publisher has signed one since 1000000000"
    assert sync.state.head_expires < NOW
    assert cache.read_progress(WORKSPACE) == Position(1, 1)


async def test_redis_away_is_told_once(
    source: Source, sync: WorkspaceSync, redis_server: PrivateRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """A Redis that is away is told when that begins, changes its cause and ends, however long it lasts."""
    last = await source.publish()
    await sync.look()
    redis_server.kill()
    await sync.look()
    assert "workspace demo: redis cannot be reached: ConnectionError" in caplog.text
    await sync.look()
    caplog.clear()
    await sync.look()
    assert "redis cannot be reached" in sync.state.problem
    assert (sync.state.position, caplog.text) == (last, "")
    redis_server.start()
    await sync.look()
    assert (sync.state.problem, sync.state.position) == ("", last)


async def test_refused_document_is_named_and_the_last_good_stays(
    source: Source, sync: WorkspaceSync, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """A bad document does not keep the workspace from going on, and does not replace the good one."""
    await source.publish()
    await sync.look()
    last = await source.publish(format=2)
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 1)}
    assert cache.read_progress(WORKSPACE) == last
    assert [(entry["id"], entry["reason"]) for entry in sync.state.refused] == [
        (PROGRAM, "$.format: invalid enum value 2")
    ]
    assert f"program:{PROGRAM} at 1-1 refused: $.format: invalid enum value 2" in caplog.text


async def test_refused_document_is_looked_at_again_quietly(
    source: Source, sync: WorkspaceSync, cache: Cache, woken: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    """A refused document is judged again with each look; as long as it stays bad nothing is written or logged."""
    await source.publish(format=2)
    await sync.look()
    caplog.clear()
    changes, wakes = cache._db.total_changes, len(woken)
    await sync.look()
    assert (cache._db.total_changes, len(woken), caplog.text) == (changes, wakes, "")
    await source.put(seal_document(make_document(revision=1)))
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: Position(1, 1)}
    assert sync.state.refused == []
    assert len(woken) == wakes + 1


async def test_refusal_ends_where_the_held_document_is_back(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """Where the very document that this host has is put back, there is nothing to tell any more."""
    await source.publish()
    await sync.look()
    await source.put(b"junk")
    last = await source.publish(program=OTHER_PROGRAM)
    cache.write(WORKSPACE, [], [Refusal(NAME, Position(1, 1), "junk")], None)
    sync.state.refused = cache.read_refused(WORKSPACE)
    await sync.look()
    assert sync.state.position == last
    await source.put(seal_document(make_document(revision=1)))
    await sync.look()
    assert sync.state.refused == cache.read_refused(WORKSPACE) == []


async def test_newer_edge_reads_what_an_older_one_refused(source: Source, feed: Feed, cache: Cache) -> None:
    """What was refused before a restart is looked at again, though nothing was published since."""
    last = await source.publish()
    cache.write(WORKSPACE, [], [Refusal(NAME, last, "of a newer format")], last)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: None)
    assert [entry["reason"] for entry in sync.state.refused] == ["of a newer format"]
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: last}
    assert sync.state.refused == []


async def test_damaged_row_is_healed(source: Source, feed: Feed, cache: Cache, tmp_path: Path) -> None:
    """A row that the disk has damaged is fetched again, though nothing was published since."""
    last = await source.publish()
    await WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: None).look()
    cache.close()
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as db:
        db.execute("UPDATE document SET envelope = x'00'")
    again = Cache(tmp_path)
    await WorkspaceSync(WORKSPACE, PINNED, feed, again, make_library(again.path.parent), lambda: None).look()
    assert again.read_positions(WORKSPACE) == {NAME: last}
    assert again.read_refused(WORKSPACE) == []
    again.close()


async def test_keys_of_sealed_packages_are_told_nowhere(
    source: Source, sync: WorkspaceSync, caplog: pytest.LogCaptureFixture
) -> None:
    """A sealed document that is refused is named without its key and its offers."""
    key = "AGE-SECRET-KEY-1" + "Q" * 58
    for member in (
        {"key": key, "size": "large"},
        {"key": key[:-1]},
        {"key": key + "Q" * 300},
        {"key": key, "extra": 1},
    ):
        await source.publish(packages={"1.0.0.0": make_package(**member)})
        await sync.look()
        assert len(sync.state.refused) == 1
        assert "$.packages" in str(sync.state.refused)
        for secret in ("QQQ", "offer of"):
            assert secret not in caplog.text + str(sync.state)


class BrokenCache:
    """A cache whose writes fail."""

    def __init__(self, cache: Cache, error: Exception) -> None:
        self._cache, self._error = cache, error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def write(self, *_: object) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "problem"), [(CacheError("disk is full"), "disk is full"), (ValueError("what"), "ValueError('what')")]
)
async def test_failing_write_moves_nothing(
    source: Source, sync: WorkspaceSync, cache: Cache, error: Exception, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the disk takes nothing the workspace stays where it was, says so once, and catches up when it can."""
    last = await source.publish()
    sync._cache = BrokenCache(cache, error)
    await sync.look()
    await sync.look()
    assert (sync.state.problem, sync.state.position) == (problem, Position(0, 0))
    assert caplog.text.count(f"workspace demo: {problem}") == 1
    assert ("Traceback" in caplog.text) == isinstance(error, ValueError)
    sync._cache = cache
    await sync.look()
    assert (sync.state.problem, sync.state.position) == ("", last)


async def test_damage_ends_the_syncer(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A damaged file is not followed into: the process ends, and its successor sets the file aside."""
    await source.publish()
    sync._cache = BrokenCache(cache, CacheDamageError("malformed"))
    with pytest.raises(CacheDamageError):
        await sync.look()
    async with asyncio.timeout(30):
        with pytest.raises(ExceptionGroup, match="unhandled errors"):
            await sync.run()


@pytest.fixture
async def running(sync: WorkspaceSync) -> AsyncIterator[WorkspaceSync]:
    """A workspace that is followed."""
    task = asyncio.create_task(sync.run())
    yield sync
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.1)


async def test_hints_are_followed(source: Source, running: WorkspaceSync, redis_server: PrivateRedis) -> None:
    """What is published is there without anybody looking; a Redis that was restarted is followed again."""
    first = await source.publish()
    await eventually(lambda: running.state.position == first)
    second = await source.publish()
    await eventually(lambda: running.state.position == second)
    redis_server.kill()
    await asyncio.to_thread(redis_server.start)
    last = await source.publish()
    await eventually(lambda: running.state.position == last)


async def test_redis_away_from_the_start_is_told(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Redis was never there the first look is made at once all the same, so that the status says why."""
    monkeypatch.setattr(syncer, "LOOK_S", 1e6)
    feed = Feed(f"unix://{tmp_path}/nowhere.sock", WORKSPACE, ROOT.keys("channel"))
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: None)
    task = asyncio.create_task(sync.run())
    await eventually(lambda: "redis cannot be reached" in sync.state.problem)
    task.cancel()
    await asyncio.wait([task])


async def hear_nothing() -> AsyncIterator[None]:
    """A subscription by which nothing comes."""
    await asyncio.Event().wait()
    yield


async def test_redis_that_was_away_is_looked_at_soon(
    sync: WorkspaceSync, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host does not wait for its subscription, or for the next look, where Redis was away and is back."""
    monkeypatch.setattr(syncer, "LOOK_S", 1e6)
    monkeypatch.setattr(syncer, "AGAIN_S", 0.05)
    monkeypatch.setattr(sync._feed, "subscribe", hear_nothing)
    redis_server.kill()
    task = asyncio.create_task(sync.run())
    await eventually(lambda: "redis cannot be reached" in sync.state.problem)
    await asyncio.to_thread(redis_server.start)
    await eventually(lambda: "redis is empty" in sync.state.problem)
    task.cancel()
    await asyncio.wait([task])


async def test_source_that_was_not_believed_is_looked_at_soon(
    source: Source, sync: WorkspaceSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where somebody's head is put right without a hint, a host does not wait for its next look."""
    monkeypatch.setattr(syncer, "LOOK_S", 1e6)
    monkeypatch.setattr(syncer, "AGAIN_S", 0.05)
    monkeypatch.setattr(sync._feed, "subscribe", hear_nothing)
    last = await source.publish()
    await source.client.hset(source.keys.head, "revision", 9)
    task = asyncio.create_task(sync.run())
    await eventually(lambda: "expected a head" in sync.state.problem)
    await source.set_head(last)
    await eventually(lambda: sync.state.position == last)
    task.cancel()
    await asyncio.wait([task])


async def test_head_is_looked_at_without_hints(
    source: Source, sync: WorkspaceSync, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A host that hears no hints comes to what is published all the same."""
    monkeypatch.setattr(syncer, "LOOK_S", 0.05)
    monkeypatch.setattr(sync._feed, "subscribe", hear_nothing)
    task = asyncio.create_task(sync.run())
    await eventually(lambda: sync.state.looked_at > 0)
    last = await source.publish()
    await eventually(lambda: sync.state.position == last)
    task.cancel()
    await asyncio.wait([task])


async def test_root_is_followed_with_what_it_signs(
    source: Source, sync: WorkspaceSync, cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    """A new root is believed without a restart: what its channel key signs is taken, and the old key's no more."""
    await source.publish()
    await sync.look()
    successor = make_successor(epoch=2)
    await source.put_root(4, successor)
    source.key, source.epoch = NEXT_KEYS["channel"], 2
    last = await source.publish("2.0.0.0")
    caplog.set_level(logging.INFO)
    await sync.look()
    assert (sync.state.root.number, sync.state.problem, sync.state.root_problem) == (4, "", "")
    assert cache.read_positions(WORKSPACE) == {NAME: last} == {NAME: Position(2, 2)}
    assert cache.read_roots(WORKSPACE) == {3: ROOT_BYTES, 4: successor}
    assert "workspace demo: following root 4, epoch 2" in caplog.text
    source.key = KEYS["channel"]
    await source.publish("3.0.0.0")
    await sync.look()
    assert "key" in sync.state.problem
    assert cache.read_positions(WORKSPACE) == {NAME: last}


async def test_last_good_stays_until_newer_comes(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A new root throws nothing away; where all is read anew, what the old key has signed is named, and kept."""
    first = await source.publish()
    await sync.look()
    await source.put_root(4, make_successor())
    source.key = NEXT_KEYS["channel"]
    last = await source.publish("2.0.0.0", OTHER_PROGRAM)
    await source.client.delete(source.keys.log)
    await source.client.hset(source.keys.index, str(NAME), "1-9")
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {NAME: first, OTHER_NAME: last}
    assert [(entry["id"], "key" in entry["reason"]) for entry in sync.state.refused] == [(PROGRAM, True)]


async def test_document_of_a_later_epoch_is_named(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """A channel key alone begins no epoch, neither with a head nor with a document; what is here stays."""
    first = await source.publish()
    await sync.look()
    source.epoch = 2
    await source.publish("2.0.0.0")
    await sync.look()
    assert sync.state.problem == LATER_EPOCH
    await source.set_head(Position(1, 2))
    await sync.look()
    assert [entry["reason"] for entry in sync.state.refused] == [LATER_EPOCH]
    assert cache.read_positions(WORKSPACE) == {NAME: first}


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (b"junk", "expected a root document"),
        (b"[" * 30_000, "expected a root document"),
        (b"x" * 200_000, "expected a root document of at most 65536 bytes, got 65537"),
        (ROOT_BYTES, "expected root 4 to follow root 3, got root 3"),
        (make_successor(5), "expected root 4 to follow root 3, got root 5"),
        (make_successor(signers=[NEXT_KEYS["root"]]), "the root keys of root 3"),
        (make_successor(keys=STRANGER, signers=[STRANGER["root"]]), "the root keys of root 3"),
        (make_successor().replace(b'"payload":"e', b'"payload":"f'), "root"),
    ],
    ids=["junk", "nested", "oversized", "the same", "skipping", "without the old key", "a stranger's", "altered"],
)
async def test_hostile_root_keeps_out_nothing(
    source: Source, sync: WorkspaceSync, cache: Cache, document: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A root that does not follow is named, once in the log; documents come as before, and a genuine root after it."""
    await source.put_root(4, document)
    last = await source.publish()
    await sync.look()
    await sync.look()
    assert sync.state.root_problem.startswith("root 4 refused: ")
    assert reason in sync.state.root_problem
    assert caplog.text.count("root 4 refused") == 1
    assert (sync.state.root, sync.state.problem) == (ROOT, "")
    assert cache.read_positions(WORKSPACE) == {NAME: last}
    assert cache.read_roots(WORKSPACE) == {3: ROOT_BYTES}
    await source.put_root(4, make_successor())
    await sync.look()
    assert (sync.state.root.number, sync.state.root_problem) == (4, "")


async def test_root_of_another_type_keeps_out_nothing(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """What Redis refuses to read as a root is named, and documents come as before."""
    await source.client.lpush(source.keys.root(4), "x")
    last = await source.publish()
    await sync.look()
    assert "WRONGTYPE" in sync.state.root_problem
    assert (sync.state.problem, cache.read_positions(WORKSPACE)) == ("", {NAME: last})


async def test_root_that_surprises_keeps_out_nothing(
    source: Source, sync: WorkspaceSync, cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A root that makes our own code fail is refused like any other."""

    def fail(*_: object) -> None:
        raise KeyError("a defect")

    monkeypatch.setattr("edge.chain.read_successor", fail)
    await source.put_root(4, make_successor())
    last = await source.publish()
    await sync.look()
    assert sync.state.root_problem == "root 4 refused: it cannot be read: KeyError('a defect')"
    assert (sync.state.problem, cache.read_positions(WORKSPACE)) == ("", {NAME: last})


async def test_many_roots_are_taken_in_steps(source: Source, sync: WorkspaceSync) -> None:
    """Of a flood of roots each look takes MAX_ROOT_STEPS, and another look follows at once."""
    for number in range(4, 4 + syncer.MAX_ROOT_STEPS + 3):
        await source.put_root(number, make_successor(number, keys=KEYS, signers=[KEYS["root"]]))
    await source.publish()
    await sync.look()
    assert sync.state.root.number == 3 + syncer.MAX_ROOT_STEPS
    assert sync._hinted.is_set()
    sync._hinted.clear()
    await sync.look()
    assert sync.state.root.number == 3 + syncer.MAX_ROOT_STEPS + 3
    assert not sync._hinted.is_set()


async def test_root_that_has_expired_is_told(source: Source, sync: WorkspaceSync, cache: Cache) -> None:
    """An expired root keeps nothing out here: devices refuse it, and the operator is told; the next one mends it."""
    await source.put_root(4, make_successor(keys=KEYS, signers=[KEYS["root"]], expires=1_000_000_000))
    last = await source.publish()
    await sync.look()
    problem = "root 4 has expired: devices install nothing until there is a newer one"
    assert (sync.state.root_problem, cache.read_positions(WORKSPACE)) == (problem, {NAME: last})
    await source.put_root(5, make_successor(5, keys=KEYS, signers=[KEYS["root"]]))
    await sync.look()
    assert (sync.state.root.number, sync.state.root_problem) == (5, "")


async def test_roots_survive_a_restart(
    source: Source, sync: WorkspaceSync, cache: Cache, redis_server: PrivateRedis
) -> None:
    """A syncer that starts anew believes the newest root that it had, its keys and its epoch, wherever that is now."""
    await source.put_root(4, make_successor(epoch=2))
    await sync.look()
    await source.client.delete(source.keys.root(4))
    feed = Feed(redis_server.url, WORKSPACE, ROOT.keys("channel"))
    again = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: None)
    assert again.state.root.number == 4
    source.key, source.epoch = NEXT_KEYS["channel"], 2
    last = await source.publish()
    await again.look()
    assert (again.state.problem, cache.read_positions(WORKSPACE)) == ("", {NAME: last})
    await feed.close()


async def test_newer_pinned_root_begins_the_chain(feed: Feed, cache: Cache) -> None:
    """Where the operator has brought a newer root, the chain begins with it, and what follows it is kept."""
    successor, last = make_successor(), make_successor(5, signers=[NEXT_KEYS["root"]])
    cache.write_roots(WORKSPACE, {3: ROOT_BYTES, 4: successor, 5: last})
    again = WorkspaceSync(WORKSPACE, Chain.pin(successor), feed, cache, make_library(cache.path.parent), lambda: None)
    await again.look()
    assert (again.state.root.number, cache.read_roots(WORKSPACE)) == (5, {4: successor, 5: last})


async def test_chain_of_other_roots_is_thrown_away(
    feed: Feed, cache: Cache, woken: list[bool], redis_server: PrivateRedis
) -> None:
    """What does not follow from the pinned root leaves the file at the first look, with Redis away as well."""
    stranger = make_successor(4, keys=STRANGER, signers=[STRANGER["root"]])
    cache.write_roots(WORKSPACE, {3: b"another", 4: stranger})
    redis_server.kill()
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(cache.path.parent), lambda: woken.append(True))
    assert sync.state.root == ROOT
    await sync.look()
    assert (cache.read_roots(WORKSPACE), woken) == ({3: ROOT_BYTES}, [True])


AUDIENCE = DocumentName("audience", "qa")
LIST = build_file("u-1", "u-2")
_SAID = make_audience(LIST)
LIST_FILE = File(_SAID["sha256"], _SAID["size"], _SAID["count"], _SAID["url"])


@pytest.fixture
async def library(tmp_path: Path) -> AsyncIterator[Library]:
    """The host's files of audiences, brought from a store that is empty at first."""
    library = make_library(tmp_path, store=tmp_path / "store")
    task = asyncio.create_task(library.run())
    yield library
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def put_into_store(tmp_path: Path, file: bytes) -> None:
    """Puts a file where the host's own store has it."""
    sha256 = hashlib.sha256(file).hexdigest()
    (tmp_path / "store" / sha256[:2]).mkdir(parents=True, exist_ok=True)
    (tmp_path / "store" / sha256[:2] / sha256).write_bytes(file)


async def test_an_audience_is_taken_once_its_file_is_here(
    *, tmp_path: Path, source: Source, feed: Feed, cache: Cache, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then the one before it stays, others go on, and the status says what is waited for, and why."""
    monkeypatch.setattr("edge.library.FIRST_PAUSE_S", 0.01)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None)
    old = await source.publish_audience(make_audience(None, patterns=["old-*"]))
    await sync.look()
    await source.publish_audience(make_audience(LIST))
    last = await source.publish()
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {AUDIENCE: old, NAME: last}
    assert sync.state.position == last
    assert sync.state.table.opened["qa"].document.patterns == ["old-*"]
    (waiting,) = sync.state.list_waiting()
    assert (waiting["kind"], waiting["id"], waiting["reason"]) == ("audience", "qa", f"{WAITING}it is being brought")
    assert sync.state.list_refused() == []
    put_into_store(tmp_path, LIST)
    await eventually(lambda: library.has(LIST_FILE))
    sync.take_arrived()
    assert cache.read_positions(WORKSPACE)[AUDIENCE] == Position(1, 2)
    assert (sync.state.refused, sync.state.table.broken) == ([], 0)
    assert sync.state.table.opened["qa"].document.count == 2


async def test_a_file_that_comes_while_redis_is_away_is_enough(
    tmp_path: Path, source: Source, feed: Feed, cache: Cache, redis_server: PrivateRedis
) -> None:
    """What was waiting is taken all the same: it was verified when it came."""
    library = make_library(tmp_path, store=tmp_path / "store")
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None)
    await source.publish_audience(make_audience(LIST))
    await sync.look()
    assert cache.read_positions(WORKSPACE) == {}
    redis_server.kill()
    put_into_store(tmp_path, LIST)
    task = asyncio.create_task(library.run())
    following = asyncio.create_task(sync.run())
    await eventually(lambda: library.has(LIST_FILE))
    sync.hint()
    await eventually(lambda: cache.read_positions(WORKSPACE) == {AUDIENCE: Position(1, 1)})
    for each in (task, following):
        each.cancel()
    await asyncio.gather(task, following, return_exceptions=True)


async def test_waiting_survives_a_restart(tmp_path: Path, source: Source, feed: Feed, cache: Cache) -> None:
    """A syncer that begins anew looks again at what waited, though the workspace has gone on."""
    library = make_library(tmp_path)
    await source.publish_audience(make_audience(LIST))
    await WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None).look()
    again = make_library(tmp_path)
    keep_file(tmp_path, LIST)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, again, lambda: None)
    await sync.look()
    task = asyncio.create_task(again.run())
    await eventually(lambda: again.has(LIST_FILE))
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    sync.take_arrived()
    assert cache.read_positions(WORKSPACE) == {AUDIENCE: Position(1, 1)}


async def test_a_newer_document_ends_the_waiting(tmp_path: Path, source: Source, feed: Feed, cache: Cache) -> None:
    """One without a file is taken at once, and the file that was waited for is needed no more."""
    library = make_library(tmp_path)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None)
    await source.publish_audience(make_audience(LIST))
    await sync.look()
    assert len(library._needs) == 1
    last = await source.publish_audience(make_audience(None, removed=True))
    await sync.look()
    assert (cache.read_positions(WORKSPACE), sync.state.refused, library._needs) == ({AUDIENCE: last}, [], {})
    assert sync._waiting == {}
    sync.take_arrived()
    assert cache.read_positions(WORKSPACE) == {AUDIENCE: last}


async def test_a_bad_audience_is_refused(tmp_path: Path, source: Source, feed: Feed, cache: Cache) -> None:
    """With the path of what is wrong; the one before it stays, and nothing waits."""
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, make_library(tmp_path), lambda: None)
    good = await source.publish_audience(make_audience(None, patterns=["a"]))
    await source.publish_audience(make_audience(None, patterns=["*****"]))
    await sync.look()
    await source.publish_audience(make_audience(None, patterns=["*****"]))
    await sync.look()
    assert cache.read_positions(WORKSPACE) in ({}, {AUDIENCE: good})
    (refused,) = sync.state.list_refused()
    assert refused["reason"] == "$.patterns[0]: expected at most 4 stars in a pattern, got 5"


async def test_audiences_of_the_file_are_opened_at_the_start(tmp_path: Path, feed: Feed, cache: Cache) -> None:
    """A host that starts with Redis away needs the files of what it has, and says what of it holds nobody."""
    cache.write(WORKSPACE, [make_audience_row(make_audience(LIST))], [], Position(1, 1))
    library = make_library(tmp_path)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None)
    assert sync.state.table.opened["qa"].problem == "its file cannot be used: No such file or directory"
    assert list(library._needs) == [Need(WORKSPACE, "qa", is_waiting=False)]
    keep_file(tmp_path, LIST)
    sync.take_arrived()
    assert sync.state.table.broken == 0


async def test_more_than_a_workspace_may_have(source: Source, feed: Feed, cache: Cache) -> None:
    """A program too many is refused by name, and so again after a restart; those that are there are followed."""

    def make_sync() -> WorkspaceSync:
        library = make_library(cache.path.parent)
        return WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None, Limits(programs=1))

    first = make_sync()
    await source.publish()
    await first.look()
    await source.publish(program=OTHER_PROGRAM)
    await first.look()
    expected = "expected at most 1 programs in a workspace, got one more"
    for sync in (first, make_sync()):
        assert [(one["id"], one["reason"]) for one in sync.state.list_refused()] == [(OTHER_PROGRAM, expected)]
        last = await source.publish("1.0.1.0")
        await sync.look()
        assert cache.read_positions(WORKSPACE) == {NAME: last}
        assert sync.state.problem == ""


async def test_more_files_than_a_workspace_may_have(feed: Feed, cache: Cache) -> None:
    """Files of audiences count as their documents say, those of edge.db too."""
    file = build_file("u-1")
    keep_file(cache.path.parent, file)
    cache.write(WORKSPACE, [make_audience_row(make_audience(file))], [], None)
    library = make_library(cache.path.parent)
    sync = WorkspaceSync(WORKSPACE, PINNED, feed, cache, library, lambda: None, Limits(audience_mb=1))
    held = sync._room._loads[DocumentName("audience", "qa")]
    assert (held.file, sync._room._files) == (len(file), len(file))
    assert held.document == cache.read_sizes(WORKSPACE)[DocumentName("audience", "qa")]
    envelope = seal_document(make_audience(file, "more", 2, size=1_032_808, count=125_000))
    refused = sync._judge(DocumentName("audience", "more"), envelope)
    assert isinstance(refused, Refusal)
    assert refused.reason == "expected at most 1 MB of audiences' files in a workspace, got more with this one"
