"""A host that is asked all the time while it is reloaded, loses workers, and stops: nobody is refused or cut off."""

import http.client
import json
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.town import PROGRAM, Host, Town, ask, eventually, is_running, run_graywave
from tests.faults.stream import Outcome, stream

VERSION = "1.0.0.0"
QUESTION = {"workspace": "demo", "device": {"id": "d-1", "platform": "android"}, "programs": {PROGRAM: ""}}
CONNECTIONS = 64
FAIR = 1.5


def is_right(answer: Any) -> bool:
    """Says whether a device is told what is published."""
    return isinstance(answer, dict) and [update["version"] for update in answer["updates"]] == [VERSION]


def put_stream(stack: ExitStack, host: Host, connections: int = 4, *, reconnects: bool = True) -> Outcome:
    """Starts a stream of questions to a host, which ends with the stack."""
    outcome = stack.enter_context(stream(host.devices, QUESTION, is_right, connections, reconnects=reconnects))
    eventually(lambda: outcome.answered > connections)
    return outcome


def list_faults(outcome: Outcome) -> list[object]:
    """Everything that went wrong, an answer that said that it is the last included."""
    return [*outcome.refused, *outcome.cut, *outcome.lost, *outcome.wrong, *[outcome.ended] * bool(outcome.ended)]


@contextmanager
def watch_operators(host: Host) -> Iterator[list[object]]:
    """Asks the admin listener all the time; yields what it did not answer well."""
    faults: list[object] = []
    ended = threading.Event()

    def run() -> None:
        while not ended.wait(0.05):
            try:
                status, _ = ask(host.operators, "GET", "/healthz")
            except (OSError, http.client.HTTPException) as error:
                faults.append(error)
            else:
                faults.extend([status] * (status != http.HTTPStatus.OK))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield faults
    finally:
        ended.set()
        thread.join()


def list_workers(host: Host) -> list[int]:
    """The ids of the workers that serve, of all of them."""
    workers = host.read_status()["workers"]
    return [worker["pid"] for worker in workers if worker["ready"]] if all(w["ready"] for w in workers) else []


def count_descriptors(pid: int) -> int:
    """How many descriptors a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


@pytest.fixture(scope="module")
def busy_town(town: Town) -> Town:
    """A town whose devices get one version."""
    town.publish(VERSION)
    return town


def test_reload(busy_town: Town, tmp_path: Path) -> None:
    """A reload brings new processes and settings, a wrong one nothing; devices and operators notice neither."""
    toml, data = tmp_path / "edge.toml", tmp_path / "data"
    environ = busy_town.set_edge(data)
    del environ["GRAYWAVE_EDGE_WORKERS"]
    toml.write_text("[edge]\nworkers = 1\n", "utf-8")
    with Host(environ, tmp_path / "log", "--config", toml) as host:
        eventually(host.is_current)
        before = host.list_pids()
        with ExitStack() as stack:
            faults = stack.enter_context(watch_operators(host))
            outcome = put_stream(stack, host)
            toml.write_text("[edge]\nworkers = 2\n", "utf-8")
            done = run_graywave("edge", "reload", "--data", data)
            assert (done.returncode, done.stdout) == (0, "reloaded\n"), done.stderr
            eventually(lambda: len(list_workers(host)) == 2)
            eventually(lambda: not any(map(is_running, before[1:])))
            workers = list_workers(host)

            toml.write_text('[edge]\nworkers = "many"\n', "utf-8")
            refused = run_graywave("edge", "reload", "--data", data)
            assert refused.returncode == 3
            assert f"{toml}: edge.workers: expected an integer from 1 to 256, got 'many'" in refused.stderr
            assert list_faults(outcome) == []
            # What is edited and not reloaded is not read by a worker that comes back, either.
            os.kill(workers[0], signal.SIGKILL)
            eventually(lambda: workers[0] not in list_workers(host) and len(list_workers(host)) == 2)
            assert workers[1] in list_workers(host)
        assert len(outcome.cut) <= 4  # those of the worker that was killed
        assert outcome.refused == outcome.lost == outcome.wrong == []
        assert faults == []
        assert "reload refused, everything stays as it is: " in host.read_log()
        # The new image of the parent takes its children along as the first one would have.
        pids = host.list_pids()
        assert pids[0] == before[0]
        assert host.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(map(is_running, pids)))


def test_signal_reloads_as_well_and_a_stop_cuts_nobody_off(busy_town: Town, tmp_path: Path) -> None:
    """SIGHUP is the same as the command; a host that stops tells each connection with an answer that it is the last.

    Nobody else can have the data folder, before and after.
    """
    with busy_town.start_host(tmp_path, WORKERS=1) as host:
        eventually(host.is_current)
        before, opened = host.list_pids(), count_descriptors(host.process.pid)
        host.process.send_signal(signal.SIGHUP)
        eventually(lambda: "edge INFO reloaded" in host.read_log())
        eventually(lambda: len(host.list_pids()) == 3 and not set(host.list_pids()[1:]) & set(before))
        eventually(lambda: count_descriptors(host.process.pid) == opened)
        second = run_graywave("edge", environ=os.environ | busy_town.set_edge(tmp_path))
        assert second.returncode == 1
        assert second.stderr == (
            f"graywave: the edge cannot start: another edge runs in {tmp_path}: each needs a data folder of its own\n"
        )
        with ExitStack() as stack:
            outcome = put_stream(stack, host, reconnects=False)
            assert host.end() == 0
        assert outcome.ended == 4
        outcome.ended = 0
        assert list_faults(outcome) == []


class Crowd:
    """So many devices that keep their connections, and connect again when one ends."""

    def __init__(self, host: Host, stack: ExitStack) -> None:
        self._host, self._stack = host, stack
        self._open = [self._connect() for _ in range(CONNECTIONS)]

    def _connect(self) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(self._host.devices, timeout=20)
        self._stack.callback(connection.close)
        return connection

    def ask(self) -> None:
        """Everybody asks once."""
        for index, connection in enumerate(self._open):
            try:
                self._ask(connection)
            except (OSError, http.client.HTTPException):
                self._open[index] = self._connect()
                self._ask(self._open[index])

    @staticmethod
    def _ask(connection: http.client.HTTPConnection) -> None:
        connection.request("POST", "/v1/check", json.dumps(QUESTION), {"Content-Type": "application/json"})
        response = connection.getresponse()
        answer = json.loads(response.read())
        assert is_right(answer), answer

    def is_shared(self) -> bool:
        """Says whether every worker serves, and none has more than its fair part of these connections."""
        self.ask()
        workers = self._host.read_status()["workers"]
        counts = [worker["connections"] for worker in workers]
        return (
            all(worker["ready"] for worker in workers)
            and sum(counts) == CONNECTIONS
            and max(counts) <= FAIR * CONNECTIONS / len(workers)
        )


def test_workers_share_connections_and_step_in_for_each_other(busy_town: Town, tmp_path: Path) -> None:
    """4 workers share 64 long-lived connections, also after one was killed; a stopped one keeps nobody waiting."""
    with busy_town.start_host(tmp_path, WORKERS=4) as host, ExitStack() as stack:
        eventually(host.is_current)
        crowd = Crowd(host, stack)
        eventually(crowd.is_shared)
        (killed, stopped, *_) = list_workers(host)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: killed not in list_workers(host) and list_workers(host))
        eventually(crowd.is_shared)

        os.kill(stopped, signal.SIGSTOP)
        for _ in range(40):  # so many new connections come to its socket, too
            assert is_right(host.check())
        # Not because it had been killed for it in the meantime.
        assert Path(f"/proc/{stopped}/stat").read_text("ascii").rpartition(")")[2].split()[0] == "T"
        os.kill(stopped, signal.SIGCONT)
        eventually(crowd.is_shared)
        assert stopped in list_workers(host)


def test_nobody_waits_for_a_worker_that_does_not_come_back(busy_town: Town, tmp_path: Path) -> None:
    """While nothing at all is there to replace it, a dead worker's socket is served by another one."""
    with busy_town.start_host(tmp_path) as host:
        eventually(host.is_current)
        worker = list_workers(host)[0]
        host.process.send_signal(signal.SIGSTOP)
        os.kill(worker, signal.SIGKILL)
        for _ in range(30):  # so many connections come to its socket, too
            assert is_right(host.check())
        assert not is_running(worker)
        host.process.send_signal(signal.SIGCONT)
        eventually(lambda: worker not in list_workers(host) and len(list_workers(host)) == 2)
