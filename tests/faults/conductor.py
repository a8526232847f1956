"""Plays a plan: does each fault to the city, and sees how long the newest revision then takes to be in every worker."""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any

from loadtest.errors import MeasureError
from tests.faults.city import PATIENCE_S, City, CrowdProcess, send
from tests.faults.editor import MAIN
from tests.faults.plan import Plan, Step
from tests.faults.verdict import NOTICED_S

Json = dict[str, Any]

POLL_S = 0.05
# How long Redis and a host stay away after they were killed, in seconds.
AWAY_S = (0.5, 3.0)
# A stopped worker goes on after so long, every other time; else the parent kills it, within 10 s.
STOPPED_S, HUNG_S = 3.0, 60.0
SLOW_S, DELAY_S = 4.0, 0.05


@dataclass(slots=True)
class Event:
    """A fault that happened: at which host (-1 for none), from when until when devices may have noticed something."""

    fault: str
    host: int
    began: float
    ended: float = 0.0


@dataclass(slots=True)
class Healing:
    """How long after a step everything was well again, in seconds; the limit is what is promised."""

    faults: tuple[str, ...]
    took_s: float
    is_silent: bool
    at: float


@dataclass(slots=True)
class Conductor:
    """Does it.

    Args:
        city: to which.
        crowd: who notices.
        plan: what.
        random: chooses victims.
    """

    city: City
    crowd: CrowdProcess
    plan: Plan
    random: Random
    events: list[Event] = field(default_factory=list)
    healings: list[Healing] = field(default_factory=list)
    _gone: set[int] = field(default_factory=set)
    _back_at: float = 0.0
    _turn: int = 0
    _stops: int = 0
    _is_hand_lost: bool = False

    def run(self) -> None:
        """Plays all steps, in about the time that the plan has."""
        began, steps = time.monotonic(), self.plan.steps
        self.city.copy_redis()
        lasting = sum(step.lasts_s for step in steps)
        share = max(0.0, self.plan.minutes * 60 - lasting) / sum(not step.lasts_s for step in steps)
        due = began
        for number, step in enumerate(steps):
            tell(f"{time.monotonic() - began:6.1f} s  {number + 1} of {len(steps)}: {', '.join(step.faults)}")
            self._play(step)
            self.city.copy_redis()  # old as soon as this step has healed
            self._heal(step)
            due += step.lasts_s or share
            time.sleep(max(0.0, due - time.monotonic()))

    def _play(self, step: Step) -> None:
        first, *others = step.faults
        if step.lasts_s:
            with self._frame(first):
                self._fill(others, step.lasts_s)
        else:
            for fault in reversed(step.faults):
                self._do(fault)

    def _fill(self, faults: list[str], lasts_s: float) -> None:
        """These faults one after the other, each as soon as hosts and devices have got over the one before.

        Whoever just asks the other host because one was silent has one retry: that host must not die just then.
        """
        until = time.monotonic() + lasts_s
        for fault in faults:
            self._do(fault)
            self._await_well(0)
            self._close_events()
            time.sleep(NOTICED_S)
        time.sleep(max(0.0, until - time.monotonic()))

    @contextmanager
    def _frame(self, first: str) -> Iterator[None]:
        """Nothing comes through, or nobody publishes, as long as it lasts."""
        event = self._note(first)
        if first == "black hole":
            self._set_hole(is_hole=True)
            yield
            self._set_hole(is_hole=False)
        else:
            self.crowd.tell("hold")
            self.city.kill_publisher()
            yield
            self.city.start_publisher()
            self.crowd.tell("go")
        event.ended = self._back_at = time.monotonic()

    def _set_hole(self, *, is_hole: bool) -> None:
        for link in self.city.links:
            link.is_hole = is_hole

    def _heal(self, step: Step) -> None:
        """Publishes something more, and sees how long it takes until every worker has it."""
        if self._is_hand_lost:
            self.crowd.tell("restore")
            self._is_hand_lost = False
        self.crowd.tell("publish")
        newest = self.city.read_newest()
        self._await_well(newest)
        now = time.monotonic()
        took_s = round(now - self._back_at, 2)
        self.healings.append(Healing(step.faults, took_s, step.faults[0] == "black hole", now))
        tell(f"          newest revision {newest} in every worker after {took_s} s")
        self._close_events()

    def _close_events(self) -> None:
        for event in self.events:
            event.ended = event.ended or time.monotonic()

    def _await_well(self, newest: int) -> None:
        until = time.monotonic() + PATIENCE_S
        while not all(host.is_well(newest, self._gone) for host in self.city.hosts):
            if time.monotonic() > until:
                told = [describe(host.read_status()) for host in self.city.hosts]
                raise MeasureError(f"expected the hosts to be well again within {PATIENCE_S:.0f} s, got {told}")
            time.sleep(POLL_S)

    # The faults

    def _do(self, fault: str) -> None:
        """Does it; when it returns, Redis is there as far as this fault goes."""
        event = self._note(fault)
        acts: dict[str, Callable[[Event], None]] = {
            "kill worker": self._kill_worker,
            "stop worker": self._stop_worker,
            "kill syncer": self._kill_syncer,
            "kill host": self._kill_host,
            "kill redis": lambda _: self._restart_redis(lambda: None),
            "empty redis": lambda _: self._restart_redis(self.city.clear_redis, loses=True),
            "older redis": lambda _: self._restart_redis(self.city.age_redis, loses=True),
            "reload": self._reload,
            "slow link": self._slow_links,
            "cut link": lambda event: self.city.links[event.host].point(self.city.redis.port),
        }
        acts[fault](event)

    def _note(self, fault: str) -> Event:
        """Faults go to one host after the other, so that two that come together meet different ones."""
        self._turn += 1
        now = self._back_at = time.monotonic()
        event = Event(fault, self._turn % len(self.city.hosts), now)
        self.events.append(event)
        return event

    def _kill_worker(self, event: Event) -> None:
        victim = self.random.choice(self._list_workers(event.host))
        self._end(victim)

    def _stop_worker(self, event: Event) -> None:
        """Its devices get no answer; at last it goes on, or its parent ends it: from then on the host heals."""
        victim = self.random.choice(self._list_workers(event.host))
        self._stops += 1
        os.kill(victim, signal.SIGSTOP)
        if self._stops % 2:
            time.sleep(STOPPED_S)
            send(victim, signal.SIGCONT)
        else:
            until = time.monotonic() + HUNG_S
            while send(victim, 0) and time.monotonic() < until:
                time.sleep(POLL_S)
            self._gone.add(victim)
        self._back_at = time.monotonic()

    def _kill_syncer(self, event: Event) -> None:
        status = self.city.hosts[event.host].read_status()
        if status is None:
            raise MeasureError(f"expected a status of host {event.host}, got none")
        self._end(status["syncer"]["pid"])

    def _kill_host(self, event: Event) -> None:
        host = self.city.hosts[event.host]
        host.kill()
        self._stay_away()
        host.start()
        self._back_at = time.monotonic()

    def _restart_redis(self, change: Callable[[], None], *, loses: bool = False) -> None:
        self.city.redis.kill()
        self._stay_away()
        change()
        self.city.redis.start()
        self._is_hand_lost |= loses
        self._back_at = time.monotonic()

    def _reload(self, event: Event) -> None:
        self.city.hosts[event.host].reload()
        self._back_at = time.monotonic()

    def _slow_links(self, _: Event) -> None:
        for link in self.city.links:
            link.delay_s = DELAY_S
        time.sleep(SLOW_S)
        for link in self.city.links:
            link.delay_s = 0.0
        self._back_at = time.monotonic()

    def _stay_away(self) -> None:
        time.sleep(self.random.uniform(*AWAY_S))

    def _list_workers(self, host: int) -> list[int]:
        workers = self.city.hosts[host].list_workers()
        if not workers:
            raise MeasureError(f"expected workers of host {host}, got none")
        return workers

    def _end(self, pid: int) -> None:
        send(pid, signal.SIGKILL)
        self._gone.add(pid)


def describe(status: Json | None) -> str:
    """Says in short how a host is."""
    if status is None:
        return "silence"
    names = ("pid", "ready", "cursor")
    workers = [[worker[name] for name in names] for worker in status["workers"]]
    main = status["workspaces"][MAIN]
    return f"row {status['row']}, workers {workers}, revision {main['revision']} ({main['source']}: {main['problem']})"


def tell(text: str) -> None:
    """Says how far the run has come."""
    sys.stderr.write(f"soak: {text}\n")
    sys.stderr.flush()
