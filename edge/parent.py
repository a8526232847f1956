"""The parent of an edge host: binds the sockets, starts syncer and workers, and again what ends. Standard library only.

It keeps every socket open for ever, so that what waits in a dead worker's queue is served by its successor.
"""

import json
import logging
import mmap
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

from edge.metrics import PAGE_BYTES, read_page

# How often pages and children are looked at when no signal comes, in seconds.
LOOK_S = 0.5
# A child copies its counters once a second; one that has not for this long hangs, and is killed. The syncer waits for
# the disk, which may stall and come back.
WORKER_HANG_S = 10.0
SYNCER_HANG_S = 60.0
# How long a child may take until its first copy.
START_S = 60.0
# A child that ended within this time of its start waits before the next one, twice as long each time.
STEADY_S = 5.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
# How long workers have to drain and end, then the syncer; what is left is killed.
STOP_S = 15.0
BACKLOG = 4_096
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger("graywave.edge")


@dataclass(slots=True)
class Child:
    """One process that is to run, how it is started, and its heartbeat.

    Times are of the monotonic clock, in seconds: one that is set must neither kill what lives nor put off what is due.
    """

    role: str
    command: Sequence[str]
    descriptors: Sequence[int]
    page: mmap.mmap
    hang_s: float
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_at: float = 0.0

    def start(self, now: float) -> None:
        """Starts the process, which inherits its descriptors by number; where that fails, plans the next attempt."""
        self.page[:] = bytes(len(self.page))
        self.started_at = now
        try:
            self.process = subprocess.Popen(self.command, pass_fds=self.descriptors)  # noqa: S603 - our own code
        except OSError as error:  # no memory or no process to be had now: what runs has to go on
            self._plan_start(now)
            _log.error("%s cannot be started: %s; next attempt in %.1f s", self.role, error, self.pause_s)
        else:
            _log.info("%s started as process %d", self.role, self.process.pid)

    def note_end(self, now: float) -> None:
        """Plans the next start: at once after a steady life, later and later after short ones."""
        assert self.process is not None  # noqa: S101 - only what was started ends
        ended, self.process = self.process, None
        self._plan_start(now)
        what = f"{self.role} (process {ended.pid}) ended with code {ended.returncode}"
        _log.error("%s; next start in %.1f s", what, self.pause_s)

    def _plan_start(self, now: float) -> None:
        is_short = now - self.started_at < STEADY_S
        self.pause_s = min(max(self.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_short else 0.0
        self.start_at = now + self.pause_s

    def has_hung(self, now: float) -> bool:
        """Says whether the process has stopped copying its counters, or never began."""
        beat = read_page(self.page)["beat"]
        if self.process is None:
            return False
        return now - beat > self.hang_s if beat else now - self.started_at > START_S

    def send(self, what: signal.Signals) -> None:
        """Sends the process a signal, if it still runs."""
        if self.process is not None:
            self.process.send_signal(what)


class Parent:
    """Runs a host's processes until SIGTERM or SIGINT.

    Args:
        listeners: a bound socket a worker.
        admin: the bound socket of the admin listener.
        config: what children read their settings from, an empty text for the environment alone.
        drain_delay_s: between going unready and draining.
    """

    def __init__(
        self, listeners: Sequence[socket.socket], admin: socket.socket, config: str, drain_delay_s: float
    ) -> None:
        self._config = config
        self._drain_delay_s = drain_delay_s
        # All stay open here, so that a successor inherits them; the syncer writes to the first of each pair.
        self._sockets = [admin, *listeners]
        self._wakes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in listeners]
        pages = [_make_page(f"graywave-worker-{index}") for index in range(len(listeners))]
        self._workers = [
            self._plan(f"worker {index}", WORKER_HANG_S, page, listener=listener.fileno(), wake=reading.fileno())
            for index, (listener, (_, reading), page) in enumerate(zip(listeners, self._wakes, pages, strict=True))
        ]
        wakes = [writing.fileno() for writing, _ in self._wakes]
        own_page = _make_page("graywave-syncer")
        self._syncer = self._plan("syncer", SYNCER_HANG_S, own_page, admin=admin.fileno(), pages=pages, wakes=wakes)

    def _plan(self, role: str, hang_s: float, page: int, **handed: int | list[int]) -> Child:
        """A child and what it is handed: descriptors, by their numbers."""
        spec = {"role": role, "parent": os.getpid(), "config": self._config, "page": page, **handed}
        descriptors = chain([page], *(value if isinstance(value, list) else [value] for value in handed.values()))
        command = [sys.executable, "-m", "edge", json.dumps(spec)]
        return Child(role, command, list(descriptors), mmap.mmap(page, PAGE_BYTES), hang_s)

    def run(self) -> None:
        """Runs until asked to stop, then stops in good order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._start_due(time.monotonic())
        while True:
            received = signal.sigtimedwait(SIGNALS, LOOK_S)
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                break
            self._look_after(time.monotonic())
        self._stop()

    def _children(self) -> list[Child]:
        return [self._syncer, *self._workers]

    def _start_due(self, now: float) -> None:
        for child in self._children():
            if child.process is None and child.start_at <= now:
                child.start(now)

    def _look_after(self, now: float) -> None:
        for child in self._children():
            if child.process is not None and child.process.poll() is not None:
                child.note_end(now)
            elif child.has_hung(now):
                _log.error("%s shows no sign of life: killing it", child.role)
                child.send(signal.SIGKILL)
        self._start_due(now)

    def _stop(self) -> None:
        """Readiness goes first, then the workers drain, then the syncer ends."""
        _log.info("stopping")
        self._syncer.send(signal.SIGUSR1)
        time.sleep(self._drain_delay_s)
        self._end(self._workers)
        self._end([self._syncer])
        _log.info("stopped")

    @staticmethod
    def _end(children: Sequence[Child]) -> None:
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for child in children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                _log.error("%s did not end within %.0f s: killing it", child.role, STOP_S)
                child.send(signal.SIGKILL)
                child.process.wait()


def _make_page(name: str) -> int:
    """A page of shared memory that no file system has, by its descriptor."""
    page = os.memfd_create(name)
    os.ftruncate(page, PAGE_BYTES)
    return page


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """Returns that many sockets listening on one address by SO_REUSEPORT; with port 0 all take the first one's port.

    With SO_REUSEPORT two edges on one address would both get a part of the devices: where somebody else listens
    already, nothing is bound.

    Raises:
        OSError: the address is in use, or not this machine's; the message names it.
    """
    listeners: list[socket.socket] = []
    try:
        _refuse_taken(host, port)
        for _ in range(count):
            listeners.append(_listen(host, port))
            port = listeners[0].getsockname()[1]
    except OSError as error:
        for listener in listeners:
            listener.close()
        raise OSError(error.errno, f"{host}:{port} cannot be listened on: {error.strerror}") from None
    return listeners


def _open_socket(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    return opened


def _refuse_taken(host: str, port: int) -> None:
    with _open_socket(host) as probe:
        probe.bind((host, port))


def _listen(host: str, port: int) -> socket.socket:
    listener = _open_socket(host)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener
