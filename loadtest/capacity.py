"""How soon a host with very many programs answers after a start: from its first process to the first right answer.

The programs are published by the public door, so that `edge.db` is the one that a syncer has written. It has been read
before each start: its pages are in memory, as after a reload or a crash.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Any

import orjson

from loadtest.audience import read_pss
from loadtest.client import Answer, ask_all, ask_one
from loadtest.comparison import Truth, compare
from loadtest.delivery import tell
from loadtest.errors import MeasureError, ServerError
from loadtest.population import Population
from loadtest.process import await_ready
from loadtest.program import make_document, name_program
from loadtest.stage import POLL_S, Edge, Stage
from loadtest.wrk import Supply

Json = dict[str, Any]

EDGE = "capacity"
MAX_FIRST_ANSWER_S = 5.0
# How long a start is waited for at all, and until everything is compiled, in seconds.
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: programs, starts with each number of workers, and questions right after each."""

    programs: int
    workers: tuple[int, ...]
    starts: int
    questions: int


FULL = Size(100_000, (1, 2), 3, 500)
QUICK = Size(400, (1,), 1, 50)


class CapacityBench:
    """Starts an edge again and again on the programs that a stage has published.

    Args:
        stage: with `size.programs` programs published by the bench.
        folder: for the questions.
        size: how much is measured.
        seed: of the programs.
    """

    def __init__(self, stage: Stage, folder: Path, size: Size, seed: int) -> None:
        self._stage, self._size = stage, size
        numbers = Random(seed).sample(range(size.programs), min(size.questions, size.programs))
        self._programs = [name_program(number) for number in numbers]
        documents = [make_document(number, seed) for number in numbers]
        self._supply = Supply(Population(documents, seed), folder)
        self._revision = stage.read_revision()

    def run(self) -> Json:
        """Returns the figures; each start answers programs that nobody has asked for since."""
        size = self._size
        truth = self._stage.read_truth(self._programs)
        edge = self._stage.start_edge(EDGE, has_lane=True)
        await_loaded(edge)
        file = edge.data / "edge-2.db"
        starts = []
        for workers in [each for each in size.workers for _ in range(size.starts)]:
            edge.server.stop()
            file.read_bytes()  # into the page cache
            edge, start = self._start(workers, truth)
            tell(f"{workers} workers: first answer after {start['first_answer_s']} s")
            starts.append(start)
        return {"programs": size.programs, "file_bytes": file.stat().st_size, "starts": starts}

    def _start(self, workers: int, truth: Truth) -> tuple[Edge, Json]:
        requests = list(self._supply.population.render(self._supply.take(self._size.questions)))
        began = time.monotonic()
        edge = self._stage.begin_edge(EDGE, has_lane=True, workers=workers)
        first = await_answer(edge, requests[0], self._revision)
        took = time.monotonic() - began
        answers = [first, *asyncio.run(ask_all(edge.port, requests[1:]))]
        verdict = compare(truth, requests, {EDGE: answers})
        await_loaded(edge)
        pids = [one["pid"] for one in edge.read_status()["workers"]]
        return edge, {
            "workers": workers,
            "first_answer_s": round(took, 2),
            "compiled_s": round(time.monotonic() - began, 1),
            "compared": len(answers),
            "wrong": verdict.wrong[EDGE],
            "wrong_examples": verdict.examples,
            "worker_bytes": read_pss(pids) // len(pids),
        }


def await_answer(edge: Edge, request: bytes, revision: int) -> Answer:
    """Returns the first answer of an edge that is just starting, from this revision.

    Raises:
        ServerError: there is none within PATIENCE_S, or the edge has ended.
    """
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and edge.server.is_running():
        try:
            answer = asyncio.run(ask_one(edge.port, request))
        except (OSError, MeasureError):  # nobody listens yet, or whoever does is not so far
            time.sleep(POLL_S)
            continue
        if answer.status == HTTPStatus.OK and orjson.loads(answer.body)["revision"] == revision:
            return answer
        time.sleep(POLL_S)
    raise ServerError(f"expected an answer of {edge.server.name} at revision {revision}{edge.server.show_output()}")


def await_loaded(edge: Edge) -> None:
    """Returns once every worker has compiled all that it has."""
    until = time.monotonic() + PATIENCE_S
    await_ready(lambda: _is_up(edge), edge.server)
    while not all(worker["load_us"] for worker in edge.read_status()["workers"]):
        if time.monotonic() > until:
            raise ServerError(f"expected all programs compiled within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)


def _is_up(edge: Edge) -> bool:
    """The admin listener comes up once the syncer has looked through the file."""
    try:
        return bool(edge.read_status()["workers"])
    except OSError:
        return False


def judge_capacity(report: Json, *, is_quick: bool) -> list[str]:
    """Returns what of the promises is broken; a quick run proves no time."""
    starts: Sequence[Json] = report["starts"]
    failures = [f"expected no wrong answer after a start, got {one['wrong']}" for one in starts if one["wrong"]]
    if not is_quick:
        failures += [
            f"expected an answer in under {MAX_FIRST_ANSWER_S:.0f} s after a start with {one['workers']} workers, "
            f"got {one['first_answer_s']}"
            for one in starts
            if one["first_answer_s"] >= MAX_FIRST_ANSWER_S
        ]
    return failures


def render_capacity(report: Json) -> list[str]:
    """Returns a line for each number of workers."""
    lines = []
    for workers in sorted({one["workers"] for one in report["starts"]}):
        starts = [one for one in report["starts"] if one["workers"] == workers]
        first = ", ".join(f"{one['first_answer_s']}" for one in starts)
        wrong, compared = (sum(one[name] for one in starts) for name in ("wrong", "compared"))
        compiled = max(one["compiled_s"] for one in starts)
        memory = max(one["worker_bytes"] for one in starts) >> 20
        lines.append(
            f"capacity   {report['programs']} programs, {workers} workers: first answer after {first} s, "
            f"all compiled after {compiled} s, {memory} MB a worker, {wrong} wrong of {compared}"
        )
    return lines
