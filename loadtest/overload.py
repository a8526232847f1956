"""More than a worker can do, and more than anybody should ask: what becomes of ordinary checks meanwhile.

Saturation is found first, on the worker's own core. Then requests arrive at more than that, from a pool of connections
as a balancer's; and hostile crowds come while ordinary checks are asked as fast as they are answered.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from loadtest.arrival import Arrivals, Fate, Kind
from loadtest.client import ask_one
from loadtest.cost import WARM_UP_S, Target, measure_round, mix, separate
from loadtest.delivery import tell
from loadtest.errors import MeasureError
from loadtest.hostile import CROWDS
from loadtest.population import WORKSPACE, merge_questions, parse_question
from loadtest.process import pin
from loadtest.processor import read_usage
from loadtest.report import LEAST_CORE, MICRO, Round
from loadtest.stage import HOME, Edge, Stage, await_revision, make_environment, run_command
from loadtest.wrk import Summary, Supply, cycle, encode_template

Json = dict[str, Any]

# At so many times saturation checks arrive, and the mix.
ABOVE, TWICE = 1.3, 2.0
MAX_P99_MS = 50.0
# What ordinary checks keep of their rate, beside costly ones and under attack.
LEAST_KEPT = 0.8
MAX_RECOVERY_S = 1.0
# Of the mix so much asks for MANY programs, half of it for somebody who waits.
COSTLY_PART = 0.3
MANY, SEVERAL = 200, 8
# Costly requests a second while their cost is measured: a worker has time for them.
SLOW_RATE = 200
# How many different requests of a kind are sent in turn.
DIFFERENT = 500
ONE, WAITED, QUIET, SOME = "one", "many_interactive", "many_background", "several"
FLOOD = "flood"
OK = 200
# Requests a second that the flooding workspace may have.
FLOOD_RATE = 1_000
# How long a crowd may take to come, and how long recovery is waited for, in seconds.
COMING_S, PATIENCE_S = 60.0, 10.0


@dataclass(frozen=True, slots=True)
class Size:
    """How long each load lasts, in seconds, how often crowds come, and which part of each comes."""

    seconds: int
    rounds: int
    part: float


FULL, SMALL = Size(5, 3, 1.0), Size(1, 1, 0.05)


class OverloadBench:
    """Measures an edge of one worker, with a second workspace that has a limit.

    Args:
        stage: with MANY programs published.
        supply: of ordinary checks.
        folder: of what is written.
        size: how much.
        cores: of the load, and of the worker.
        all_cores: of everything afterwards.
    """

    def __init__(
        self, stage: Stage, supply: Supply, folder: Path, size: Size, cores: tuple[int, int], all_cores: Sequence[int]
    ) -> None:
        self._supply, self._folder, self._size, self._all_cores = supply, folder, size, all_cores
        self._load_core, self._server_core = cores
        requests = list(supply.population.render(supply.take(DIFFERENT * SEVERAL)))
        many = list(merge_many(requests))
        self._edge = start_edge(stage, folder, requests[0])
        self._worker = self._edge.worker
        self._kinds = {
            ONE: requests[:DIFFERENT],
            SOME: [merge_questions(requests[at : at + SEVERAL]) for at in range(0, len(requests), SEVERAL)],
            QUIET: many,
            WAITED: [mark_interactive(one) for one in many],
        }

    def run(self) -> Json:
        """Returns the figures."""
        separate([Target("edge", self._edge.port, self._worker)], self._load_core, self._server_core)
        try:
            above = self._measure_above()
            mixed = self._measure_mix()
            crowds = self._measure_crowds()
        finally:
            mix(self._all_cores)
            self._edge.server.stop()
        return {"above": above, "mix": mixed, "crowds": crowds}

    def _saturate(self, name: str, seconds: int) -> float:
        """Returns how many requests of a kind the worker answers in a second, asked as fast as it does."""
        path = self._folder / name
        path.write_bytes(b"".join(map(encode_template, self._kinds[name])))
        url = f"http://127.0.0.1:{self._edge.port}/v1/check"
        cycle(path, url, WARM_UP_S, self._load_core)
        before = read_usage(self._worker)
        found: Summary = cycle(path, url, seconds, self._load_core)
        used = (read_usage(self._worker) - before).total_s
        rate = found.requests / used
        tell(f"{name}: {rate:.0f} a second of the processor, core {used * MICRO / found.duration_us:.0%}")
        return rate

    def _arrive(self, kinds: Sequence[Kind], rate: float, seconds: float) -> tuple[dict[str, Fate], Json]:
        """Lets requests arrive; returns what became of each kind, and who had how much to do."""
        with Arrivals(self._edge.port) as arrivals:
            before = read_usage(self._worker)
            fates = arrivals.run(kinds, rate, seconds)
            used = (read_usage(self._worker) - before).total_s
            shares = {"core": round(used / arrivals.elapsed_s, 3), "generator": round(arrivals.load, 3)}
            shares["drained_s"] = round(arrivals.drained_s, 3)
        return fates, {"rate": round(rate), **shares}

    def _measure_above(self) -> Json:
        """Checks about SEVERAL programs, which cost the worker more than the generator."""
        saturation = self._saturate(SOME, self._size.seconds)
        fates, shares = self._arrive([Kind(SOME, self._kinds[SOME], 1.0)], ABOVE * saturation, self._size.seconds)
        told = tell_fate(fates[SOME])
        tell(f"{ABOVE} times saturation: {told}, {shares}")
        return {"saturation": round(saturation), **shares, **told}

    def _measure_mix(self) -> Json:
        single = self._saturate(ONE, self._size.seconds)
        costs = {name: self._measure_costly(name) for name in (WAITED, QUIET)}
        parts = {ONE: 1 - COSTLY_PART, WAITED: COSTLY_PART / 2, QUIET: COSTLY_PART / 2}
        saturation = 1 / (parts[ONE] / single + sum(parts[name] * costs[name] for name in costs))
        kinds = [Kind(name, self._kinds[name], part) for name, part in parts.items()]
        fates, shares = self._arrive(kinds, TWICE * saturation, self._size.seconds)
        recovery = round(shares["drained_s"] + asyncio.run(self._await_recovery()), 3)
        told = {name: tell_fate(fate) for name, fate in fates.items()}
        tell(f"{TWICE} times saturation of the mix: {told}, {shares}; recovered after {recovery:.3f} s")
        costs_us = {name: round(cost * MICRO) for name, cost in costs.items()}
        return {"saturation": round(saturation), "costs_us": costs_us, **shares, "fates": told, "recovery_s": recovery}

    def _measure_costly(self, name: str) -> float:
        """Returns what a costly request takes of the processor, in seconds, where there is time for all."""
        before = read_usage(self._worker)
        with Arrivals(self._edge.port) as arrivals:
            fate = arrivals.run([Kind(name, self._kinds[name], 1.0)], SLOW_RATE, self._size.seconds)[name]
        if not fate.statuses[OK]:
            raise MeasureError(f"expected costly requests answered, got {dict(fate.statuses)}")
        return (read_usage(self._worker) - before).total_s / fate.statuses[OK]

    async def _await_recovery(self) -> float:
        """Returns how long after the last answer every kind is answered soon; PATIENCE_S where none is by then."""
        start = begun = time.monotonic()
        while begun - start < PATIENCE_S:
            answers = [await ask_one(self._edge.port, self._kinds[name][0]) for name in (ONE, QUIET)]
            ended = time.monotonic()
            if all(one.status == OK for one in answers) and ended - begun < MAX_P99_MS / 1_000:
                break
            begun = ended
        return begun - start

    def _measure_crowds(self) -> Json:
        """Ordinary checks without and with each crowd, interleaved."""
        kept: dict[str, list[float]] = {name: [] for name in CROWDS}
        rounds: list[Json] = []
        for number in range(self._size.rounds):
            for name in CROWDS:
                quiet, calm = self._measure_checks(number)
                with self._invite(name) as count_ended:
                    busy, under = self._measure_checks(number)
                kept[name].append(busy / quiet)
                rounds.append({"crowd": name, "quiet": round(quiet), "busy": round(busy), "ended": count_ended(),
                               "core_quiet": round(calm, 3), "core": round(under, 3)})  # fmt: skip
                tell(f"{name}: {rounds[-1]}")
        return {"kept": {name: round(median(found), 3) for name, found in kept.items()}, "rounds": rounds}

    def _measure_checks(self, number: int) -> tuple[float, float]:
        """Returns the rate of ordinary checks, and the share of its core that the worker used."""
        target = Target("edge", self._edge.port, self._worker)
        one: Round = measure_round(number, target, self._supply, self._size.seconds, self._load_core)
        return one.requests / one.seconds, one.core

    @contextmanager
    def _invite(self, name: str) -> Iterator[Callable[[], int]]:
        """A crowd is there; what it is given tells afterwards how many of its connections were ended."""
        count = max(1, int(CROWDS[name].count * self._size.part))
        command = [sys.executable, "-m", "loadtest.hostile", name, str(self._edge.port), str(count)]
        ended: list[int] = []
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=make_environment({}), cwd=HOME
        ) as crowd:
            try:
                pin(crowd.pid, self._load_core)
                assert crowd.stdout is not None  # noqa: S101 - as it was asked for
                if crowd.stdout.readline() != b"ready\n":
                    raise MeasureError(f"expected the crowd {name} to come, got its end")
                yield lambda: ended[0]
                said, _ = crowd.communicate(timeout=COMING_S)
                ended.append(int(said))
            finally:
                crowd.kill()


def start_edge(stage: Stage, folder: Path, request: bytes) -> Edge:
    """Returns an edge that serves a second workspace, whose rate is limited; that one needs no rules to be a burden."""
    run_command("keys", "new", str(folder / FLOOD), "--workspace", FLOOD)
    roots = {WORKSPACE: stage.keys / "root.json", FLOOD: folder / FLOOD / "root.json"}
    settings = {
        "GRAYWAVE_EDGE_WORKSPACES": ",".join(f"{name}={root}" for name, root in roots.items()),
        "GRAYWAVE_EDGE_MAX_BUSY_PERCENT": "90",
        "GRAYWAVE_EDGE_WORKSPACE_RATES": f"{FLOOD}={FLOOD_RATE}",
    }
    edge = stage.start_edge("overload", has_lane=True, settings=settings, sign="healthz")
    await_revision(edge, request, stage.read_revision())
    return edge


def merge_many(requests: Sequence[bytes]) -> Iterator[bytes]:
    """Yields requests about MANY programs each; the last of them is one that nobody has published."""
    heap: dict[str, bytes] = {}
    for request in requests:
        (program,) = parse_question(request)["programs"]
        heap.setdefault(program, request)
        if len(heap) == MANY - 1:
            yield merge_questions(list(heap.values()))
            heap.clear()


def mark_interactive(request: bytes) -> bytes:
    """Returns a request of somebody who waits for the answer."""
    return request.replace(b"\r\n", b"\r\nX-Graywave-Interactive: 1\r\n", 1)


def tell_fate(fate: Fate) -> Json:
    """Returns what became of requests, for the report."""
    return {
        "arrived": fate.arrived,
        "answered": round(fate.answered, 4),
        "turned_away": fate.turned_away,
        "statuses": {str(status): count for status, count in sorted(fate.statuses.items())},
        "p99_ms": fate.find_p99_ms(),
    }


def judge_overload(report: Json, *, is_quick: bool) -> list[str]:
    """Returns a line for each promise that a report breaks; a run in which nothing was saturated proves nothing."""
    if is_quick:
        return []
    above, mixed, kept = report["above"], report["mix"], report["crowds"]["kept"]
    failures = []
    if above["core"] < LEAST_CORE:
        failures.append(f"expected a saturated worker at {ABOVE} times saturation, got {above['core']:.0%} of its core")
    if above["p99_ms"] >= MAX_P99_MS:
        failures.append(f"expected a p99 of under {MAX_P99_MS:.0f} ms above saturation, got {above['p99_ms']}")
    answered = mixed["fates"][ONE]["answered"]
    if answered < LEAST_KEPT:
        failures.append(f"expected {LEAST_KEPT} of checks for one program answered beside costly ones, got {answered}")
    if mixed["recovery_s"] > MAX_RECOVERY_S:
        failures.append(f"expected recovery within {MAX_RECOVERY_S} s, got {mixed['recovery_s']}")
    failures += [
        f"expected ordinary checks to keep {LEAST_KEPT} of their rate beside the crowd {name}, got {part}"
        for name, part in kept.items()
        if part < LEAST_KEPT
    ]
    return failures


def render_overload(report: Json) -> Iterator[str]:
    """Yields the lines of the table."""
    above, mixed = report["above"], report["mix"]
    yield f"overload   {ABOVE} times {above['saturation']} checks of {SEVERAL} programs: p99 {above['p99_ms']} ms"
    yield f"overload   {above['answered']:.0%} answered, the rest turned away by the pool; core {above['core']:.0%}"
    yield f"overload   {TWICE} times {mixed['saturation']} of the mix a second: core {mixed['core']:.0%}, by kind:"
    for name, fate in mixed["fates"].items():
        yield f"overload     {name}: {fate['answered']:.1%} of {fate['arrived']} answered, p99 {fate['p99_ms']} ms"
    yield f"overload   recovered after {mixed['recovery_s']} s"
    for name, part in report["crowds"]["kept"].items():
        yield f"overload   beside {name}: ordinary checks keep {part} of their rate"
