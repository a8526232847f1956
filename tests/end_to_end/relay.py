"""One address behind which Redis may be another server from one moment to the next, as after a failover."""

import contextlib
import selectors
import socket
import threading
from pathlib import Path
from typing import Self

from redis import Redis

from cli.embedded import find_redis
from cli.process import end, start_bound
from loadtest.process import pick_port
from tests.end_to_end.town import eventually

PIECE = 65_536


class RedisServer:
    """A redis-server on a port of the loopback interface, append-only; with `primary` it copies that one.

    Args:
        folder: where it keeps its data.
        primary: the port of the one that it copies, 0 for none.
    """

    def __init__(self, folder: Path, primary: int = 0) -> None:
        folder.mkdir()
        self.port = pick_port()
        command = [str(find_redis()), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(folder)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--loglevel", "warning"]
        command += ["--repl-diskless-sync-delay", "0"]
        self._command = command + (["--replicaof", "127.0.0.1", str(primary)] if primary else [])
        self.start()

    def start(self) -> None:
        """Starts it, with what its folder has."""
        self._process = start_bound(self._command)
        self.client = Redis(port=self.port)
        eventually(self._answers)

    def _answers(self) -> bool:
        with contextlib.suppress(Exception):
            return bool(self.client.ping())
        return False

    def has_copied(self) -> bool:
        """Whether it has everything that its primary has."""
        told = self.client.info("replication")
        return told["master_link_status"] == "up" and not told["master_sync_in_progress"]

    def kill(self) -> None:
        """Ends it at once."""
        self.client.close()
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Ends it in good order."""
        self.client.close()
        end(self._process)


class Relay:
    """Passes bytes between its own port and that of a server, in a thread; can be pointed at another one."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
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
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    self._accept() if key.fileobj is self._listener else self._pass(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        ours, _ = self._listener.accept()
        try:
            theirs = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            ours.close()
            return
        for one, other in ((ours, theirs), (theirs, ours)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, one: socket.socket) -> None:
        if one not in self._pairs:
            return
        try:
            data = one.recv(PIECE)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass
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
