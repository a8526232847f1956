"""What a soak plays in: a Redis, a publisher, edge hosts, and between each host and Redis a link that fails. All real.

Hosts keep their addresses and data folders over their deaths. Everything ends with the soak.
"""

import http.client
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import orjson

from loadtest.errors import MeasureError
from loadtest.process import Server, await_port, die_with_parent, list_children, pick_port
from loadtest.relay import RedisServer, Relay
from loadtest.stage import HOME, find_redis, make_command, make_environment, run_command
from tests.faults.editor import HAND, MAIN

Json = dict[str, Any]

ADDRESS = "127.0.0.1"
ANSWER_S = 5.0
POLL_S = 0.02
# What has not come about by then is not going to, in seconds, however busy the machine is.
PATIENCE_S = 120.0
# What Redis keeps in its folder, but for its log: a file before version 7, then a folder.
DATA = "appendonly*"


class Host:
    """An edge host that can be killed and started again, as it was.

    Args:
        city: where.
        name: of its folder.
        workers: how many it has.
        redis: how it reaches Redis.
    """

    def __init__(self, city: "City", name: str, workers: int, redis: str) -> None:
        self.port, self.admin, self.workers = pick_port(), pick_port(), workers
        self.data, self._city, self._name = city.folder / name, city, name
        self._settings = {
            "LISTEN": f"{ADDRESS}:{self.port}",
            "ADMIN": f"{ADDRESS}:{self.admin}",
            "WORKERS": str(workers),
            "DATA": str(self.data),
            "REDIS": redis,
            "WORKSPACES": ",".join(f"{one}={keys / 'root.json'}" for one, keys in city.keys.items()),
        }

    def start(self) -> None:
        """Starts it; it is not ready yet."""
        self._server = self._city.start(
            self._name, "edge", {f"GRAYWAVE_EDGE_{k}": v for k, v in self._settings.items()}
        )

    def await_ready(self) -> None:
        """Returns when it should get devices; raises MeasureError where that takes too long."""
        await_true(lambda: read_json(self.admin, "/readyz") is not None, PATIENCE_S)

    def kill(self) -> None:
        """Kills all of it at once, and returns when nothing is left."""
        pids = list_children(self._server.pid)
        os.killpg(self._server.pid, signal.SIGKILL)
        self._server.kill()
        await_true(lambda: not any(send(pid, 0) for pid in pids))

    def reload(self) -> None:
        """New processes beside the old ones; returns when they are in force; raises ServerError."""
        run_command("edge", "reload", "--data", str(self.data), timeout_s=PATIENCE_S)

    def read_status(self) -> Json | None:
        """What its admin listener says, None where nobody answers."""
        return read_json(self.admin, "/status")

    def list_workers(self) -> list[int]:
        """The ids of its workers; empty where nobody says."""
        status = self.read_status()
        return [worker["pid"] for worker in status["workers"]] if status else []

    def is_well(self, revision: int, gone: AbstractSet[int]) -> bool:
        """Says whether every worker serves and has all that its host has: this revision at least; and none is gone."""
        status = self.read_status()
        if status is None or status["workspaces"][MAIN]["revision"] < revision:
            return False
        workers = status["workers"]
        return (
            len(workers) == self.workers
            and all(one["ready"] and one["cursor"] >= status["row"] for one in workers)
            and gone.isdisjoint([status["syncer"]["pid"], *(one["pid"] for one in workers)])
        )


class City:
    """Redis, publisher and hosts.

    Args:
        folder: of everything that they write.
        cleanup: what ends with the soak.
    """

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self.folder, self._cleanup, self.token = folder, cleanup, secrets.token_urlsafe(24)
        self.keys = {name: folder / f"keys-{name}" for name in (MAIN, HAND)}
        for name, keys in self.keys.items():
            run_command("keys", "new", str(keys), "--workspace", name)
        self.redis = RedisServer(find_redis(), folder / "redis")
        cleanup.callback(self.redis.kill)
        self.publisher = pick_port()
        self.start_publisher()
        self.links: list[Relay] = []
        self.hosts: list[Host] = []

    def add_host(self, workers: int) -> Host:
        """Returns another host, which starts."""
        link = self._cleanup.enter_context(Relay(self.redis.port))
        self.links.append(link)
        host = Host(self, f"host-{len(self.hosts) + 1}", workers, link.url)
        self.hosts.append(host)
        host.start()
        return host

    def start(self, name: str, command: str, environment: dict[str, str]) -> Server:
        """Starts a server of ours, which ends with the soak."""
        server = Server(name, make_command(command), self.folder / f"{name}.log", make_environment(environment))
        self._cleanup.callback(server.stop)
        return server

    def start_publisher(self) -> None:
        """Starts the publisher, on what its folder has."""
        settings = {
            "LISTEN": f"{ADDRESS}:{self.publisher}",
            "WORKSPACE": MAIN,
            "REDIS": f"redis://{ADDRESS}:{self.redis.port}",
            "FOLDER": str(self.folder / "publisher"),
            "ROOT": str(self.keys[MAIN] / "root.json"),
            "OFFER_KEY": str(self.keys[MAIN] / "offer.key"),
            "CHANNEL_KEY": str(self.keys[MAIN] / "channel.key"),
            "TOKEN": self.token,
            "UNCHECKED_FILES": "true",  # no package lies behind these documents
        }
        environment = {f"GRAYWAVE_PUBLISHER_{key}": value for key, value in settings.items()}
        self._publisher = self.start("publisher", "publisher", environment)
        await_port(self.publisher, self._publisher)

    def kill_publisher(self) -> None:
        """Kills it at once."""
        self._publisher.kill()

    def read_newest(self) -> int:
        """The newest revision that the publisher has."""
        listed = read_json(self.publisher, "/v1/documents", {"Authorization": f"Bearer {self.token}"}) or {
            "documents": []
        }
        return max((one["revision"] for one in listed["documents"]), default=0)

    def copy_redis(self) -> None:
        """Keeps a copy of what Redis has now, which will be old."""
        _copy_data(self.redis.folder, self.folder / "copy")

    def clear_redis(self) -> None:
        """Takes everything from a Redis that does not run."""
        _clear_data(self.redis.folder)

    def age_redis(self) -> None:
        """Puts the old copy back into a Redis that does not run."""
        _copy_data(self.folder / "copy", self.redis.folder)

    def start_crowd(self, hosts: Sequence[Host], seed: int, **pace: Any) -> "CrowdProcess":
        """Returns the crowd of these hosts, in a process of its own."""
        desk = {
            "publisher": self.publisher,
            "redis": self.redis.port,
            "token": self.token,
            "keys": {name: str(keys) for name, keys in self.keys.items()},
            "seed": seed,
        }
        crowd = CrowdProcess({"desk": desk, "hosts": [(ADDRESS, host.port) for host in hosts], **pace}, self.folder)
        self._cleanup.callback(crowd.close)
        return crowd


class CrowdProcess:
    """The crowd, from outside."""

    def __init__(self, spec: Json, folder: Path) -> None:
        command = [sys.executable, "-m", "tests.faults.crowd", orjson.dumps(spec).decode()]
        with (folder / "crowd.log").open("wb") as log:
            self._process = Popen(
                command,
                cwd=HOME,
                env=make_environment({}),
                stdin=PIPE,
                stdout=PIPE,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - one prctl call
            )
        self._log = folder / "crowd.log"

    def tell(self, command: str) -> Any:
        """Gives a command and returns what comes of it, when it is done."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(command.encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the crowd has ended: {self._log.read_text()[-2_000:]}")
        return orjson.loads(line)["told"]

    def close(self) -> None:
        """Ends it."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()


def _clear_data(folder: Path) -> None:
    for path in folder.glob(DATA):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _copy_data(source: Path, target: Path) -> None:
    target.mkdir(exist_ok=True)
    _clear_data(target)
    for path in source.glob(DATA):
        if path.is_dir():
            shutil.copytree(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def read_json(port: int, path: str, headers: Mapping[str, str] | None = None) -> Json | None:
    """Returns what is said there with 200; None where it is another status, or nobody answers."""
    with suppress(OSError, http.client.HTTPException):
        with closing(http.client.HTTPConnection(ADDRESS, port, timeout=ANSWER_S)) as connection:
            connection.request("GET", path, headers=dict(headers or {}))
            response = connection.getresponse()
            body = response.read()
        if response.status == http.HTTPStatus.OK:
            found: Json = orjson.loads(body)
            return found
    return None


def await_true(is_true: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Returns once something is true; raises MeasureError where that takes too long."""
    until = time.monotonic() + patience_s
    while not is_true():
        if time.monotonic() > until:
            raise MeasureError(f"expected something within {patience_s:.0f} s, it did not come about")
        time.sleep(POLL_S)


def send(pid: int, what: signal.Signals | int) -> bool:
    """Sends a signal, or 0 to ask; says whether there is anybody."""
    try:
        os.kill(pid, what)
    except ProcessLookupError:
        return False
    return True
