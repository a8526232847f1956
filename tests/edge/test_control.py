"""Tests of edge/control.py."""

import os
import socket
import stat
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import control
from edge.control import RELOAD, SOCKET_NAME, HeldError, accept, answer, ask_reload, hold_folder, leave, listen

PATIENCE_S = 30.0


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    """A data folder that is held; its path is longer than a socket's may be."""
    deep = tmp_path / ("d" * 120)
    deep.mkdir()
    descriptor = hold_folder(deep)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def listener(folder: int) -> Iterator[socket.socket]:
    """The socket by which the holder of the folder is asked."""
    listener = listen(folder)
    assert listener is not None
    yield listener
    listener.close()


def find_path(folder: int) -> Path:
    """Where the held folder is."""
    return Path(f"/proc/self/fd/{folder}").resolve()


def test_folder_has_one_holder(tmp_path: Path) -> None:
    """A second one is refused, and may have it when the first has ended."""
    first = hold_folder(tmp_path)
    with pytest.raises(HeldError, match=f"another edge runs in {tmp_path}: each needs a data folder of its own"):
        hold_folder(tmp_path)
    os.close(first)
    os.close(hold_folder(tmp_path))


def test_socket_is_its_owners_alone(folder: int, listener: socket.socket) -> None:
    """Nobody else may let an edge reload; what this process makes next is as open as before."""
    mode = (find_path(folder) / SOCKET_NAME).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600
    mask = os.umask(0)
    os.umask(mask)
    assert mask != 0o177
    assert listener.getblocking() is False


def test_socket_is_taken_away(folder: int, listener: socket.socket) -> None:
    """Once left there is none, and leaving again is no fault."""
    assert SOCKET_NAME in os.listdir(folder)
    leave(folder)
    leave(folder)
    assert SOCKET_NAME not in os.listdir(folder)
    assert listener.fileno() >= 0


def test_stale_socket_is_replaced(folder: int) -> None:
    """What an edge that was killed has left there keeps nobody from being asked."""
    stale = listen(folder)
    assert stale is not None
    stale.close()
    with pytest.raises(ConnectionRefusedError):
        ask_reload(find_path(folder), 1.0)
    again = listen(folder)
    assert again is not None
    again.close()


def test_full_disk_keeps_no_edge_from_running(folder: int, caplog: pytest.LogCaptureFixture) -> None:
    """Without a socket an edge runs all the same, and says what will not work."""
    (find_path(folder) / SOCKET_NAME).mkdir()
    assert listen(folder) is None
    assert "edge.sock cannot be made, `graywave edge reload` will not find this edge: " in caplog.text


def test_question_and_answer(folder: int, listener: socket.socket) -> None:
    """Whoever asks for a reload is told what came of it."""
    outcomes: list[tuple[bool, str]] = []
    asking = threading.Thread(target=lambda: outcomes.append(ask_reload(find_path(folder), PATIENCE_S)))
    asking.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (askers := list(accept(listener))):
        assert time.monotonic() < deadline
    (asker,) = askers
    answer(asker, is_done=False, message="wrong")
    asking.join()
    assert outcomes == [(False, "wrong")]


@pytest.mark.parametrize("said", [b"format the disk", b"", None])
def test_other_questions(
    folder: int, listener: socket.socket, said: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks for anything else, or for nothing, is told so, and holds up nobody."""
    monkeypatch.setattr(control, "ASK_S", 0.01)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        if said is not None:
            asker.send(said)
        assert list(accept(listener)) == []
        assert asker.recv(1_000) == b'{"done": false, "message": "expected reload"}'


def test_asker_that_is_gone(listener: socket.socket, folder: int) -> None:
    """Who does not wait for the answer does not disturb the edge."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
        asker.connect(f"/proc/self/fd/{folder}/{SOCKET_NAME}")
        asker.send(RELOAD)
    (gone,) = accept(listener)
    answer(gone, is_done=True, message="reloaded")
    assert gone.fileno() == -1


def test_edge_that_ends_meanwhile(folder: int, listener: socket.socket) -> None:
    """A connection that ends without an answer is no reload."""
    outcomes: list[tuple[bool, str]] = []
    asking = threading.Thread(target=lambda: outcomes.append(ask_reload(find_path(folder), PATIENCE_S)))
    asking.start()
    deadline = time.monotonic() + PATIENCE_S
    while not (askers := list(accept(listener))):
        assert time.monotonic() < deadline
    askers[0].close()
    asking.join()
    assert outcomes == [(False, "the edge has ended")]
