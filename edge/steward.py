"""The syncer's part in a workspace's windows: once a second a sign of life, and a copy of who was admitted.

Where Redis has lost something it puts back what this host knows, before anybody new is admitted (docs/windows.md). It
follows the order in which that is safe: the journal is shut, then read; what it says is put back, then that is told;
members are written, then up to when they were copied.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from channel import ChannelError, Known, LinkAwayError, Stand, Windows
from edge.errors import EdgeError
from edge.journal import Given, JournalKeeper
from edge.ledger import Ledger
from edge.window import KEYLESS, HostWindow
from ruleset import Window
from ruleset.compiler import CompiledWindow

BEAT_S: Final = 1.0
# Without windows there is nothing to copy; that this host was there is still written now and then, for its neighbours.
QUIET_S: Final = 5.0

_log = logging.getLogger("graywave.edge")


@dataclass(slots=True)
class WindowsState:
    """How a workspace's windows stand, for people.

    Args:
        host: this host's name.
        stand: as Redis told it last, None where it never did.
        problem: why nobody can be admitted by this host now, empty where somebody can.
        beat_at: of the last answer, in seconds of the monotonic clock.
        put_back: how often everything was put back.
    """

    host: str = ""
    stand: Stand | None = None
    problem: str = "this host keeps no windows: its data folder cannot be written"
    beat_at: float = 0.0
    put_back: int = 0

    @property
    def is_open(self) -> bool:
        """Whether somebody can be admitted by this host now."""
        return not self.problem


class Steward:
    """Keeps one workspace's windows on one host.

    Args:
        name: the workspace.
        host: this host's name.
        windows: in Redis.
        ledger: what this host knows.
        journal: what its workers gave.
        wake: called when workers may ask again.
    """

    def __init__(
        self,
        name: str,
        host: str,
        windows: Windows,
        ledger: Ledger,
        journal: JournalKeeper,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        self._name, self._host = name, host
        self._windows, self._ledger, self._journal = windows, ledger, journal
        self._wake = wake
        # The entry for which everything was put back, and how much of each window was copied in it.
        self._done = ""
        self._copied: dict[str, int] = {}
        self._written_at = float("-inf")
        self.state = WindowsState(host, problem="redis was not asked yet")

    def know(self, rules: Iterable[CompiledWindow], keys: Mapping[str, bytes]) -> Mapping[str, Window]:
        """Returns windows as this host knows them now, by their ids, for those who want to know and ask nobody.

        Args:
            rules: what documents say of them.
            keys: the fingerprint keys by name.
        """
        known: dict[str, Window] = {}
        for rule in rules:
            if rule.key not in keys:
                known[rule.id] = KEYLESS
                continue
            window = HostWindow(rule, keys[rule.key])
            window.take(memoryview(self._ledger.list_members(rule.id)))
            window.judge(can_ask=self.state.is_open)
            known[rule.id] = window
        return known

    async def run(self) -> None:
        """Beats for ever; whatever Redis and the disk do, it goes on."""
        while True:
            await self.beat()
            await asyncio.sleep(BEAT_S)

    async def beat(self) -> None:
        """Does what is due once; problems go to the state and, when they change, to the log."""
        surprise = None
        try:
            problem = await self._beat()
        except LinkAwayError as error:
            problem = str(error)
            await self._keep_journal()
        except (ChannelError, EdgeError, OSError) as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 - one surprise must not keep a host from its duty for ever
            problem, surprise = repr(error), error
        if problem != self.state.problem:
            text = f"admitting nobody: {problem}" if problem else "admitting"
            _log.warning("windows of workspace %s: %s", self._name, text, exc_info=surprise)
        self.state.problem = problem

    async def _beat(self) -> str:
        """Returns why nobody can be admitted here, empty where somebody can."""
        stand = await self._ask()
        if stand.entry != self._done:
            await self._put_back(stand)
            stand = await self._ask()
        if stand.entry != self._done:
            return "redis has changed while members were put back"
        if not stand.is_open:
            waited = ", ".join(stand.needed)
            return f"redis has lost something: waiting for {waited or 'hosts that may still come'} to put back members"
        if self._journal.open_entry != stand.entry:
            self._journal.open(stand.entry)
            self._wake()
        await self._copy(stand)
        me = stand.hosts.get(self._host)
        return "" if me and me.is_known else "no other host has heard of this one yet"

    async def _ask(self) -> Stand:
        stand = await self._windows.beat(self._host, self._ledger.known, self._done)
        self.state.stand, self.state.beat_at = stand, time.monotonic()
        if stand.entry != self._done or not stand.is_open:
            self.state.problem = self.state.problem or "members are being put back"
        return stand

    async def _put_back(self, stand: Stand) -> None:
        """Puts back everything that this host knows; nothing that its workers tell can be missing from it."""
        self._journal.shut()
        self._add(self._journal.reread())
        self._copied = {}
        for window in self._ledger.windows:
            if not await self._windows.give_back(stand.entry, window, self._ledger.list_members(window)):
                return
        self.state.put_back += 1
        self._done = stand.entry

    async def _copy(self, stand: Stand) -> None:
        """Copies who is new, writes it down, and then that everything up to the beat is written."""
        self._add(self._journal.read())
        for window, count in stand.windows.items():
            copied = self._copied.get(window, 0)
            if copied < count:
                found = await self._windows.copy(stand, window, copied)
                if found is None:
                    return
                self._ledger.add(window, found)
                self._copied[window] = count
        hosts = stand.list_living(self._windows.silences.lost_s)
        if stand.windows or hosts != self._ledger.known.hosts or time.monotonic() > self._written_at + QUIET_S:
            await asyncio.to_thread(self._write, Known(stand.generation, stand.entry, stand.at, hosts))

    def _write(self, known: Known) -> None:
        self._journal.sync()
        self._ledger.write(known, self._copied)
        self._written_at = time.monotonic()
        if self._journal.is_long:
            self._add(self._journal.begin_anew())

    async def _keep_journal(self) -> None:
        """While Redis is away the other workers of this host hear of the last members all the same.

        Of a journal that is shut nothing is read here: what has not been put back was told to nobody.
        """
        try:
            if self._journal.open_entry:
                self._add(self._journal.read())
            if self._ledger.has_news:
                await asyncio.to_thread(self._ledger.write, self._ledger.known, self._copied)
        except (EdgeError, OSError) as error:
            _log.warning("windows of workspace %s: %s", self._name, error)

    def _add(self, given: Iterable[Given]) -> None:
        by_window: dict[str, list[int]] = {}
        for window, fingerprint in given:
            by_window.setdefault(window, []).append(fingerprint)
        for window, fingerprints in by_window.items():
            self._ledger.add(window, fingerprints)

    async def leave(self) -> None:
        """Takes this host off the list, when its workers have ended; where it cannot, it is waited for."""
        try:
            stand = await self._ask()
            if stand.entry == self._done:
                self._journal.shut()
                await self._windows.beat(self._host, self._ledger.known, self._done, leaves=True)
        except (ChannelError, OSError) as error:
            _log.warning("windows of workspace %s: left without a word: %s", self._name, error)

    async def close(self) -> None:
        """Closes journal and connection."""
        self._journal.close()
        await self._windows.close()
