"""The writer over a real Redis that is killed, emptied, set back, and shared with others: nothing is lost."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from channel import (
    DOCUMENT_TYPE,
    MAX_SURPLUS,
    Conflict,
    DocumentName,
    EnvelopeError,
    Keys,
    LogCut,
    Position,
    SealedDocument,
    encode_head,
    make_head,
    seal,
)
from publisher import ConflictError, ContendedError, serve, writer
from publisher.watcher import HEAD_RENEWAL_S
from tests.publisher.desk import Desk, open_desk, read_published
from trust import PrivateKey

PROGRAMS = [f"202100000000000{i}" for i in range(1, 6)]
P1, P2 = (DocumentName("program", program) for program in PROGRAMS[:2])
NOW = 1_800_000_000
DAY_S = 86_400


@pytest.fixture
async def desk(workshop: Any, redis_server: Any) -> AsyncIterator[Desk]:
    """A writer that has settled once."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        yield desk


async def test_empty_workspace_has_a_head(desk: Desk, feed: Any) -> None:
    """Before anything is published an edge can already tell an empty workspace from an empty Redis."""
    head = await feed.read_head()
    assert (head.position, head.documents, head.issued) == (Position(1, 0), 0, NOW)
    assert desk.writer.is_settled


async def test_publication_reaches_redis(desk: Desk, feed: Any, workshop: Any) -> None:
    """What is published is in Redis when the writer returns, and can be followed in the log."""
    assert await desk.create(P1) == (1, True)
    assert await desk.create(P2) == (2, True)
    assert await read_published(feed, workshop) == {P1.id: (1, 1), P2.id: (2, 1)}
    changes = await feed.changes_since(Position(1, 0), Position(1, 2))
    assert [change.name for change in changes.changes] == [P1, P2]


async def test_absent_redis_delays_only_distribution(desk: Desk, feed: Any, redis_server: Any, workshop: Any) -> None:
    """While Redis is away documents are kept; once it is back they are sent, in order, and can be followed."""
    await desk.create(P1)
    redis_server.kill()
    assert await desk.create(P2) == (2, False)
    assert await desk.put(P1, 9) == (3, False)
    redis_server.start()
    await desk.writer.settle(NOW)
    assert await read_published(feed, workshop) == {P1.id: (3, 9), P2.id: (2, 1)}
    followed = await feed.changes_since(Position(1, 1), Position(1, 3))
    assert [change.name for change in followed.changes] == [P2, P1]
    assert await desk.put(P1, 10) == (4, True)


async def test_hanging_redis_delays_only_distribution(desk: Desk, redis_server: Any, feed: Any, workshop: Any) -> None:
    """A Redis that hangs does not make an author wait for it; what it did all the same is found out later."""
    await desk.create(P1)
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        async with asyncio.timeout(30):
            assert await desk.put(P1, 2) == (2, False)
            assert await desk.put(P1, 3) == (3, False)
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    await desk.writer.settle(NOW)
    assert desk.writer.is_settled
    assert await read_published(feed, workshop) == {P1.id: (3, 3)}
    assert (await desk.writer.read_state()).pending == 0


async def test_unanswered_publication_is_recognized(desk: Desk, workshop: Any) -> None:
    """What was published without the store learning of it keeps its revision, and is not sent twice."""
    await desk.create(P1)
    desk.writer._is_settled = False
    assert await desk.put(P1, 2) == (2, False)
    record, _ = await desk.writer.find(P1)
    head = encode_head(make_head("demo", record.position, 1, NOW), workshop.keys["channel"])
    await desk.sender.publish(SealedDocument(P1, record.position, record.signed.envelope), head, Position(1, 1))
    await desk.writer.settle(NOW)
    assert (await desk.writer.read_state()).sent == Position(1, 2)
    assert await desk.put(P1, 3) == (3, True)


async def test_emptied_redis_gets_the_same_bytes(desk: Desk, client: Any, feed: Any) -> None:
    """After FLUSHALL the same signed bytes are back at the same position, and nobody is woken."""
    await desk.create(P1)
    await desk.create(P2)
    names = [P1, P2]
    before = (await feed.index(), await feed.fetch(names), (await feed.read_head()).position)
    await client.flushall()
    pubsub = client.pubsub()
    await pubsub.subscribe("gw:{demo}:changed")
    await pubsub.get_message(timeout=30)
    await desk.writer.settle(NOW)
    assert (await feed.index(), await feed.fetch(names), (await feed.read_head()).position) == before
    assert await pubsub.get_message(timeout=0.05) is None
    await pubsub.aclose()


async def test_author_does_not_notice_an_emptied_redis(desk: Desk, client: Any, feed: Any, workshop: Any) -> None:
    """A document that is published into a Redis that was just emptied arrives, and so does the rest."""
    await desk.create(P1)
    await client.flushall()
    revision, is_distributed = await desk.create(P2)
    assert is_distributed
    assert await read_published(feed, workshop) == {P1.id: (1, 1), P2.id: (revision, 1)}


async def test_older_redis_is_brought_forward(desk: Desk, client: Any, feed: Any, workshop: Any) -> None:
    """A Redis that was restored from an old copy gets what it lacks, and the reader's cursor still leads on."""
    await desk.create(P1)
    copy = {key: await client.dump(key) for key in await client.keys("*")}
    await desk.put(P1, 2)
    await desk.create(P2)
    await client.flushall()
    for key, value in copy.items():
        await client.restore(key, 0, value)
    await desk.writer.settle(NOW)
    assert await read_published(feed, workshop) == {P1.id: (2, 2), P2.id: (3, 1)}
    await desk.put(P2, 4)
    followed = await feed.changes_since(Position(1, 3), Position(1, 4))
    assert [change.name for change in followed.changes] == [P2]
    assert isinstance(await feed.changes_since(Position(1, 1), Position(1, 4)), LogCut)


async def test_lost_document_is_put_back(desk: Desk, client: Any, feed: Any, workshop: Any) -> None:
    """Where the index has lost a document although the head is right, it is put back."""
    await desk.create(P1)
    await desk.create(P2)
    await client.hdel("gw:{demo}:index", str(P1))
    await client.delete(f"gw:{{demo}}:doc:{P1}")
    await desk.writer.settle(NOW)
    assert await read_published(feed, workshop) == {P1.id: (1, 1), P2.id: (2, 1)}


async def test_waiting_change_does_not_hide_what_was_sent(desk: Desk, client: Any, feed: Any, workshop: Any) -> None:
    """An emptied Redis gets what it had first, then what waited, which wakes the edges."""
    await desk.create(P1)
    desk.writer._is_settled = False
    assert await desk.put(P1, 2) == (2, False)
    await client.flushall()
    await desk.writer.settle(NOW)
    assert await read_published(feed, workshop) == {P1.id: (2, 2)}
    followed = await feed.changes_since(Position(1, 1), Position(1, 2))
    assert [change.name for change in followed.changes] == [P1]


async def test_old_store_learns_from_redis(workshop: Any, redis_server: Any, feed: Any) -> None:
    """A store that was set back knows what was published since, and gives no revision out again."""
    async with open_desk(workshop, redis_server.url, "whole") as whole:
        await whole.writer.settle(NOW)
        await whole.create(P1)
        await whole.put(P1, 2)
        await whole.create(P2)
    async with open_desk(workshop, redis_server.url, "set-back") as desk:
        await desk.writer.settle(NOW)
        record, is_sent = await desk.writer.find(P1)
        assert (record.position, is_sent, orjson.loads(record.signed.author)["poll_after"]) == (Position(1, 2), True, 2)
        assert await desk.put(P2, 4, match='"3"') == (4, True)
        assert await read_published(feed, workshop) == {P1.id: (2, 2), P2.id: (4, 4)}


async def test_faster_publisher_is_not_written_over(workshop: Any, redis_server: Any) -> None:
    """An author who has not seen what another publisher has just written gets a conflict, and nothing is kept."""
    async with (
        open_desk(workshop, redis_server.url, "a") as one,
        open_desk(workshop, redis_server.url, "b") as other,
    ):
        await one.writer.settle(NOW)
        await other.writer.settle(NOW)
        await one.create(P1, 1)
        with pytest.raises(ConflictError) as caught:
            await other.create(P1, 2)
        assert str(caught.value) == 'expected no document at *, found it at "1"'
        record, _ = await other.writer.find(P1)
        assert orjson.loads(record.signed.author)["poll_after"] == 1


async def test_racing_publishers_lose_no_revision(workshop: Any, redis_server: Any, feed: Any) -> None:
    """Two publishers on one Redis, authors and watchers at work: nothing is lost, and no number is used twice."""

    async def publish(desk: Desk, name: DocumentName) -> None:
        for poll_after in range(1, 16):
            accepted = False
            while not accepted:
                with contextlib.suppress(ContendedError):
                    accepted = bool(await desk.put(name, poll_after, match="*" if poll_after > 1 else ""))

    async def settle(desk: Desk) -> None:
        for _ in range(20):
            await desk.writer.settle(NOW)

    async with (
        open_desk(workshop, redis_server.url, "a") as one,
        open_desk(workshop, redis_server.url, "b") as other,
        asyncio.timeout(60),
    ):
        await one.writer.settle(NOW)
        await other.writer.settle(NOW)
        await asyncio.gather(publish(one, P1), publish(other, P2), settle(one), settle(other))
        # Twice: what one of them still has to send, the other has to learn.
        for desk in (one, other, one, other):
            await desk.writer.settle(NOW)
        assert one.writer.is_settled
        assert other.writer.is_settled
        assert await one.writer.list() == await other.writer.list()
        published = await read_published(feed, workshop)
        assert {program: poll_after for program, (_, poll_after) in published.items()} == {P1.id: 15, P2.id: 15}
        signed: dict[Position, bytes] = {}
        for desk in (one, other):
            for record in desk.store.read_history(P1) + desk.store.read_history(P2):
                assert signed.setdefault(record.position, record.signed.envelope) == record.signed.envelope
        assert len(signed) >= 30


async def test_endless_race_is_given_up(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another publisher is always faster the author is told, and nothing was changed."""

    async def be_slower(*_: Any) -> Any:
        return Conflict(Position(1, 99))

    monkeypatch.setattr(desk.sender, "publish", be_slower)
    with pytest.raises(ContendedError) as caught:
        await desk.create(P1)
    assert str(caught.value) == "another publisher of this workspace was faster, 5 times"
    assert await desk.writer.list() == []


async def test_forged_document_is_not_adopted(desk: Desk, client: Any, workshop: Any, caplog: Any) -> None:
    """What a stranger writes into Redis beside a true head is neither believed nor republished."""
    await desk.create(P1)
    position = Position(1, 2)
    payload = orjson.dumps({**workshop.document(), "workspace": "demo", "epoch": 1, "revision": 2})
    forged = SealedDocument(P1, position, seal(payload, PrivateKey.generate(), DOCUMENT_TYPE))
    head = encode_head(make_head("demo", position, 1, NOW), workshop.keys["channel"])
    await desk.sender.publish(forged, head, Position(1, 1))
    await desk.writer.settle(NOW)
    record, _ = await desk.writer.find(P1)
    assert record.position == Position(1, 1)
    assert f"{P1} in redis is not believed: expected the kid of a known key" in caplog.text
    assert await desk.put(P1, 3) == (3, True)
    assert await client.hget("gw:{demo}:index", str(P1)) == b"1-3"


async def test_replayed_document_is_not_adopted(desk: Desk, workshop: Any, feed: Any) -> None:
    """An old document that is put back under a higher number stays old."""
    await desk.create(P1)
    (old,) = await feed.fetch([P1])
    await desk.put(P1, 2)
    head = encode_head(make_head("demo", Position(1, 3), 1, NOW), workshop.keys["channel"])
    await desk.sender.publish(SealedDocument(P1, Position(1, 3), old), head, Position(1, 2))
    await desk.writer.settle(NOW)
    record, _ = await desk.writer.find(P1)
    assert record.position == Position(1, 2)


async def test_head_of_a_stranger_stops_distribution_only(desk: Desk, client: Any) -> None:
    """A head that nobody of this workspace has signed is reported and not written over; authors are still served."""
    await desk.create(P1)
    forged = encode_head(make_head("demo", Position(1, 9), 1, NOW), PrivateKey.generate())
    await client.hset("gw:{demo}:head", mapping={"epoch": 1, "revision": 9, "signed": forged})
    with pytest.raises(EnvelopeError, match=r"^expected the kid of a known key"):
        await desk.writer.settle(NOW)
    assert not desk.writer.is_settled
    assert (await desk.put(P1, 2))[1] is False
    await client.delete("gw:{demo}:head")
    await desk.writer.settle(NOW)
    assert desk.writer.is_settled
    assert (await desk.writer.find(P1))[1] is True


async def test_head_is_signed_hourly(desk: Desk, feed: Any) -> None:
    """A head that is an hour old is signed anew at its position; a younger one is left."""
    await desk.create(P1)
    await desk.writer.settle(NOW + HEAD_RENEWAL_S - 1)
    assert (await feed.read_head()).issued == NOW
    await desk.writer.settle(NOW + HEAD_RENEWAL_S)
    head = await feed.read_head()
    assert (head.issued, head.position, head.documents) == (NOW + HEAD_RENEWAL_S, Position(1, 1), 1)


async def test_offers_are_renewed_at_half_life(desk: Desk, feed: Any, workshop: Any) -> None:
    """Past half the life of its offers a document is published anew, as its author wrote it."""
    await desk.create(P1)
    before = (await desk.writer.find(P1))[0].signed.author
    await desk.writer.settle(NOW + 15 * DAY_S - 1)
    assert await read_published(feed, workshop) == {P1.id: (1, 1)}
    later = NOW + 15 * DAY_S
    await desk.writer.settle(later)
    assert await read_published(feed, workshop) == {P1.id: (2, 1)}
    (envelope,) = await feed.fetch([P1])
    assert orjson.loads(envelope.split(b"\n", 1)[1])["offers"]["expires"] == later + 30 * DAY_S
    assert (await desk.writer.find(P1))[0].signed.author == before
    assert desk.writer.is_settled
    assert (await desk.writer.read_state()).renew_at == later + 15 * DAY_S


async def test_renewal_is_spread(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many documents that are due at once are renewed a few at a time, and authors get in between."""
    monkeypatch.setattr(writer, "RENEW_CHUNK", 2)
    for program in PROGRAMS:
        await desk.create(DocumentName("program", program))
    later = NOW + 15 * DAY_S
    await desk.writer.settle(later)
    assert [position.revision for _, position in await desk.writer.list()] == [6, 7, 3, 4, 5]
    assert desk.writer.is_settled


async def test_nothing_is_lost_while_redis_comes_and_goes(
    *, workshop: Any, redis_server: Any, feed: Any, meet: Any, clock: Any, eventually: Any
) -> None:
    """Redis is killed and started again during PUTs: every confirmed document is there in the end, revisions unique."""
    confirmed: dict[str, tuple[int, int]] = {}
    revisions: list[int] = []

    async def publish(author: Any, program: str) -> None:
        for poll_after in range(1, 41):
            answer = await author.put(workshop.document(program=program, poll_after=poll_after), If_Match="*")
            if answer.status == 412:
                answer = await author.put(workshop.document(program=program, poll_after=poll_after))
            assert answer.status in (200, 202)
            confirmed[program] = (answer.json["revision"], poll_after)
            revisions.append(answer.json["revision"])

    async def break_redis() -> None:
        for _ in range(2):
            await asyncio.sleep(0.1)
            redis_server.kill()
            await asyncio.sleep(0.1)
            redis_server.start()

    async with serve(workshop.settings(redis_server.url), clock, look_every_s=0.05) as running:
        author = meet(running)
        await asyncio.gather(*(publish(author, program) for program in PROGRAMS[:3]), break_redis())

        async def is_distributed() -> bool:
            return bool((await author.ask("GET", "/healthz")).json["distributed"])

        await eventually(is_distributed)
        assert len(set(revisions)) == len(revisions) == 120
        assert await read_published(feed, workshop) == confirmed


async def test_index_full_of_names_is_mended(desk: Desk, feed: Any, client: Any) -> None:
    """Names that somebody has filled the index with, so that edges read it no more, are gone at the next look."""
    await desk.create(P1)
    before = await feed.index()
    names = {f"program:x{number}": "1-1" for number in range(MAX_SURPLUS + 1)}
    await client.hset(Keys.of("demo").index, mapping=names)
    await desk.writer.settle(NOW)
    assert await feed.index() == before
    head = await feed.read_head()
    assert head is not None
    assert head.position == Position(1, 1)
