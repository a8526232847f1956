"""The syncer, one a host: follows Redis for each workspace, verifies and trial-compiles, writes edge.db, wakes workers.

Redis is believed only as far as it is signed and not older than what this host has; everything else is named in the
status and changes nothing. Redis being away changes nothing either.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from channel import (
    DOCUMENT_TYPE,
    NOWHERE,
    ChannelError,
    DocumentName,
    EnvelopeError,
    Feed,
    Head,
    LinkRefusedError,
    LogCut,
    Position,
    SourceError,
    Standing,
    check_epoch,
    judge_head,
    open_envelope,
)
from channel.envelope import cut_payload
from edge.audience import Table
from edge.cache import Cache, Document, Refusal
from edge.chain import Chain
from edge.errors import CacheDamageError, CacheError
from edge.jitter import vary
from edge.kind import AUDIENCE, find_kind
from edge.library import File, Library, Need
from edge.room import Limits, Load, Room
from edge.steward import WindowsState
from ruleset import AudienceDocument, DocumentError, parse_audience
from trust import Root, RootError

# The first change is applied at once; those that follow within this time are applied together.
GATHER_S = 0.02
# Even where no hint arrives the head is looked at this often, with jitter, so that hosts do not ask in step.
LOOK_S = 10.0
LOOK_JITTER = 0.3
# Where Redis was away or not believed it is looked at again sooner: what is up again, or put right, should not have to
# wait for a hint.
AGAIN_S = 1.0
# What the reason of a document begins with that is good and waits for its file; it is no refusal, and looked at again.
WAITING = "waiting for its file: "
# Documents verified and written at once: a longer stretch would keep the admin listener waiting.
CHUNK = 50
# How often a document may be replaced while it is fetched, until an answer's revision may be a moment behind its
# documents: a publisher who never rests would else keep the syncer from writing anything.
MAX_PURSUITS = 4
# Roots taken at one look: whoever can write to Redis and has a root key could else keep the syncer verifying for ever.
MAX_ROOT_STEPS = 16
NO_OTHER = Limits()

# What a document is found to be: one to be written, a refusal to be named, or None where this host already has it.
Judged = Document | Refusal | None

_log = logging.getLogger("graywave.edge")


@dataclass(slots=True)
class State:
    """How a workspace stands, for people: where it is, and what its source is like.

    `refused` has what was not taken, with reasons; those that begin with WAITING are of documents whose file is on its
    way. `table` has the audiences that were taken, as the workers open them.
    `root` is the newest root that is believed, `root_problem` what is wrong with the one that should follow it.
    `windows` is how its windows stand, which the steward keeps.
    `looked_at` is in seconds of the monotonic clock, `head_expires` since 1970.
    """

    position: Position
    root: Root
    table: Table
    standing: str = "unknown"
    problem: str = ""
    root_problem: str = ""
    looked_at: float = 0.0
    head_expires: int = 0
    refused: list[dict[str, str]] = field(default_factory=list)
    windows: WindowsState = field(default_factory=WindowsState)

    def list_refused(self) -> list[dict[str, str]]:
        """Returns the documents that were not taken because something is wrong with them."""
        return [refusal for refusal in self.refused if not refusal["reason"].startswith(WAITING)]

    def list_waiting(self) -> list[dict[str, str]]:
        """Returns the documents that are good and wait for their file."""
        return [refusal for refusal in self.refused if refusal["reason"].startswith(WAITING)]


def judge_document(
    envelope: bytes | None, workspace: str, name: DocumentName, root: Root, held: Position | None
) -> Document | Refusal | None:
    """Returns a document to be written, a refusal to be named, or None where this host already has it.

    Args:
        envelope: what lies in Redis, None for nothing.
        workspace: the one that it is for.
        name: what it was asked for as.
        root: whose `channel` keys are believed, up to its epoch.
        held: the position of the document of that name that this host has.
    """
    claimed = held or NOWHERE
    if envelope is None:
        return Refusal(name, claimed, "redis names it and does not have it")
    try:
        kind = find_kind(name.kind)
        read = kind.read(open_envelope(envelope, root.keys("channel"), DOCUMENT_TYPE))
        claimed = read.position
        if (read.workspace, read.id) != (workspace, name.id):
            said = f"{read.workspace!r}, {read.id!r}"
            return Refusal(name, claimed, f"expected a document of {workspace!r}, {name.id!r}, got one of {said}")
        check_epoch(claimed, root.epoch)
        if held is not None and claimed <= held:
            older = f"redis has it at {claimed}, older than {held} here"
            return None if claimed == held else Refusal(name, claimed, older)
        kind.judge(read.document)
    except (EnvelopeError, DocumentError) as error:
        return Refusal(name, claimed, str(error))
    except Exception as error:  # noqa: BLE001 - one document that surprises must not keep out all others
        return Refusal(name, claimed, f"it cannot be compiled: {error!r}")
    return Document(name, claimed, envelope)


class WorkspaceSync:
    """Follows one workspace.

    Args:
        name: the workspace.
        pinned: whom to believe first of all; roots in the cache and the feed that follow are believed, too.
        feed: where it comes from.
        cache: where it goes.
        library: brings the files of audiences.
        wake: called when the cache has something new.
        limits: what its documents may take.
    """

    def __init__(
        self,
        name: str,
        pinned: Chain,
        feed: Feed,
        cache: Cache,
        library: Library,
        wake: Callable[[], None],
        limits: Limits = NO_OTHER,
    ) -> None:
        self._name = name
        self._written = cache.read_roots(name)
        self._head = cache.read_head(name)
        self._chain = pinned.follow(self._written)
        self._feed = feed
        self._cache = cache
        self._wake = wake
        self._hinted = asyncio.Event()
        self._library = library
        self._waiting: dict[DocumentName, bytes] = {}
        table = Table(name, library.opener)
        self.state = State(cache.read_progress(name), self._chain.root, table, refused=cache.read_refused(name))
        audiences = cache.read_envelopes(name, AUDIENCE)
        self._room = Room(limits, _measure_all(cache.read_sizes(name), audiences))
        self._hold(audiences)
        self._believe()

    async def run(self) -> None:
        """Follows for ever; whatever Redis does, it goes on.

        Raises:
            CacheDamageError: wrapped in a group; the file has to be opened anew.
        """
        self._hinted.set()  # the first look waits for no subscription, which Redis may not grant for long
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen())
                group.create_task(self._remind())
                group.create_task(self._follow())
        finally:
            await self._feed.close()

    async def _listen(self) -> None:
        async with contextlib.aclosing(self._feed.subscribe()) as hints:
            async for _ in hints:
                self._hinted.set()

    async def _remind(self) -> None:
        while True:
            await asyncio.sleep(vary(LOOK_S, LOOK_JITTER))
            self._hinted.set()

    async def _follow(self) -> None:
        while True:
            await self._hinted.wait()
            self._hinted.clear()
            self.take_arrived()
            await self.look()
            await asyncio.sleep(GATHER_S)

    def hint(self) -> None:
        """There may be something new: in Redis, or a file that a document has waited for."""
        self._hinted.set()

    def take_arrived(self) -> None:
        """Takes documents whose file has come, also while Redis is away; looks again at audiences that had none."""
        try:
            self._write(self._judge_all(list(self._waiting.items())), None)
        except CacheDamageError:
            raise
        except CacheError as error:
            _log.warning("workspace %s: %s", self._name, error)
        self.state.table.put({})

    async def look(self) -> None:
        """Looks at the head once, and takes what is new; problems go to the state and, when they change, to the log.

        Raises:
            CacheDamageError: the file has to be opened anew.
        """
        surprise = None
        try:
            problem = await self._take_news()
        except CacheDamageError:
            raise
        except (ChannelError, CacheError) as error:
            problem = str(error)
            asyncio.get_running_loop().call_later(vary(AGAIN_S, LOOK_JITTER), self._hinted.set)
        except Exception as error:  # noqa: BLE001 - one surprise must not keep a host from following for ever
            problem, surprise = repr(error), error
        if problem != self.state.problem:
            _log.warning("workspace %s: %s", self._name, problem or "following again", exc_info=surprise)
        self.state.problem = problem
        self.state.looked_at = time.monotonic()

    async def _take_news(self) -> str:
        """Takes what is new; returns what is wrong with the source, empty where nothing is."""
        await self._follow_roots()
        state = self.state
        head, signed = await self._feed.read_signed() or (None, b"")
        state.standing = judge_head(state.position, head)
        if head is None or state.standing is Standing.OLDER:
            return f"redis is {state.standing}: serving what is here, {state.position}"
        state.head_expires = head.expires
        if state.standing is Standing.NEWER:
            head, signed = await self._take(await self._list_news(head), head, signed)
            state.standing = Standing.CURRENT
        elif state.refused:
            # What was refused may have been mended where it lies, or be readable for a newer edge.
            names = [DocumentName(refusal["kind"], refusal["id"]) for refusal in state.refused]
            head, signed = await self._take(random.sample(names, min(len(names), CHUNK)), head, signed)
        self._keep_head(signed)
        if head.expires <= time.time():
            return f"the head has expired: no publisher has signed one since {head.issued}"
        return ""

    def _keep_head(self, signed: bytes) -> None:
        """Keeps the head that this host has come to: it is signed anew every hour, and workers need not know."""
        if signed != self._head:
            self._cache.write_head(self._name, signed)
            self._head = signed

    async def _follow_roots(self) -> None:
        """Takes the roots that follow, before anything that their keys may have signed; a bad one is told, and left."""
        self._keep_roots()
        problem = ""
        try:
            for _ in range(MAX_ROOT_STEPS):
                document = await self._feed.fetch_root(self._chain.next)
                if document is None:
                    break
                self._add_root(document)
            else:
                self._hinted.set()
        except (LinkRefusedError, RootError) as error:  # refused by Redis: something that is no text lies there
            problem = f"root {self._chain.next} refused: {error}"
        root = self._chain.root
        if not problem and root.expires <= time.time():
            problem = f"root {root.number} has expired: devices install nothing until there is a newer one"
        if problem and problem != self.state.root_problem:
            _log.error("workspace %s: %s", self._name, problem)
        self.state.root_problem = problem

    def _add_root(self, document: bytes) -> None:
        try:
            self._chain = self._chain.add(document)
        except RootError:
            raise
        except Exception as error:  # one root that surprises must not keep out all documents
            raise RootError(f"it cannot be read: {error!r}") from error
        root = self._chain.root
        _log.info("workspace %s: following root %d, epoch %d", self._name, root.number, root.epoch)
        self._believe()
        self._keep_roots()

    def _believe(self) -> None:
        root = self.state.root = self._chain.root
        self._feed.trust(root.keys("channel"), root.epoch)

    def _keep_roots(self) -> None:
        """Writes the roots where they are not those that lie there: what did not follow from the pinned one goes."""
        if self._written != self._chain.documents:
            self._cache.write_roots(self._name, self._chain.documents)
            self._written = dict(self._chain.documents)
            self._wake()

    async def _list_news(self, head: Head) -> list[DocumentName]:
        """What has changed between this host's position and the head's."""
        found = await self._feed.changes_since(self.state.position, head.position)
        if not isinstance(found, LogCut):
            return list(dict.fromkeys(change.name for change in found.changes))
        if self.state.position != NOWHERE:  # a new host always begins with the index
            _log.info("workspace %s: comparing the index, because the log was cut: %s", self._name, found.reason)
        here = self._cache.read_positions(self._name)
        index = await self._feed.index(head.documents)
        if len(index) < head.documents:
            raise SourceError(f"expected {head.documents} documents in the index of redis, got {len(index)}")
        return [name for name, position in index.items() if here.get(name) != position]

    async def _take(self, names: Sequence[DocumentName], head: Head, signed: bytes) -> tuple[Head, bytes]:
        """Takes documents in chunks; with the last one the workspace has come to the head that is returned."""
        for start in range(0, len(names), CHUNK):
            judged = await self._fetch(names[start : start + CHUNK])
            last = start + CHUNK >= len(names)
            if last:
                head, signed = await self._pursue(judged, head, signed)
            self._write(judged, head.position if last else None)
            await asyncio.sleep(0)
        if not names:
            self._write({}, head.position)
        self.state.position = head.position
        return head, signed

    async def _fetch(self, names: Sequence[DocumentName]) -> dict[DocumentName, Judged]:
        return self._judge_all(zip(names, await self._feed.fetch(names), strict=True))

    async def _pursue(self, judged: dict[DocumentName, Judged], head: Head, signed: bytes) -> tuple[Head, bytes]:
        """Adds what was published while these were fetched, where one of them is of then; returns the head of it all.

        So an answer's revision is that of its documents, and none shows a part of what a later one is made of.
        """
        for _ in range(MAX_PURSUITS):
            if all(item.position <= head.position for item in judged.values() if isinstance(item, Document)):
                break
            later = await self._feed.read_signed()
            if later is None:
                break
            more = await self._feed.changes_since(head.position, later[0].position)
            if isinstance(more, LogCut):  # the next look compares the index
                break
            judged |= await self._fetch(list({change.name: None for change in more.changes}))
            head, signed = later
        return head, signed

    def _judge_all(self, found: Iterable[tuple[DocumentName, bytes | None]]) -> dict[DocumentName, Judged]:
        return {name: self._judge(name, envelope) for name, envelope in found}

    def _write(self, judged: Mapping[DocumentName, Judged], until: Position | None) -> None:
        """Writes and tells what differs from what is known; looking again at what was refused changes nothing."""
        known = {(refusal["kind"], refusal["id"]): refusal["reason"] for refusal in self.state.refused}
        documents = [item for item in judged.values() if isinstance(item, Document)]
        refused = [
            item for item in judged.values() if isinstance(item, Refusal) and known.get(item.name) != item.reason
        ]
        settled = [name for name, item in judged.items() if item is None and name in known]
        progress = until if until != self.state.position else None
        if not (documents or refused or settled or progress):
            return
        for name, position, reason in refused:
            level, words = (logging.INFO, "is") if reason.startswith(WAITING) else (logging.ERROR, "refused:")
            _log.log(level, "workspace %s: %s at %s %s %s", self._name, name, position, words, reason)
        self._cache.write(self._name, documents, refused, progress, settled)
        self._hold([(document.name.id, document.envelope) for document in documents if document.name.kind == AUDIENCE])
        self.state.refused = self._cache.read_refused(self._name)
        self._wake()

    def _judge(self, name: DocumentName, envelope: bytes | None) -> Judged:
        held = self._cache.read_position(self._name, name)
        judged = judge_document(envelope, self._name, name, self._chain.root, held)
        if isinstance(judged, Document):
            reason = self._room.take(name, _measure(name, judged.envelope))
            judged = Refusal(name, judged.position, reason) if reason else judged
        return self._wait_for_file(name, judged) if name.kind == AUDIENCE else judged

    def _wait_for_file(self, name: DocumentName, judged: Judged) -> Judged:
        """An audience is taken once its file is here; until then the one before it stays."""
        file = File.of(parse_audience(cut_payload(judged.envelope))) if isinstance(judged, Document) else None
        is_waiting = file is not None and not self._library.has(file)
        self._library.need(Need(self._name, name.id, is_waiting=True), file if is_waiting else None)
        if file is None or not is_waiting or not isinstance(judged, Document):
            self._waiting.pop(name, None)
            return judged
        self._waiting[name] = judged.envelope
        return Refusal(name, judged.position, WAITING + self._library.explain(file))

    def _hold(self, envelopes: Iterable[tuple[str, bytes]]) -> None:
        """Opens the audiences that edge.db has, and says which files they need."""
        documents = dict(_read_audiences(envelopes))
        for id_, document in documents.items():
            self._library.need(Need(self._name, id_, is_waiting=False), File.of(document))
        self.state.table.put(documents)


def _measure(name: DocumentName, envelope: bytes) -> Load:
    """What a document takes that was judged."""
    return Load(len(envelope), parse_audience(cut_payload(envelope)).size if name.kind == AUDIENCE else 0)


def _measure_all(
    sizes: Mapping[DocumentName, int], audiences: Iterable[tuple[str, bytes]]
) -> Iterator[tuple[DocumentName, Load]]:
    files = {id_: document.size for id_, document in _read_audiences(audiences)}
    for name, size in sizes.items():
        yield name, Load(size, files.get(name.id, 0) if name.kind == AUDIENCE else 0)


def _read_audiences(envelopes: Iterable[tuple[str, bytes]]) -> Iterator[tuple[str, AudienceDocument]]:
    for id_, envelope in envelopes:
        with contextlib.suppress(DocumentError):  # written by another version: the workers say what they think of it
            yield id_, parse_audience(cut_payload(envelope))
