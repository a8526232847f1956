"""A real edge worker's network side, in a thread and on a uvloop of its own: lane or plain, both over one set of rules.

It knows how a worker puts lane, aiohttp and connections together; what is answered, the tests say.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import orjson
import uvloop
from aiohttp import web

from channel import NOWHERE, Position
from edge.answer import Workspace, compile_entry
from edge.app import Handler, make_app
from edge.connection import Connections
from edge.exchange import Rules
from edge.lane import HeadWriter, Lane
from edge.metrics import Counters
from edge.settings import EdgeSettings
from ruleset import parse_program

T = TypeVar("T")

# More than any test opens, so that only the test of the limit meets it.
MAX_CONNECTIONS = 64
# A thread that does not come up or go down is a defect of the server; nothing is measured by it.
PATIENCE_S = 20.0


class WireServer:
    """One server on a port of its own.

    Args:
        lane: whether checks are answered on the lane.
        root: the file that `/v1/root/3` serves.
        store: the folder of package files.
    """

    def __init__(self, *, lane: bool, root: Path, store: Path) -> None:
        self.lane = lane
        self.counters = Counters()
        self.rules = Rules({"demo": Workspace("demo", 3), "empty": Workspace("empty", 1)}, self.counters)
        workspaces = {"demo": root, "empty": root}
        self._settings = EdgeSettings(redis="", workspaces=workspaces, data=store, store=store, lane=lane)
        self.loop = uvloop.new_event_loop()
        self._stop = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edge-lane-{lane}")
        self.port = 0
        self.connections: Connections
        self.protocols: list[asyncio.Protocol] = []

    def start(self) -> None:
        """Serves, as soon as this returns."""
        self._thread.start()
        assert self._started.wait(PATIENCE_S), "the server did not come up"

    def stop(self) -> None:
        """Ends the thread."""
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the server did not end"

    def call(self, function: Callable[[], T]) -> T:
        """Returns what a function returns that is called in the server's thread, between two of its steps."""

        async def run() -> T:
            await asyncio.sleep(0)
            return function()

        return asyncio.run_coroutine_threadsafe(run(), self.loop).result(PATIENCE_S)

    def publish(self, documents: list[Mapping[str, Any]], revision: int, root: int) -> None:
        """Replaces the rules of `demo` by these documents; none at all as long as `revision` is 0."""

        def apply() -> None:
            entries = {
                document["program"]: compile_entry(parse_program(orjson.dumps(document))) for document in documents
            }
            workspace = Workspace("demo", root)
            workspace.apply(entries, Position(1, revision) if revision else NOWHERE)
            self.rules.workspaces["demo"] = workspace

        self.call(apply)

    def connect(self) -> socket.socket:
        """Returns a new connection; an answer that does not come is a failure, not a hang."""
        connection = socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self.connections = Connections(MAX_CONNECTIONS)
        writer = HeadWriter()
        runner = web.AppRunner(make_app(self.rules, self._settings), handler_cancellation=True)
        await runner.setup()
        http = runner.server
        assert http is not None

        def take_over() -> Handler:
            return Handler(http, self.connections, ends=True, loop=self.loop)

        def serve() -> asyncio.Protocol:
            if self.lane:
                protocol: asyncio.Protocol = Lane(self.rules, self.connections, writer, take_over)
            else:
                protocol = Handler(http, self.connections, ends=False, loop=self.loop)
            self.protocols = [*self.protocols[-MAX_CONNECTIONS:], protocol]
            return protocol

        server = await self.loop.create_server(serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        await self._stop.wait()
        server.close()
        self.connections.drain()
        await runner.cleanup()
