"""The reader's side of Redis: what has changed since a position, and when to look again. It believes signatures only.

Subscribe first, then read the head, then follow the log from your cursor, or compare the index where the log was cut.
What can be decided without Redis is decided in pure functions; the classes only ask and listen.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from redis.asyncio import Redis

from channel.envelope import MAX_ENVELOPE_BYTES
from channel.errors import KeyNameError, LinkAwayError, LinkError, OversizedError, SourceError
from channel.head import FIRST_EPOCH, MAX_FIELD_BYTES, FoundHead, Head, Position, open_head, tell_field
from channel.keys import DocumentName, Keys
from channel.link import connect, reach
from trust import PublicKey
from trust.root import MAX_ROOT_BYTES

# Further behind than this, comparing the index costs less than following the log. In entries.
MAX_CHANGES = 1_000
# Envelopes asked for at once; at 1 MiB each they would fill 100 MiB.
FETCH_CHUNK = 100
# A Redis that somebody has filled with names may not fill the reader's memory too: half a gigabyte at this many.
MAX_DOCUMENTS = 1_000_000
# So far beyond the documents that the signed head counts the index may be: what was published since it was read.
MAX_SURPLUS = 1_000
# Entries of the index asked for at once: names of 145 bytes at most make 200 kB.
INDEX_PAGE = 1_000
# A hash of MAX_DOCUMENTS has some 2 million places; a false Redis would send empty pages for ever.
MAX_INDEX_PAGES = 20_000
# Pauses between attempts to subscribe, in seconds: doubled up to the longest, then a random part of it, so that all
# hosts do not come back to a restarted Redis at once.
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0

_log = logging.getLogger("graywave.channel")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an answer may take, and a subscription be silent before a PING and again after it, in seconds."""

    answer_s: float = 5.0
    silence_s: float = 5.0


class Standing(StrEnum):
    """Where a source stands, seen from a reader's cursor; an empty or older one is not believed."""

    EMPTY = "empty"
    OLDER = "older"
    CURRENT = "current"
    NEWER = "newer"


class Hint(StrEnum):
    """Why to look at the head now: a (new) subscription stands, or somebody says that there is something new."""

    SUBSCRIBED = "subscribed"
    CHANGED = "changed"


@dataclass(frozen=True, slots=True)
class Change:
    """A document that was published at a position; by now there may be a newer one."""

    position: Position
    name: DocumentName


@dataclass(frozen=True, slots=True)
class Changes:
    """Every change after the cursor, oldest first, up to and including `until`."""

    changes: tuple[Change, ...]
    until: Position


@dataclass(frozen=True, slots=True)
class LogCut:
    """The log does not lead from the cursor to the head: compare the index instead. The reason is for the log file."""

    reason: str


def judge_head(cursor: Position, head: Head | None) -> Standing:
    """Returns where a source with this head stands for a reader who has seen everything up to the cursor."""
    if head is None:
        return Standing.EMPTY
    if head.position == cursor:
        return Standing.CURRENT
    return Standing.NEWER if head.position > cursor else Standing.OLDER


def follow_log(cursor: Position, until: Position, entries: Sequence[Change]) -> Changes | LogCut:
    """Returns the changes that lead from a cursor to a head, if the entries have every one of them.

    The log is not signed: what it leaves out is found by counting, and what it says beyond the head is not heard.
    """
    if until <= cursor:
        return Changes((), cursor)
    expected = cursor
    taken = [entry for entry in entries if entry.position <= until]
    for entry in taken:
        if entry.position != expected.next:
            return LogCut(f"expected an entry {expected.next}, got {entry.position}")
        expected = entry.position
    if expected != until:
        return LogCut(f"expected entries up to {until}, got them up to {expected}")
    return Changes(tuple(taken), until)


def compute_pause(failures: int, fraction: float) -> float:
    """Returns the seconds to wait after so many failures in a row; `fraction` (0 to 1) is the caller's randomness."""
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(failures, 16)) * fraction)


class Feed:
    """Reads one workspace from one Redis, over a connection of its own for questions and one for hints.

    Args:
        url: where Redis is, as for `link.connect`.
        workspace: whose documents.
        keys: the root's `channel` keys by kid.
        epoch: the root's; a head of a later one is not believed.
        patience: how long it waits.
        draw: randomness, 0 to 1.

    Raises:
        KeyNameError: the address or the workspace is none.
    """

    def __init__(
        self,
        url: str,
        workspace: str,
        keys: Mapping[str, PublicKey],
        *,
        epoch: int = FIRST_EPOCH,
        patience: Patience = Patience(),
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._url, self._workspace, self._trusted, self._epoch = url, workspace, keys, epoch
        self._keys = Keys.of(workspace)
        self._patience, self._draw = patience, draw
        self._client = connect(url, patience.answer_s, workspace)

    def trust(self, keys: Mapping[str, PublicKey], epoch: int) -> None:
        """Believes from now on what another root says: its `channel` keys by kid, and nothing of a later epoch."""
        self._trusted, self._epoch = keys, epoch

    async def read_head(self) -> Head | None:
        """Returns the signed head, None where there is none.

        Raises:
            LinkError: Redis is away or refuses.
            EnvelopeError: the head is not signed by a key of this workspace.
            EpochError: it is of a later epoch than the root.
            SourceError: the head's fields are not those that were signed.
        """
        found = await self.read_signed()
        return found[0] if found else None

    async def read_signed(self) -> tuple[Head, bytes] | None:
        """Returns the head, and the bytes that were signed, for keeping them; raises as `read_head`."""
        found = await self.find_head()
        return (open_head(found, self._trusted, self._workspace, self._epoch), found.signed) if found else None

    async def find_head(self) -> FoundHead | None:
        """Returns what lies there as the head, believed or not; None where nothing does. Raises LinkError.

        Of a field that is larger than MAX_FIELD_BYTES only its size is told (`tell_field`).
        """
        fields = FoundHead._fields
        try:
            with reach(self._keys.head):
                reply: Any = await self._client.hmget(self._keys.head, list(fields))
        except OversizedError:
            reply = [await self._read_field(field) for field in fields]
        return None if reply == [None, None, None] else FoundHead(*(tell_field(field or b"") for field in reply))

    async def _read_field(self, field: str) -> bytes:
        """One field of a head that is too large to be read whole."""
        with reach():
            size: Any = await self._client.hstrlen(self._keys.head, field)
            found: Any = await self._client.hget(self._keys.head, field) if size <= MAX_FIELD_BYTES else size
        return tell_field(found or b"")

    async def fetch_root(self, number: int) -> bytes | None:
        """Returns the root document of a number as it lies there, None where there is none.

        `trust.read_successor` says whether to believe it. One that is too large comes cut, one byte beyond
        MAX_ROOT_BYTES, so that it is refused without having been read.

        Raises:
            LinkError: Redis is away or refuses.
        """
        with reach():
            document: Any = await self._client.getrange(self._keys.root(number), 0, MAX_ROOT_BYTES)
        return document or None

    async def changes_since(self, cursor: Position, until: Position) -> Changes | LogCut:
        """Returns what was published after the cursor, up to the position of a verified head.

        Raises:
            LinkError: Redis is away or refuses.
        """
        try:
            with reach(self._keys.log):
                raw: Any = await self._client.xrange(self._keys.log, min=str(cursor.next), count=MAX_CHANGES)
            entries = [_read_entry(id_, fields) for id_, fields in raw]
        except (OversizedError, SourceError, KeyNameError) as error:
            return LogCut(str(error))
        return follow_log(cursor, until, entries)

    async def index(self, documents: int = MAX_DOCUMENTS) -> dict[DocumentName, Position]:
        """Returns the position of every document.

        Args:
            documents: how many there are, as a believed head says: a reader's memory is for these, and not for
                whatever somebody else has written there.

        Raises:
            LinkError: Redis is away or refuses.
            SourceError: it holds more than these and MAX_SURPLUS, or than MAX_DOCUMENTS, or what is no position.
            KeyNameError: it holds something that is no name.
        """
        limit = min(documents + MAX_SURPLUS, MAX_DOCUMENTS)
        found: dict[DocumentName, Position] = {}
        pages, cursor = 0, 0
        while not pages or cursor:
            raw: Any
            with reach(self._keys.index):
                cursor, raw = await self._client.hscan(self._keys.index, cursor, count=INDEX_PAGE)
            found |= {DocumentName.parse(member): Position.parse(position) for member, position in raw.items()}
            pages += 1
            if len(found) > limit or pages > MAX_INDEX_PAGES:
                raise SourceError(f"expected at most {limit} documents in the index of redis, got more")
        return found

    async def count(self) -> int:
        """Returns how many documents the index names; raises LinkError."""
        with reach():
            return int(await self._client.hlen(self._keys.index))

    async def fetch(self, names: Sequence[DocumentName]) -> list[bytes | None]:
        """Returns the envelopes of documents, in the order asked, None where there is none.

        They are as they lie there: `open_envelope` says whether to believe them. One that is too large comes cut, one
        byte beyond MAX_ENVELOPE_BYTES, so that it is refused without having been read.

        Raises:
            LinkError: Redis is away or refuses.
        """
        found: list[bytes | None] = []
        for start in range(0, len(names), FETCH_CHUNK):
            # GETRANGE and not MGET: a value has up to 512 MiB, and whoever can write one may not fill this host.
            pipeline = self._client.pipeline(transaction=False)
            for name in names[start : start + FETCH_CHUNK]:
                pipeline.getrange(self._keys.document(name), 0, MAX_ENVELOPE_BYTES)
            with reach():
                found += [envelope or None for envelope in await pipeline.execute()]
        return found

    async def subscribe(self) -> AsyncGenerator[Hint, None]:
        """Yields a hint whenever there is reason to look at the head, for ever; subscribes again whenever it must.

        Every subscription begins with SUBSCRIBED: what was said while nobody listened is lost, so look. Leave it by
        cancelling, or close it (`contextlib.aclosing`).
        """
        failures = 0
        while True:
            client = connect(self._url, self._patience.answer_s, self._workspace)
            ear = _Ear(client, self._keys.changed, self._patience.silence_s)
            try:
                while True:
                    hint = await ear.hear()
                    failures = 0
                    yield hint
            except LinkError as error:
                if not failures:
                    _log.warning("subscription to %s lost: %s", self._keys.changed, error)
                failures += 1
            finally:
                await ear.close()
            await asyncio.sleep(compute_pause(failures, self._draw()))

    async def close(self) -> None:
        """Closes the connection for questions; a subscription closes its own."""
        await self._client.aclose()


class _Ear:
    """One subscribed connection, which hears or fails: no silence is taken for peace.

    redis-py would subscribe again by itself, unnoticed, and would never miss a PONG; here each failure ends the
    connection and the next begins with its confirmation.
    """

    def __init__(self, client: Redis, channel: str, silence_s: float) -> None:
        self._client, self._channel, self._silence_s = client, channel, silence_s
        self._pubsub = client.pubsub()

    async def hear(self) -> Hint:
        """Returns the next hint; LinkAwayError where the connection ends or is found dead."""
        with reach(self._channel):
            if not self._pubsub.subscribed:
                await self._pubsub.subscribe(self._channel)
            while True:
                message = await self._pubsub.get_message(timeout=self._silence_s) or await self._probe()
                if message["type"] == "subscribe":
                    return Hint.SUBSCRIBED
                if message["type"] == "message":
                    return Hint.CHANGED

    async def _probe(self) -> Any:
        await self._pubsub.ping()
        message = await self._pubsub.get_message(timeout=self._silence_s)
        if message is None:
            raise LinkAwayError(f"redis said nothing for {self._silence_s} s after a ping")
        return message

    async def close(self) -> None:
        await self._pubsub.aclose()  # type: ignore[no-untyped-call]
        await self._client.aclose()


def _read_entry(id_: bytes, fields: Mapping[bytes, bytes] | None) -> Change:
    if not fields or fields.keys() != {b"kind", b"id"}:
        raise SourceError(f"expected kind and id in entry {id_!r} of the log, got {fields!r:.100}")
    return Change(Position.parse(id_), DocumentName.parse(fields[b"kind"] + b":" + fields[b"id"]))
