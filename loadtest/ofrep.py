"""What asking for switches costs: all of them at once, answered by a 304, set against a check on the same worker.

Pages ask again and again with the tag that they were told, so that nearly all of their questions end so. Each of these
asks with a context and a tag of its own; the tags are those that the edge has told it before the load begins.
"""

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import orjson

from loadtest.client import Connection
from loadtest.cost import WARM_UP_S, Target, mix, separate
from loadtest.delivery import tell
from loadtest.errors import MeasureError
from loadtest.market import draw_profile
from loadtest.population import WORKSPACE
from loadtest.processor import read_usage
from loadtest.report import MICRO, Round, list_rounds
from loadtest.stage import Edge, Stage
from loadtest.wrk import Summary, Supply, cycle, encode_template, run_wrk

Json = dict[str, Any]

CHECK, UNCHANGED, WHOLE = "check", "unchanged", "whole"
TARGET: Final = "/ofrep/v1/evaluate/flags"
HEAD: Final = (
    "POST {target} HTTP/1.1\r\nHost: edge.example\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\nAccept: */*\r\n"
    "Content-Type: application/json; charset=utf-8\r\nX-Graywave-Workspace: {workspace}\r\n{tag}"
    "Content-Length: {length}\r\n\r\n"
)
# A set's rules: for some switches none, for some a percentage, for the others conditions and named users.
RULED_EVERY: Final = 4
# How long the edge may take to have the switches, and its worker to tell its counters, in seconds.
ARRIVAL_TIMEOUT_S: Final = 60.0
COUNT_TIMEOUT_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: switches, and the pages that ask for all of them."""

    switches: int
    pages: int


FULL: Final = Size(1_000, 1_000)
QUICK: Final = Size(100, 50)


def make_set(count: int) -> Json:
    """Returns a switch set in the author's form."""
    return {
        "format": 1,
        "switches": "bench",
        "flags": {f"switch-{number}": make_flag(number) for number in range(count)},
    }


def make_flag(number: int) -> Json:
    """Returns a switch: every fourth one is for everybody, the others have two rules."""
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
    gray = {"id": "gray", "variant": "on", "who": {"percent": {"parts": 1_000 * (number % 1_000)}}}
    staff = {"id": "staff", "variant": "on", "who": {"users": [f"u-{number}"]}}
    when = [
        {"attribute": "os", "op": "between", "values": [str(4 + number % 10), "14.*"]},
        {"attribute": "tags.plan", "op": "in", "values": [f"plan-{number % 50}"]},
    ]
    rules = [[], [staff, gray], [{**gray, "when": when}, staff], [{"id": "plan", "variant": "on", "when": when}, gray]]
    return {**flag, "rules": rules[number % RULED_EVERY]}


def make_body(number: int) -> bytes:
    """Returns what a page says of whoever looks at it."""
    profile = draw_profile(Random(f"pages/{number}"))
    said = {name: value for name, value in profile.items() if isinstance(value, str) and name != "user"}
    return orjson.dumps({"context": {"targetingKey": f"user-{number:08}", "plan": f"plan-{number % 70}", **said}})


def make_request(body: bytes, tag: str = "") -> bytes:
    """Returns the request for all switches, with the tag that was told before."""
    field = f"If-None-Match: {tag}\r\n" if tag else ""
    return HEAD.format(target=TARGET, workspace=WORKSPACE, tag=field, length=len(body)).encode() + body


def read_tag(head: bytes) -> str:
    """Returns the tag of an answer.

    Raises:
        MeasureError: it has none.
    """
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name.lower() == b"etag":
            return value.decode()
    raise MeasureError(f"expected an ETag, got {head[:200]!r}")


async def read_tags(port: int, bodies: Sequence[bytes], switches: int) -> list[str]:
    """Asks for all switches for each of these bodies; returns the tags, as soon as all switches have arrived.

    Raises:
        MeasureError: the edge has not all of them.
    """
    async with await Connection.open(port) as connection, asyncio.timeout(ARRIVAL_TIMEOUT_S):
        while True:
            answer = await connection.ask(make_request(bodies[0]))
            if answer.status == HTTPStatus.OK and len(orjson.loads(answer.body)["flags"]) == switches:
                break
            await asyncio.sleep(0.02)
        return [read_tag((await connection.ask(make_request(body))).head) for body in bodies]


def compute_ratio(rounds: Sequence[Round], above: str, below: str) -> float:
    """Returns the median over the rounds of what one kind of question costs, over another."""
    costs = {(one.number, one.server): one.processor_us for one in rounds}
    numbers = sorted({one.number for one in rounds})
    return round(median(costs[number, above] / costs[number, below] for number in numbers), 3)


class SwitchBench:
    """Measures switches on a stage.

    Args:
        stage: with no switches published yet.
        edge: whose worker is measured, with the lane.
        supply: of checks.
        folder: of what is written.
        size: how much.
        cores: of the load, and of the worker.
    """

    def __init__(
        self, stage: Stage, edge: Edge, supply: Supply, folder: Path, size: Size, cores: tuple[int, int]
    ) -> None:
        self._stage, self._edge, self._supply, self._size, self._cores = stage, edge, supply, size, cores
        self._all_cores = sorted(os.sched_getaffinity(0))
        self._files = {UNCHANGED: folder / UNCHANGED, WHOLE: folder / WHOLE}

    def run(self, rounds: int, seconds: int) -> Json:
        """Returns the figures: processor microseconds a question by its kind, and the ratio that is promised."""
        tell(f"publishing {self._size.switches} switches")
        self._stage.publish_switches(make_set(self._size.switches))
        bodies = [make_body(number) for number in range(self._size.pages)]
        tags = asyncio.run(read_tags(self._edge.port, bodies, self._size.switches))
        whole = [make_request(body) for body in bodies]
        unchanged = [make_request(body, tag) for body, tag in zip(bodies, tags, strict=True)]
        for kind, requests in ((UNCHANGED, unchanged), (WHOLE, whole)):
            self._files[kind].write_bytes(b"".join(map(encode_template, requests)))
        measured = self._measure(rounds, seconds)
        kinds = (CHECK, UNCHANGED, WHOLE)
        costs = {kind: median(one.processor_us for one in measured if one.server == kind) for kind in kinds}
        return {
            "switches": self._size.switches,
            "ratio": compute_ratio(measured, UNCHANGED, CHECK),
            "processor_us": {kind: round(cost, 3) for kind, cost in costs.items()},
            "rounds": list_rounds(measured),
        }

    def _measure(self, rounds: int, seconds: int) -> list[Round]:
        load_core, server_core = self._cores
        worker, before = self._edge.worker, self._count_unchanged()
        separate([Target(CHECK, self._edge.port, worker)], load_core, server_core)
        measured = []
        try:
            for kind in (CHECK, UNCHANGED):
                self._ask(kind, WARM_UP_S)
            for number in range(1, rounds + 1):
                for kind in (CHECK, UNCHANGED, WHOLE):
                    one = self._measure_round(number, kind, seconds, worker)
                    tell(f"round {number} of {rounds}: {kind:12} {one.processor_us:8.2f} us, core {one.core:.0%}")
                    measured.append(one)
        finally:
            mix(self._all_cores)
        self._await_unchanged(before + sum(one.requests for one in measured if one.server == UNCHANGED))
        return measured

    def _measure_round(self, number: int, kind: str, seconds: int, worker: int) -> Round:
        if kind == CHECK:
            self._supply.prepare(seconds)
        before = read_usage(worker)
        summary = self._ask(kind, seconds)
        used = read_usage(worker) - before
        return Round(
            number=number,
            server=kind,
            requests=summary.requests,
            seconds=summary.duration_us / MICRO,
            user_s=used.user_s,
            system_s=used.system_s,
            load_s=0.0,
            p50_us=summary.p50_us,
            p99_us=summary.p99_us,
        )

    def _ask(self, kind: str, seconds: int) -> Summary:
        port, core = self._edge.port, self._cores[0]
        if kind == CHECK:
            return run_wrk(self._supply, port, seconds, core)
        return cycle(self._files[kind], f"http://127.0.0.1:{port}{TARGET}", seconds, core)

    def _count_unchanged(self) -> int:
        count: int = self._edge.read_status()["workers"][0]["flags_unchanged"]
        return count

    def _await_unchanged(self, wanted: int) -> None:
        """Returns when the worker has counted so many answers of 304, which it tells once a second."""
        deadline = time.monotonic() + COUNT_TIMEOUT_S
        while self._count_unchanged() < wanted:
            if time.monotonic() > deadline:
                raise MeasureError(f"expected {wanted} answers of 304, got {self._count_unchanged()}")
            time.sleep(0.1)
