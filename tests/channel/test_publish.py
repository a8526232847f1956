"""The publisher's side: all or nothing, never twice, never lower."""

from collections.abc import Awaitable, Callable

import pytest
from redis.asyncio import Redis

from channel import (
    Conflict,
    DocumentName,
    FoundHead,
    KeyNameError,
    LinkRefusedError,
    Position,
    Published,
    SealedDocument,
    Sender,
    Taken,
)
from channel.publish import RESTORE_CHUNK
from trust.root import MAX_ROOT_BYTES

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
    assert (await pubsub.get_message(timeout=30))["type"] == "subscribe"
    assert await publish("p1", FIRST, NOWHERE) == Published()
    assert await client.get("gw:{demo}:doc:program:p1") == seal_document("p1", FIRST).envelope
    assert await client.hgetall("gw:{demo}:index") == {b"program:p1": b"1-1"}
    assert await client.xrange("gw:{demo}:log") == [(b"1-1", {b"kind": b"program", b"id": b"p1"})]
    head = await client.hgetall("gw:{demo}:head")
    assert (head[b"epoch"], head[b"revision"]) == (b"1", b"1")
    assert (await pubsub.get_message(timeout=30))["data"] == b"1-1"
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
    await pubsub.get_message(timeout=30)
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


HIGHEST = Position(1, (1 << 53) - 1)


async def test_new_epoch_follows_the_last_revision_of_all(client: Redis, publish: Publish) -> None:
    """From the highest revision there is, the first of the next epoch is published, and the log goes on with it."""
    await publish("p1", HIGHEST, NOWHERE)
    assert await publish("p1", Position(2, 1), HIGHEST) == Published()
    assert await client.hgetall("gw:{demo}:index") == {b"program:p1": b"2-1"}
    assert [id_ for id_, _ in await client.xrange("gw:{demo}:log")] == [b"1-9007199254740991", b"2-1"]


async def test_root_is_put_once(client: Redis, sender: Sender) -> None:
    """A root document lies under its number; putting it there again changes nothing."""
    for _ in range(2):
        assert await sender.put_root(2, b"root 2") == Published()
    assert await read_everything(client) == {b"gw:{demo}:root:2": await client.dump("gw:{demo}:root:2")}
    assert await client.get("gw:{demo}:root:2") == b"root 2"


async def test_other_root_is_not_written_over(client: Redis, sender: Sender) -> None:
    """Other bytes of the same number stay, and are told."""
    await sender.put_root(2, b"root 2")
    assert await sender.put_root(2, b"another") == Taken(b"root 2")
    assert await sender.put_root(2, b"another", instead_of=b"root") == Taken(b"root 2")
    assert await client.get("gw:{demo}:root:2") == b"root 2"


async def test_root_replaces_just_the_one_that_was_found(client: Redis, sender: Sender) -> None:
    """What nobody follows can be replaced, by whoever has seen it."""
    await sender.put_root(2, b"rubbish")
    assert await sender.put_root(2, b"root 2", instead_of=b"rubbish") == Published()
    assert await client.get("gw:{demo}:root:2") == b"root 2"


async def test_huge_root_is_told_in_part(client: Redis, sender: Sender) -> None:
    """Of something huge in a root's place no more is fetched than it takes to refuse it, and to replace it."""
    await client.set("gw:{demo}:root:2", b"x" * 200_000)
    found = await sender.put_root(2, b"root 2")
    assert found == Taken(b"x" * (MAX_ROOT_BYTES + 1))
    assert await sender.put_root(2, b"root 2", instead_of=found.found) == Published()
    assert await client.get("gw:{demo}:root:2") == b"root 2"


async def test_nothing_in_a_roots_place_is_filled(client: Redis, sender: Sender) -> None:
    """An empty value is in nobody's way."""
    await client.set("gw:{demo}:root:2", b"")
    assert await sender.put_root(2, b"root 2") == Published()


async def test_head_is_discarded_with_what_led_to_it(client: Redis, sender: Sender, publish: Publish) -> None:
    """A head that cannot be believed goes together with index and log; documents stay, and can be restored over."""
    await publish("p1", FIRST, NOWHERE)
    found = FoundHead(*await client.hmget("gw:{demo}:head", ["epoch", "revision", "signed"]))
    assert await sender.discard(found)
    assert await client.keys("*") == [b"gw:{demo}:doc:program:p1"]


@pytest.mark.parametrize("field", ["epoch", "revision", "signed"])
async def test_changed_head_is_not_discarded(client: Redis, sender: Sender, publish: Publish, field: str) -> None:
    """A head that somebody has replaced meanwhile was not judged, and stays."""
    await publish("p1", FIRST, NOWHERE)
    found = FoundHead(*await client.hmget("gw:{demo}:head", ["epoch", "revision", "signed"]))
    await client.hset("gw:{demo}:head", field, "7")
    before = await read_everything(client)
    assert not await sender.discard(found)
    assert await read_everything(client) == before


async def test_head_with_gaps_is_discarded(client: Redis, sender: Sender) -> None:
    """A head that has not even its fields can be thrown away too."""
    await client.hset("gw:{demo}:head", "revision", "4611686018427387904")
    assert await sender.discard(FoundHead(b"", b"4611686018427387904", b""))
    assert await client.keys("*") == []
