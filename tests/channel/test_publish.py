"""The publisher's side: all or nothing, never twice, never lower."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from channel import Conflict, DocumentName, KeyNameError, LinkRefusedError, Position, Published, SealedDocument, Sender
from channel.publish import RESTORE_CHUNK

Publish = Callable[..., Awaitable[object]]
SealDocument = Callable[[str, Position], SealedDocument]
SignHead = Callable[[Position], bytes]

NOWHERE = Position(0, 0)
FIRST = Position(1, 1)


async def read_everything(client: Redis) -> dict[bytes, object]:
    """Every key and its value, as bytes."""
    return {name: await client.dump(name) for name in sorted(await client.keys("*"))}


async def test_everything_appears(client: Redis, publish: Publish, seal_document: SealDocument) -> None:
    """Document, index, log and head are there after one step, and the hint is told."""
    pubsub = client.pubsub()
    await pubsub.subscribe("gw:{demo}:changed")
    assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
    assert await publish("p1", FIRST, NOWHERE) == Published()
    assert await client.get("gw:{demo}:doc:program:p1") == seal_document("p1", FIRST).envelope
    assert await client.hgetall("gw:{demo}:index") == {b"program:p1": b"1-1"}
    assert await client.xrange("gw:{demo}:log") == [(b"1-1", {b"kind": b"program", b"id": b"p1"})]
    head = await client.hgetall("gw:{demo}:head")
    assert (head[b"epoch"], head[b"revision"]) == (b"1", b"1")
    assert (await pubsub.get_message(timeout=5))["data"] == b"1-1"
    await pubsub.aclose()


@pytest.mark.parametrize("expected", [NOWHERE, Position(1, 1), Position(1, 3), Position(2, 2)])
async def test_conflict_changes_nothing(client: Redis, publish: Publish, expected: Position) -> None:
    """Where the head is elsewhere nothing is written, and the answer says where it is."""
    await publish("p1", Position(1, 1), NOWHERE)
    await publish("p1", Position(1, 2))
    before = await read_everything(client)
    assert await publish("p2", Position(1, 3), expected) == Conflict(Position(1, 2))
    assert await read_everything(client) == before


async def test_emptied_redis_is_a_conflict(client: Redis, publish: Publish) -> None:
    """A Redis that has lost its head is found nowhere, not written over."""
    await publish("p1", Position(1, 1), NOWHERE)
    await client.flushall()
    assert await publish("p1", Position(1, 2)) == Conflict(NOWHERE)
    assert await client.keys("*") == []


async def test_script_is_loaded_again(client: Redis, publish: Publish) -> None:
    """A Redis that has forgotten the script gets it again."""
    await publish("p1", Position(1, 1), NOWHERE)
    await client.script_flush()
    assert await publish("p1", Position(1, 2)) == Published()


async def test_log_that_is_ahead_begins_anew(client: Redis, publish: Publish) -> None:
    """A log that outlived its head is cut, not a reason to publish no more."""
    await client.xadd("gw:{demo}:log", {"kind": "program", "id": "p9"}, id="1-9")
    assert await publish("p1", FIRST, NOWHERE) == Published()
    assert await client.xrange("gw:{demo}:log") == [(b"1-1", {b"kind": b"program", b"id": b"p1"})]


async def test_head_that_is_no_head_is_reported(client: Redis, publish: Publish) -> None:
    """A head that somebody else has written is an error, and is not written over."""
    await client.hset("gw:{demo}:head", mapping={"epoch": "x", "revision": "y"})
    with pytest.raises(LinkRefusedError) as caught:
        await publish("p1", FIRST, NOWHERE)
    assert str(caught.value) == "expected three numbers from the script, got [0]"
    assert await client.hget("gw:{demo}:head", "epoch") == b"x"


async def test_restore_brings_everything_back(
    client: Redis, sender: Sender, publish: Publish, seal_document: SealDocument, sign_head: SignHead
) -> None:
    """An emptied Redis has the same documents, index and head again; the log begins anew and nobody is woken."""
    await publish("p1", Position(1, 1), NOWHERE)
    await publish("p2", Position(1, 2))
    await client.delete("gw:{demo}:log")
    before = await read_everything(client)
    await client.flushall()
    pubsub = client.pubsub()
    await pubsub.subscribe("gw:{demo}:changed")
    await pubsub.get_message(timeout=5)
    documents = [seal_document("p1", Position(1, 1)), seal_document("p2", Position(1, 2))]
    assert await sender.restore(documents, Position(1, 2), sign_head(Position(1, 2))) == Published()
    assert await read_everything(client) == before
    await client.ping()
    assert await pubsub.get_message(timeout=0.05) is None
    await pubsub.aclose()


async def test_restore_has_several_chunks(
    client: Redis, sender: Sender, seal_document: SealDocument, sign_head: SignHead
) -> None:
    """More documents than one script takes are all put back."""
    count = 2 * RESTORE_CHUNK + 1
    documents = [seal_document(f"p{i}", Position(1, i)) for i in range(1, count + 1)]
    await sender.restore(documents, Position(1, count), sign_head(Position(1, count)))
    assert await client.hlen("gw:{demo}:index") == count
    assert await client.get(f"gw:{{demo}}:doc:program:p{count}") == documents[-1].envelope


async def test_older_publisher_restores_nothing(
    client: Redis, sender: Sender, publish: Publish, seal_document: SealDocument, sign_head: SignHead
) -> None:
    """A publisher that is behind Redis changes nothing in it."""
    await publish("p1", Position(1, 1), NOWHERE)
    await publish("p1", Position(1, 2))
    before = await read_everything(client)
    for position in (Position(1, 1), Position(0, 9)):
        outcome = await sender.restore([seal_document("p1", position)], position, sign_head(position))
        assert outcome == Conflict(Position(1, 2))
    assert await read_everything(client) == before


async def test_restore_lowers_no_document(
    client: Redis, sender: Sender, publish: Publish, seal_document: SealDocument, sign_head: SignHead
) -> None:
    """Where the head was lost, a document that is there in a higher revision stays."""
    await publish("p1", Position(1, 1), NOWHERE)
    await publish("p1", Position(1, 2))
    await client.delete("gw:{demo}:head")
    await sender.restore([seal_document("p1", Position(1, 1))], Position(1, 1), sign_head(Position(1, 1)))
    assert await client.hgetall("gw:{demo}:index") == {b"program:p1": b"1-2"}
    assert await client.get("gw:{demo}:doc:program:p1") == seal_document("p1", Position(1, 2)).envelope


async def test_restore_mends_what_is_missing(
    client: Redis, sender: Sender, publish: Publish, seal_document: SealDocument, sign_head: SignHead
) -> None:
    """A document that was lost although the index names it is put back."""
    await publish("p1", Position(1, 1), NOWHERE)
    await client.delete("gw:{demo}:doc:program:p1")
    await sender.restore([seal_document("p1", Position(1, 1))], Position(1, 1), sign_head(Position(1, 1)))
    assert await client.get("gw:{demo}:doc:program:p1") == seal_document("p1", Position(1, 1)).envelope


async def test_head_is_replaced_at_its_position(client: Redis, sender: Sender, publish: Publish) -> None:
    """A head that was signed anew takes the place of the one at the same position."""
    await publish("p1", FIRST, NOWHERE)
    assert await sender.restore([], FIRST, b"signed anew") == Published()
    assert await client.hget("gw:{demo}:head", "signed") == b"signed anew"


def test_sender_refuses_a_name_that_is_none(client: Redis) -> None:
    """No key is written under a workspace that is none."""
    with pytest.raises(KeyNameError):
        Sender(client, "a}b")


async def test_scripts_touch_one_slot(client: Redis, publish: Publish) -> None:
    """Every key of a workspace has the same hash tag, so that a cluster runs the scripts too."""
    await publish("p1", FIRST, NOWHERE)
    assert {name.split(b"{")[1].split(b"}")[0] for name in await client.keys("*")} == {b"demo"}
    assert str(DocumentName("program", "p1")) == "program:p1"
