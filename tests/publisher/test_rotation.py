"""New roots, and thieves of the keys that the old ones named: the publisher comes up, and is believed again."""

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import orjson
import pytest
from redis.asyncio import Redis

from channel import (
    MAX_COUNTER,
    DocumentName,
    LogCut,
    Position,
    SealedDocument,
    Sender,
    encode_head,
    make_head,
)
from publisher import EpochExhaustedError, FastForwardError, RootChainError, serve
from publisher.draft import read_author
from publisher.signer import Signer
from publisher.store import Signed
from publisher.watcher import MAX_LEAD
from tests.publisher.desk import NOW, open_desk, read_published
from trust import PrivateKey, read_root

P1, P2, P3 = (DocumentName("program", f"202100000000000{i}") for i in (1, 2, 3))
HIGHEST = Position(1, MAX_COUNTER)
ROLES = ("offer", "channel")


class Thief:
    """Has stolen the publisher's keys of one root, and can write to Redis."""

    def __init__(self, workshop: Any, client: Redis) -> None:
        self._workshop, self._client, self._sender = workshop, client, Sender(client, "demo")
        self._channel_key = workshop.keys["channel"]
        self._signer: Signer = workshop.signer()

    async def publish(self, position: Position, name: DocumentName = P1) -> None:
        """Publishes a document of their own, with true signatures."""
        author = read_author(orjson.dumps(self._workshop.document(program=name.id, poll_after=666)), name.id)
        signed = self._signer.sign(author, position, NOW)
        fields = await self._client.hmget("gw:{demo}:head", ["epoch", "revision"])
        head = encode_head(make_head("demo", position, 1, NOW), self._channel_key)
        await self._sender.publish(
            SealedDocument(name, position, signed.envelope), head, Position(*(int(field or 0) for field in fields))
        )

    async def put_head(self, position: Position) -> None:
        """Puts a head in place of the one that is there."""
        signed = encode_head(make_head("demo", position, 1, NOW), self._channel_key)
        fields = {"epoch": position.epoch, "revision": position.revision, "signed": signed}
        await self._client.hset("gw:{demo}:head", mapping=fields)


pytestmark = pytest.mark.usefixtures("published")


@pytest.fixture
async def published(workshop: Any, redis_server: Any) -> None:
    """Two documents, at 1-1 and 1-2, in the store `desk` and in Redis, and nobody who publishes."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        await desk.create(P1, 10)
        await desk.create(P2, 20)


@pytest.fixture
def thief(workshop: Any, client: Any) -> Thief:
    """Has the keys of the first root."""
    return Thief(workshop, client)


async def read_all(workshop: Any, redis: str) -> dict[str, tuple[int, int]]:
    """What an edge that has the newest root would have."""
    feed = workshop.feed(redis)
    try:
        return await read_published(feed, workshop)
    finally:
        await feed.close()


async def settle(workshop: Any, redis: str) -> Position:
    """Where Redis stands after a publisher with the root in the folder has come and gone."""
    async with open_desk(workshop, redis) as desk:
        await desk.writer.settle(NOW)
        assert desk.writer.is_settled
        return (await desk.writer.read_state()).sent


async def test_roots_lie_in_redis(workshop: Any, redis_server: Any, client: Any) -> None:
    """Edges find every root of the chain, also in a Redis that was emptied."""
    first = (workshop.folder / "root.json").read_bytes()
    assert await client.get("gw:{demo}:root:1") == first
    workshop.follow_root("offer")
    async with open_desk(workshop, redis_server.url) as desk:
        for _ in range(2):
            await desk.writer.settle(NOW)
            assert await client.get("gw:{demo}:root:1") == first
            assert await client.get("gw:{demo}:root:2") == (workshop.folder / "root.json").read_bytes()
            await client.flushall()


@pytest.mark.parametrize("replaced", [(), ("package",), ("offer",), ("channel",), ("root", "offer", "channel")])
async def test_everything_is_signed_anew_under_a_new_root(
    workshop: Any, redis_server: Any, replaced: tuple[str, ...]
) -> None:
    """Whatever has changed in it: documents, offers and head are those of the new root, as their authors wrote them."""
    workshop.follow_root(*replaced)
    assert await settle(workshop, redis_server.url) == Position(1, 4)
    assert await read_all(workshop, redis_server.url) == {P1.id: (3, 10), P2.id: (4, 20)}
    async with open_desk(workshop, redis_server.url) as desk:
        for name in (P1, P2):
            record, _ = await desk.writer.find(name)
            assert workshop.signer().read(name, record.signed.envelope) == record
        await desk.writer.settle(NOW)
        assert (await desk.writer.read_state()).sent == Position(1, 4)


async def test_readers_follow_the_log_into_a_new_root(workshop: Any, redis_server: Any) -> None:
    """Where the channel key stays, what is signed anew is told like any other change."""
    workshop.follow_root("offer")
    await settle(workshop, redis_server.url)
    feed = workshop.feed(redis_server.url)
    changes = await feed.changes_since(Position(1, 2), Position(1, 4))
    assert [change.name for change in changes.changes] == [P1, P2]
    await feed.close()


async def test_new_epoch_goes_on_with_the_numbers(workshop: Any, redis_server: Any) -> None:
    """A root of a new epoch brings everything into it; no entity tag comes twice."""
    workshop.follow_root(*ROLES, epoch=2)
    assert await settle(workshop, redis_server.url) == Position(2, 4)
    assert await read_all(workshop, redis_server.url) == {P1.id: (3, 10), P2.id: (4, 20)}


async def test_what_waits_is_sent_in_the_new_epoch(workshop: Any, redis_server: Any) -> None:
    """A change that Redis had not got before the root changed is not lost, nor sent as of the old root."""
    async with open_desk(workshop, redis_server.url) as desk:
        assert await desk.put(P1, 11) == (3, False)
    workshop.follow_root(*ROLES, epoch=2)
    assert (await settle(workshop, redis_server.url)).epoch == 2
    published_now = await read_all(workshop, redis_server.url)
    assert {program: poll_after for program, (_, poll_after) in published_now.items()} == {P1.id: 11, P2.id: 20}


async def test_publisher_and_redis_set_back_come_again(workshop: Any, redis_server: Any, client: Any) -> None:
    """Both restored from a day-old copy: in a new epoch everything is above all that devices have seen."""
    redis_copy = {key: await client.dump(key) for key in await client.keys("*")}
    shutil.copytree(workshop.folder / "desk", workshop.folder / "copy")
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        for poll_after in range(30, 40):
            await desk.put(P1, poll_after)
        assert (await desk.writer.read_state()).sent == Position(1, 12)
    shutil.rmtree(workshop.folder / "desk")
    (workshop.folder / "copy").rename(workshop.folder / "desk")
    await client.flushall()
    for key, value in redis_copy.items():
        await client.restore(key, 0, value)
    assert await settle(workshop, redis_server.url) == Position(1, 2)
    workshop.follow_root(epoch=2)
    assert await settle(workshop, redis_server.url) == Position(2, 4) > Position(1, 12)
    assert await read_all(workshop, redis_server.url) == {P1.id: (3, 10), P2.id: (4, 20)}


async def test_copy_from_before_the_new_root_learns_from_redis(workshop: Any, redis_server: Any) -> None:
    """A store that was set back to before an epoch takes over what was published in it, and signs nothing over it."""
    shutil.copytree(workshop.folder / "desk", workshop.folder / "copy")
    workshop.follow_root(*ROLES, epoch=2)
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        await desk.put(P1, 11)
    async with open_desk(workshop, redis_server.url, "copy") as desk:
        await desk.writer.settle(NOW)
        assert desk.writer.is_settled
        assert await desk.writer.list() == [(P1, Position(2, 5)), (P2, Position(2, 4))]
    assert await read_all(workshop, redis_server.url) == {P1.id: (5, 11), P2.id: (4, 20)}


async def test_fast_forward_is_recovered_from(thief: Thief, workshop: Any, redis_server: Any, client: Any) -> None:
    """Stolen keys have used up the epoch: a new root, in a new epoch, publishes the true documents over theirs."""
    await thief.publish(HIGHEST)
    await thief.publish(HIGHEST, P3)
    workshop.follow_root(*ROLES, epoch=2)
    assert await settle(workshop, redis_server.url) == Position(2, 4)
    assert await read_all(workshop, redis_server.url) == {P1.id: (3, 10), P2.id: (4, 20)}
    assert await client.hkeys("gw:{demo}:index") == [str(P1).encode(), str(P2).encode()]


async def test_new_epoch_alone_learns_nothing_from_the_last(thief: Thief, workshop: Any, redis_server: Any) -> None:
    """Also where the keys stay, nothing that somebody else has published in an earlier epoch is taken over."""
    await thief.publish(Position(1, 9))
    await thief.publish(Position(1, 10), P3)
    workshop.follow_root(epoch=2)
    assert (await settle(workshop, redis_server.url)).epoch == 2
    assert await read_all(workshop, redis_server.url) == {P1.id: (3, 10), P2.id: (4, 20)}


async def test_fast_forward_is_not_learnt(thief: Thief, workshop: Any, redis_server: Any) -> None:
    """A publisher at work does not follow a thief to where nobody can come: it keeps its documents, and says so."""
    ahead = Position(1, 2 + MAX_LEAD + 1)
    await thief.publish(ahead)
    async with open_desk(workshop, redis_server.url) as desk:
        with pytest.raises(FastForwardError) as caught:
            await desk.writer.settle(NOW)
        assert str(caught.value) == (
            f"expected a head at most {MAX_LEAD} revisions beyond 1-2, got {ahead}: "
            "somebody may have a channel key; a new root replaces it, in a new epoch"
        )
        assert await desk.put(P2, 21) == (3, False)
        assert await desk.writer.list() == [(P1, Position(1, 1)), (P2, Position(1, 3))]
    workshop.follow_root(*ROLES, epoch=2)
    await settle(workshop, redis_server.url)
    published_now = await read_all(workshop, redis_server.url)
    assert {program: poll_after for program, (_, poll_after) in published_now.items()} == {P1.id: 10, P2.id: 21}


@pytest.mark.parametrize("position", [Position(2, 1), Position(MAX_COUNTER, MAX_COUNTER), Position(1, 1 << 62)])
async def test_head_that_nobody_can_believe_is_replaced(
    thief: Thief, workshop: Any, redis_server: Any, client: Any, position: Position
) -> None:
    """A head of an epoch that no root has begun, or beyond all counting, stops nothing, though truly signed."""
    await thief.put_head(position)
    assert await settle(workshop, redis_server.url) == Position(1, 2)
    assert await read_all(workshop, redis_server.url) == {P1.id: (1, 10), P2.id: (2, 20)}
    assert await client.hget("gw:{demo}:head", "epoch") == b"1"
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        assert await desk.put(P1, 11) == (3, True)


@pytest.mark.parametrize("field", ["epoch", "revision"])
async def test_head_whose_place_was_written_over_is_replaced(
    workshop: Any, redis_server: Any, client: Any, field: str
) -> None:
    """Who can write to Redis, and has no key, does not stop a publisher by spoiling what stands beside its head."""
    await client.hset("gw:{demo}:head", field, "nonsense")
    assert await settle(workshop, redis_server.url) == Position(1, 2)
    assert await read_all(workshop, redis_server.url) == {P1.id: (1, 10), P2.id: (2, 20)}


async def test_head_beyond_counting_is_replaced_after_a_new_root(
    thief: Thief, workshop: Any, redis_server: Any
) -> None:
    """So it is where the key was replaced."""
    await thief.put_head(Position(1, 1 << 62))
    workshop.follow_root(*ROLES, epoch=2)
    assert await settle(workshop, redis_server.url) == Position(2, 4)


async def test_replaced_keys_head_is_passed_by(thief: Thief, workshop: Any, redis_server: Any) -> None:
    """Within an epoch readers have been where the replaced key has led them: the next revision is beyond that."""
    await thief.publish(Position(1, 9))
    workshop.follow_root(*ROLES)
    assert await settle(workshop, redis_server.url) == Position(1, 11)
    assert await read_all(workshop, redis_server.url) == {P1.id: (10, 10), P2.id: (11, 20)}


async def test_used_up_epoch_is_told(thief: Thief, workshop: Any, redis_server: Any) -> None:
    """Where a thief has used up the epoch, new keys alone do not help, and the error says what does."""
    await thief.publish(HIGHEST)
    workshop.follow_root(*ROLES)
    wanted = f"expected a revision below {MAX_COUNTER} to go on from, got {HIGHEST}: begin a new epoch, with a new root"
    async with open_desk(workshop, redis_server.url) as desk:
        with pytest.raises(EpochExhaustedError) as caught:
            await desk.writer.settle(NOW)
        assert str(caught.value) == wanted
        with pytest.raises(EpochExhaustedError):
            await desk.put(P1, 11)
    workshop.follow_root(*ROLES, epoch=2)
    assert await settle(workshop, redis_server.url) == Position(2, 2)
    assert await read_all(workshop, redis_server.url) == {P1.id: (1, 10), P2.id: (2, 20)}


async def test_authors_are_told_of_a_used_up_epoch(workshop: Any, redis_server: Any, clock: Any, meet: Any) -> None:
    """No revision is left: an answer, not a crash; reading still works."""
    async with open_desk(workshop, redis_server.url) as desk:
        desk.store.pass_by(HIGHEST)
    async with serve(workshop.settings(redis_server.url, "desk"), clock) as running:
        author = meet(running)
        for query in ("", "?dry_run=1"):
            answer = await author.put(workshop.document(poll_after=11), query, If_Match="*")
            assert answer.error[:2] == (503, "epoch_exhausted")
        assert (await author.get()).json["poll_after"] == 10


async def test_authors_are_told_of_a_newer_root(workshop: Any, redis_server: Any) -> None:
    """Who is overtaken by a publisher that has the next root says so, and has changed nothing."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        workshop.follow_root("offer")
        async with open_desk(workshop, redis_server.url, "other") as other:
            await other.writer.settle(NOW)
            await other.create(P3)
        with pytest.raises(RootChainError, match=r"^expected root 2, which redis has, or a later one, got root 1: "):
            await desk.put(P1, 11)
        assert await desk.writer.list() == [(P1, Position(1, 1)), (P2, Position(1, 2))]


async def test_publisher_that_is_overtaken_distributes_nothing(workshop: Any, redis_server: Any, client: Any) -> None:
    """Once its watcher has seen a newer root in Redis nothing is sent any more, and nobody is told that it was."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        root = workshop.follow_root("offer")
        await client.set(f"gw:{{demo}}:root:{root.number}", (workshop.folder / "root.json").read_bytes())
        before = await client.hgetall("gw:{demo}:head")
        with pytest.raises(RootChainError):
            await desk.writer.settle(NOW)
        assert not (await desk.put(P1, 11))[1]
    assert await client.hgetall("gw:{demo}:head") == before


async def test_what_waits_is_sent_before_what_comes_later(
    workshop: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A surprise between keeping and sending leaves the order to the watcher: the head never goes back."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        with monkeypatch.context() as patch:
            patch.setattr(desk.writer._store, "read_target", Mock(side_effect=RuntimeError("a surprise")))
            with pytest.raises(RuntimeError):
                await desk.put(P1, 11)
        assert not (await desk.put(P2, 12))[1]
        await desk.writer.settle(NOW)
        assert (await desk.put(P1, 13))[1]


async def test_channel_key_alone_is_not_followed(thief: Thief, workshop: Any, redis_server: Any, caplog: Any) -> None:
    """Who has stolen the channel key, and no offer key, makes the publisher take over no document."""
    stranger = PrivateKey.generate()
    root = workshop.write_root("elsewhere.json", offer=stranger)
    thief._signer = Signer(root, [stranger], workshop.keys["channel"], 30)
    await thief.publish(Position(1, 3))
    await settle(workshop, redis_server.url)
    async with open_desk(workshop, redis_server.url) as desk:
        assert await desk.writer.list() == [(P1, Position(1, 1)), (P2, Position(1, 2))]
        assert f"{P1} in redis is not believed: $.offers.install['1.0.0.0']: " in caplog.text
        await desk.writer.settle(NOW)
        assert await desk.put(P1, 11) == (4, True)


async def test_documents_beyond_the_head_are_not_learnt(thief: Thief, workshop: Any, redis_server: Any) -> None:
    """A document that claims a higher position than the head beside it does not use up the epoch."""
    await thief.publish(Position(1, MAX_COUNTER - 1))
    await thief.put_head(Position(1, 3))
    assert await settle(workshop, redis_server.url) == Position(1, 3)
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        assert await desk.put(P1, 11) == (4, True)


async def test_older_publisher_stops(workshop: Any, redis_server: Any, client: Any) -> None:
    """A publisher whose root has a successor in Redis distributes nothing, and says which root it needs."""
    old = Path(shutil.copytree(workshop.folder, workshop.folder.parent / "old", ignore=shutil.ignore_patterns("redis")))
    first = (workshop.folder / "root.json").read_bytes()
    second = workshop.follow_root("channel")
    await settle(workshop, redis_server.url)
    before = await client.hgetall("gw:{demo}:head")
    shutil.copytree(old, workshop.folder, dirs_exist_ok=True)
    (workshop.folder / "root.1.json").unlink()
    workshop.root, workshop.keys = read_root(first), {**workshop.keys}
    for role in ROLES:
        workshop.keys[role] = PrivateKey.from_json((workshop.folder / f"{role}.key").read_bytes())
    async with open_desk(workshop, redis_server.url) as desk:
        with pytest.raises(RootChainError) as caught:
            await desk.writer.settle(NOW)
        assert str(caught.value) == (
            f"expected root {second.number}, which redis has, or a later one, got root 1: "
            "this publisher needs the newest root"
        )
        assert await desk.put(P1, 11) == (3, False)
    assert await client.hgetall("gw:{demo}:head") == before


async def test_document_that_cannot_be_signed_anew_keeps_back_no_other(
    workshop: Any, redis_server: Any, caplog: Any
) -> None:
    """One that is no document by today's rules is left and named; the others are published under the new root."""
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        record = desk.store.commit(P1, lambda *_: Signed(b"{}", b"sealed", NOW + 10**6, 1), NOW)
        assert record is not None
        desk.store.acknowledge(record)
    workshop.follow_root("offer")
    async with open_desk(workshop, redis_server.url) as desk:
        await desk.writer.settle(NOW)
        assert [position.revision for _, position in await desk.writer.list()] == [3, 4]
        state = await desk.writer.read_state()
        assert (state.stale, state.pending, state.renew_at) == (0, 0, NOW + 86_400)
    assert f"{P1} is left at 1-3, and not signed anew: " in caplog.text


async def test_package_of_a_replaced_packager_is_named(workshop: Any, redis_server: Any, caplog: Any) -> None:
    """A document whose packager the new root does not name is published all the same, and the log says what follows."""
    workshop.follow_root("package")
    await settle(workshop, redis_server.url)
    assert f"{P1} names a package that devices refuse under this root: $.packages['1.0.0.0'].signature" in caplog.text


async def test_two_publishers_agree_on_a_new_root(workshop: Any, redis_server: Any) -> None:
    """What the one has signed anew the other takes over, and signs no more: they come to rest."""
    shutil.copytree(workshop.folder / "desk", workshop.folder / "other")
    workshop.follow_root(*ROLES, epoch=2)
    async with (
        open_desk(workshop, redis_server.url) as one,
        open_desk(workshop, redis_server.url, "other") as other,
    ):
        for desk in (one, other, one, other):
            await desk.writer.settle(NOW)
        assert await one.writer.list() == await other.writer.list() == [(P1, Position(2, 3)), (P2, Position(2, 4))]


async def test_faster_author_is_not_signed_over(workshop: Any, redis_server: Any) -> None:
    """What another publisher has published between a look and a signature stays: the older content is withdrawn."""
    shutil.copytree(workshop.folder / "desk", workshop.folder / "other")
    workshop.follow_root("offer")
    async with (
        open_desk(workshop, redis_server.url) as one,
        open_desk(workshop, redis_server.url, "other") as other,
    ):
        await one.writer.settle(NOW)
        view = await one.writer._look(NOW)
        await other.writer.settle(NOW)
        assert await other.put(P1, 11) == (5, True)
        await one.writer._republish([(await one.writer.find(P1))[0]], view.now)
        await one.writer.settle(NOW)
        record, _ = await one.writer.find(P1)
        assert orjson.loads(record.signed.author)["poll_after"] == 11
    assert (await read_all(workshop, redis_server.url))[P1.id][1] == 11


async def test_rotation_is_followed_by_a_reader(workshop: Any, redis_server: Any) -> None:
    """An edge that follows the root from Redis believes the new head, and finds its log cut by the new epoch."""
    feed = workshop.feed(redis_server.url)
    first = workshop.root
    workshop.follow_root(*ROLES, epoch=2)
    await settle(workshop, redis_server.url)
    document = await feed.fetch_root(first.number + 1)
    root = read_root(document)
    feed.trust(root.keys("channel"), root.epoch)
    head = await feed.read_head()
    assert head.position == Position(2, 4)
    assert isinstance(await feed.changes_since(Position(1, 2), head.position), LogCut)
    await feed.close()
