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
from contextlib import suppress
from dataclasses import dataclass

from edge.metrics import PAGE_BYTES, read_page

# How often pages and children are looked at when no signal comes, in seconds.
LOOK_S = 0.5
# A worker copies its counters once a second; one that has not for this long hangs, and is killed.
HANG_S = 10
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
    """One process that is to run, and how it is started."""

    role: str
    start_with: dict[str, object]
    descriptors: tuple[int, ...]
    page: mmap.mmap | None = None
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_at: float = 0.0

    def start(self, now: float) -> None:
        """Starts the process; it inherits its descriptors by number."""
        if self.page is not None:
            self.page[:] = bytes(len(self.page))
        command = [sys.executable, "-m", "edge", json.dumps({"role": self.role, **self.start_with})]
        self.process = subprocess.Popen(command, pass_fds=self.descriptors)  # noqa: S603 - our own code
        self.started_at = now
        _log.info("%s started as process %d", self.role, self.process.pid)

    def note_end(self, now: float) -> None:
        """Plans the next start: at once after a steady life, later and later after short ones."""
        assert self.process is not None  # noqa: S101 - only what was started ends
        _log.error("%s (process %d) ended with code %s", self.role, self.process.pid, self.process.returncode)
        is_short = now - self.started_at < STEADY_S
        self.pause_s = min(max(self.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_short else 0.0
        self.start_at = now + self.pause_s
        self.process = None

    def has_hung(self, now: float) -> bool:
        """Says whether a worker that once served has stopped copying its counters."""
        if self.page is None or self.process is None:
            return False
        beat = read_page(self.page)["beat"]
        return bool(beat) and now - beat > HANG_S

    def send(self, what: signal.Signals) -> None:
        """Sends the process a signal, if it still runs."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(what)


class Parent:
    """Runs a host's processes until SIGTERM or SIGINT.

    Args:
        listeners: a bound socket a worker.
        config: what children read their settings from, an empty text for the environment alone.
        drain_delay_s: between going unready and draining.
    """

    def __init__(self, listeners: Sequence[socket.socket], config: str, drain_delay_s: float) -> None:
        self._listeners = listeners
        self._drain_delay_s = drain_delay_s
        pages = [os.memfd_create(f"graywave-worker-{i}", 0) for i in range(len(listeners))]
        wakes = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in listeners]
        for descriptor in pages:
            os.ftruncate(descriptor, PAGE_BYTES)
        # The ends stay open here, so that a successor inherits them; the syncer writes to the first of each pair.
        self._wakes = wakes
        wake_ends = [writing.fileno() for writing, _ in wakes]
        self._syncer = Child("syncer", {"config": config, "pages": pages, "wakes": wake_ends}, (*pages, *wake_ends))
        self._workers = [
            self._plan_worker(i, config, listener, reading, page)
            for i, (listener, (_, reading), page) in enumerate(zip(listeners, wakes, pages, strict=True))
        ]

    @staticmethod
    def _plan_worker(index: int, config: str, listener: socket.socket, wake: socket.socket, page: int) -> Child:
        descriptors = {"listener": listener.fileno(), "wake": wake.fileno(), "page": page}
        child = Child(f"worker {index}", {"config": config, **descriptors}, tuple(descriptors.values()))
        child.page = mmap.mmap(page, PAGE_BYTES)
        return child

    def run(self) -> None:
        """Runs until asked to stop, then stops in good order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        self._start_due(time.time())
        while True:
            received = signal.sigtimedwait(SIGNALS, LOOK_S)
            if received is not None and received.si_signo in (signal.SIGTERM, signal.SIGINT):
                break
            self._look_after(time.time())
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
                _log.error("%s has hung for %d s: killing it", child.role, HANG_S)
                child.send(signal.SIGKILL)
        self._start_due(now)

    def _stop(self) -> None:
        """Readiness goes first, then the workers drain, then the syncer ends."""
        self._syncer.send(signal.SIGUSR1)
        time.sleep(self._drain_delay_s)
        self._end(self._workers)
        self._end([self._syncer])

    @staticmethod
    def _end(children: Sequence[Child]) -> None:
        for child in children:
            child.send(signal.SIGTERM)
        deadline = time.time() + STOP_S
        for child in children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.time()))
            except subprocess.TimeoutExpired:
                _log.error("%s did not end within %d s: killing it", child.role, STOP_S)
                child.send(signal.SIGKILL)
                child.process.wait()


def bind(host: str, port: int, count: int) -> list[socket.socket]:
    """Returns that many sockets bound to one address with SO_REUSEPORT; with port 0 all take the first one's port.

    Raises:
        OSError: the address is in use, or not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listeners: list[socket.socket] = []
    for _ in range(count):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)
        port = listener.getsockname()[1]
        listeners.append(listener)
    return listeners


def refuse_taken(host: str, port: int) -> None:
    """Refuses an address where somebody else listens: with SO_REUSEPORT both would get a part of the devices.

    Raises:
        OSError: the address is in use, or not this machine's.
    """
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
