"""The parent of an edge host: keeps the sockets, runs syncer and workers, replaces what ends. Standard library only.

It keeps every socket open for ever, so that what waits in a dead worker's queue is served by another. At a reload it
starts new processes beside the old ones, lets these leave their connections to them, and becomes the new code itself:
as the same process, with the same sockets and children.
"""

import json
import logging
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from edge.child import START_S, Child, make_command
from edge.control import accept, answer, leave
from edge.generation import STATE_FORMAT, Generation, Held, list_descriptors, plan

# How often pages, children and askers are looked at when no signal comes, in seconds; and while something is awaited.
LOOK_S = 0.5
EAGER_LOOK_S = 0.02
# A look that comes so much later than it should says that the whole host stood still; nobody is judged for as long
# afterwards, in seconds. Children that go on tell the parent so (SIGCHLD), so that its next looks come at once.
PAUSE_S = 2.0
# How long workers have to drain and end, then the syncer; what is left is killed.
STOP_S = 15.0
# How long the new code may take to read the settings, in seconds.
JUDGE_S = 30.0
# What a reload cannot change: sockets are bound once, and edge.db has one writer.
LASTING = ("listen", "admin", "data")
MAX_PROBLEM_BYTES = 4_000
SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log = logging.getLogger("graywave.edge")


@dataclass(slots=True)
class Reload:
    """A reload under way: the settings are judged, then the next generation gets ready, then it is in force.

    Args:
        judge: the process that reads the settings, with the new code.
        found: where it writes what it has read, or what is wrong; a descriptor.
        asker: who waits to be told; None after a signal.
        until: when it has taken too long, of the monotonic clock.
        slots: how many slots there are without it.
        next: the generation that gets ready, once there is one.
    """

    judge: "subprocess.Popen[bytes]"
    found: int
    asker: socket.socket | None
    until: float
    slots: int
    next: Generation | None = None


class RefusedReloadError(Exception):
    """A reload that changes nothing; says why."""


@dataclass(slots=True)
class Parent:
    """Runs a host's processes until SIGTERM or SIGINT, and reloads at SIGHUP.

    Args:
        held: what it keeps for ever.
        config: the file that settings are read from, an empty text for the environment alone.
        current: the processes that should run.
        leaving: processes of former generations, which end by themselves.
        reload: the reload under way, if there is one.
    """

    held: Held
    config: str
    current: Generation
    leaving: list[Child] = field(default_factory=list)
    reload: Reload | None = None

    @classmethod
    def begin(cls, held: Held, config: str, settings: bytes) -> Self:
        """Returns the parent of a host that starts, with its settings as `edge.settings` freezes them."""
        return cls(held, config, plan(held, settings))

    @classmethod
    def resume(cls, state: dict[str, Any]) -> Self:
        """Returns the parent that goes on with what another image of it has saved."""
        for each in list_descriptors(state):
            os.set_inheritable(each, False)
        held = Held.load(state["held"])
        leaving = [Child.load(saved) for saved in state["leaving"]]
        return cls(held, state["config"], Generation.load(state["current"], held), leaving)

    # The life of a host

    def run(self) -> None:
        """Runs until asked to stop, then stops in good order."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        looked_at, spares_until = time.monotonic(), 0.0
        self._start_due(looked_at)
        while True:
            received = signal.sigtimedwait(SIGNALS, EAGER_LOOK_S if self.reload else LOOK_S)
            number = received.si_signo if received else 0
            if number in (signal.SIGTERM, signal.SIGINT):
                break
            if number == signal.SIGHUP:
                self._begin_reload(None)
            before, looked_at = looked_at, time.monotonic()
            if looked_at - before > PAUSE_S:  # a frozen group, a stalled machine: children have their turn first
                spares_until = looked_at + PAUSE_S
            self._look_after(looked_at, was_paused=looked_at < spares_until)
        self._stop()

    def _look_after(self, now: float, *, was_paused: bool = False) -> None:
        for asker in accept(self.held.control) if self.held.control else ():
            self._begin_reload(asker)
        for child in self.current.children:
            if child.has_ended():
                child.note_end(now)
                self._nudge()
            elif not was_paused and child.has_hung(now):
                self._kill(child)
        self._start_due(now)
        self._look_after_leaving(now, was_paused=was_paused)
        if self.reload is not None:
            self._advance(self.reload, now)

    def _look_after_leaving(self, now: float, *, was_paused: bool) -> None:
        for child in list(self.leaving):
            if child.has_ended():
                self.leaving.remove(child)
                child.close()
            elif not was_paused and child.has_hung(now):
                self._kill(child)

    def _start_due(self, now: float) -> None:
        for child in self.current.children:
            if child.process is None and child.start_at <= now:
                child.start(now)

    def _nudge(self) -> None:
        """Lets the workers see at once that one of them serves no more."""
        for worker in self.current.workers:
            worker.nudge()

    @staticmethod
    def _kill(child: Child) -> None:
        _log.error("%s shows no sign of life: killing it", child.role)
        child.send(signal.SIGKILL)

    def _stop(self) -> None:
        """Readiness goes first, then the workers drain, then the syncer ends."""
        _log.info("stopping")
        leave(self.held.folder)
        if self.reload is not None:
            self._refuse(self.reload, "the edge is stopping")
        self.current.syncer.send(signal.SIGUSR1)
        time.sleep(self.current.settings["drain_delay_s"])
        self._end([*self.current.workers, *self.leaving])
        self._end([self.current.syncer])
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

    # A reload

    def _begin_reload(self, asker: socket.socket | None) -> None:
        if self.reload is not None:
            _log.warning("another reload is under way: this one is not begun")
            if asker is not None:
                answer(asker, is_done=False, message="another reload is under way")
            return
        found = os.memfd_create("graywave-judge")
        spec = {"role": "judge", "parent": os.getpid(), "config": self.config, "found": found, "format": STATE_FORMAT}
        _log.info("reloading")
        try:
            judge = subprocess.Popen(make_command(json.dumps(spec)), pass_fds=[found])  # noqa: S603 - our own code
        except OSError as error:
            os.close(found)
            _log.error("reload refused, everything stays as it is: the new code cannot be started: %s", error)
            if asker is not None:
                answer(asker, is_done=False, message=f"the new code cannot be started: {error}")
            return
        self.reload = Reload(judge, found, asker, time.monotonic() + JUDGE_S, len(self.held.slots))

    def _advance(self, reload: Reload, now: float) -> None:
        try:
            if reload.next is None:
                self._heed_judge(reload, now)
            elif _is_ready(reload.next, now > reload.until):
                self._replace(reload, reload.next)
        except RefusedReloadError as error:
            self._refuse(reload, str(error))

    def _heed_judge(self, reload: Reload, now: float) -> None:
        """Starts the next generation as soon as its settings are known to be good."""
        code = reload.judge.poll()
        if code is None:
            if now > reload.until:
                reload.judge.kill()
                raise RefusedReloadError(f"the new code did not read the settings within {JUDGE_S:.0f} s")
            return
        found = os.pread(reload.found, os.fstat(reload.found).st_size, 0)
        if code:
            problem = found[:MAX_PROBLEM_BYTES].decode("utf-8", "replace")
            raise RefusedReloadError(problem or f"the new code ended with code {code}, see the edge's log")
        self._check_lasting(json.loads(found))
        try:
            reload.next = plan(self.held, found)
        except OSError as error:
            raise RefusedReloadError(f"no more sockets can be bound: {error}") from error
        reload.until = now + START_S
        for child in reload.next.children:
            child.start(now)

    def _check_lasting(self, settings: dict[str, Any]) -> None:
        for name in LASTING:
            old, new = self.current.settings[name], settings[name]
            if old != new:
                raise RefusedReloadError(f"{name}: expected {old!r} as at the start, got {new!r}: restart to change it")

    def _refuse(self, reload: Reload, reason: str) -> None:
        """Leaves everything as it is; what has started already leaves its connections to those that stay."""
        self.reload = None
        _log.error("reload refused, everything stays as it is: %s", reason)
        if reload.judge.poll() is None:
            reload.judge.kill()
            reload.judge.wait()
        if reload.next is not None:
            self._dismiss(reload.next)
        while len(self.held.slots) > reload.slots:  # those that stay do not know these
            self.held.slots.pop().close()
        os.close(reload.found)
        if reload.asker is not None:
            answer(reload.asker, is_done=False, message=reason)

    def _dismiss(self, generation: Generation) -> None:
        os.close(generation.snapshot)
        generation.syncer.send(signal.SIGTERM)
        for worker in generation.workers:
            worker.send(signal.SIGUSR1)
        for child in generation.children:
            if child.process is None:
                child.close()
            else:
                self.leaving.append(child)

    def _replace(self, reload: Reload, following: Generation) -> None:
        """Puts the next generation in force, and becomes the new code."""
        old, self.current, self.reload = self.current, following, None
        self._dismiss(old)
        os.close(reload.found)
        self._become_new(reload.asker)

    def _become_new(self, asker: socket.socket | None) -> None:
        state = self._save(asker)
        descriptor = os.memfd_create("graywave-state", 0)
        os.pwrite(descriptor, json.dumps(state).encode(), 0)
        kept = [descriptor, *list_descriptors(state)]
        for each in kept:
            os.set_inheritable(each, True)
        command = make_command(json.dumps({"role": "parent", "state": descriptor}))
        try:
            os.execv(command[0], command)  # noqa: S606 - our own code
        except OSError as error:
            _log.error("the new code cannot be started, the parent goes on with the old: %s", error)
            for each in kept:
                os.set_inheritable(each, False)
            os.close(descriptor)
            tell_reloaded(asker)

    def _save(self, asker: socket.socket | None) -> dict[str, Any]:
        return {
            "format": STATE_FORMAT,
            "config": self.config,
            "held": self.held.save(),
            "current": self.current.save(),
            "leaving": [child.save() for child in self.leaving],
            "asker": None if asker is None else asker.fileno(),
        }


def tell_reloaded(asker: socket.socket | None) -> None:
    """Tells whoever waits for it that new code and new settings are in force."""
    _log.info("reloaded")
    if asker is not None:
        answer(asker, is_done=True, message="reloaded")


def _is_ready(generation: Generation, is_late: bool) -> bool:  # noqa: FBT001 - says what it is
    """Says whether a whole generation is ready; raises RefusedReloadError where it will not be."""
    for child in generation.children:
        if child.process is None or child.has_ended():
            raise RefusedReloadError(f"the new {child.role} ended before it was ready, see the edge's log")
    if all(child.is_ready() for child in generation.children):
        return True
    if is_late:
        raise RefusedReloadError(f"the new processes were not ready within {START_S:.0f} s")
    return False
