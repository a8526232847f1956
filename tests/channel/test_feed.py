"""The reader's side: signatures are believed, silence is not, and a Redis may come and go."""

import asyncio
import re
import tracemalloc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager

import pytest
from redis.asyncio import Redis

from channel import (
    DOCUMENT_TYPE,
    NOWHERE,
    Change,
    Changes,
    DocumentName,
    EnvelopeError,
    EpochError,
    Feed,
    FoundHead,
    Hint,
    KeyNameError,
    LinkAwayError,
    LogCut,
    OversizedError,
    Patience,
    Position,
    SealedDocument,
    Sender,
    SourceError,
    Standing,
    encode_head,
    follow_log,
    judge_head,
    make_head,
    open_envelope,
)
from channel import feed as module
from channel.envelope import MAX_ENVELOPE_BYTES
from channel.feed import FIRST_PAUSE_S, LONGEST_PAUSE_S, MAX_CHANGES, MAX_SURPLUS, compute_pause
from channel.head import MAX_FIELD_BYTES
from channel.reply import MAX_REPLY_BYTES
from cli.embedded import PrivateRedis
from trust import PrivateKey
from trust.root import MAX_ROOT_BYTES

Publish = Callable[..., Awaitable[object]]
SealDocument = Callable[[str, Position], SealedDocument]
SignHead = Callable[[Position], bytes]
WriteHuge = Callable[[str], Awaitable[None]]
Eventually = Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]

P1, P2 = DocumentName("program", "p1"), DocumentName("program", "p2")


def change(revision: int, name: DocumentName = P1, epoch: int = 1) -> Change:
    """An entry of the log."""
    return Change(Position(epoch, revision), name)


@pytest.mark.parametrize(
    ("cursor", "standing"),
    [
        (Position(1, 6), Standing.NEWER),
        (Position(1, 7), Standing.CURRENT),
        (Position(1, 8), Standing.OLDER),
        (Position(0, 99), Standing.NEWER),
        (Position(2, 0), Standing.OLDER),
    ],
)
def test_head_is_judged(cursor: Position, standing: Standing) -> None:
    """A head is newer, the same, or older than what a reader has seen, by epoch first."""
    assert judge_head(cursor, make_head("demo", Position(1, 7), 1, 0)) is standing


def test_no_head_is_an_empty_source() -> None:
    """A Redis without a head is empty, also for a reader who has seen nothing."""
    assert judge_head(NOWHERE, None) is Standing.EMPTY


def test_log_is_followed() -> None:
    """Entries without a gap lead from the cursor to the head."""
    entries = [change(6), change(7, P2)]
    assert follow_log(Position(1, 5), Position(1, 7), entries) == Changes(tuple(entries), Position(1, 7))


def test_log_beyond_the_head_is_not_followed() -> None:
    """What the log says beyond the verified head is left for the next head."""
    entries = [change(6), change(7)]
    assert follow_log(Position(1, 5), Position(1, 6), entries) == Changes((change(6),), Position(1, 6))


def test_nothing_is_new_at_the_head() -> None:
    """A reader at the head, or beyond it, has nothing to follow and keeps its place."""
    for until in (Position(1, 5), Position(1, 4), NOWHERE):
        assert follow_log(Position(1, 5), until, [change(6)]) == Changes((), Position(1, 5))


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([], "expected entries up to 1-7, got them up to 1-5"),
        ([change(6)], "expected entries up to 1-7, got them up to 1-6"),
        ([change(7)], "expected an entry 1-6, got 1-7"),
        ([change(6), change(6), change(7)], "expected an entry 1-7, got 1-6"),
        ([change(1), change(6), change(7)], "expected an entry 1-6, got 1-1"),
        ([change(6, epoch=0), change(7)], "expected an entry 1-6, got 0-6"),
    ],
)
def test_log_with_a_gap_is_cut(entries: list[Change], reason: str) -> None:
    """A log that leaves anything out, or repeats it, is not followed."""
    assert follow_log(Position(1, 5), Position(1, 7), entries) == LogCut(reason)


def test_new_epoch_is_a_cut() -> None:
    """Nothing leads from one epoch into the next but the index."""
    assert isinstance(follow_log(Position(1, 5), Position(2, 1), [change(1, epoch=2)]), LogCut)


def test_pause_doubles_up_to_its_limit() -> None:
    """Pauses grow with each failure, never beyond the limit, and are a random part of that."""
    assert [compute_pause(failures, 1.0) for failures in (0, 1, 2)] == [FIRST_PAUSE_S, 0.2, 0.4]
    assert compute_pause(1_000_000, 1.0) == LONGEST_PAUSE_S
    assert compute_pause(1_000_000, 0.0) == 0.0


async def test_empty_redis_has_no_head(feed: Feed) -> None:
    """Where nothing was published there is no head, no document and no change."""
    assert await feed.read_head() is None
    assert await feed.index() == {}
    assert await feed.count() == 0
    assert await feed.fetch([P1]) == [None]
    assert await feed.fetch([]) == []


async def test_what_was_published_is_read(feed: Feed, publish: Publish, key: PrivateKey) -> None:
    """A reader gets the head, the changes since its cursor, and documents that open."""
    await publish("p1", Position(1, 1), NOWHERE)
    await publish("p2", Position(1, 2))
    head = await feed.read_head()
    assert head is not None
    assert head.position == Position(1, 2)
    assert await feed.changes_since(Position(1, 0), head.position) == Changes(
        (change(1), change(2, P2)), Position(1, 2)
    )
    assert await feed.changes_since(Position(1, 1), head.position) == Changes((change(2, P2),), Position(1, 2))
    assert await feed.index() == {P1: Position(1, 1), P2: Position(1, 2)}
    found = await feed.fetch([P2, DocumentName("program", "p3"), P1])
    assert found[1] is None
    opened = [open_envelope(one or b"", {key.kid: key.public}, DOCUMENT_TYPE) for one in (found[0], found[2])]
    assert opened == [b'{"program":"p2","at":"1-2"}', b'{"program":"p1","at":"1-1"}']


async def test_many_are_fetched_in_chunks(
    feed: Feed, sender: Sender, seal_document: SealDocument, sign_head: SignHead, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More documents than one question takes come in the order asked."""
    monkeypatch.setattr(module, "FETCH_CHUNK", 3)
    documents = [seal_document(f"p{i}", Position(1, i)) for i in range(1, 8)]
    await sender.restore(documents, Position(1, 7), sign_head(Position(1, 7)))
    assert await feed.fetch([one.name for one in documents]) == [one.envelope for one in documents]


async def test_cut_log_is_seen(feed: Feed, publish: Publish, client: Redis) -> None:
    """A reader who is further behind than the log reaches is told so."""
    for revision in (1, 2, 3):
        await publish("p1", Position(1, revision), NOWHERE if revision == 1 else None)
    await client.xtrim("gw:{demo}:log", maxlen=1, approximate=False)
    assert isinstance(await feed.changes_since(Position(1, 1), Position(1, 3)), LogCut)
    assert await feed.changes_since(Position(1, 2), Position(1, 3)) == Changes((change(3),), Position(1, 3))


async def test_long_log_is_not_followed(feed: Feed, client: Redis) -> None:
    """A reader who is very far behind compares the index, whatever the log would tell."""
    pipeline = client.pipeline()
    for revision in range(1, MAX_CHANGES + 3):
        pipeline.xadd("gw:{demo}:log", {"kind": "program", "id": "p1"}, id=f"1-{revision}")
    await pipeline.execute()
    within = await feed.changes_since(Position(1, 2), Position(1, MAX_CHANGES + 2))
    assert isinstance(within, Changes)
    assert len(within.changes) == MAX_CHANGES
    assert isinstance(await feed.changes_since(Position(1, 1), Position(1, MAX_CHANGES + 2)), LogCut)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": "program"}, "expected kind and id in entry b'1-1' of the log, got {b'kind': b'program'}"),
        ({"kind": "program", "id": "a b"}, "expected an id of 1 to 128 letters, digits, '.', '_' and '-', got 'a b'"),
    ],
)
async def test_log_that_makes_no_sense_is_cut(feed: Feed, client: Redis, fields: dict[str, str], reason: str) -> None:
    """Whatever somebody has written into the log, the index still says what there is."""
    await client.xadd("gw:{demo}:log", fields, id="1-1")
    assert await feed.changes_since(Position(1, 0), Position(1, 1)) == LogCut(reason)


async def test_forged_head_is_refused(feed: Feed, sender: Sender) -> None:
    """A head that a stranger has signed is not believed."""
    forged = encode_head(make_head("demo", Position(1, 9), 1, 1_000), PrivateKey.generate())
    await sender.restore([], Position(1, 9), forged)
    with pytest.raises(EnvelopeError):
        await feed.read_head()


async def test_unsigned_head_is_refused(feed: Feed, client: Redis) -> None:
    """A head without its signature is not believed."""
    await client.hset("gw:{demo}:head", mapping={"epoch": "1", "revision": "1"})
    with pytest.raises(EnvelopeError):
        await feed.read_head()


async def test_head_that_says_two_things_is_refused(feed: Feed, publish: Publish, client: Redis) -> None:
    """A head whose fields are not those that were signed is not believed."""
    await publish("p1", Position(1, 1), NOWHERE)
    await client.hset("gw:{demo}:head", "revision", "2")
    with pytest.raises(SourceError) as caught:
        await feed.read_head()
    assert str(caught.value) == "expected a head at 1-1 as signed, got b'1' and b'2'"


async def test_huge_document_does_not_fill_the_reader(feed: Feed, client: Redis, key: PrivateKey) -> None:
    """A value that is too large comes cut, and is refused."""
    await client.set("gw:{demo}:doc:program:p1", b"x" * (2 * MAX_ENVELOPE_BYTES))
    (envelope,) = await feed.fetch([P1])
    assert envelope is not None
    assert len(envelope) == MAX_ENVELOPE_BYTES + 1
    with pytest.raises(EnvelopeError, match=r"^expected an envelope of at most "):
        open_envelope(envelope, {key.kid: key.public}, DOCUMENT_TYPE)


async def test_huge_index_is_refused(feed: Feed, client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with more names than any publisher writes is not loaded."""
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 1)
    await client.hset("gw:{demo}:index", mapping={"program:p1": "1-1", "program:p2": "1-2"})
    with pytest.raises(SourceError) as caught:
        await feed.index()
    assert str(caught.value) == "expected at most 1 documents in the index of redis, got more"


async def test_index_of_several_pages_is_whole(feed: Feed, client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index that comes in pages is read to its end."""
    monkeypatch.setattr(module, "INDEX_PAGE", 10)
    wanted = {f"program:p{i}": f"1-{i}" for i in range(1, 2_000)}
    await client.hset("gw:{demo}:index", mapping=wanted)
    assert {str(name): str(position) for name, position in (await feed.index()).items()} == wanted


async def test_index_beyond_the_head_is_refused(feed: Feed, client: Redis) -> None:
    """Names that somebody has added, more than the head counts and publishing explains, are not loaded."""
    await client.hset("gw:{demo}:index", mapping={f"program:p{i}": "1-1" for i in range(MAX_SURPLUS + 6)})
    assert len(await feed.index(6)) == MAX_SURPLUS + 6
    with pytest.raises(SourceError, match=r"^expected at most 1005 documents in the index of redis, got more$"):
        await feed.index(5)


async def test_index_without_an_end_is_refused(feed: Feed, client: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever answers with page after page is asked no further."""
    monkeypatch.setattr(module, "INDEX_PAGE", 1)
    monkeypatch.setattr(module, "MAX_INDEX_PAGES", 3)
    await client.hset("gw:{demo}:index", mapping={f"program:p{i}": "1-1" for i in range(900)})
    with pytest.raises(SourceError):
        await feed.index()


@pytest.fixture
def write_huge(client: Redis) -> Callable[[str], Awaitable[None]]:
    """Has Redis do something with a text of 20 MB, called `huge` there, which this process never holds."""

    async def run(command: str) -> None:
        await client.eval(f"local huge = string.rep('x', 20000000) {command}", 0)

    return run


@contextmanager
def holding_little() -> Iterator[None]:
    """Holds this process to a few times the largest honest answer, at any moment."""
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4 * MAX_REPLY_BYTES


TOO_LARGE = f"redis holds too much at {{}}: expected an answer of at most {MAX_REPLY_BYTES} bytes"


@pytest.mark.parametrize("field", ["epoch", "revision", "signed"])
async def test_huge_head_is_told_by_its_size(
    feed: Feed, sender: Sender, publish: Publish, write_huge: WriteHuge, field: str
) -> None:
    """A head of any size is named, refused, and can be taken away, without being read."""
    await publish("p1", Position(1, 1), NOWHERE)
    await write_huge(f"redis.call('HSET', 'gw:{{demo}}:head', '{field}', huge)")
    with holding_little():
        found = await feed.find_head()
        assert found is not None
        assert getattr(found, field) == b"20000000 bytes"
        with pytest.raises((EnvelopeError, SourceError), match=r"20000000 bytes"):
            await feed.read_head()
        assert await sender.discard(found)
    assert await feed.find_head() is None


@pytest.mark.parametrize("size", [MAX_FIELD_BYTES, MAX_FIELD_BYTES + 1])
async def test_large_head_is_taken_away_as_it_was_found(feed: Feed, sender: Sender, client: Redis, size: int) -> None:
    """Reader and Redis agree from which size on a field is told by its size."""
    await client.hset("gw:{demo}:head", "signed", b"x" * size)
    found = await feed.find_head()
    assert found == FoundHead(b"", b"", b"x" * size if size == MAX_FIELD_BYTES else b"65537 bytes")
    assert await sender.discard(found)


@pytest.mark.parametrize(
    "command",
    [
        "redis.call('HSET', 'gw:{demo}:index', 'program:p1', huge)",
        "redis.call('HSET', 'gw:{demo}:index', huge, '1-1')",
        "redis.call('HSET', 'gw:{demo}:index', huge, huge)",
    ],
)
async def test_huge_index_entry_is_refused(feed: Feed, write_huge: WriteHuge, command: str) -> None:
    """Whatever lies in the index, the reader's memory is not where it goes."""
    await write_huge(command)
    with holding_little(), pytest.raises(OversizedError, match=f"^{re.escape(TOO_LARGE.format('gw:{demo}:index'))}$"):
        await feed.index()
    assert await feed.count() == 1


@pytest.mark.parametrize(
    "command",
    [
        "redis.call('XADD', 'gw:{demo}:log', '1-1', 'kind', huge, 'id', 'p1')",
        "redis.call('XADD', 'gw:{demo}:log', '1-1', huge, 'program', 'id', 'p1')",
        "for i = 1, 40 do redis.call('XADD', 'gw:{demo}:log', '1-' .. i, 'kind', string.sub(huge, 1, 500000)) end",
    ],
)
async def test_huge_log_entry_is_a_cut(feed: Feed, write_huge: WriteHuge, command: str) -> None:
    """A log with entries of any size is not followed: the index leads on."""
    await write_huge(command)
    with holding_little():
        assert await feed.changes_since(Position(1, 0), Position(1, 1)) == LogCut(TOO_LARGE.format("gw:{demo}:log"))


async def test_huge_hint_ends_the_subscription(
    feed: Feed, write_huge: WriteHuge, client: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """A message of any size on the channel is not read; the reader subscribes anew, and looks."""
    async with aclosing(feed.subscribe()) as hints:
        assert await anext(hints) is Hint.SUBSCRIBED
        with holding_little():
            await write_huge("redis.call('PUBLISH', 'gw:{demo}:changed', huge)")
            assert await anext(hints) is Hint.SUBSCRIBED
        await client.publish("gw:{demo}:changed", "1-1")
        assert await anext(hints) is Hint.CHANGED
    assert TOO_LARGE.format("gw:{demo}:changed") in caplog.text


async def test_index_that_makes_no_sense_is_refused(feed: Feed, client: Redis) -> None:
    """What is no name, or no position, in the index is reported."""
    await client.hset("gw:{demo}:index", "program:p1", "one")
    with pytest.raises(SourceError):
        await feed.index()
    await client.hset("gw:{demo}:index", mapping={"program:p1": "1-1", "nonsense": "1-2"})
    with pytest.raises(KeyNameError):
        await feed.index()


async def test_reader_comes_back_to_a_restarted_redis(feed: Feed, publish: Publish, redis_server: PrivateRedis) -> None:
    """A killed Redis is reported as away; once it is back the same feed reads on."""
    await publish("p1", Position(1, 1), NOWHERE)
    await asyncio.sleep(0)
    assert await feed.read_head() is not None
    redis_server.kill()
    with pytest.raises(LinkAwayError):
        await feed.read_head()
    redis_server.start()
    await feed.read_head()


async def test_emptied_redis_is_seen_as_empty(feed: Feed, publish: Publish, client: Redis) -> None:
    """A Redis that has lost everything has no head: nothing that a reader would believe."""
    await publish("p1", Position(1, 1), NOWHERE)
    await client.flushall()
    assert judge_head(Position(1, 1), await feed.read_head()) is Standing.EMPTY


async def test_older_redis_is_seen_as_older(feed: Feed, publish: Publish) -> None:
    """A Redis that was restored from an old copy is older than what a reader has seen."""
    await publish("p1", Position(1, 1), NOWHERE)
    assert judge_head(Position(1, 5), await feed.read_head()) is Standing.OLDER


async def test_hints_begin_with_the_subscription(feed: Feed, publish: Publish) -> None:
    """The first hint says that the subscription stands, the next that something was published."""
    async with aclosing(feed.subscribe()) as hints, asyncio.timeout(20):
        assert await anext(hints) is Hint.SUBSCRIBED
        await publish("p1", Position(1, 1), NOWHERE)
        assert await anext(hints) is Hint.CHANGED


async def test_subscription_survives_a_restart(feed: Feed, redis_server: PrivateRedis, client: Redis) -> None:
    """After Redis was killed and is back, the reader is told to look again, and hears the next hint."""
    async with aclosing(feed.subscribe()) as hints, asyncio.timeout(20):
        assert await anext(hints) is Hint.SUBSCRIBED
        redis_server.kill()
        redis_server.start()
        assert await anext(hints) is Hint.SUBSCRIBED
        await client.publish("gw:{demo}:changed", "1-1")
        assert await anext(hints) is Hint.CHANGED


async def test_cut_connection_is_told(feed: Feed, client: Redis) -> None:
    """A subscription whose connection was cut begins anew with its confirmation, not silently."""
    async with aclosing(feed.subscribe()) as hints, asyncio.timeout(20):
        assert await anext(hints) is Hint.SUBSCRIBED
        await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        assert await anext(hints) is Hint.SUBSCRIBED


async def test_quiet_redis_is_not_a_dead_one(
    redis_server: PrivateRedis, key: PrivateKey, client: Redis, eventually: Eventually
) -> None:
    """A subscription on which nothing happens is kept, as long as Redis answers the ping."""
    feed = Feed(redis_server.url, "demo", {key.kid: key.public}, patience=Patience(silence_s=0.1))
    async with aclosing(feed.subscribe()) as hints, asyncio.timeout(20):
        assert await anext(hints) is Hint.SUBSCRIBED
        following = asyncio.ensure_future(anext(hints))

        async def has_answered_pings() -> bool:
            return int((await client.info("commandstats")).get("cmdstat_ping", {}).get("calls", 0)) >= 5

        await eventually(has_answered_pings)
        await client.publish("gw:{demo}:changed", "1-1")
        assert await following is Hint.CHANGED
    await feed.close()


@asynccontextmanager
async def relay(redis_server: PrivateRedis) -> AsyncIterator[tuple[int, asyncio.Event, list[int]]]:
    """A TCP relay to Redis that can be made to swallow everything: port, the switch, and how many have connected."""
    is_open, connected, living, ended = asyncio.Event(), [0], [0], asyncio.Condition()
    is_open.set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            await is_open.wait()
            writer.write(data)
        writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected[0] += 1
        living[0] += 1
        to_redis, from_redis = await asyncio.open_unix_connection(redis_server.url.removeprefix("unix://"))
        await asyncio.gather(pump(reader, from_redis), pump(to_redis, writer), return_exceptions=True)
        for one in (writer, from_redis):
            one.close()
            await asyncio.gather(one.wait_closed(), return_exceptions=True)
        living[0] -= 1
        async with ended:
            ended.notify()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], is_open, connected
    is_open.set()
    server.close()
    async with ended:
        await ended.wait_for(lambda: not living[0])


async def test_dead_line_is_found(redis_server: PrivateRedis, key: PrivateKey, eventually: Eventually) -> None:
    """A line on which nothing arrives any more, PONG included, is given up, and a new one is made."""
    async with relay(redis_server) as (port, is_open, connected), asyncio.timeout(20):
        patience = Patience(answer_s=0.2, silence_s=0.1)
        feed = Feed(f"redis://127.0.0.1:{port}", "demo", {key.kid: key.public}, patience=patience, draw=lambda: 0.1)
        async with aclosing(feed.subscribe()) as hints:
            assert await anext(hints) is Hint.SUBSCRIBED
            before = connected[0]
            is_open.clear()
            following = asyncio.ensure_future(anext(hints))

            async def has_come_again() -> bool:
                return connected[0] > before

            await eventually(has_come_again)
            is_open.set()
            assert await following is Hint.SUBSCRIBED
        await feed.close()


async def test_cancelled_subscription_leaves_no_connection(feed: Feed, client: Redis, eventually: Eventually) -> None:
    """A reader that stops listening leaves no subscriber behind."""
    hints = feed.subscribe()
    assert await anext(hints) is Hint.SUBSCRIBED
    following = asyncio.ensure_future(anext(hints))
    await asyncio.sleep(0)
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following

    async def is_gone() -> bool:
        return bool(await client.pubsub_numsub("gw:{demo}:changed") == [(b"gw:{demo}:changed", 0)])

    await eventually(is_gone)


def test_feed_refuses_a_workspace_that_is_none() -> None:
    """No key is read under a workspace that is none."""
    with pytest.raises(KeyNameError):
        Feed("redis://127.0.0.1:1", "a}b", {})


async def test_roots_are_fetched_by_number(feed: Feed, sender: Sender, client: Redis) -> None:
    """A root document comes as it lies there; one that is not there is None, a huge one is cut where it is refused."""
    await sender.put_root(2, b"root 2")
    await client.set("gw:{demo}:root:3", b"x" * 200_000)
    assert await feed.fetch_root(1) is None
    assert await feed.fetch_root(2) == b"root 2"
    assert await feed.fetch_root(3) == b"x" * (MAX_ROOT_BYTES + 1)


async def test_other_keys_can_be_trusted(feed: Feed, publish: Publish, key: PrivateKey) -> None:
    """After a new root only its keys are believed, at the next look."""
    await publish("p1", Position(1, 1), NOWHERE)
    stranger = PrivateKey.generate()
    feed.trust({stranger.kid: stranger.public}, 1)
    with pytest.raises(EnvelopeError, match=r"^expected the kid of a known key"):
        await feed.read_head()
    feed.trust({key.kid: key.public}, 1)
    assert await feed.read_head() is not None


async def test_head_of_a_later_epoch_is_not_believed(feed: Feed, publish: Publish, key: PrivateKey) -> None:
    """A true signature begins no epoch: only a root does. An earlier epoch than the root's is no forgery."""
    await publish("p1", Position(2, 1), NOWHERE)
    with pytest.raises(EpochError) as caught:
        await feed.read_head()
    assert str(caught.value) == "expected an epoch of at most 1, as the root has it, got 2-1"
    for epoch in (2, 3):
        feed.trust({key.kid: key.public}, epoch)
        head = await feed.read_head()
        assert head is not None
        assert head.position == Position(2, 1)


async def test_head_is_found_whatever_it_is(feed: Feed, client: Redis, publish: Publish) -> None:
    """What lies there as the head can be had unjudged, fields that are missing as empty ones."""
    assert await feed.find_head() is None
    await client.hset("gw:{demo}:head", "epoch", "x")
    assert await feed.find_head() == FoundHead(b"x", b"", b"")
    await client.flushall()
    await publish("p1", Position(1, 1), NOWHERE)
    signed = await client.hget("gw:{demo}:head", "signed")
    assert await feed.find_head() == FoundHead(b"1", b"1", signed)
