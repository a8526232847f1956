"""Where the processes of an edge begin: the parent from settings, its children from what the parent hands them."""

import asyncio
import contextlib
import ctypes
import fcntl
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from channel import Feed, Windows, connect
from edge import control, parent
from edge.admin import Host, make_admin
from edge.atlas import open_database
from edge.audience import Opener
from edge.cache import FILE_NAME, Cache
from edge.chain import Chain
from edge.control import hold_folder
from edge.descriptor import bound_connections, raise_limit
from edge.door import Place, Slot
from edge.errors import CacheError
from edge.file import Store
from edge.generation import STATE_FORMAT, Held
from edge.guard import Guard, TokenFileError
from edge.inquiry import Inquiry
from edge.journal import JournalKeeper
from edge.ledger import JOURNAL_FILE, Ledger, LedgerError, find_folder, read_host
from edge.library import Library, Source
from edge.listener import OwnSlot, bind, name_address
from edge.metrics import keep_beating, open_page
from edge.proof import KeySetError, read_key_set
from edge.refuge import name_refuge
from edge.room import Limits
from edge.sample import MARK, Reservoir
from edge.settings import EdgeSettings, freeze_settings, read_settings, thaw_settings
from edge.steward import Steward
from edge.syncer import State, WorkspaceSync
from edge.tally import MAX_PAGE_BYTES, Tally
from edge.worker import Worker
from ruleset import Circumstances, CompiledProgram
from settings import SettingsError
from settings.address import split_address
from settings.key import read_keys
from trust import TrustError

PR_SET_PDEATHSIG = 1
# How long operators' requests may take to end at a stop, in seconds.
ADMIN_STOP_S = 1.0
# How often the tasks of a stopping syncer are cancelled, in seconds: Python 3.11's `wait_for`, in redis-py, swallows
# a cancellation that comes together with an answer.
CANCEL_EVERY_S = 0.2
# How long Redis may take to answer a host's sign of life, in seconds.
BEAT_PATIENCE_S = 5.0
# How often a syncer that stands by looks whether its turn has come, in seconds.
TURN_LOOK_S = 0.01
# As what the log names a process, where that is not its role.
_LOGGED = {"parent": "edge"}

_log = logging.getLogger("graywave.edge")


def run_edge(settings: EdgeSettings, config: Path | None) -> None:
    """Runs an edge host until SIGTERM or SIGINT; `settings` are what `config` and the environment say.

    Raises:
        OSError: an address cannot be listened on, the data folder not be made, or another edge runs in it.
        ValueError: a workspace's root file is none, or another's; the file of the admin token, of a fingerprint key or
            of a key set holds none.
    """
    _check_files(settings)
    settings.data.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        folder = hold_folder(settings.data)
        stack.callback(os.close, folder)
        slots = [OwnSlot.make(listener) for listener in _bind(settings.listen, settings.workers, stack)]
        for slot in slots:
            stack.callback(slot.close)
        (admin,) = _bind(settings.admin, 1, stack)
        _log.info("devices at %s, operators at %s", name_address(slots[0].listener), name_address(admin))
        turn = os.memfd_create("graywave-turn")
        held = Held(folder, turn, control.listen(folder), admin, slots)
        parent.Parent.begin(held, str(config.absolute()) if config else "", freeze_settings(settings)).run()


def _check_files(settings: EdgeSettings) -> None:
    """Here, where an operator sees what is wrong with them; raises what `run_edge` does."""
    Guard.read(settings.admin_token_file)
    for path in settings.proof_keys.values():
        _check_key_set(path)
    _check_database(settings.place_database)
    for name, path in settings.workspaces.items():
        _read_root(name, path)
    read_keys(settings.fingerprint_keys)


def _bind(address: str, count: int, stack: contextlib.ExitStack) -> list[socket.socket]:
    return [stack.enter_context(listener) for listener in bind(*split_address(address), count)]


def run_child(spec: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Runs what the parent starts: a syncer, a worker, a judge of new settings, or the next image of the parent itself.

    Args:
        spec: what it is handed: its role, the parent's process id, descriptors.
        environ: what a judge reads settings from.
    """
    role = spec["role"]
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {_LOGGED.get(role, role)} %(levelname)s %(message)s")
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)  # a line a request is the balancer's to write
    if role == "parent":
        state = json.loads(_read_all(spec["state"]))
        os.close(spec["state"])
        host = parent.Parent.resume(state)
        parent.tell_reloaded(None if state["asker"] is None else socket.socket(fileno=state["asker"]))
        host.run()
        return
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # a terminal sends them to all; the parent decides
    signal.pthread_sigmask(signal.SIG_UNBLOCK, parent.SIGNALS)
    _die_with(spec["parent"])
    if role == "judge":
        sys.exit(_judge(spec, environ))
    try:
        settings = thaw_settings(_read_all(spec["settings"]))
        uvloop.run(_run_syncer(settings, spec) if role == "syncer" else _run_worker(settings, spec))
    except (CacheError, TokenFileError) as error:
        _log.critical("%s", error)
        sys.exit(1)


def _judge(spec: Mapping[str, Any], environ: Mapping[str, str]) -> int:
    """Reads new settings with the new code, and writes them, or what is wrong; returns the exit code."""
    try:
        _check_format(spec["format"])
        settings = read_settings(Path(spec["config"]) if spec["config"] else None, environ)
        _check_files(settings)
        _check_cache(settings.data)
    except (OSError, SettingsError, TrustError, ValueError) as error:
        os.pwrite(spec["found"], str(error).encode(), 0)
        return 1
    os.pwrite(spec["found"], freeze_settings(settings), 0)
    return 0


def _check_format(given: int) -> None:
    if given != STATE_FORMAT:
        said = f"expected a parent that saves format {STATE_FORMAT}, got {given}"
        raise ValueError(f"only a restart brings this code: {said}")


def _check_cache(folder: Path) -> None:
    """Workers that load another file than the old syncer writes would have no rules to answer by."""
    if not any((place / FILE_NAME).exists() for place in (folder, name_refuge(folder))):
        said = f"its rules are in {FILE_NAME}, which is not in {folder} yet"
        raise ValueError(f"only a restart brings this code: {said}")


def _read_all(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _die_with(parent_pid: int) -> None:
    """Linux ends this process when its parent ends; one that has ended already is noticed here."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent_pid:
        sys.exit("the parent is gone")


async def _run_worker(settings: EdgeSettings, spec: Mapping[str, Any]) -> None:
    connections = bound_connections(settings.max_connections, raise_limit())
    settings = replace(settings, max_connections=connections)
    pages = [open_page(page) for page in spec["pages"]]
    place = Place(spec["index"], [Slot(*slot) for slot in spec["slots"]], pages)
    await Worker(settings, place, socket.socket(fileno=spec["wake"]), pages[place.own]).run()


async def _await_turn(spec: Mapping[str, Any]) -> int:
    """Returns when no other syncer of this host writes; until then this one stands by, which its page tells.

    It is this one's turn as long as the descriptor is open that is returned: to the end of the process.
    """
    turn = os.open(f"/proc/self/fd/{spec['turn']}", os.O_RDWR)  # opened anew: a lock of its own
    beating = asyncio.create_task(keep_beating(open_page(spec["page"])))
    while True:
        try:
            fcntl.flock(turn, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            await asyncio.sleep(TURN_LOOK_S)
        else:
            beating.cancel()
            return turn


async def _run_syncer(settings: EdgeSettings, spec: Mapping[str, Any]) -> None:
    await _await_turn(spec)
    cache = Cache(settings.data)
    wakes, tally = [socket.socket(fileno=descriptor) for descriptor in spec["wakes"]], Tally()
    reservoir = Reservoir()
    wake = _make_wake(wakes)
    syncs: dict[str, WorkspaceSync] = {}
    library = _make_library(settings, wake, syncs)
    syncs |= {
        name: _make_sync(name, path, settings, cache, library, wake) for name, path in settings.workspaces.items()
    }
    states = {name: sync.state for name, sync in syncs.items()}
    stewards = dict(_make_stewards(settings, wake))
    for name, steward in stewards.items():
        states[name].windows = steward.state
    host = Host([open_page(page) for page in spec["pages"]], states, cache, tally, settings.proof_keys)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in wakes:
        loop.add_reader(each, _hear, each, tally, reservoir)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, host, "is_draining", True)  # noqa: FBT003 - setattr's own
    surround = _make_surround(states, stewards, read_keys(settings.fingerprint_keys))
    inquiry = Inquiry(cache, surround, states, reservoir, settings.proof_keys)
    admin = make_admin(host, Guard.read(settings.admin_token_file), inquiry.list_routes())
    runner = web.AppRunner(admin, access_log=None, shutdown_timeout=ADMIN_STOP_S)
    await runner.setup()
    await web.SockSite(runner, socket.socket(fileno=spec["admin"])).start()
    tasks = [asyncio.create_task(work) for work in (library.run(), *(sync.run() for sync in syncs.values()))]
    tasks.append(asyncio.create_task(keep_beating(open_page(spec["page"]))))
    tasks += [asyncio.create_task(steward.run()) for steward in stewards.values()]
    for task in tasks:
        task.add_done_callback(lambda _: stop.set())  # none ends by itself: what fails here begins anew
    await stop.wait()
    await runner.cleanup()
    await _end_all()
    await _leave(stewards.values(), is_last=host.is_draining)
    cache.close()
    for task in tasks:
        if not task.cancelled():
            task.result()


def _make_stewards(settings: EdgeSettings, wake: Callable[[], None]) -> Iterator[tuple[str, Steward]]:
    """A host whose data folder cannot be written has none: it admits nobody, and answers all the same."""
    try:
        host = read_host(settings.data)
        for name in settings.workspaces:
            folder = find_folder(settings.data, name)
            ledger = Ledger(folder)
            windows = Windows(connect(settings.redis, BEAT_PATIENCE_S, name), name)
            yield name, Steward(name, host, windows, ledger, JournalKeeper(folder / JOURNAL_FILE), wake)
    except (LedgerError, OSError) as error:
        _log.error("no places in windows: %s", error)


async def _leave(stewards: Iterable[Steward], *, is_last: bool) -> None:
    """The workers have ended before the syncer, where the whole host stops; where it alone ends, it comes back."""
    for steward in stewards:
        if is_last:
            await steward.leave()
        await steward.close()


def _make_surround(
    states: Mapping[str, State], stewards: Mapping[str, Steward], keys: Mapping[str, bytes]
) -> Callable[[str, CompiledProgram], Circumstances]:
    """What tells the lists that decide a program, as this process knows them."""

    def surround(workspace: str, program: CompiledProgram) -> Circumstances:
        steward = stewards.get(workspace)
        rules = [release.window for release in program.live if release.window is not None]
        windows = steward.know(rules, keys) if steward else {}
        return Circumstances(states[workspace].table.audiences, windows)

    return surround


async def _end_all() -> None:
    """Ends every other task of the loop: a task group hands a cancellation on once, and its tasks may swallow that."""
    own = asyncio.current_task()
    while others := asyncio.all_tasks() - {own}:
        for task in others:
            task.cancel()
        await asyncio.wait(others, timeout=CANCEL_EVERY_S)


def _make_wake(wakes: Sequence[socket.socket]) -> Callable[[], None]:
    def wake() -> None:
        for waker in wakes:
            with contextlib.suppress(OSError):  # it has not heeded the last ones yet, and will; or there is no parent
                waker.send(b"!", socket.MSG_DONTWAIT)

    return wake


def _hear(worker: socket.socket, tally: Tally, reservoir: Reservoir) -> None:
    with contextlib.suppress(BlockingIOError):
        page = worker.recv(MAX_PAGE_BYTES, socket.MSG_DONTWAIT)
        if page.startswith(MARK):
            reservoir.take(page, int(time.time()))
        else:
            tally.take(page)


def _make_library(settings: EdgeSettings, wake: Callable[[], None], syncs: Mapping[str, WorkspaceSync]) -> Library:
    def tell() -> None:
        wake()  # a file that was missing may be one of a document that workers have
        for sync in syncs.values():
            sync.hint()

    opener = Opener(settings.data, read_keys(settings.fingerprint_keys))
    return Library(settings.data, Source(Store(settings.store), settings.files), opener, tell)


def _make_sync(
    name: str, path: Path, settings: EdgeSettings, cache: Cache, library: Library, wake: Callable[[], None]
) -> WorkspaceSync:
    pinned = _read_root(name, path)
    feed = Feed(settings.redis, name, pinned.root.keys("channel"))
    limits = Limits(settings.max_programs, settings.max_document_mb, settings.max_audience_mb)
    return WorkspaceSync(name, pinned, feed, cache, library, wake, limits)


def _check_key_set(path: Path) -> None:
    try:
        read_key_set(path.read_bytes())
    except KeySetError as error:
        raise ValueError(f"{path}: {error}") from error


def _check_database(path: Path | None) -> None:
    if path is None:
        return
    try:
        open_database(path).close()
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _read_root(name: str, path: Path) -> Chain:
    """A root file that is pinned for a workspace has to be that workspace's."""
    try:
        pinned = Chain.pin(path.read_bytes())
    except TrustError as error:
        raise ValueError(f"{path}: {error}") from error
    if pinned.root.workspace != name:
        raise ValueError(f"{path}: expected the root of workspace {name!r}, got that of {pinned.root.workspace!r}")
    return pinned
