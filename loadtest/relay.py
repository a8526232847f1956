"""One address behind which Redis may be another server from one moment to the next, or slow, or a black hole."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import redis

from loadtest.process import Server, await_ready, pick_port

PIECE = 65_536
# How long the relay waits for bytes before it looks whether it is to end, in seconds.
LOOK_S = 0.05


class RedisServer:
    """A Redis on a port of the loopback interface, append-only; with `primary` it copies that one.

    Args:
        binary: the program to start.
        folder: where it keeps its data; made.
        primary: the port of the one that it copies, 0 for none.
    """

    def __init__(self, binary: str, folder: Path, primary: int = 0) -> None:
        folder.mkdir()
        self.port, self._folder = pick_port(), folder
        self._command = [binary, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", ""]
        self._command += ["--appendonly", "yes", "--appendfsync", "everysec", "--repl-diskless-sync-delay", "0"]
        self._command += ["--replicaof", "127.0.0.1", str(primary)] if primary else []
        self.start()

    def start(self) -> None:
        """Starts it, with what its folder has."""
        self._server = Server(self._folder.name, self._command, self._folder / "redis.log")
        self.client = redis.Redis(port=self.port)
        await_ready(self._answers, self._server)

    def _answers(self) -> bool:
        with contextlib.suppress(redis.RedisError):
            return bool(self.client.ping())
        return False

    def has_copied(self) -> bool:
        """Says whether it has everything that its primary has."""
        told = self.client.info("replication")
        return told["master_link_status"] == "up" and not told["master_sync_in_progress"]

    @property
    def folder(self) -> Path:
        """Where its data lie, to be copied, cleared or put back while it does not run."""
        return self._folder

    def kill(self) -> None:
        """Ends it at once, as a crash would: in good order it would wait for its replica."""
        self.client.close()
        self._server.kill()


class Relay:
    """Passes bytes between its own port and that of a server, in a thread; can be pointed at another one.

    `delay_s` is how long each piece takes; `is_hole` lets everybody connect and nothing through, until it is set back.
    """

    def __init__(self, target: int) -> None:
        self._target = target
        self.delay_s, self.is_hole = 0.0, False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ, self._accept)
        self._lock, self._is_open = threading.Lock(), True
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens, as redis-py takes it."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}"

    def point(self, target: int) -> None:
        """Sends everybody to another server; connections to the one before end. 0 for none."""
        with self._lock:
            self._target = target
            for one in list(self._pairs):
                self._drop(one)

    def _run(self) -> None:
        while self._is_open:
            if self.is_hole:
                time.sleep(LOOK_S)
                continue
            for key, _ in self._selector.select(LOOK_S):
                with self._lock:
                    act: Callable[[], None] = key.data
                    act()

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        try:
            theirs = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            ours.close()
            return
        for one, other in ((ours, theirs), (theirs, ours)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ, lambda one=one: self._pass(one))

    def _pass(self, one: socket.socket) -> None:
        if one not in self._pairs:  # dropped since it was told of
            return
        data = b""
        with contextlib.suppress(OSError):
            data = one.recv(PIECE)
            time.sleep(self.delay_s)
            self._pairs[one].sendall(data)
        if not data:
            self._drop(one)

    def _drop(self, one: socket.socket) -> None:
        other = self._pairs.pop(one, None)
        if other is not None:
            self._pairs.pop(other)
            for each in (one, other):
                self._selector.unregister(each)
                each.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.point(0)
        self._is_open = False
        self._thread.join()
        self._selector.close()
        self._listener.close()
