"""How an operator's command reaches the parent of a host: through a socket in the data folder, which one edge holds.

The lock is on the folder itself: it ends with the process however that ends, so that none is ever stale, and it needs
no room on a disk that is full. Standard library only.
"""

import fcntl
import json
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

SOCKET_NAME: Final = "edge.sock"
RELOAD: Final = b"reload"
# What a question or an answer may have: ours are shorter, and nobody else is to fill the parent's memory.
MAX_BYTES: Final = 65_536
# How long one who has connected may take to say what for, in seconds: the parent looks after its children meanwhile.
ASK_S: Final = 0.2
QUEUE: Final = 8

_log = logging.getLogger("graywave.edge")


class HeldError(OSError):
    """Another edge runs in the data folder."""


def hold_folder(folder: Path) -> int:
    """Makes this process the one edge of a data folder; returns the descriptor that it is as long as that is open.

    Raises:
        HeldError: another one is.
        OSError: there is no such folder.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise HeldError(f"another edge runs in {folder}: each needs a data folder of its own") from None
    return descriptor


def listen(folder: int) -> socket.socket | None:
    """Returns the socket by which the holder of a folder is asked; None where the disk has no place for one.

    One that lies there already is of a holder that has ended.
    """
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with suppress(FileNotFoundError):
            os.unlink(SOCKET_NAME, dir_fd=folder)
        mask = os.umask(0o177)
        try:
            listener.bind(_name(folder))
        finally:
            os.umask(mask)
        listener.listen(QUEUE)
    except OSError as error:
        listener.close()
        _log.warning("%s cannot be made, `graywave edge reload` will not find this edge: %s", SOCKET_NAME, error)
        return None
    listener.settimeout(0)
    return listener


def leave(folder: int) -> None:
    """Takes the socket away, so that nobody knocks at an edge that has ended."""
    with suppress(OSError):
        os.unlink(SOCKET_NAME, dir_fd=folder)


def accept(listener: socket.socket) -> Iterator[socket.socket]:
    """Yields those who ask for a reload; whoever asks for anything else is told so."""
    while True:
        try:
            asker, _ = listener.accept()
        except OSError:  # nobody is there now
            return
        try:
            asker.settimeout(ASK_S)
            question = asker.recv(MAX_BYTES)
        except OSError:
            question = b""
        if question == RELOAD:
            yield asker
        else:
            answer(asker, is_done=False, message="expected reload")


def answer(asker: socket.socket, *, is_done: bool, message: str) -> None:
    """Tells one who has asked what came of it; who is gone already is told nothing."""
    with asker, suppress(OSError):
        asker.send(json.dumps({"done": is_done, "message": message}).encode()[:MAX_BYTES], socket.MSG_DONTWAIT)


def ask_reload(folder: Path, timeout_s: float) -> tuple[bool, str]:
    """Asks the edge of a data folder for a reload; returns whether it was done, and what it says.

    Raises:
        OSError: no edge runs there, or it does not answer within `timeout_s`.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as asker:
            asker.settimeout(timeout_s)
            asker.connect(_name(descriptor))
            asker.send(RELOAD)
            said: Any = json.loads(asker.recv(MAX_BYTES) or b'{"done": false, "message": "the edge has ended"}')
    finally:
        os.close(descriptor)
    return bool(said["done"]), str(said["message"])


def _name(folder: int) -> str:
    """A socket's path has 107 bytes at most, a folder's may have more: this one never has."""
    return f"/proc/self/fd/{folder}/{SOCKET_NAME}"
