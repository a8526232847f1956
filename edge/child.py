"""A process that the parent of a host runs: how it is started, whether it lives, what is known when it ends.

Standard library only.
"""

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
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from edge.metrics import PAGE_BYTES, read_page

# A child copies its counters at least once a second; one that has not for this long hangs, and is killed. The syncer
# waits for the disk, which may stall and come back.
WORKER_HANG_S = 10.0
SYNCER_HANG_S = 60.0
# How long a child may take until its first copy.
START_S = 60.0
# A child that ended within this time of its start waits before the next one, twice as long each time.
STEADY_S = 5.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 5.0
# How often a process is looked at that another image of this one has started, in seconds.
LOOK_S = 0.01

_log = logging.getLogger("graywave.edge")


class Process(Protocol):
    """A running process, as `subprocess.Popen` has it."""

    pid: int
    returncode: Any

    def poll(self) -> int | None:
        """Returns its exit code, None while it runs."""

    def wait(self, timeout: float | None = None) -> int:
        """Returns its exit code as soon as it has ended; raises TimeoutExpired."""

    def send_signal(self, sig: int) -> None:
        """Sends it a signal, if it still runs."""


class Adopted:
    """A child of this process that it has started before it became what it is: as an older image of the parent.

    Args:
        pid: the child's.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Returns its exit code, None while it runs."""
        if self.returncode is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # the older image has seen its end, and kept the code to itself
                pid, status = self.pid, 0
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Returns its exit code as soon as it has ended.

        Raises:
            TimeoutExpired: it still runs after `timeout` seconds.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if until is not None and time.monotonic() >= until:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0.0)
            time.sleep(LOOK_S)
        return code

    def send_signal(self, sig: int) -> None:
        """Sends it a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, sig)


@dataclass(slots=True)
class Child:
    """One process that is to run, how it is started, and its heartbeat.

    `page` and `wake` are descriptors that belong to it: its page of counters, and the ends of the pair by which a
    worker is woken, the waker's first. Times are of the monotonic clock, in seconds: one that is set must neither kill
    what lives nor put off what is due.
    """

    role: str
    command: Sequence[str]
    descriptors: Sequence[int]
    page: int
    hang_s: float
    wake: tuple[int, int] | None = None
    process: Process | None = None
    started_at: float = 0.0
    pause_s: float = 0.0
    start_at: float = 0.0
    counters: mmap.mmap = field(init=False)

    def __post_init__(self) -> None:
        """Maps the page."""
        self.counters = mmap.mmap(self.page, PAGE_BYTES)

    def start(self, now: float) -> None:
        """Starts the process, which inherits its descriptors by number; where that fails, plans the next attempt."""
        self.clear()
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
        self.clear()
        self._plan_start(now)
        what = f"{self.role} (process {ended.pid}) ended with code {ended.returncode}"
        _log.error("%s; next start in %.1f s", what, self.pause_s)

    def clear(self) -> None:
        """Empties the page: who reads it must not take what a dead process has written for alive."""
        self.counters[:] = bytes(PAGE_BYTES)

    def _plan_start(self, now: float) -> None:
        is_short = now - self.started_at < STEADY_S
        self.pause_s = min(max(self.pause_s * 2, FIRST_PAUSE_S), LONGEST_PAUSE_S) if is_short else 0.0
        self.start_at = now + self.pause_s

    def has_ended(self) -> bool:
        """Says whether the process was started and runs no more."""
        return self.process is not None and self.process.poll() is not None

    def has_hung(self, now: float) -> bool:
        """Says whether the process has stopped copying its counters, or never began."""
        beat = read_page(self.counters)["beat"]
        if self.process is None:
            return False
        return now - beat > self.hang_s if beat else now - self.started_at > START_S

    def is_ready(self) -> bool:
        """Says whether the process has come as far as it comes by itself: a worker serves, a syncer stands by."""
        found = read_page(self.counters)
        return bool(found["ready"] if self.wake else found["beat"])

    def send(self, what: signal.Signals) -> None:
        """Sends the process a signal, if it still runs."""
        if self.process is not None:
            self.process.send_signal(what)

    def nudge(self) -> None:
        """Makes a worker look at edge.db and at the other workers; one that has not heeded the last nudges will."""
        if self.wake is not None:
            with socket.socket(fileno=os.dup(self.wake[0])) as waker, suppress(OSError):
                waker.send(b"!", socket.MSG_DONTWAIT)

    def close(self) -> None:
        """Closes what belongs to a process that has ended and has no successor."""
        self.counters.close()
        for descriptor in (self.page, *(self.wake or ())):
            os.close(descriptor)

    def save(self) -> dict[str, Any]:
        """Returns what another image of the parent needs to go on with the process."""
        assert self.process is not None  # noqa: S101 - only what runs is saved
        return {"role": self.role, "page": self.page, "wake": self.wake, "pid": self.process.pid,
                "started_at": self.started_at, "hang_s": self.hang_s}  # fmt: skip

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """Returns the child of what `save` has returned, which cannot be started again."""
        wake = None if saved["wake"] is None else (saved["wake"][0], saved["wake"][1])
        child = cls(saved["role"], (), (), saved["page"], saved["hang_s"], wake)
        child.process, child.started_at = Adopted(saved["pid"]), saved["started_at"]
        return child


def make_page(name: str) -> int:
    """Returns a page of shared memory that no file system has, by its descriptor."""
    page = os.memfd_create(name)
    os.ftruncate(page, PAGE_BYTES)
    return page


def make_command(spec: str) -> list[str]:
    """Returns what starts `python -m edge` with a specification, by the interpreter and the code that lie there now."""
    return [sys.executable, "-m", "edge", spec]
