"""The one writer of a workspace: the store first, then Redis, and never two things at once.

What is published is on disk before anybody hears of it. Documents are judged by a `Proposal`, what Redis needs by
`watcher.decide`; here it is done, in order, under one lock.
"""

import asyncio
import logging
import secrets
from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar, TypeVarTuple

from channel import (
    ChannelError,
    Conflict,
    DocumentName,
    Feed,
    KeyNameError,
    LinkError,
    Position,
    Published,
    SealedDocument,
    Sender,
)
from publisher.chain import UNFOUND, Chain, judge_found
from publisher.draft import Doubt
from publisher.errors import BadDocumentError, ContendedError, SigningError, UnknownDocumentError
from publisher.kind import Kind, Kinds
from publisher.post import RootPost
from publisher.proposal import Proposal, Wish
from publisher.signer import PROGRAM_KIND, Signer
from publisher.store import Place, Record, Resign, Signed, Store, StoreState
from publisher.trial import ID_BYTES, TrialWish, check_listed, make_claim
from publisher.visit import Visitor
from publisher.watcher import Act, RedisState, decide
from ruleset.document import parse_program
from ruleset.errors import DocumentError
from trust import TrialClaim

# How long an author waits for Redis before the answer is "not yet distributed", in seconds.
SEND_PATIENCE_S = 1.0
# How often a document that another publisher got ahead of is signed again, before it is left to the watcher.
MAX_TRIES = 5
# Acts between two looks of the watcher, and documents sent or renewed in one of them: authors wait meanwhile.
MAX_ACTS = 8
SEND_CHUNK = 100
RESIGN_CHUNK = 100
RENEW_CHUNK = 20
# When a document that could not be signed anew is tried again, in seconds.
POSTPONE_S = 86_400
# How long a file that no release names counts as found, in seconds: stores keep one that nobody names for a day.
VISIT_LASTS_S = 86_400
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


@dataclass(frozen=True, slots=True)
class Files:
    """Where devices get what has no host in its address, and who looks whether it is there."""

    base: str
    visitor: Visitor


class Writer:
    """Publishes a workspace's documents.

    Args:
        store: the truth; used by one thread, which this class owns. The caller closes it, after `close`.
        chain: the workspace's roots, which the store follows.
        signer: judges packages, and signs.
        sender: writes to Redis.
        feed: reads from Redis.
        files: sees to it that every file is there before a document names it; None publishes unchecked.
        keys: the names of the fingerprint keys.
        draw: so many unpredictable bytes.
    """

    def __init__(
        self,
        store: Store,
        chain: Chain,
        signer: Signer,
        sender: Sender,
        feed: Feed,
        *,
        files: Files | None = None,
        keys: Sequence[str] = (),
        draw: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._store, self._chain, self._signer, self._sender, self._feed = store, chain, signer, sender, feed
        self._kinds = Kinds(signer, keys)
        self._files, self._draw = files, draw
        self._roots = RootPost(chain, sender, feed)
        self._doings: Mapping[Act, Callable[[_View], Awaitable[None]]] = {
            Act.ROOT: self._put_roots,
            Act.DISCARD: self._throw_away,
            Act.ADOPT: self._adopt,
            Act.RESTORE: self._restore,
            Act.SEND: self._send_pending,
            Act.RESIGN: self._resign,
            Act.SIGN: self._sign,
            Act.RENEW: self._renew,
        }
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
            UnknownDocumentError: there is no such kind; nothing was changed.
            BadDocumentError, PreconditionRequiredError, ConflictError: as `Proposal`, or a file is not as the document
                says; nothing was changed.
            ContendedError: another publisher was faster, MAX_TRIES times; nothing was changed.
            EpochExhaustedError: no revision is left; nothing was changed.
            SigningError: a key could not be used; nothing was changed.
            StoreError: it could not be kept.
        """
        proposal = self._read_wish(wish, now)
        # Before the lock: files may take minutes, and other authors do not wait for them.
        await self._visit(proposal, now)
        async with self._lock:
            for _ in range(MAX_TRIES):
                outcome = await self._try_to_put(proposal, now)
                if outcome:
                    return outcome
        raise ContendedError(f"another publisher of this workspace was faster, {MAX_TRIES} times")

    async def preview(self, wish: Wish, now: int) -> Preview:
        """Returns what `put` would do, and does nothing; raises what `put` would raise."""
        proposal = self._read_wish(wish, now)
        current, position = await self._run(self._store.read_next, wish.name)
        document = await self._run(proposal.judge, current)
        self._list_places(proposal.kind, document)
        if document is None:
            current, _ = await self.find(wish.name)
            return Preview(current.position, is_changed=False, author=current.signed.author, doubts=proposal.doubts)
        # Signed all the same: only so is it known whether it fits with its offers.
        signed = await self._run(proposal.kind.sign, document, position, now)
        return Preview(position, is_changed=True, author=signed.author, doubts=proposal.doubts)

    def _read_wish(self, wish: Wish, now: int) -> Proposal:
        return Proposal(wish, self._kinds.find(wish.name.kind), self._store, self._draw(RANDOM_BYTES), now)

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

    async def find_revision(self, name: DocumentName, revision: int) -> Record:
        """Returns a document as it was published under a revision; raises what `find` raises."""
        found = await self._run(self._store.find_revision, name, revision)
        if found is None:
            raise UnknownDocumentError(f"expected a revision that is kept of {name}, got {revision}")
        return found

    async def find_past(self, name: DocumentName, at: int) -> Record:
        """Returns a document as it was published last at a time in seconds; raises what `find` raises."""
        found = await self._run(self._store.find_past, name, at)
        if found is None:
            raise UnknownDocumentError(f"expected a time since which revisions of {name} are kept, got {at}")
        return found

    async def make_trial(self, wish: TrialWish, now: int) -> tuple[TrialClaim, str]:
        """Returns a trial as it is wished for, and its token; nothing is kept of it.

        Raises:
            UnknownDocumentError: there is no such program.
            BadDocumentError: its document does not list the version under `trials`.
            BadRequestError: a member is out of its bounds.
            SigningError: the key could not be used.
            StoreError: the document could not be read.
        """
        try:
            name = DocumentName.of(PROGRAM_KIND, wish.program)
        except KeyNameError as error:
            raise UnknownDocumentError(str(error)) from error
        record, _ = await self.find(name)
        check_listed(wish, parse_program(record.signed.author))
        claim = make_claim(wish, self._signer.workspace, now, self._draw(ID_BYTES).hex())
        return claim, await self._run(self._signer.sign_trial, claim)

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
        except BaseException:  # also a newer root in Redis: nothing is sent before that is here, too
            self._is_settled = False
            raise
        async with self._lock:
            await self._settle(now)

    def close(self) -> None:
        """Ends the thread; nothing may be asked afterwards."""
        self._thread.shutdown()

    async def _visit(self, proposal: Proposal, now: int) -> None:
        """Returns when every file that a proposal names has been fetched, now or once before, and is right.

        Once is enough for a file that the current document's releases name, since then it is kept. Another may have
        been cleared away: what was found longer than VISIT_LASTS_S ago is fetched again.
        """
        current, _ = await self._run(self._store.read_next, proposal.name)
        places = self._list_places(proposal.kind, await self._run(proposal.judge, current))
        unseen = await self._run(self._store.find_unseen, places, now - VISIT_LASTS_S)
        if unseen and current:
            kept = self._list_kept(proposal.kind, current)
            unseen = await self._run(self._store.find_unseen, [place for place in unseen if place in kept], 0) + [
                place for place in unseen if place not in kept
            ]
        if self._files and unseen:
            wanted = {place: places[place] for place in unseen}
            await self._files.visitor.visit(wanted, lambda place: self._run(self._store.note_visit, place, now))

    def _list_kept(self, kind: Kind[Any], current: Record) -> Container[Place]:
        try:
            return self._list_places(kind, kind.parse(current.signed.author))
        except BadDocumentError:  # published when files were not looked for
            return ()

    def _list_places(self, kind: Kind[Any], document: Any) -> Mapping[Place, str]:
        return kind.list_places(document, self._files.base) if document is not None and self._files else {}

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
        except (LinkError, SigningError, TimeoutError) as error:
            # It may be in Redis all the same: the watcher finds out. It is kept, so that this is no refusal.
            self._is_settled = False
            _log.warning("%s at %s is kept, and not yet in redis: %r", record.name, record.position, error)
            return None
        except BaseException:  # what waits here goes first, whatever kept it
            self._is_settled = False
            raise

    async def _settle_in_time(self, now: int) -> None:
        try:
            async with asyncio.timeout(SEND_PATIENCE_S):
                await self._settle(now)
        except (ChannelError, TimeoutError) as error:
            _log.warning("redis is left to the watcher: %r", error)

    async def _send(self, record: Record, now: int) -> Published | Conflict:
        expected, documents = await self._run(self._store.read_target, record.name)
        head = await self._run(self._signer.sign_head, record.position, documents, now)
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
                self._is_settled = act in (Act.REST, Act.RESIGN, Act.SIGN, Act.RENEW)
                await self._do(act, view)
                if act in (Act.REST, Act.RENEW):
                    return
        except BaseException:
            self._is_settled = False
            raise

    async def _look(self, now: int) -> _View:
        has_root = await self._roots.is_there()
        found = await self._feed.find_head()
        judged = judge_found(found, self._chain) if found else UNFOUND
        redis = RedisState(judged.head, await self._feed.count(), found, judged.claimed, has_root)
        return _View(now, await self._run(self._store.read_state), redis)

    async def _do(self, act: Act, view: _View) -> None:
        if act is not Act.REST:
            _log.info("%s: the store has sent up to %s, redis is at %s", act, view.store.sent, view.redis.position)
            await self._doings[act](view)

    async def _put_roots(self, _: _View) -> None:
        await self._roots.put()

    async def _throw_away(self, view: _View) -> None:
        found, claimed = view.redis.found, view.redis.claimed
        if view.redis.head:
            _log.warning("the index in redis has %d names, far too many: it is thrown away", view.redis.documents)
        else:
            _log.warning("the head in redis is not believed, nothing is learnt from it: it claims to be at %s", claimed)
        if claimed and claimed.epoch == view.store.epoch:
            # Under a key that was replaced since: readers have been there, and go to no lower position.
            await self._run(self._store.pass_by, claimed)
        if found:
            await self._sender.discard(found)

    async def _adopt(self, view: _View) -> None:
        index = await self._feed.index(view.redis.head.documents if view.redis.head else 0)
        names = [name for name, position in index.items() if position > view.store.sent]
        read = map(self._read, names, await self._feed.fetch(names))
        found = [record for record in read if record and view.store.sent < record.position <= view.redis.position]
        for record in found:
            _log.warning("%s at %s was learnt from redis", record.name, record.position)
        await self._run(self._store.adopt, found, view.redis.position, self._make_resign(view.now), view.now)

    async def _restore(self, view: _View) -> None:
        await self._put_back(view, await self._run(self._store.read_sent))

    async def _sign(self, view: _View) -> None:
        await self._put_back(view, [])

    async def _put_back(self, view: _View, records: Sequence[Record]) -> None:
        head = await self._run(self._signer.sign_head, view.store.sent, view.store.documents, view.now)
        await self._sender.restore([_seal(record) for record in records], view.store.sent, head)

    async def _send_pending(self, view: _View) -> None:
        for record in await self._run(self._store.read_pending, SEND_CHUNK):
            if isinstance(await self._send(record, view.now), Conflict):
                return

    async def _resign(self, view: _View) -> None:
        await self._republish(await self._run(self._store.read_stale, RESIGN_CHUNK), view.now)

    async def _renew(self, view: _View) -> None:
        await self._republish(await self._run(self._store.read_due, view.now, RENEW_CHUNK), view.now)

    def _read(self, name: DocumentName, envelope: bytes | None) -> Record | None:
        """What Redis holds of a document, if this workspace's publisher has sealed it."""
        try:
            return self._kinds.find(name.kind).read_back(name, envelope or b"")
        except (ChannelError, DocumentError, BadDocumentError, UnknownDocumentError) as error:
            _log.error("%s in redis is not believed: %s", name, error)
            return None

    async def _republish(self, records: Iterable[Record], now: int) -> None:
        """Signs and sends documents anew, one after the other, as their authors wrote them."""
        resign = self._make_resign(now)
        for record in records:
            try:
                renewed = await self._run(
                    self._store.commit,
                    record.name,
                    lambda current, position: current and resign(current, position),
                    now,
                )
            except (BadDocumentError, DocumentError) as error:
                # One that cannot be signed any more must not keep back the others.
                _log.error("%s is left at %s, and not signed anew: %s", record.name, record.position, error)
                await self._run(self._store.postpone, record, now + POSTPONE_S)
                continue
            if renewed and isinstance(await self._send(renewed, now), Conflict):
                await self._run(self._store.withdraw, renewed)
                return

    def _make_resign(self, now: int) -> Resign:
        def resign(record: Record, position: Position) -> Signed:
            kind = self._kinds.find(record.name.kind)
            document = kind.parse(record.signed.author)
            self._warn_of_packages(record.name, kind, document)
            return kind.sign(document, position, now)

        return resign

    @staticmethod
    def _warn_of_packages(name: DocumentName, kind: Kind[Any], document: Any) -> None:
        try:
            kind.check_packages(document)
        except BadDocumentError as error:
            _log.warning("%s names a package that devices refuse under this root: %s", name, error)

    async def _run(self, call: Callable[[*_Arguments], _Result], *arguments: *_Arguments) -> _Result:
        """Calls the store in its thread: one call after the other, and none of them in the loop's."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)


def _seal(record: Record) -> SealedDocument:
    return SealedDocument(record.name, record.position, record.signed.envelope)
