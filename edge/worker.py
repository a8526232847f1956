"""A worker: answers devices on one socket from what it has in memory, and follows the host's edge.db.

It knows no signatures: the syncer has verified what stands in the file. Of Redis it knows nothing but that windows are
asked there, by `edge.asker`; every other check is answered without.
"""

import asyncio
import contextlib
import gc
import logging
import math
import mmap
import os
import signal
import socket
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from aiohttp import web

from channel import DocumentName, Position
from channel.envelope import cut_payload
from edge.answer import Entry, Workspace, compile_entry
from edge.app import Handler, make_app
from edge.asker import Asker
from edge.atlas import Atlas
from edge.audience import Opener, Table
from edge.budget import Budget
from edge.cache import Batch, CacheReader, Row
from edge.chain import Chain
from edge.connection import DOWNLOAD_DEADLINE_S, Connections
from edge.cors import Cors
from edge.door import PULSE_S, Doors, Place
from edge.errors import CacheError, RefusedError
from edge.exchange import Rules
from edge.head import HeadReader
from edge.held import SHARE, SWITCH_TOPIC
from edge.keyring import Keyring, make_provers
from edge.kind import AUDIENCE, PROGRAM, SWITCHES
from edge.lane import Lane
from edge.metrics import Counters
from edge.place import Locator, read_network
from edge.pressure import Pressure
from edge.proof import Prover
from edge.quota import Quota
from edge.reception import Reception
from edge.response import Writer
from edge.settings import EdgeSettings
from edge.switch import SwitchSet, compile_set
from edge.tally import Outbox
from edge.watch import Watch
from ruleset import AudienceDocument, Binder, DocumentError, parse_audience, parse_program, parse_switches
from settings.key import read_keys

# Documents compiled before the loop gets its turn: about 3 ms, which no check notices.
SLICE = 20
# How long a start compiles programs before it serves, in seconds: eight thousand are done by then. What is left is
# compiled when it is asked for, or beside the loop's other work; what could not be read is tried again so often.
FILL_S = 1.0
FILL_AGAIN_S = 1.0
# With each whole second of the clock, which rules and the Date of answers go by.
TICK_S = 1.0
# How long connections may take to end after a SIGTERM, and then what aiohttp still answers; both end within the time
# that the parent gives, in seconds. How long where others go on, and a download may take its time.
DRAIN_S = 10.0
HAND_OVER_S = DOWNLOAD_DEADLINE_S
APP_STOP_S = 1.0

_log = logging.getLogger("graywave.edge")


class Follower:
    """Keeps a worker's rules at the newest row of edge.db.

    Args:
        reader: the file.
        rules: where changes are applied.
        opener: opens audiences.
        note: called when changes are applied.
    """

    def __init__(self, reader: CacheReader, rules: Rules, opener: Opener, note: Callable[[], None]) -> None:
        self._reader = reader
        self._rules = rules
        self._tables = {name: Table(name, opener) for name in rules.workspaces}
        self._note = note
        self._binder = Binder()
        self._last = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """There may be something new."""
        self._woken.set()

    def look(self) -> None:
        """Wakes if the file has changed: in case a wake-up was lost."""
        if self._reader.has_changed():
            self.wake()

    async def follow(self) -> None:
        """Catches up whenever woken, for ever."""
        while True:
            await self._woken.wait()
            self._woken.clear()
            await self.catch_up()

    async def load(self) -> None:
        """Reads what is there at the start, but of programs the names alone: see `fill`."""
        start = self._reader.read_start(PROGRAM)
        changed: dict[str, _Changed] = defaultdict(_Changed)
        await self._compile_all(start.batch.rows, changed)
        for name, workspace in self._rules.workspaces.items():
            workspace.owe(start.late.get(name, ()), partial(self._bring, workspace))
        self._take_over(start.batch, changed)

    async def fill(self, seconds: float = math.inf) -> bool:
        """Compiles programs that were not read at the start, in slices, for so long; says whether none is left."""
        until, problem = time.monotonic() + seconds, ""
        for workspace in self._rules.workspaces.values():
            programs = iter(list(workspace.owed))
            while (some := list(islice(programs, SLICE))) and time.monotonic() < until:
                for program in workspace.owed.intersection(some):
                    try:
                        self._bring(workspace, [program])
                    except RefusedError as error:
                        problem = problem or f"workspace {workspace.name}: {error}"
                await asyncio.sleep(0)
        if problem:
            _log.error("%s", problem)  # the first of what may be very many
        return not any(workspace.owed for workspace in self._rules.workspaces.values())

    def _bring(self, workspace: Workspace, programs: Iterable[str]) -> None:
        """Compiles programs of a workspace that were not read at the start.

        Raises:
            RefusedError: `no_ruleset`, one cannot be read now.
        """
        before = len(workspace.windowed)
        try:
            for program in programs:
                self._bring_one(workspace, program)
        finally:  # also where the second cannot be read: the first one's windows have to be known
            if len(workspace.windowed) > before:
                self._note()

    def _bring_one(self, workspace: Workspace, program: str) -> None:
        changed = _Changed()
        try:
            row = self._reader.read_row(workspace.name, DocumentName(PROGRAM, program))
        except CacheError as error:
            raise RefusedError("no_ruleset", f"the rules of {program!r} cannot be read now: {error}") from None
        self._compile(row, changed)
        entry = changed.programs.get(program)
        workspace.settle(program, entry)
        self._rules.counters.changes += entry is not None

    async def catch_up(self) -> None:
        """Reads what is new, compiles it in slices, and applies it in one step."""
        changed: dict[str, _Changed] = defaultdict(_Changed)
        progress: dict[str, Position] = {}
        roots: dict[str, dict[int, bytes]] = {}
        batch = Batch([], {}, {}, self._last, is_whole=False)
        while not batch.is_whole:
            batch = self._reader.read(batch.last)
            progress |= batch.progress
            roots |= batch.roots
            await self._compile_all(batch.rows, changed)
        self._take_over(batch._replace(progress=progress, roots=roots), changed)

    def _take_over(self, batch: Batch, changed: "dict[str, _Changed]") -> None:
        """Applies a batch, whose documents are compiled, in one step."""
        self._follow_roots(batch.roots)
        self._surround(changed)
        self._apply(changed, batch.progress)
        self._last = self._rules.counters.cursor = batch.last
        self._note()

    def _follow_roots(self, roots: dict[str, dict[int, bytes]]) -> None:
        for name, documents in roots.items():
            workspace = self._rules.workspaces.get(name)
            if workspace is not None:
                workspace.follow_roots(documents)

    def _surround(self, changed: Mapping[str, "_Changed"]) -> None:
        """Replaces the audiences of a workspace where one has changed, or its file has come or gone."""
        for name, table in self._tables.items():
            audiences = table.put(changed[name].audiences if name in changed else {})
            if audiences is not None:
                workspace = self._rules.workspaces[name]
                before = workspace.around.audiences
                workspace.surround(audiences=audiences, mark=table.mark)
                others = {
                    each for each in audiences.keys() | before.keys() if audiences.get(each) is not before.get(each)
                }
                self._rules.wake_by_audiences(workspace, others)
        self._rules.counters.broken_audiences = sum(table.broken for table in self._tables.values())

    def _apply(self, changed: dict[str, "_Changed"], progress: dict[str, Position]) -> None:
        for name in changed.keys() | progress.keys():
            workspace = self._rules.workspaces.get(name)
            if workspace is None:
                continue  # served before the settings were changed
            programs, switches = changed[name].programs, changed[name].switches
            entries = {id_: entry for id_, entry in programs.items() if not workspace.has_newer(id_, entry)}
            position = max(progress.get(name, workspace.position), workspace.position)
            workspace.hang(switches)
            workspace.apply(entries, position)
            self._rules.held.wake(name, [*entries, *([SWITCH_TOPIC] if switches else ())])
            self._rules.counters.changes += len(entries) + len(switches)

    async def _compile_all(self, rows: Sequence[Row], changed: dict[str, "_Changed"]) -> None:
        for i, row in enumerate(rows):
            if i % SLICE == SLICE - 1:
                await asyncio.sleep(0)
            if row.name.kind == SWITCHES:
                # A large set takes 100 ms, for which checks do not wait: the interpreter changes threads every 5 ms.
                await asyncio.to_thread(self._compile, row, changed[row.workspace])
            else:
                self._compile(row, changed[row.workspace])

    def _compile(self, row: Row, changed: "_Changed") -> None:
        """A row that cannot be read leaves what is in memory as it is."""
        problem = "its digest does not fit"
        if row.envelope is not None:
            try:
                return self._take(row.name, cut_payload(row.envelope), changed)
            except Exception as error:  # noqa: BLE001 - one document that surprises must not keep out all others
                problem = str(error) if isinstance(error, DocumentError) else repr(error)
        self._rules.counters.broken_rows += 1
        _log.error("%s of %s in edge.db cannot be used: %s", row.name, row.workspace, problem)
        return None

    def _take(self, name: DocumentName, payload: bytes, changed: "_Changed") -> None:
        if name.kind == PROGRAM:
            changed.programs[name.id] = compile_entry(parse_program(payload), self._binder.open_sheet())
        elif name.kind == SWITCHES:
            changed.switches[name.id] = compile_set(parse_switches(payload))
        elif name.kind == AUDIENCE:
            changed.audiences[name.id] = parse_audience(payload)


@dataclass(slots=True)
class _Changed:
    """What is new in one workspace."""

    programs: dict[str, Entry] = field(default_factory=dict)
    switches: dict[str, SwitchSet] = field(default_factory=dict)
    audiences: dict[str, AudienceDocument] = field(default_factory=dict)


class Worker:
    """One worker process, from its start to its end.

    Args:
        settings: the edge's.
        place: its place among the workers of the host, and the sockets that the parent has bound and keeps.
        wake: what the syncer writes to when edge.db has changed, and is told by what devices report.
        page: where its counters go.
    """

    def __init__(self, settings: EdgeSettings, place: Place, wake: socket.socket, page: mmap.mmap) -> None:
        self._settings = settings
        self._place = place
        self._wake = wake
        self._page = page
        self._counters = Counters()
        self._counters.pid = os.getpid()
        quota = make_quota(settings)
        provers, atlas = make_provers(settings), Atlas(settings.place_language)
        self._rules = Rules(
            {name: _pin_workspace(name, path) for name, path in settings.workspaces.items()},
            self._counters,
            make_reception(settings, provers, atlas),
            Cors(settings.cors_origins) if settings.cors_origins else None,
            quota,
        )
        self._rules.budget = Budget(settings.max_busy_percent / 100)
        self._rules.held.limit = min(settings.max_held, int(settings.max_connections * SHARE))
        self._rules.held.spread_s = settings.held_spread_s
        self._keyring = Keyring(settings, provers, self._counters)
        self._atlas_file = settings.place_database and Watch(settings.place_database, atlas.follow)
        self._outbox = Outbox()
        self._connections = Connections(settings.max_connections, settings.max_peer_connections, quota)
        self._writer = Writer()
        self._reader = HeadReader()
        self._stop = asyncio.Event()
        self._has_successor = False

    async def run(self) -> None:
        """Loads, serves until SIGTERM or, where others go on, SIGUSR1, then ends in good order."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        loop.add_signal_handler(signal.SIGUSR1, self._heed_successor)
        keys = read_keys(self._settings.fingerprint_keys)
        opener = Opener(self._settings.data, keys)
        asker = Asker.open(self._settings, self._rules.workspaces, keys, self._counters)
        self._rules.asker = asker

        def note() -> None:
            asker.follow()
            asker.tick()
            self._copy_counters()

        follower = Follower(CacheReader(self._settings.data), self._rules, opener, note)
        # Ticking begins before loading, so that a long load is not taken for a hung worker.
        self._tick(follower, asker)
        tasks = [self._start(self._keep_ticking(follower, asker))]
        tasks.append(asyncio.create_task(self._finish_loading(follower, await self._load(follower))))
        runner = web.AppRunner(
            make_app(self._rules, self._settings, self._outbox),
            handler_cancellation=True,
            shutdown_timeout=APP_STOP_S,
        )
        await runner.setup()
        serve = self._choose_protocol(runner)
        doors = Doors(self._place, self._counters, self._connections, serve, follower.wake)
        self._listen_for_wake(follower, doors)
        tasks += [self._start(follower.follow()), self._start(self._keep_budget())]
        await doors.look()
        self._rules.ready = True
        self._pulse()
        tasks.append(self._start(doors.keep()))
        await self._stop.wait()
        self._rules.ready = False
        self._pulse()
        tasks[-1].cancel()  # the doors stay as they are now
        self._rules.held.close()
        await self._leave(doors)
        await runner.cleanup()
        await asker.close()
        await _end(tasks)

    def _start(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None]":
        """Starts what never ends by itself; where it fails all the same, the worker stops, and its successor begins."""
        task = asyncio.create_task(work)
        task.add_done_callback(lambda _: self._stop.set())
        return task

    async def _load(self, follower: Follower) -> float:
        """Loads until every check can be answered; returns when it has begun.

        Loading makes nothing but objects that stay: meanwhile the collector would only lose time on them.
        """
        started = time.perf_counter()
        gc.disable()
        await follower.load()
        await follower.fill(FILL_S)
        return started

    async def _finish_loading(self, follower: Follower, started: float) -> None:
        """Compiles the programs that are left."""
        is_filled = await follower.fill()
        gc.freeze()
        gc.enable()
        while not is_filled:
            await asyncio.sleep(FILL_AGAIN_S)
            is_filled = await follower.fill()
        self._counters.load_us = int((time.perf_counter() - started) * 1e6)

    def _heed_successor(self) -> None:
        self._has_successor = True
        self._stop.set()

    def _listen_for_wake(self, follower: Follower, doors: Doors) -> None:
        self._wake.settimeout(0)

        def heed() -> None:
            with contextlib.suppress(BlockingIOError):
                while self._wake.recv(4_096):
                    pass
            follower.wake()
            doors.nudge()

        asyncio.get_running_loop().add_reader(self._wake, heed)
        follower.wake()

    def _choose_protocol(self, runner: web.AppRunner) -> Callable[[], asyncio.Protocol]:
        loop = asyncio.get_running_loop()
        server = runner.server
        assert server is not None  # noqa: S101 - runner.setup() has made it

        def take_over() -> Handler:
            return Handler(server, self._connections, ends=True, loop=loop)

        def serve_plain() -> Handler:
            return Handler(server, self._connections, ends=False, loop=loop)

        def serve_lane() -> Lane:
            return Lane(self._rules, self._connections, self._writer, self._reader, take_over)

        return serve_lane if self._settings.lane else serve_plain

    async def _keep_ticking(self, follower: Follower, asker: Asker) -> None:
        while True:
            await asyncio.sleep(TICK_S - time.time() % TICK_S)
            self._tick(follower, asker)

    def _tick(self, follower: Follower, asker: Asker) -> None:
        now = time.time()
        self._rules.tick(int(now))
        self._writer.tick(int(now))
        self._connections.tick(time.monotonic())
        self._keyring.tick(int(now))
        self._look_at_atlas()
        self._pulse()
        self._outbox.send(self._wake)
        self._rules.sampler.send(self._wake)
        asker.tick()
        follower.look()

    async def _keep_budget(self) -> None:
        """Tells the budget for costly work how busy this worker is, as long as it serves."""
        budget, pressure = self._rules.budget, Pressure()
        with contextlib.closing(pressure):
            while True:
                began, wanted = time.monotonic(), pressure.read()
                await asyncio.sleep(PULSE_S)
                budget.pulse(time.monotonic() - began, pressure.read() - wanted)
                self._counters.busy_percent = round(100 * budget.busy)

    def _look_at_atlas(self) -> None:
        if self._atlas_file:
            self._atlas_file.look()
            self._counters.place_database_problem = int(bool(self._atlas_file.problem))

    def _copy_counters(self) -> None:
        self._counters.ready = int(self._rules.ready)
        self._counters.connections = len(self._connections)
        self._counters.turned_away = self._connections.turned_away
        self._counters.held = len(self._rules.held)
        self._counters.write(self._page)

    def _pulse(self) -> None:
        self._counters.mark_beat()
        self._copy_counters()

    async def _leave(self, doors: Doors) -> None:
        """Leaves every connection to others where there are some, else ends it as soon as no answer is owed.

        A SIGTERM while others go on means that they end, too.
        """
        if self._has_successor:
            asked = asyncio.Event()
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
            until = time.monotonic() + HAND_OVER_S
            waits = [asyncio.create_task(doors.hand_over(until)), asyncio.create_task(asked.wait())]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            await _end(waits)
        await self._drain(doors)

    async def _drain(self, doors: Doors) -> None:
        """Answers whoever still asks, and ends when nobody is left, or after DRAIN_S."""
        self._connections.drain()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                await self._connections.emptied.wait()
                doors.close()
                await asyncio.sleep(0)
                while len(self._connections):  # what was just accepted
                    self._connections.emptied.clear()
                    await self._connections.emptied.wait()


def make_reception(settings: EdgeSettings, provers: Mapping[str, Prover], atlas: Atlas) -> Reception | None:
    """Returns what receives devices, None where no setting asks for more than they say of themselves."""
    locator = None
    if settings.place_headers or settings.place_database:
        headers = {member: name.lower().encode("ascii") for member, name in settings.place_headers.items()}
        proxies = [read_network(text) for text in settings.trusted_proxies]
        locator = Locator(proxies, headers, atlas if settings.place_database else None)
    return Reception(provers, locator) if provers or locator else None


def make_quota(settings: EdgeSettings) -> Quota | None:
    """Returns what each workspace may take, None where all may take anything."""
    rates, connections = settings.workspace_rates, settings.workspace_connections
    return Quota(rates, connections) if rates or connections else None


def _pin_workspace(name: str, root: Path) -> Workspace:
    """The workspace before anything was read from edge.db."""
    return Workspace(name, Chain.pin(root.read_bytes()).documents)


async def _end(tasks: Sequence["asyncio.Task[Any]"]) -> None:
    """Ends tasks, and raises what one of them has failed with."""
    for task in tasks:
        task.cancel()
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, Exception):
            raise outcome
