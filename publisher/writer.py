"""The one writer of a workspace: the store first, then Redis, and never two things at once.

What is published is on disk before anybody hears of it. Documents are judged by a `Proposal`, what Redis needs by
`watcher.decide`; here it is done, in order, under one lock.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, TypeVarTuple

from channel import (
    ChannelError,
    Conflict,
    DocumentName,
    Feed,
    LinkError,
    Position,
    Published,
    SealedDocument,
    Sender,
)
from publisher.draft import Doubt
from publisher.errors import BadDocumentError, ContendedError, UnknownDocumentError
from publisher.proposal import Proposal, Wish
from publisher.signer import Signer
from publisher.store import Record, Resign, Store, StoreState
from publisher.watcher import Act, RedisState, decide
from ruleset.document import parse_program
from ruleset.errors import DocumentError

# How long an author waits for Redis before the answer is "not yet distributed", in seconds.
SEND_PATIENCE_S = 1.0
# How often a document that another publisher got ahead of is signed again, before it is left to the watcher.
MAX_TRIES = 5
# Acts between two looks of the watcher, and documents sent or renewed in one of them: authors wait meanwhile.
MAX_ACTS = 8
SEND_CHUNK = 100
RENEW_CHUNK = 20
RANDOM_BYTES = 32

_log = logging.getLogger("graywave.publisher")
_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a wish: the document's position, whether Redis has it, and what in it is hardly meant."""

    position: Position
    is_changed: bool
    is_distributed: bool
    doubts: Sequence[Doubt]


@dataclass(frozen=True, slots=True)
class Preview:
    """What would become of a wish; `author` is the complete document as its author would read it back."""

    position: Position
    is_changed: bool
    author: bytes
    doubts: Sequence[Doubt]


@dataclass(frozen=True, slots=True)
class _View:
    now: int
    store: StoreState
    redis: RedisState


class Writer:
    """Publishes a workspace's documents.

    Args:
        store: the truth; used by one thread, which this class owns. The caller closes it, after `close`.
        signer: judges packages, and signs.
        sender: writes to Redis.
        feed: reads from Redis.
        draw: so many unpredictable bytes.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        sender: Sender,
        feed: Feed,
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store, self._signer, self._sender, self._feed, self._draw = store, signer, sender, feed, draw
        self._thread = ThreadPoolExecutor(1, "store")
        self._lock = asyncio.Lock()
        self._is_settled = False

    @property
    def is_settled(self) -> bool:
        """Whether Redis was last seen to hold all that the store has, and nothing else."""
        return self._is_settled

    async def put(self, wish: Wish, now: int) -> Outcome:
        """Publishes what an author wants: durably when this returns, and in Redis if that can be reached.

        Raises:
            BadDocumentError, PreconditionRequiredError, ConflictError: as `Proposal`; nothing was changed.
            ContendedError: another publisher was faster, MAX_TRIES times; nothing was changed.
            StoreError: it could not be kept.
        """
        proposal = Proposal(wish, self._signer, self._draw(RANDOM_BYTES), now)
        async with self._lock:
            for _ in range(MAX_TRIES):
                outcome = await self._try_to_put(proposal, now)
                if outcome:
                    return outcome
        raise ContendedError(f"another publisher of this workspace was faster, {MAX_TRIES} times")

    async def preview(self, wish: Wish, now: int) -> Preview:
        """Returns what `put` would do, and does nothing; raises what `put` would raise."""
        proposal = Proposal(wish, self._signer, self._draw(RANDOM_BYTES), now)
        current, position = await self._run(self._store.read_next, wish.name)
        signed = await self._run(proposal.build, current, position)
        if signed is None:
            current, _ = await self.find(wish.name)
            return Preview(current.position, is_changed=False, author=current.signed.author, doubts=proposal.doubts)
        return Preview(position, is_changed=True, author=signed.author, doubts=proposal.doubts)

    async def find(self, name: DocumentName) -> tuple[Record, bool]:
        """Returns a document's current record, and whether Redis has it.

        Raises:
            UnknownDocumentError: there is none.
            StoreError: it could not be read.
        """
        found = await self._run(self._store.find, name)
        if found is None:
            raise UnknownDocumentError(f"expected the name of a document, got {name}")
        return found

    async def list(self) -> list[tuple[DocumentName, Position]]:
        """Returns the name and position of every document, by name; raises StoreError."""
        return await self._run(self._store.read_all)

    async def read_state(self) -> StoreState:
        """Returns where the store stands; raises StoreError."""
        return await self._run(self._store.read_state)

    async def settle(self, now: int) -> None:
        """Brings Redis to where the store is, in at most MAX_ACTS acts; raises ChannelError or PublisherError."""
        try:
            # First without the lock: where Redis is away, no author has to wait for finding that out.
            await self._look(now)
        except ChannelError:
            self._is_settled = False
            raise
        async with self._lock:
            await self._settle(now)

    def close(self) -> None:
        """Ends the thread; nothing may be asked afterwards."""
        self._thread.shutdown()

    async def _try_to_put(self, proposal: Proposal, now: int) -> Outcome | None:
        """What became of it; None where another publisher was faster, and it was taken back."""
        record = await self._run(self._store.commit, proposal.name, proposal.build, now)
        if record is None:
            current, is_sent = await self.find(proposal.name)
            return Outcome(current.position, is_changed=False, is_distributed=is_sent, doubts=proposal.doubts)
        sent = await self._send_in_time(record, now) if self._is_settled else None
        if not isinstance(sent, Conflict):
            is_sent = isinstance(sent, Published)
            return Outcome(record.position, is_changed=True, is_distributed=is_sent, doubts=proposal.doubts)
        # Who was faster may have changed this very document: judge the wish against that.
        await self._run(self._store.withdraw, record)
        await self._settle_in_time(now)
        return None

    async def _send_in_time(self, record: Record, now: int) -> Published | Conflict | None:
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                return await self._send(record, now)
        except (LinkError, TimeoutError) as error:
            # It may be in Redis all the same: the watcher finds out.
            self._is_settled = False
            _log.warning("%s at %s is kept, and not yet in redis: %r", record.name, record.position, error)
            return None

    async def _settle_in_time(self, now: int) -> None:
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await self._settle(now)
        except (ChannelError, TimeoutError) as error:
            _log.warning("redis is left to the watcher: %r", error)

    async def _send(self, record: Record, now: int) -> Published | Conflict:
        expected, documents = await self._run(self._store.read_target, record.name)
        head = self._signer.sign_head(record.position, documents, now)
        outcome = await self._sender.publish(_seal(record), head, expected)
        if isinstance(outcome, Published):
            await self._run(self._store.acknowledge, record)
        else:
            self._is_settled = False
        return outcome

    async def _settle(self, now: int) -> None:
        try:
            for _ in range(MAX_ACTS):
                view = await self._look(now)
                act = decide(now, view.store, view.redis)
                self._is_settled = act in (Act.REST, Act.SIGN, Act.RENEW)
                await self._do(act, view)
                if act in (Act.REST, Act.RENEW):
                    return
        except BaseException:
            self._is_settled = False
            raise

    async def _look(self, now: int) -> _View:
        redis = RedisState(await self._feed.read_head(), await self._feed.count())
        return _View(now, await self._run(self._store.read_state), redis)

    async def _do(self, act: Act, view: _View) -> None:
        if act is not Act.REST:
            _log.info("%s: the store has sent up to %s, redis is at %s", act, view.store.sent, view.redis.position)
        match act:
            case Act.ADOPT:
                await self._adopt(view)
            case Act.RESTORE:
                await self._restore(view, await self._run(self._store.read_sent))
            case Act.SEND:
                await self._send_each(await self._run(self._store.read_pending, SEND_CHUNK), view.now)
            case Act.SIGN:
                await self._restore(view, [])
            case Act.RENEW:
                await self._renew(view.now)
            case Act.REST:
                pass

    async def _adopt(self, view: _View) -> None:
        index = await self._feed.index()
        names = [name for name, position in index.items() if position > view.store.sent]
        read = map(self._read, names, await self._feed.fetch(names))
        found = [record for record in read if record and record.position > view.store.sent]
        await self._run(self._store.adopt, found, view.redis.position, self._make_resign(view.now), view.now)

    def _read(self, name: DocumentName, envelope: bytes | None) -> Record | None:
        """What Redis holds of a document, if this workspace's publisher has sealed it."""
        try:
            return self._signer.read(name, envelope or b"")
        except (ChannelError, DocumentError, BadDocumentError) as error:
            _log.error("%s in redis is not believed: %s", name, error)
            return None

    async def _restore(self, view: _View, records: Sequence[Record]) -> None:
        head = self._signer.sign_head(view.store.sent, view.store.documents, view.now)
        await self._sender.restore([_seal(record) for record in records], view.store.sent, head)

    async def _renew(self, now: int) -> None:
        resign = self._make_resign(now)
        for record in await self._run(self._store.read_due, now, RENEW_CHUNK):
            renewed = await self._run(
                self._store.commit, record.name, lambda current, position: current and resign(current, position), now
            )
            await self._send_each([renewed] if renewed else [], now)

    def _make_resign(self, now: int) -> Resign:
        return lambda record, position: self._signer.sign(parse_program(record.signed.author), position, now)

    async def _send_each(self, records: Iterable[Record], now: int) -> None:
        for record in records:
            if isinstance(await self._send(record, now), Conflict):
                return

    async def _run(self, call: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Calls the store in its thread: one call after the other, and none of them in the loop's."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _seal(record: Record) -> SealedDocument:
    return SealedDocument(record.name, record.position, record.signed.envelope)
