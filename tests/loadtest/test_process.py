"""What the bench starts ends with it, and runs where it should."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from loadtest.errors import ServerError, ToolError
from loadtest.process import Server, await_port, await_ready, find_tool, list_children, pick_cores, pick_port, pin

# A server that listens, with a child that would outlive it.
LISTENER = """
import socket, subprocess, sys
subprocess.Popen(["sleep", "600"])
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    listener.accept()
"""
# A bench that starts a server and says its process id.
PARENT = """
import sys, time
from pathlib import Path
from loadtest.process import Server
print(Server("sleep", ["sleep", "600"], Path(sys.argv[1])).pid, flush=True)
time.sleep(600)
"""


def is_alive(pid: int) -> bool:
    """Says whether a process runs; one that waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def await_end(pid: int) -> None:
    """Returns once a process has ended."""
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_server_ends_with_its_whole_group(tmp_path: Path) -> None:
    """Stopping a server ends the children that it leaves behind, too."""
    port = pick_port()
    server = Server("listener", [sys.executable, "-c", LISTENER, str(port)], tmp_path / "log")
    await_port(port, server)
    (child,) = list_children(server.pid)
    server.stop()
    await_end(child)
    assert not server.is_running()
    server.stop()


def test_a_server_ends_when_the_bench_is_killed(tmp_path: Path) -> None:
    """A bench that is killed cannot clean up; its servers end all the same."""
    command = [sys.executable, "-c", PARENT, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as bench:
        assert bench.stdout is not None
        pid = int(bench.stdout.readline())
        bench.kill()
    await_end(pid)


def test_a_server_that_ends_at_its_start_is_shown(tmp_path: Path) -> None:
    """The message has the exit code and what the server said."""
    server = Server("broken", [sys.executable, "-c", "raise SystemExit('no port')"], tmp_path / "log")
    with pytest.raises(ServerError, match=r"broken ended with code 1 at its start:\nno port"):
        await_ready(lambda: False, server)


def test_a_server_that_is_never_ready_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Waiting is bounded."""
    monkeypatch.setattr("loadtest.process.START_TIMEOUT_S", 0.0)
    server = Server("slow", ["sleep", "600"], tmp_path / "log")
    with pytest.raises(ServerError, match="slow was not ready within 0 s"):
        await_ready(lambda: False, server)
    server.stop()


def test_a_server_that_ignores_signals_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not end when asked ends by force."""
    monkeypatch.setattr("loadtest.process.STOP_TIMEOUT_S", 0.1)
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(600)"
    server = Server("deaf", [sys.executable, "-c", code], tmp_path / "log")
    await_ready(lambda: bool(server.show_output()), server)
    server.stop()
    assert server.exit_code == -signal.SIGKILL


def test_a_process_is_pinned(tmp_path: Path) -> None:
    """A pinned process may run on its core alone."""
    server = Server("sleep", ["sleep", "600"], tmp_path / "log")
    core = min(os.sched_getaffinity(0))
    pin(server.pid, core)
    assert os.sched_getaffinity(server.pid) == {core}
    server.stop()


def test_a_process_that_has_ended_is_not_pinned() -> None:
    """A process that ends meanwhile is no error, and has no children."""
    with subprocess.Popen(["/bin/true"]) as ended:
        ended.wait()
    pin(ended.pid, 0)
    assert list_children(ended.pid) == []


def test_cores_are_the_first_and_the_last() -> None:
    """Load and server are as far apart as the machine allows."""
    assert pick_cores([3, 0, 2]) == (0, 3)


def test_one_core_is_not_enough() -> None:
    """A machine with one core is told so."""
    with pytest.raises(ToolError, match="server and load need a core each, this process may use only one"):
        pick_cores([0])


def test_a_missing_tool_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message names the tool and the package to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("loadtest.process.SYSTEM_PATH", "/nowhere")
    with pytest.raises(ToolError, match=r"wrk is not installed \(Debian: apt-get install wrk nginx-light\)"):
        find_tool("wrk nginx-light", "wrk")
