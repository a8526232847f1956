"""Where the processes of an edge begin: the parent from settings, its children from what the parent hands them."""

import asyncio
import contextlib
import ctypes
import logging
import mmap
import signal
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvloop
from aiohttp import web

from channel import Feed
from edge import parent
from edge.admin import Host, make_admin
from edge.cache import Cache
from edge.metrics import open_page
from edge.settings import EdgeSettings, read_settings
from edge.syncer import WorkspaceSync
from edge.worker import Worker
from settings.address import split_address
from trust import Root, read_root

PR_SET_PDEATHSIG = 1


def run_edge(settings: EdgeSettings, config: Path | None) -> None:
    """Runs an edge host until SIGTERM or SIGINT; `settings` are what `config` and the environment say.

    Raises:
        OSError: an address cannot be listened on.
        RootError: a workspace's root file is none.
    """
    for name, path in settings.workspaces.items():
        _read_root(name, path)
    host, port = split_address(settings.listen)
    parent.refuse_taken(host, port)
    parent.refuse_taken(*split_address(settings.admin))
    listeners = parent.bind(host, port, settings.workers)
    parent.Parent(listeners, str(config.absolute()) if config else "", settings.drain_delay_s).run()


def run_child(spec: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Runs a syncer or a worker; `spec` is what the parent hands it: role, config file, descriptors."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, parent.SIGNALS)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent decides
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s {spec['role']} %(levelname)s %(message)s")
    settings = read_settings(Path(spec["config"]) if spec["config"] else None, environ)
    if spec["role"] == "syncer":
        pages = [open_page(descriptor) for descriptor in spec["pages"]]
        wakes = [socket.socket(fileno=descriptor) for descriptor in spec["wakes"]]
        uvloop.run(_run_syncer(settings, pages, wakes))
    else:
        listener, wake = (socket.socket(fileno=spec[name]) for name in ("listener", "wake"))
        uvloop.run(Worker(settings, listener, wake, open_page(spec["page"])).run())


async def _run_syncer(settings: EdgeSettings, pages: list[mmap.mmap], wakes: list[socket.socket]) -> None:
    cache = Cache(settings.data)

    def wake() -> None:
        for waker in wakes:
            with contextlib.suppress(BlockingIOError):
                waker.send(b"!", socket.MSG_DONTWAIT)

    syncs = [_make_sync(name, path, settings, cache, wake) for name, path in settings.workspaces.items()]
    states = {name: sync.state for name, sync in zip(settings.workspaces, syncs, strict=True)}
    host = Host(pages, states, cache)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGUSR1, setattr, host, "is_draining", True)  # noqa: FBT003 - setattr's own
    runner = web.AppRunner(make_admin(host), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, *split_address(settings.admin)).start()
    tasks = [asyncio.create_task(sync.run()) for sync in syncs]
    await stop.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await runner.cleanup()
    cache.close()


def _make_sync(name: str, path: Path, settings: EdgeSettings, cache: Cache, wake: Any) -> WorkspaceSync:
    root = _read_root(name, path)
    return WorkspaceSync(name, root, Feed(settings.redis, name, root.keys("channel")), cache, wake)


def _read_root(name: str, path: Path) -> Root:
    """A root file that is pinned for a workspace has to be that workspace's."""
    root = read_root(path.read_bytes())
    if root.workspace != name:
        raise ValueError(f"{path}: expected the root of workspace {name!r}, got that of {root.workspace!r}")
    return root
