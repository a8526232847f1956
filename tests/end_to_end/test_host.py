"""A whole edge host with real processes: what it answers, and what it survives."""

import contextlib
import http.client
import itertools
import json
import os
import resource
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from channel import Keys
from edge.child import WORKER_HANG_S
from edge.parent import PAUSE_S
from tests.end_to_end.town import PROGRAM, ROOT, Hand, Host, Town, ask, eventually, is_running, list_children
from trust import PrivateKey

_versions = (f"1.0.{number}.0" for number in itertools.count(1))


@pytest.fixture
def version() -> str:
    """A version that was never published before."""
    return next(_versions)


class Watch:
    """Devices that connect and ask all the time, and what became of it."""

    def __init__(self, host: Host) -> None:
        self._address = host.devices.split(":")
        self._ended = threading.Event()
        self.refused: list[str] = []
        self.connected = 0
        self._thread = threading.Thread(target=self._connect)
        self._thread.start()

    def _connect(self) -> None:
        host, port = self._address
        while not self._ended.is_set():
            try:
                socket.create_connection((host, int(port)), 20).close()
                self.connected += 1
            except OSError as error:
                self.refused.append(repr(error))
            self._ended.wait(0.002)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


@contextmanager
def watch_connections(host: Host) -> Iterator[Watch]:
    """Connects all the time; nobody may be refused meanwhile."""
    watch = Watch(host)
    try:
        eventually(lambda: watch.connected)
        yield watch
        before = watch.connected
        eventually(lambda: watch.connected > before + 100)
    finally:
        watch.end()
    assert watch.refused == []


def read_pid(host: Host, worker: int) -> int:
    """The process id of a worker that serves, as soon as it does."""
    return int(eventually(lambda: host.is_ready() and host.read_status()["workers"][worker]["pid"]))


def test_every_worker_answers_with_what_is_published(town: Town, host: Host, version: str) -> None:
    """A published release is what each worker tells devices, without a restart."""
    eventually(host.is_ready)
    before = host.list_pids()
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))
    assert host.list_pids() == before


def test_killed_worker_comes_back_on_its_socket(town: Town, host: Host, version: str) -> None:
    """A worker that dies has a successor on the same socket; nobody is refused a connection meanwhile."""
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))
    pid = read_pid(host, 0)
    with watch_connections(host):
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: host.read_status()["workers"][0]["pid"] not in {0, pid})
        eventually(host.is_ready)
    assert host.is_told_everywhere(version)
    assert f"worker 0 (process {pid}) ended with code -9" in host.read_log()
    assert not is_running(pid)


def test_killed_syncer_comes_back_and_follows(town: Town, host: Host, version: str) -> None:
    """A syncer that dies has a successor that follows; operators wait on the same socket and are not refused."""
    eventually(host.is_ready)
    pid = host.read_status()["syncer"]["pid"]
    os.kill(pid, signal.SIGKILL)
    # Asked at once: the parent holds the admin socket, so the question waits for the successor.
    eventually(lambda: host.read_status()["syncer"]["pid"] != pid)
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))


def test_paused_host_goes_on(town: Town, host: Host, version: str) -> None:
    """After a pause of all its processes, longer than a worker may be silent, the same workers go on."""
    eventually(host.is_ready)
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))
    before = host.list_pids()
    paused = [host.process.pid, *list_children(host.process.pid)]
    try:
        for pid in paused:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(WORKER_HANG_S + 2)  # a pause is not a pause before it has lasted
    finally:
        for pid in paused:  # the parent first, as it may be
            os.kill(pid, signal.SIGCONT)
    began = time.monotonic()
    eventually(lambda: time.monotonic() - began > PAUSE_S and host.is_told_everywhere(version))
    assert host.list_pids() == before
    assert "shows no sign of life" not in host.read_log()


def test_redis_away_changes_nothing(town: Town, host: Host, version: str) -> None:
    """While Redis is away devices are told what they were told; the status says so; then the host follows again."""
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))
    town.redis.kill()
    eventually(lambda: "redis cannot be reached" in host.read_log())
    assert host.is_told_everywhere(version)
    assert host.is_ready()
    town.redis.start()
    newer = next(_versions)
    town.publish(newer)
    eventually(lambda: host.is_told_everywhere(newer))
    eventually(lambda: host.read_status()["workspaces"]["demo"]["problem"] == "")


def test_emptied_redis_is_not_believed(town: Town, host: Host, version: str) -> None:
    """A Redis that was emptied takes nothing away; once it is filled again the host follows it."""
    town.publish(version)
    eventually(lambda: host.is_told_everywhere(version))
    revision = host.check()["revision"]
    os.kill(town.publisher.process.pid, signal.SIGSTOP)  # or it would put everything back at once
    try:
        with redis.Redis.from_url(town.redis.url) as client:
            client.flushall()
            client.publish(Keys.of("demo").changed, b"1-1")
        eventually(lambda: host.read_status()["workspaces"]["demo"]["source"] == "empty")
        assert host.is_told_everywhere(version)
        assert host.check()["revision"] == revision
        assert host.is_ready()
    finally:
        os.kill(town.publisher.process.pid, signal.SIGCONT)
    newer = next(_versions)
    town.publish(newer)
    eventually(lambda: host.is_told_everywhere(newer))
    assert host.check()["revision"] > revision


@pytest.fixture
def hand(town: Town, host: Host) -> Hand:
    """Somebody at Redis, who has published a good document by hand."""
    hand = town.hand
    hand.put(hand.seal(hand.make("2.0.0.0")))
    eventually(lambda: has_come(host, hand) and not read_refused(host))
    eventually(lambda: host.is_told_everywhere("2.0.0.0", "hand"))
    return hand


def has_come(host: Host, hand: Hand) -> bool:
    """Says whether a host has come as far as what was written by hand."""
    return bool(host.read_status()["workspaces"]["hand"]["revision"] == hand.revision)


def read_refused(host: Host) -> Any:
    """What the host has refused of the workspace `hand`."""
    return host.read_status()["workspaces"]["hand"]["refused"]


STRANGER = PrivateKey.generate()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda hand: hand.seal(hand.make("6.6.6.0"), STRANGER), "key"),
        (lambda hand: hand.seal(hand.make("6.6.6.0")).replace(b"6.6.6.0", b"6.6.7.0"), "signature"),
        (lambda hand: hand.seal([1, 2, 3]), "expected `object`, got `array`"),
        (lambda _: b"junk", "expected a signature line"),
        (lambda hand: hand.seal(hand.make("6.6.6.0", workspace="demo")), "expected a document of 'hand'"),
        (lambda hand: hand.seal(hand.make("6.6.6.0", format=2)), "$.format"),
        (lambda hand: hand.seal(hand.make("6.6.6.0", offers=None)), "$.offers"),
        (lambda hand: hand.seal(hand.make("6.6.6.0", revision=1)), "older than"),
    ],
    ids=["forged", "altered", "malformed", "junk", "another workspace", "newer format", "without offers", "older"],
)
def test_document_that_is_not_to_be_believed_is_refused(
    host: Host, hand: Hand, make: Callable[[Hand], bytes], reason: str
) -> None:
    """It is named with its reason in the status, the last good one stays, and the next good one ends the matter."""
    hand.put(make(hand))
    refused = eventually(lambda: has_come(host, hand) and read_refused(host))
    assert [(entry["kind"], entry["id"]) for entry in refused] == [("program", PROGRAM)]
    assert reason in refused[0]["reason"]
    assert host.is_told_everywhere("2.0.0.0", "hand")
    hand.put(hand.seal(hand.make("2.1.0.0")))
    eventually(lambda: host.is_told_everywhere("2.1.0.0", "hand"))
    assert read_refused(host) == []


def test_restart_without_redis(town: Town, tmp_path: Path, version: str) -> None:
    """A host stops in good order with exit code 0 and leaves no process; it starts and answers without Redis."""
    town.publish(version)
    with town.start_host(tmp_path) as first:
        eventually(lambda: first.read_status()["workspaces"]["demo"]["revision"])
        eventually(lambda: first.is_told_everywhere(version))
        pids = first.list_pids()
        assert len(pids) == 4
        assert first.end() == 0
        assert not any(is_running(pid) for pid in pids)
        assert "ERROR" not in first.read_log()
        assert "Traceback" not in first.read_log()
    with town.start_host(tmp_path, REDIS="unix:///nowhere.sock") as second:
        eventually(lambda: all(worker["ready"] for worker in second.read_status()["workers"]))
        assert second.is_told_everywhere(version)
        eventually(lambda: "redis cannot be reached" in second.read_status()["workspaces"]["demo"]["problem"])


def test_noise_in_the_file_is_set_aside(town: Town, tmp_path: Path, version: str) -> None:
    """An edge.db that cannot be read is set aside, and the host loads anew."""
    town.publish(version)
    (tmp_path / "edge-2.db").write_bytes(os.urandom(50_000))
    (tmp_path / "edge-2.db-wal").write_bytes(os.urandom(5_000))
    with town.start_host(tmp_path) as host:
        eventually(lambda: host.read_status()["workspaces"]["demo"]["revision"])
        eventually(lambda: host.is_told_everywhere(version))
        assert (tmp_path / "edge-2.broken").stat().st_size == 50_000
        assert "set aside as edge-2.broken" in host.read_log()


def test_file_that_breaks_while_it_is_used(town: Town, tmp_path: Path, version: str) -> None:
    """A syncer that meets damage begins anew by itself, and devices are answered throughout."""
    town.publish(version)
    with town.start_host(tmp_path) as host:
        eventually(lambda: host.read_status()["workspaces"]["demo"]["revision"])
        eventually(lambda: host.is_told_everywhere(version))
        pid = host.read_status()["syncer"]["pid"]
        with closing(sqlite3.connect(tmp_path / "edge-2.db")) as db:
            db.execute("DROP TABLE refused")
        newer = next(_versions)
        town.publish(newer)
        eventually(lambda: host.is_told_everywhere(newer))
        assert host.read_status()["syncer"]["pid"] != pid
        assert "no such table: refused" in host.read_log()


def test_host_without_room_for_a_byte(town: Town, tmp_path: Path, version: str) -> None:
    """Where neither disk nor memory takes a byte, a host answers by what it has, says so, and follows once it can."""
    town.publish(version)
    with town.start_host(tmp_path) as host:
        eventually(host.is_ready)
        eventually(lambda: host.is_told_everywhere(version))
        syncer = host.read_status()["syncer"]["pid"]
        before = resource.prlimit(syncer, resource.RLIMIT_FSIZE)
        resource.prlimit(syncer, resource.RLIMIT_FSIZE, (0, before[1]))
        town.publish(next(_versions))
        eventually(lambda: "cannot be used" in host.read_status()["workspaces"]["demo"]["problem"])
        assert host.is_told_everywhere(version)
        assert host.is_ready()
        resource.prlimit(syncer, resource.RLIMIT_FSIZE, before)
        last = next(_versions)
        town.publish(last)
        eventually(lambda: host.is_told_everywhere(last))
        eventually(lambda: host.read_status()["workspaces"]["demo"]["problem"] == "")
        status = host.read_status()
        assert (status["disk_problem"], status["syncer"]["pid"]) == ("", syncer)


def test_readiness_goes_first(town: Town, tmp_path: Path, version: str) -> None:
    """Asked to stop, a host is unready while devices are still answered; an interrupt of its group is no other way."""
    town.publish(version)
    with town.start_host(tmp_path, DRAIN_DELAY_S=4) as host:
        eventually(lambda: host.read_status()["workspaces"]["demo"]["revision"])
        eventually(lambda: host.is_told_everywhere(version) and host.is_ready())  # one worker may answer for all
        os.killpg(host.process.pid, signal.SIGINT)
        status, body = eventually(
            lambda: unready if (unready := ask(host.operators, "GET", "/readyz"))[0] != 200 else 0
        )
        assert status == http.HTTPStatus.SERVICE_UNAVAILABLE
        assert body["unready"][0] == "draining"
        assert host.check()["updates"]
        assert host.process.wait(30) == 0


def test_children_end_with_a_killed_parent(town: Town, tmp_path: Path) -> None:
    """A parent that is killed takes its children along: nothing holds the port."""
    with town.start_host(tmp_path) as host:
        eventually(lambda: all(worker["ready"] for worker in host.read_status()["workers"]))
        pids = host.list_pids()
        assert host.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(is_running(pid) for pid in pids))


def run_edge(environ: dict[str, str]) -> tuple[int, str]:
    """Runs an edge that ends by itself; returns its exit code and what it says."""
    command = [sys.executable, "-m", "cli", "edge"]
    ended = subprocess.run(command, cwd=ROOT, env=os.environ | environ, capture_output=True, timeout=30, check=False)
    return ended.returncode, ended.stderr.decode()


@pytest.mark.parametrize("setting", ["LISTEN", "ADMIN"])
def test_taken_port(town: Town, tmp_path: Path, setting: str) -> None:
    """An address where somebody listens is named in one line, and the exit code is 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = run_edge(town.set_edge(tmp_path, **{setting: address}))
    assert code == 1
    line = f"graywave: the edge cannot start: [Errno 98] {address} cannot be listened on: Address already in use\n"
    assert said == line


def test_wrong_settings(town: Town, tmp_path: Path) -> None:
    """All problems are named at once, and the exit code is 2."""
    code, said = run_edge(town.set_edge(tmp_path, WORKERS=0, LANE="perhaps", COLOUR="red"))
    assert code == 2
    assert said.startswith("graywave: the edge's settings are wrong:\n")
    assert [line.partition(":")[0] for line in said.splitlines()[1:]] == [
        "GRAYWAVE_EDGE_COLOUR",
        "GRAYWAVE_EDGE_LANE",
        "GRAYWAVE_EDGE_WORKERS",
    ]


def ask_on(connection: http.client.HTTPConnection) -> list[str]:
    """The versions that a device is told of, over a connection that stays."""
    question = {"workspace": "demo", "device": {"id": "d-1", "platform": "android"}, "programs": {PROGRAM: ""}}
    connection.request("POST", "/v1/check", json.dumps(question), {"Content-Type": "application/json"})
    return [update["version"] for update in json.loads(connection.getresponse().read())["updates"]]


def has_ended(connection: socket.socket) -> bool:
    """Whether the other side has ended a connection on which nothing was asked."""
    try:
        return not connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def test_descriptors_run_out(town: Town, tmp_path: Path) -> None:
    """A worker that has no descriptor left answers whom it has, follows what is published, and goes on when it can."""
    town.publish(next(_versions))
    with town.start_host(tmp_path, WORKERS=1) as host, contextlib.ExitStack() as crowd:
        eventually(host.is_ready)
        (pid,) = [worker["pid"] for worker in host.read_status()["workers"]]
        kept = crowd.enter_context(closing(http.client.HTTPConnection(host.devices)))
        assert ask_on(kept)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        used = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + 5, before[1]))
        address, port = host.devices.split(":")
        many = [crowd.enter_context(socket.create_connection((address, int(port)), 20)) for _ in range(30)]
        eventually(lambda: any(has_ended(each) for each in many))
        version = next(_versions)
        town.publish(version)
        eventually(lambda: ask_on(kept) == [version])
        assert host.is_ready()
        for each in many:
            each.close()

        def is_answered() -> bool:
            with contextlib.suppress(OSError):
                return bool(host.check()["updates"][0]["version"] == version)
            return False

        eventually(is_answered)
        assert host.read_status()["workers"][0]["pid"] == pid
