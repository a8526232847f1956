"""The publisher's side of Redis: what is published appears in one step or not at all, and nothing is ever lowered.

What is in the envelopes, and which of them to publish, is not known here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

from redis.asyncio import Redis

from channel.errors import LinkRefusedError
from channel.head import MAX_FIELD_BYTES, FoundHead, Position
from channel.keys import DocumentName, Keys
from channel.link import reach
from channel.script import read_script
from trust.root import MAX_ROOT_BYTES

# How many changes a reader may be behind without loading the whole index, in entries of the log.
LOG_ENTRIES = 10_000
# Documents put back in one script: Redis serves nobody else meanwhile, and one may have 1 MiB.
RESTORE_CHUNK = 50


@dataclass(frozen=True, slots=True)
class SealedDocument:
    """A document as it lies in Redis."""

    name: DocumentName
    position: Position
    envelope: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """It is in Redis now, all of it."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """Nothing was done: the head was found elsewhere, at NOWHERE where there is none."""

    found: Position


@dataclass(frozen=True, slots=True)
class Taken:
    """Nothing was done: another document has the place, these are its bytes, or the first of them."""

    found: bytes


class Sender:
    """Writes a workspace's root documents, documents and head.

    Args:
        client: a Redis of `link.connect`; the caller closes it.
        workspace: whose; KeyNameError where it is no name.
    """

    def __init__(self, client: Redis, workspace: str) -> None:
        self._keys = Keys.of(workspace)
        self._publish = client.register_script(read_script("publish.lua"))
        self._restore = client.register_script(read_script("restore.lua"))
        self._discard = client.register_script(read_script("discard.lua"))
        self._root = client.register_script(read_script("root.lua"))

    async def put_root(self, number: int, document: bytes, instead_of: bytes = b"") -> Published | Taken:
        """Puts a root document in its place if that is empty, has these very bytes, or those that it is to replace.

        Of something too large for a root only the first MAX_ROOT_BYTES + 1 bytes are told, and compared.

        Raises:
            LinkError: Redis is away or refuses.
        """
        with reach():
            reply = await self._root(keys=[self._keys.root(number)], args=[document, instead_of, MAX_ROOT_BYTES + 1])
        return Published() if reply is None else Taken(cast("bytes", reply))

    async def discard(self, found: FoundHead) -> bool:
        """Takes away a head that cannot be believed, with its index and log, if it is still the one that was found.

        What stands there afterwards is an empty source, which no reader believes, and which can be restored.

        Raises:
            LinkError: Redis is away or refuses.
        """
        keys = self._keys
        with reach():
            reply = await self._discard(keys=[keys.head, keys.index, keys.log], args=[*found, MAX_FIELD_BYTES])
        return bool(reply)

    async def publish(self, document: SealedDocument, head: bytes, expected: Position) -> Published | Conflict:
        """Publishes a document and the signed head at its position, if the head stands where it is expected.

        Raises:
            LinkAwayError: no answer; it may have been published all the same.
            LinkRefusedError: Redis answered with an error.
        """
        keys, name, position = self._keys, document.name, document.position
        with reach():
            reply = await self._publish(
                keys=[keys.head, keys.index, keys.log, keys.document(name)],
                args=[*expected, *position, head, *name, document.envelope, LOG_ENTRIES, keys.changed],
            )
        return _read_reply(reply)

    async def restore(
        self, documents: Sequence[SealedDocument], position: Position, head: bytes
    ) -> Published | Conflict:
        """Puts back what Redis has lost, document by document and the signed head last; hints nobody.

        What Redis holds at a higher position stays, and a head that is higher ends it. With no documents it only
        replaces the head, for one that was signed anew.

        Raises:
            LinkAwayError: no answer; some of it may have been done.
            LinkRefusedError: Redis answered with an error.
        """
        for start in range(0, len(documents), RESTORE_CHUNK):
            outcome = await self._put_back(documents[start : start + RESTORE_CHUNK], position, b"")
            if isinstance(outcome, Conflict):
                return outcome
        return await self._put_back([], position, head)

    async def _put_back(self, chunk: Sequence[SealedDocument], position: Position, head: bytes) -> Published | Conflict:
        keys = [self._keys.head, self._keys.index, *(self._keys.document(document.name) for document in chunk)]
        with reach():
            reply = await self._restore(keys=keys, args=[*position, head, *_list_fields(chunk)])
        return _read_reply(reply)


def _list_fields(chunk: Iterable[SealedDocument]) -> Iterable[str | int | bytes]:
    for document in chunk:
        yield from (str(document.name), *document.position, document.envelope)


def _read_reply(reply: object) -> Published | Conflict:
    match reply:
        case [int(done), int(epoch), int(revision)]:
            return Published() if done else Conflict(Position(epoch, revision))
    raise LinkRefusedError(f"expected three numbers from the script, got {reply!r}")
