"""`graywave up` with real processes: what it says is true, and when it ends nothing of it is left."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from channel import Keys
from cli.embedded import PrivateRedis
from tests.cli.running import COMMAND, Running, find_ports
from tests.end_to_end.town import ASKED, PATIENCE_S, ROOT, ask, eventually, is_running


def paste(line: str, folder: Path = ROOT) -> str:
    """What a shell prints for a line that was pasted into it."""
    done = subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def find_line(running: Running, pattern: str) -> str:
    """The line to paste that has this in it."""
    (line,) = [line.strip() for line in running.said.splitlines() if re.search(pattern, line)]
    return line


def ask_ferry(running: Running) -> list[dict[str, Any]]:
    """What the demo's phone is told, as bash asks by the line to paste."""
    updates: list[dict[str, Any]] = json.loads(paste(find_line(running, "curl ")))["updates"]
    return updates


def is_anything_left(running: Running, pids: list[int]) -> list[object]:
    """What is left of it outside of its data folder, and what should not be in there."""
    alive: list[object] = [pid for pid in pids if is_running(pid)]
    odd = [path for path in running.data.rglob("*") if path.is_socket() or path.name in {"addresses.json", "keys.new"}]
    return alive + list(running.temporary.iterdir()) + odd


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A Graywave that tests leave running."""
    with Running(tmp_path_factory.mktemp("up")) as running:
        yield running.wait_ready()


def test_it_says_where(running: Running) -> None:
    """The first line says where it is ready, and readiness is true."""
    assert running.said.splitlines()[0] == f"ready http://{running.edge}"
    assert ask(running.admin, "GET", "/readyz")[0] == 200
    assert ask(running.publisher, "GET", "/healthz")[0] == 200


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl on this machine")
def test_the_curl_to_paste(running: Running) -> None:
    """The line with curl, pasted, asks and is told of the gray release."""
    (update,) = ask_ferry(running)
    assert (update["program"], update["version"], update["release"]) == ("2021000000000001", "1.1.0", "ferry-gray")


def test_the_demo_to_paste(running: Running, tmp_path: Path) -> None:
    """The second line, pasted in any folder, changes a release and shows the changed answer and how long it took."""
    line = find_line(running, r"graywave demo")
    assert line == f"scripts/graywave demo --data {shlex.quote(str(running.data))}"
    assert running.said.endswith(f"  {line}\n")
    said, answer, took = paste(line.replace("scripts/", f"{ROOT}/scripts/"), tmp_path).splitlines()
    assert said == "ferry-gray is now paused"
    assert json.loads(answer)["updates"] == []
    assert re.fullmatch(r"[0-9.]+ ms from publish to the changed answer", took)
    assert paste(line).startswith("ferry-gray is now live\n")
    eventually(lambda: all(ask_ferry(running) for _ in range(ASKED)))  # the demo has asked one worker


def test_its_store_serves_what_it_tells(running: Running) -> None:
    """The package that a device is told of can be fetched from the same address."""
    ((transfer,),) = (update["transfers"] for update in ask_ferry(running))
    fetched = subprocess.run(
        ["curl", "-sf", f"http://{running.edge}{transfer['url']}"],
        capture_output=True,
        check=True,
    )
    assert len(fetched.stdout) == transfer["size"]


def test_another_in_the_same_folder(running: Running, tmp_path: Path) -> None:
    """A folder in use is told in one line, with code 2, and what runs there runs on."""
    environ = {"GRAYWAVE_DATA": str(running.data)}
    with Running(tmp_path, environ=environ) as second:
        assert second.process.wait(PATIENCE_S) == 2
    folder = f"another graywave up runs in {running.data}"
    assert second.said == f"graywave: {folder}: choose another folder with GRAYWAVE_DATA\n"
    assert ask_ferry(running)


@pytest.mark.parametrize("above", [0, 1, 2])
def test_a_taken_port(tmp_path: Path, above: int) -> None:
    """A port that is taken is told in one line, with code 2, before anything is made."""
    port = find_ports()
    environ = {"GRAYWAVE_PORT": str(port)}
    with socket.create_server(("127.0.0.1", port + above)), Running(tmp_path, environ=environ) as running:
        assert running.process.wait(PATIENCE_S) == 2
    message = f"graywave: port {port + above} of 127.0.0.1 is taken: choose others with GRAYWAVE_PORT\n"
    assert running.said == message
    assert not running.data.exists()


def test_a_port_that_is_none(tmp_path: Path) -> None:
    """A port that is no number is wrong usage."""
    with Running(tmp_path, environ={"GRAYWAVE_PORT": "eighty"}) as running:
        assert running.process.wait(PATIENCE_S) == 2
    assert "'eighty' is not a valid integer range" in running.said


def test_stop_and_second_start(tmp_path: Path) -> None:
    """SIGTERM stops everything in order; a second start keeps the releases; so does SIGINT stop, from a terminal."""
    with Running(tmp_path) as first:
        pids = first.wait_ready().list_pids()
        assert len(pids) >= 6  # itself, Redis, the publisher, the edge, its syncer and workers
        paste(find_line(first, "graywave demo"))
        eventually(lambda: ask_ferry(first) == [])  # the demo has asked one worker
        assert first.end(signal.SIGTERM) == 0
    assert first.said.endswith("stopping\n")
    assert is_anything_left(first, pids) == []
    with Running(tmp_path) as second:
        pids = second.wait_ready().list_pids()
        assert ask_ferry(second) == []
        os.killpg(second.process.pid, signal.SIGINT)
        assert second.process.wait(PATIENCE_S) == 0
    assert is_anything_left(second, pids) == []
    logs = [(second.data / name).read_text() for name in ("edge.log", "publisher.log")]
    assert not any("Traceback" in log or "ERROR" in log for log in logs), logs


def test_an_impatient_user(tmp_path: Path) -> None:
    """More interrupts while it stops change nothing: all is stopped in order."""
    with Running(tmp_path, ["--no-demo"]) as running:
        pids = running.wait_ready().list_pids()
        running.process.send_signal(signal.SIGINT)
        eventually(lambda: "stopping" in running.said)
        running.process.send_signal(signal.SIGINT)
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(PATIENCE_S) == 0
    assert "curl" not in running.said
    assert is_anything_left(running, pids) == []


def test_a_kill_leaves_no_process(tmp_path: Path) -> None:
    """Killed without a word, it takes its servers and its Redis along."""
    with Running(tmp_path, ["--no-demo"]) as running:
        pids = running.wait_ready().list_pids()
        assert running.end(signal.SIGKILL) == -signal.SIGKILL
        eventually(lambda: not any(is_running(pid) for pid in pids))


def test_a_closed_terminal(tmp_path: Path) -> None:
    """A terminal that is closed stops it as an interrupt does."""
    command = ["env", "--default-signal=HUP", *COMMAND]  # also where the tests themselves run under nohup
    with Running(tmp_path, ["--no-demo"], command=command) as running:
        pids = running.wait_ready().list_pids()
        assert running.end(signal.SIGHUP) == 0
    assert is_anything_left(running, pids) == []


def test_a_server_that_dies(tmp_path: Path) -> None:
    """It does not go on without one of its servers: a line says which has ended, and all is stopped."""
    with Running(tmp_path, ["--no-demo"]) as running:
        pids = running.wait_ready().list_pids()
        publisher = next(pid for pid in pids if b"\0publisher\0" in Path(f"/proc/{pid}/cmdline").read_bytes())
        os.kill(publisher, signal.SIGKILL)
        assert running.process.wait(PATIENCE_S) == 1
    last = running.said.splitlines()[-1]
    assert last.startswith("graywave: the publisher ended with code -9: ")
    assert last.endswith(f"(see {running.data / 'publisher.log'})")
    assert is_anything_left(running, pids) == []


def test_a_redis_of_ones_own(tmp_path: Path, redis_server: PrivateRedis) -> None:
    """With GRAYWAVE_REDIS it starts none, and what is published is in that one."""
    with Running(tmp_path, environ={"GRAYWAVE_REDIS": redis_server.url}) as running:
        pids = running.wait_ready().list_pids()
        commands = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
        assert not any(b"redis-server" in command for command in commands)
        with Redis.from_url(redis_server.url) as client:
            assert client.exists(Keys.of("demo").head)
        assert len(ask_ferry(running)) == 1
        assert running.end() == 0
    assert not (running.data / "redis").exists()
    assert is_anything_left(running, pids) == []
