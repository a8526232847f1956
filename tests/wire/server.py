"""A real worker's network side, in a thread and on a uvloop of its own: with lane or without.

It knows how a worker is put together; what is asked and what must be answered, the tests say.
"""

import asyncio
import mmap
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop
from aiohttp import web

from channel import NOWHERE, Position
from edge.answer import Workspace, compile_entry
from edge.app import make_app
from edge.connection import Connections
from edge.door import Place
from edge.exchange import Rules
from edge.metrics import PAGE_BYTES, Counters
from edge.settings import EdgeSettings
from edge.switch import compile_set
from edge.worker import Worker
from ruleset import NOTHING_KNOWN, Circumstances, parse_program, parse_switches

T = TypeVar("T")
Json = dict[str, Any]

# More than any test opens, so that only the test of the limit meets it.
MAX_CONNECTIONS = 64
# A server that does not answer is a failure and not a hang; nothing is measured by it.
PATIENCE_S = 30.0


class WireServer:
    """One server on a port of its own, with the workspaces `demo`, which has rules, and `empty`, which has none yet.

    Args:
        lane: whether checks are answered on the lane.
        root: the root document of both.
        store: the folder of package files.
    """

    def __init__(self, *, lane: bool, root: Path, store: Path) -> None:
        self._settings = EdgeSettings(
            redis="redis://127.0.0.1:6379",
            workspaces={"demo": root, "empty": root},
            data=store,
            store=store,
            lane=lane,
            max_connections=MAX_CONNECTIONS,
        )
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._started = threading.Event()
        self._stop: Callable[[], object]
        self._loop = uvloop.new_event_loop()
        self._worker: Worker
        self._thread = threading.Thread(target=self._run, name=f"edge-lane-{lane}")
        self.port: int = self._listener.getsockname()[1]
        self.protocols: list[Any] = []

    @property
    def store(self) -> Path:
        """The folder of package files."""
        assert self._settings.store is not None
        return self._settings.store

    @property
    def rules(self) -> Rules:
        """What the server answers from."""
        return self._worker._rules

    @property
    def counters(self) -> Counters:
        """What the server counts."""
        return self.rules.counters

    @property
    def connections(self) -> Connections:
        """The connections that are open."""
        return self._worker._connections

    def start(self) -> None:
        """Serves, as soon as this returns."""
        self._thread.start()
        assert self._started.wait(PATIENCE_S), "the server did not come up"

    def stop(self) -> None:
        """Ends the thread."""
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the server did not end"

    def call(self, function: Callable[[], T]) -> T:
        """Returns what a function returns that is called in the server's thread, between two of its steps."""

        async def run() -> T:
            await asyncio.sleep(0)
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(PATIENCE_S)

    def publish(
        self,
        documents: Sequence[Json],
        revision: int,
        root: int,
        now: int,
        around: Circumstances = NOTHING_KNOWN,
        *,
        switches: Sequence[Json] = (),
    ) -> None:
        """Replaces the rules of `demo`, the lists and the time that they are evaluated with."""
        sets = {one["switches"]: compile_set(parse_switches(orjson.dumps(one))) for one in switches}
        entries = {document["program"]: compile_entry(parse_program(orjson.dumps(document))) for document in documents}

        def apply() -> None:
            workspace = Workspace("demo", {root: self._settings.workspaces["demo"].read_bytes()})
            workspace.apply(entries, Position(1, revision) if revision else NOWHERE)
            workspace.surround(around.audiences, around.windows)
            workspace.around = around  # as if each device were proven that they say are
            workspace.hang(sets)
            self.rules.workspaces["demo"] = workspace
            self.rules.now = now

        self.call(apply)

    def connect(self) -> socket.socket:
        """Returns a new connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        ours, theirs = socket.socketpair()
        page = mmap.mmap(-1, PAGE_BYTES)
        self._worker = Worker(self._settings, Place.alone(self._listener.fileno(), page), theirs, page)
        runner = web.AppRunner(
            make_app(self.rules, self._settings, self._worker._outbox), handler_cancellation=True, shutdown_timeout=1
        )
        await runner.setup()
        choose = self._worker._choose_protocol(runner)

        def serve() -> asyncio.Protocol:
            protocol = choose()
            self.protocols = [*self.protocols[1 - MAX_CONNECTIONS :], protocol]
            return protocol

        server = await self._loop.create_server(serve, sock=self._listener)
        stop = asyncio.Event()
        self._stop = stop.set
        self._started.set()
        await stop.wait()
        server.close()
        self.connections.drain()
        await runner.cleanup()
        ours.close()
        theirs.close()
