"""The bench's command line: which measurements to make, in which order, and what to do with their figures.

    scripts/bench [--json FILE] [--rounds N] [--seconds N] [--only SECTION]... [--quick]

Nine sections: `cost` (processor time a check, four servers side by side), `answers` (compared with the oracle),
`load`, `change`, `audience` (what a whitelist of ten million costs), `ofrep` (what asking for switches costs),
`window` (200,000 devices ask for 10,000 places, and workers and Redis die meanwhile), `held` (15,000 devices wait for
news), and `overload` (more than a worker can do, and hostile crowds). Exit status: 0 every promise is kept, 1 one is
broken, 2 wrong arguments, 3 the machine lacks something, 4 the measurement itself failed.
"""

import argparse
import asyncio
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any

import aiohttp
import orjson
import redis

from loadtest.audience import FULL, QUICK, AudienceBench
from loadtest.capacity import FULL as MANY_PROGRAMS
from loadtest.capacity import QUICK as SOME_PROGRAMS
from loadtest.capacity import CapacityBench, judge_capacity, render_capacity
from loadtest.change import make_probe, make_question, measure_changes
from loadtest.client import Answer, ask_all, ask_one
from loadtest.comparison import Truth, Verdict, compare
from loadtest.cost import Target, measure_cost, mix, separate
from loadtest.delivery import deliver, tell
from loadtest.errors import LoadtestError, MeasureError, ToolError
from loadtest.held import FULL as MANY_HELD
from loadtest.held import QUICK as SOME_HELD
from loadtest.held import HeldBench, judge_held, render_held
from loadtest.machine import describe_machine
from loadtest.nginx import DEBIAN, find_worker, start_nginx
from loadtest.ofrep import FULL as MANY_SWITCHES
from loadtest.ofrep import QUICK as SOME_SWITCHES
from loadtest.ofrep import SwitchBench
from loadtest.overload import FULL as FULL_LOAD
from loadtest.overload import SMALL, OverloadBench, judge_overload, render_overload
from loadtest.population import WORKSPACE, Population, measure_population, merge_questions
from loadtest.process import Server, await_port, find_tool, pick_cores, pick_port
from loadtest.program import make_document, make_documents, name_program
from loadtest.report import (
    AIOHTTP_APP,
    LANE,
    NGINX,
    PLAIN_EDGE,
    compute_processor,
    compute_rates,
    compute_ratios,
    find_failures,
    list_rounds,
    render_table,
    summarize,
)
from loadtest.stage import Edge, Stage, await_revision, make_environment
from loadtest.window import judge_windows, measure_windows, render_windows
from loadtest.wrk import Supply

Json = dict[str, Any]

SECTIONS = ("cost", "answers", "load", "change", "audience", "ofrep", "window", "held", "overload")
# Takes as long as all the others, and is measured where it is asked for.
ON_REQUEST = ("capacity",)
SEED = 20_261_120
# How many programs are published, step by step.
FEW, USUAL, MANY = 100, 1_000, 10_000
# A run that takes longer has hung, in seconds; no process of it is left behind either.
MAX_RUN_S = 1_800
# The same where a hundred thousand programs are published one by one: that alone takes half an hour.
LONG_RUN_S = 5_400
# How many requests, from all over the run, are counted to say what the population was like.
CENSUS = 50_000
# How many answers are kept at a time until they are compared.
AT_ONCE = 2_000
# One of so many compared questions asks about several programs, one of them unknown.
MERGED_EVERY, MERGED = 10, 8

# Sections with promises of their own: what judges their figures, and what shows them.
JUDGES = {
    "window": (judge_windows, render_windows),
    "capacity": (judge_capacity, render_capacity),
    "held": (judge_held, render_held),
    "overload": (judge_overload, render_overload),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is measured."""

    sections: frozenset[str]
    rounds: int
    seconds: int
    compared: int
    changes: int
    usual: int
    many: int
    restarts: int
    is_quick: bool

    def wants(self, *sections: str) -> bool:
        """Says whether any of these sections is to be measured."""
        return not self.sections.isdisjoint(sections)


def parse_arguments(arguments: Sequence[str]) -> tuple[Plan, Path | None]:
    """Returns the plan, and the file that takes the JSON report; ends the process with 2 where they are wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures the edge beside nginx and aiohttp.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--rounds", type=_positive, default=5, help="how often each server is measured (default 5)")
    parser.add_argument("--seconds", type=_positive, default=5, help="how long each time (default 5)")
    parser.add_argument(
        "--only", action="extend", type=_sections, metavar="SECTION", help="measure this section, several with commas"
    )
    parser.add_argument("--quick", action="store_true", help="a minute's run to see that all works; proves nothing")
    given = parser.parse_args(arguments)
    return make_plan(given.only or SECTIONS, given.rounds, given.seconds, is_quick=given.quick), given.json


def make_plan(sections: Sequence[str], rounds: int, seconds: int, *, is_quick: bool) -> Plan:
    """Returns the plan for these options."""
    wanted = frozenset(sections)
    if is_quick:
        return Plan(wanted, 1, 1, compared=2_000, changes=10, usual=2 * FEW, many=4 * FEW, restarts=1, is_quick=True)
    return Plan(
        wanted, rounds, seconds, compared=100_000, changes=200, usual=USUAL, many=MANY, restarts=5, is_quick=False
    )


def _sections(text: str) -> list[str]:
    sections = text.split(",")
    known = SECTIONS + ON_REQUEST
    unknown = [section for section in sections if section not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"expected sections of {', '.join(known)}, got {unknown[0]!r}")
    return sections


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected a number of at least 1, got {text}")
    return number


class Bench:
    """One run: a stage that grows from FEW to MANY programs, measured at each size.

    Args:
        plan: what to measure.
        folder: of everything that is written.
        cleanup: what ends with the run.
    """

    def __init__(self, plan: Plan, folder: Path, cleanup: ExitStack) -> None:
        self._plan = plan
        self._folder = folder
        self._cleanup = cleanup
        self._cores = sorted(os.sched_getaffinity(0))
        self._load_core, self._server_core = pick_cores(self._cores)
        self._published = 0
        self._turn = 0
        self._report: Json = {"machine": describe_machine(), "quick": plan.is_quick, "wrong": None}
        tell("starting Redis, publisher and edge")
        self._stage = Stage(folder, cleanup)
        self._revision = self._stage.publish([make_probe(SEED, 0)])  # an edge without rules is not ready
        self._lane = self._stage.start_edge(LANE, has_lane=True)

    def run(self) -> Json:
        """Returns the report."""
        plan = self._plan
        if plan.wants("change"):
            self._grow(FEW)
            self._measure_changes()
        self._measure_at_usual()
        if plan.wants("load", "change"):
            self._grow(plan.many)
        if plan.wants("load"):
            self._measure_load()
        if plan.wants("change"):
            self._measure_changes()
        if plan.wants("audience"):
            self._measure_audience()
        if plan.wants("capacity"):
            self._measure_capacity()
        if plan.wants("window"):
            self._report["window"] = measure_windows(self._folder, self._cleanup, is_quick=plan.is_quick)
        if plan.wants("held"):
            size = SOME_HELD if plan.is_quick else MANY_HELD
            cores = self._load_core, self._server_core
            self._report["held"] = HeldBench(self._stage, self._lane, size, cores).run()
        return self._report

    def _measure_at_usual(self) -> None:
        """What is measured among the usual number of programs."""
        measurements = {
            ("cost", "answers"): self._measure_usual,
            ("ofrep",): self._measure_switches,
            ("overload",): self._measure_overload,
        }
        for sections, measure_them in measurements.items():
            if self._plan.wants(*sections):
                self._grow(self._plan.usual)
                measure_them()

    def _measure_capacity(self) -> None:
        folder = self._folder / "capacity-questions"
        folder.mkdir()
        size = SOME_PROGRAMS if self._plan.is_quick else MANY_PROGRAMS
        for programs in range(MANY, size.programs + 1, MANY):
            self._grow(programs)  # by parts, so that not all documents are held at a time
        self._grow(size.programs)
        self._report["capacity"] = CapacityBench(self._stage, folder, size, SEED).run()

    def _measure_audience(self) -> None:
        folder = self._folder / "audiences"
        folder.mkdir()
        plan, size = self._plan, QUICK if self._plan.is_quick else FULL
        cores = self._load_core, self._server_core
        bench = AudienceBench(
            self._stage, folder, size, rounds=plan.rounds, seconds=plan.seconds, cores=cores, seed=SEED
        )
        self._report["audience"] = bench.run()

    def _measure_switches(self) -> None:
        folder = self._folder / "ofrep"
        folder.mkdir()
        supply = Supply(Population(make_documents(self._published, SEED), SEED), folder)
        cores, size = (self._load_core, self._server_core), SOME_SWITCHES if self._plan.is_quick else MANY_SWITCHES
        bench = SwitchBench(self._stage, self._lane, supply, folder, size, cores)
        self._report["ofrep"] = bench.run(self._plan.rounds, self._plan.seconds)

    def _measure_overload(self) -> None:
        folder = self._folder / "crowd"
        folder.mkdir()
        supply = Supply(Population(make_documents(self._published, SEED), SEED), folder)
        cores, size = (self._load_core, self._server_core), SMALL if self._plan.is_quick else FULL_LOAD
        bench = OverloadBench(self._stage, supply, folder, size, cores, self._cores)
        self._report["overload"] = bench.run()

    def _grow(self, programs: int) -> None:
        """Publishes what is missing to so many programs, and waits until the lane's edge has them."""
        if programs > self._published:
            tell(f"publishing programs up to {programs}")
            documents = [make_document(number, SEED) for number in range(self._published, programs)]
            self._revision = self._stage.publish(documents)
            self._published = programs
        await_revision(self._lane, make_question(SEED), self._revision)

    def _measure_changes(self) -> None:
        tell(f"changing one of {self._published} programs {self._plan.changes} times")
        work = measure_changes(self._stage.make_author(), self._lane.port, SEED, self._turn + 1, self._plan.changes)
        changes = asyncio.run(work)
        self._turn += len(changes)
        self._revision = self._stage.read_revision()
        figures = summarize([one.reached_ms for one in changes])
        published = summarize([one.published_ms for one in changes])
        self._report.setdefault("change", {})[str(self._published)] = {
            **figures,
            "publisher_median_ms": published["median_ms"],
        }

    def _measure_load(self) -> None:
        """Restarts the edge on its edge.db; the worker itself counts how long loading took."""
        tell(f"restarting the edge with {self._published} programs {self._plan.restarts} times")
        times = []
        for _ in range(self._plan.restarts):
            self._lane.server.stop()
            self._lane = self._stage.start_edge(LANE, has_lane=True)
            times.append(self._lane.read_load_ms())
        self._report["load"] = {"programs": self._published, "ms": round(median(times), 1), "all_ms": times}
        await_revision(self._lane, make_question(SEED), self._revision)

    def _measure_usual(self) -> None:
        plain_edge = self._stage.start_edge(PLAIN_EDGE, has_lane=False)
        await_revision(plain_edge, make_question(SEED), self._revision)
        documents = make_documents(self._published, SEED)
        supply = Supply(Population(documents, SEED), self._folder)
        app = self._start_app()
        ports = {LANE: self._lane.port, PLAIN_EDGE: plain_edge.port, AIOHTTP_APP: app.port}
        if self._plan.wants("answers"):
            self._compare(supply, ports)
        if self._plan.wants("cost"):
            self._measure_cost(supply, plain_edge, app)
        census = measure_population(documents, supply.population.render(supply.sample(CENSUS)))
        self._report["population"] = asdict(census)
        self._report["devices"] = {"used": supply.used, "repeated": supply.count_repeated()}
        self._report["conditions_a_check"] = census.conditions_a_check
        for server in (plain_edge.server, app.server):
            server.stop()

    def _read_truth(self) -> Truth:
        return self._stage.read_truth([make_probe(SEED, 0)["program"], *map(name_program, range(self._published))])

    def _start_app(self) -> "App":
        truth = self._read_truth()
        path, port = self._folder / "documents.json", pick_port()
        path.write_bytes(orjson.dumps({"workspace": WORKSPACE, **asdict(truth)}))
        command = [sys.executable, "-m", "loadtest.plain_app", str(path), str(port)]
        server = Server(AIOHTTP_APP, command, self._folder / f"{AIOHTTP_APP}.log", make_environment({}))
        self._cleanup.callback(server.stop)
        await_port(port, server)
        return App(server, port)

    def _compare(self, supply: Supply, ports: dict[str, int]) -> None:
        tell(f"comparing {self._plan.compared} answers of each server with the oracle")
        truth = self._read_truth()
        verdict = Verdict(dict.fromkeys(ports, 0), dict.fromkeys(ports, 0), [])
        for _ in range(0, self._plan.compared, AT_ONCE):
            requests = make_questions(list(supply.population.render(supply.take(AT_ONCE))))
            answers = {server: asyncio.run(ask_all(port, requests)) for server, port in ports.items()}
            verdict += compare(truth, requests, answers)
        self._report["compared"] = verdict.compared
        self._report["wrong_by_server"] = verdict.wrong
        self._report["wrong"] = sum(verdict.wrong.values())
        self._report["wrong_examples"] = verdict.examples

    def _measure_cost(self, supply: Supply, plain_edge: Edge, app: "App") -> None:
        plan = self._plan
        floor, port = self._start_nginx(supply)
        targets = [
            Target(NGINX, port, find_worker(floor)),
            Target(LANE, self._lane.port, self._lane.worker),
            Target(PLAIN_EDGE, plain_edge.port, plain_edge.worker),
            Target(AIOHTTP_APP, app.port, app.server.pid),
        ]
        first = supply.used
        separate(targets, self._load_core, self._server_core)
        rounds = measure_cost(targets, supply, plan.rounds, plan.seconds, self._load_core, tell)
        mix(self._cores)
        floor.stop()
        rates, reasons = compute_rates(rounds)
        self._report |= {
            "ratios": compute_ratios(rounds),
            "processor_us": compute_processor(rounds),
            "rates": rates,
            "no_rates": reasons,
            "requests_sent": supply.used - first,
            "rounds": list_rounds(rounds),
        }

    def _start_nginx(self, supply: Supply) -> tuple[Server, int]:
        """Nginx with the answer that most devices get: nothing to do."""
        answer = asyncio.run(find_usual_answer(self._lane.port, list(supply.population.render(supply.take(100)))))
        self._report["usual_answer"] = {"head": answer.head.decode(), "body": answer.body.decode()}
        port = pick_port()
        server = start_nginx(self._folder / NGINX, port, answer.body)
        self._cleanup.callback(server.stop)
        return server, port


@dataclass(frozen=True, slots=True)
class App:
    """The running plain aiohttp application."""

    server: Server
    port: int


async def find_usual_answer(port: int, requests: Sequence[bytes]) -> Answer:
    """Returns the answer to the first of these requests that has nothing to do.

    Raises:
        MeasureError: all have something to do.
    """
    for request in requests:
        answer = await ask_one(port, request)
        if b'"updates":[]' in answer.body:
            return answer
    raise MeasureError(f"expected an answer without updates among {len(requests)}, got none")


def make_questions(requests: Sequence[bytes]) -> list[bytes]:
    """Returns the requests, some of them asking about several programs, and about one that is unknown."""
    return [
        request if place % MERGED_EVERY else merge_questions(requests[place : place + MERGED])
        for place, request in enumerate(requests)
    ]


def end_on_signals(cleanup: ExitStack, limit_s: int = MAX_RUN_S) -> None:
    """From now on a signal, and the end of `limit_s` seconds, end the process, and everything that is on the stack.

    The handler does so itself: an exception raised in it can be lost, since aiohttp's parser, for one, catches all.
    """
    names = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)

    def end(number: int, _frame: FrameType | None) -> None:
        for name in names:
            signal.signal(name, signal.SIG_IGN)
        is_late = number == signal.SIGALRM
        tell(f"failed: it did not end within {limit_s} s" if is_late else "interrupted, ending all servers")
        cleanup.close()
        os._exit(4 if is_late else 128 + number)

    for name in names:
        cleanup.callback(signal.signal, name, signal.signal(name, end))
    signal.alarm(limit_s)
    cleanup.callback(signal.alarm, 0)


def measure(plan: Plan) -> Json:
    """Returns the report of one run; every process of it has ended and its folder is gone.

    Raises:
        LoadtestError: the machine lacks something, a server failed, or a measurement.
    """
    for tool in (
        ["wrk", "nginx"]
        if plan.wants("cost")
        else ["wrk"]
        if plan.wants("audience", "ofrep", "window", "overload")
        else []
    ):
        find_tool(DEBIAN, tool)
    with ExitStack() as cleanup:
        end_on_signals(cleanup, LONG_RUN_S if plan.wants(*ON_REQUEST) else MAX_RUN_S)
        folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="graywave-bench-"))
        return Bench(plan, Path(folder), cleanup).run()


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit status."""
    plan, path = parse_arguments(arguments)
    try:
        report = measure(plan)
    except ToolError as error:
        tell(str(error))
        return 3
    except (LoadtestError, OSError, aiohttp.ClientError, redis.RedisError, subprocess.SubprocessError) as error:
        tell(f"failed: {str(error) or type(error).__name__}")
        return 4
    report["failures"] = find_failures(report, is_quick=plan.is_quick)
    table = render_table(report)
    for section, (judge, render) in JUDGES.items():
        if section in report:
            report["failures"] += judge(report[section], is_quick=plan.is_quick)
            table = "\n".join([table, *render(report[section])])
    return deliver(report, table, path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
