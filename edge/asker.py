"""A worker's part in windows: asks Redis for places, for all checks of a loop's turn at once, and never for long.

A check that has to ask leaves its question here and is answered when its places are known, or DEADLINE_S later without
them. Who gets a place is written to the host's journal before the device is told.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

from channel import Answer, Asked, ChannelError, Windows, connect
from edge.answer import Ask, Unanswered, Workspace
from edge.journal import Given, Journal
from edge.ledger import JOURNAL_FILE, LedgerError, LedgerReader, find_folder, read_host
from edge.metrics import Counters
from edge.settings import EdgeSettings
from edge.window import KEYLESS, HostWindow

# The longest that a check waits for Redis, from its arrival.
DEADLINE_S: Final = 0.05
# Checks that wait at one desk; one more is answered at once, without a place. At 50 ms each this is more than a worker
# can answer, and a Redis that is slow may not fill its memory.
MAX_WAITING: Final = 8_192
# Asked in one step: Redis serves nobody else for about a millisecond.
BATCH: Final = 512
# When a check's time is over and Redis has not answered for so long, in seconds, no other check waits for it; where
# there were only too many before it, the next may.
SLOW_S: Final = DEADLINE_S / 2
# How long an answer of Redis is waited for, in seconds, before the connection is given up. No check waits so long.
PATIENCE_S: Final = 1.0

_PLACES: Final = frozenset({Answer.MEMBER, Answer.ADMITTED})

_log = logging.getLogger("graywave.edge")


@dataclass(slots=True)
class _Case:
    """A check that waits: how much of what it asks is not known yet, what was refused, and who wants the answer."""

    unanswered: Unanswered
    tell: Callable[[bytes], None]
    open: int = 0
    refused: set[str] = field(default_factory=set)
    timer: asyncio.TimerHandle | None = None


class Desk:
    """The windows of one workspace, in one worker.

    Args:
        workspace: whose checks wait here.
        host: this host's name.
        windows: in Redis, over a connection of its own.
        journal: where places are written down.
        reader: the host's lists of members.
        keys: the fingerprint keys by name.
        counters: the worker's.
    """

    def __init__(
        self,
        workspace: Workspace,
        host: str,
        windows: Windows,
        journal: Journal,
        reader: LedgerReader,
        keys: Mapping[str, bytes],
        counters: Counters,
    ) -> None:
        self._workspace, self._host = workspace, host
        self._windows, self._journal, self._reader, self._keys = windows, journal, reader, keys
        self._counters = counters
        self._known: dict[str, HostWindow] = {}
        self._queue: dict[tuple[str, int], list[_Case]] = {}
        self._task: asyncio.Task[None] | None = None
        self._can_ask = False
        # Redis has not answered, or not in time: no check waits for it until it has answered again.
        self._is_away = False
        self._asked_at = 0.0
        self._problem = ""
        self._waiting = 0
        self.keyless = 0

    def follow(self) -> None:
        """Takes the windows that the workspace's documents have now."""
        rules = {window.id: window for entry in self._workspace.windowed.values() for window in entry.windows}
        before, self._known = self._known, {}
        for id_, rule in rules.items():
            if rule.key in self._keys:
                window = self._known[id_] = before.get(id_) or HostWindow(rule, self._keys[rule.key])
                window.rule = rule
        self._tell_keyless({rule.key for id_, rule in rules.items() if id_ not in self._known})
        self.keyless = len(rules) - len(self._known)
        if rules or self._workspace.around.windows:
            self._workspace.surround(windows={**dict.fromkeys(rules, KEYLESS), **self._known})
        if self._known and not before:
            # The connection is made and the script loaded before a check needs them.
            self._task = self._task or asyncio.create_task(self._probe())
            self._can_ask = bool(self._journal.read_entry())
        fresh = self._known.keys() - before.keys()
        self._reader.forget(fresh)
        self._look(fresh)

    def _tell_keyless(self, keys: set[str]) -> None:
        problem = f"windows under fingerprint keys that this host has not: {', '.join(sorted(keys))}" if keys else ""
        if problem != self._problem:
            _log.error("workspace %s: %s", self._workspace.name, problem or "every window has its fingerprint key")
        self._problem = problem

    def tick(self) -> None:
        """Once a second: takes new lists of members, and finds out whether anybody can be asked about."""
        if not self._known:
            return
        if self._is_away and self._task is None:
            self._task = asyncio.create_task(self._probe())
        self._can_ask = not self._is_away and bool(self._journal.read_entry())
        self._look(self._known if self._reader.has_changed() else ())

    def _look(self, ids: Iterable[str]) -> None:
        for id_ in ids:
            members = self._reader.map_members(id_)
            if members is not None:
                self._known[id_].take(members)
        self._judge(can_ask=self._can_ask)

    def _judge(self, *, can_ask: bool) -> None:
        self._can_ask = can_ask
        for window in self._known.values():
            window.judge(can_ask=can_ask)

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Returns the answer to a check where it need not wait; else None, and calls `tell` with it, once, later."""
        if self._waiting >= MAX_WAITING:
            self._counters.window_expired += 1
            return unanswered.give_up()
        self._waiting += 1
        case = _Case(unanswered, tell)
        case.timer = asyncio.get_running_loop().call_later(DEADLINE_S, self._expire, case)
        self._put(case, unanswered.asks)
        return None

    def _put(self, case: _Case, asks: Sequence[Ask]) -> None:
        for ask in asks:
            place = ask.window, self._known[ask.window].compute(ask.identity)
            self._queue.setdefault(place, []).append(case)
        case.open = len(asks)
        self._counters.window_asked += len(asks)
        if self._task is None:  # it begins when this turn of the loop has ended, with all that ask in it
            self._task = asyncio.create_task(self._work())

    def _expire(self, case: _Case) -> None:
        self._counters.window_expired += 1
        if asyncio.get_running_loop().time() - self._asked_at > SLOW_S:
            self._is_away = True
            self._judge(can_ask=False)
        self._finish(case, case.unanswered.give_up(case.refused))

    def _finish(self, case: _Case, answer: bytes) -> None:
        assert case.timer is not None  # noqa: S101 - a case is finished once
        case.timer.cancel()
        case.timer = None
        self._waiting -= 1
        case.tell(answer)

    async def _work(self) -> None:
        """Asks for all who wait, a batch at a time, until nobody does."""
        try:
            while batch := self._take_batch():
                placed = await self._ask(list(batch))
                for place, cases in batch.items():
                    for case in cases:
                        self._settle(case, place[0], is_placed=place in placed)
        finally:
            self._task = None

    async def _probe(self) -> None:
        """Finds out whether Redis answers again, at nobody's cost."""
        try:
            await self._ask([])
        finally:
            self._task = None
            if self._queue:
                self._task = asyncio.create_task(self._work())

    def _take_batch(self) -> dict[tuple[str, int], list[_Case]]:
        """Takes the first who wait, of those whose time is not over."""
        batch: dict[tuple[str, int], list[_Case]] = {}
        while self._queue and len(batch) < BATCH:
            for place in list(islice(self._queue, BATCH - len(batch))):
                cases = [case for case in self._queue.pop(place) if case.timer is not None]
                if cases:
                    batch[place] = cases
        return batch

    async def _ask(self, places: Sequence[tuple[str, int]]) -> set[tuple[str, int]]:
        """Returns who of these has a place and may be told of it."""
        entry = self._journal.read_entry()
        # Who came first is asked about first.
        asked = [
            self._describe(id_, [print_ for _, print_ in group])
            for id_, group in groupby(sorted(places, key=_first), _first)
            if id_ in self._known  # else it has been paused or taken down since, and has no places
        ]
        self._asked_at = asyncio.get_running_loop().time()
        try:
            answers = await self._windows.admit(self._host, entry, asked)
        except ChannelError as error:
            self._note(str(error))
            return set()
        self._note("")
        letters = {
            (each.window, print_): letter
            for each, told in zip(asked, answers, strict=True)
            for print_, letter in zip(each.fingerprints, told, strict=True)
        }
        return self._record(entry, letters)

    def _describe(self, id_: str, fingerprints: Sequence[int]) -> Asked:
        rule = self._known[id_].rule
        return Asked(id_, rule.limit, rule.opens_at, rule.closes_at, rule.per_minute, fingerprints)

    def _record(self, entry: str, letters: Mapping[tuple[str, int], Answer]) -> set[tuple[str, int]]:
        """Writes down who has a place, before they are told; where that fails they are told another time."""
        counters = self._counters
        counters.window_admitted += sum(letter is Answer.ADMITTED for letter in letters.values())
        fenced = sum(letter is Answer.FENCED for letter in letters.values())
        counters.window_fenced += fenced
        if fenced:
            self._judge(can_ask=False)
        placed = {place for place, letter in letters.items() if letter in _PLACES}
        if placed and not self._journal.append(entry, [Given(*place) for place in placed]):
            counters.window_fenced += len(placed)
            return set()
        for id_, print_ in placed:
            window = self._known.get(id_)
            if window is not None:
                window.admit(print_)
        return placed

    def _note(self, problem: str) -> None:
        """Redis has answered, or not."""
        is_away = bool(problem)
        if is_away and not self._is_away:
            _log.warning("workspace %s: no places in windows: %s", self._workspace.name, problem)
        self._is_away = is_away
        if is_away:
            self._judge(can_ask=False)

    def _settle(self, case: _Case, window: str, *, is_placed: bool) -> None:
        """Notes what has become of one ask; with the last one the check is answered, or asks on."""
        if case.timer is None:  # its time is over
            return
        if not is_placed:
            self._counters.window_refused += 1
            case.refused.add(window)
        case.open -= 1
        if case.open:
            return
        answer = case.unanswered.answer_again(case.refused)
        if isinstance(answer, Unanswered):
            self._put(case, answer.asks)
        else:
            self._finish(case, answer)

    async def close(self) -> None:
        """Ends what goes on."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._journal.close()
        await self._windows.close()


def _first(place: tuple[str, int]) -> str:
    return place[0]


class Asker:
    """All desks of a worker.

    Args:
        desks: by workspace.
        counters: the worker's.
    """

    def __init__(self, desks: Mapping[str, Desk], counters: Counters) -> None:
        self._desks = desks
        self._counters = counters

    @classmethod
    def open(
        cls,
        settings: EdgeSettings,
        workspaces: Mapping[str, Workspace],
        keys: Mapping[str, bytes],
        counters: Counters,
    ) -> "Asker":
        """Returns the asker of a worker; without a data folder that can be written it has no desks."""
        try:
            host = read_host(settings.data)
        except LedgerError as error:
            _log.error("no places in windows: %s", error)
            return cls({}, counters)
        desks = {}
        for name, workspace in workspaces.items():
            folder = find_folder(settings.data, name)
            windows = Windows(connect(settings.redis, PATIENCE_S, name), name)
            journal, reader = Journal(folder / JOURNAL_FILE), LedgerReader(folder)
            desks[name] = Desk(workspace, host, windows, journal, reader, keys, counters)
        return cls(desks, counters)

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Does what `Desk.ask` does, at the desk of the check's workspace."""
        return self._desks[unanswered.workspace.name].ask(unanswered, tell)

    def follow(self) -> None:
        """Takes the windows that documents have now."""
        for desk in self._desks.values():
            desk.follow()
        self._counters.keyless_windows = sum(desk.keyless for desk in self._desks.values())

    def tick(self) -> None:
        """Once a second."""
        for desk in self._desks.values():
            desk.tick()

    async def close(self) -> None:
        """Ends what goes on."""
        for desk in self._desks.values():
            await desk.close()
