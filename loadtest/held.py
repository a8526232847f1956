"""Held checks at full size: one worker holds as many devices as it may, and is given something to tell them.

Counted is who was told, and how late the last one was; measured are the worker's memory for each, and how long ordinary
checks take meanwhile, by a process of its own (`loadtest.stream`).
"""

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, cast

import orjson
import uvloop

from loadtest.author import Author
from loadtest.client import ask_one
from loadtest.cost import Target, mix, separate
from loadtest.delivery import tell
from loadtest.errors import MeasureError
from loadtest.population import WORKSPACE
from loadtest.processor import read_usage
from loadtest.stage import POLL_S, Edge, Stage, make_environment

Json = dict[str, Any]

# What is promised.
MAX_BYTES_EACH = 4_096
MAX_LAST_S = 3.0
MAX_P99_RATIO = 3.0
LEAST_HELD = 15_000

PROGRAM, OTHER = "2021910000000001", "2021910000000002"
# What a device has installed that is told of the newest version whichever it is.
FIRST = "0.1"
WAIT_S = 50
# Connections that are made at a time: the kernel keeps so many for a busy worker.
AT_ONCE = 200
# How long something may take to come about, in seconds.
PATIENCE_S = 30.0
# After a publish ordinary checks are looked at for so long, in seconds, or until the last device was told.
QUIET_S = 3.0
# Descriptors that this process needs beside the devices' connections.
OTHER_DESCRIPTORS = 256
KIB = 1_024
MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """How many devices are held, and how often they are told."""

    devices: int
    rounds: int


FULL = Size(LEAST_HELD, 5)
QUICK = Size(500, 1)


class _Device(asyncio.Protocol):
    """One device: it asks when it is told to, and notes when its answer has come."""

    def __init__(self, note_end: Callable[[], None]) -> None:
        self._note_end = note_end
        self._transport: asyncio.Transport
        self.answered_at = 0.0
        self.answer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the connection."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, _exc: Exception | None) -> None:
        """Notes that the connection has ended."""
        self._note_end()

    def ask(self, request: bytes) -> None:
        """Asks."""
        self.answered_at, self.answer = 0.0, b""
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Takes the answer, which comes in one piece or in several."""
        self.answered_at = time.monotonic()
        self.answer += data

    def close(self) -> None:
        """Goes away."""
        self._transport.abort()


class HeldBench:
    """Everything that is measured of held checks.

    Args:
        stage: where.
        edge: of one worker.
        size: how many.
        cores: the load's and the server's.
    """

    def __init__(self, stage: Stage, edge: Edge, size: Size, cores: tuple[int, int]) -> None:
        self._stage, self._edge, self._size, self._cores = stage, edge, size, cores
        self._worker = 0
        self._ended = 0

    def run(self) -> Json:
        """Returns the figures."""
        _raise_limit(self._size.devices + OTHER_DESCRIPTORS)
        load_core, server_core = self._cores
        self._stage.publish([make_document(PROGRAM, 0), make_document(OTHER, 0)])
        self._worker = self._edge.worker
        try:
            separate([Target("held", self._edge.port, self._worker)], load_core, server_core)
            return uvloop.run(self._run())
        finally:
            mix(self._cores)

    async def _run(self) -> Json:
        size = self._size
        tell(f"{size.devices} devices are held by one worker")
        await self._await_version(0)
        before = read_memory(self._worker)
        devices = await self._connect()
        idle = read_memory(self._worker)
        rounds = []
        async with self._stage.make_author() as author:
            with ordinary_checks(self._edge.port, make_request(OTHER, 0, FIRST, wait_s=0)) as took:
                for turn in range(1, size.rounds + 1):
                    tell(f"they are told, {turn} of {size.rounds}")
                    rounds.append(await self._measure_round(author, devices, turn))
                    if turn == 1:
                        held = rounds[0].pop("memory")
            for device in devices:
                device.close()
        return {
            "devices": size.devices,
            "bytes_each": round((held - before) / size.devices),
            "bytes_of_connection": round((idle - before) / size.devices),
            "rounds": [self._judge_round(one, took) for one in rounds],
        }

    async def _connect(self) -> list[_Device]:
        loop, port = asyncio.get_running_loop(), self._edge.port
        devices: list[_Device] = []
        for first in range(0, self._size.devices, AT_ONCE):
            numbers = range(first, min(first + AT_ONCE, self._size.devices))
            made = await asyncio.gather(
                *[loop.create_connection(self._make_device, "127.0.0.1", port) for _ in numbers]
            )
            devices += [device for _, device in made]
        return devices

    def _make_device(self) -> _Device:
        return _Device(self._note_end)

    def _note_end(self) -> None:
        self._ended += 1

    async def _measure_round(self, author: Author, devices: Sequence[_Device], turn: int) -> Json:
        """All ask, have nothing to do and are held; something else is published, and then what they wait for."""
        for number, device in enumerate(devices):
            device.ask(make_request(PROGRAM, number, version(turn - 1)))
            if number % AT_ONCE == 0:
                await asyncio.sleep(0.01)
        await self._await_held(len(devices))
        found: Json = {"memory": read_memory(self._worker)} if turn == 1 else {}
        await asyncio.sleep(1.0)
        found["quiet"] = (time.monotonic(), time.monotonic() + QUIET_S)
        await asyncio.sleep(QUIET_S)
        await author.put(OTHER, author.sign(make_document(OTHER, turn)), is_new=False)
        await asyncio.sleep(1.0)
        found["told_of_others"] = sum(bool(device.answer) for device in devices)
        body = author.sign(make_document(PROGRAM, turn))
        used, began = read_usage(self._worker), time.monotonic()
        await author.put(PROGRAM, body, is_new=False)
        published = time.monotonic()
        while not all(device.answer for device in devices):
            if self._ended:
                raise MeasureError(f"expected connections to stay, {self._ended} have ended")
            if time.monotonic() > began + PATIENCE_S:
                left = sum(not device.answer for device in devices)
                raise MeasureError(f"expected all told within {PATIENCE_S:.0f} s, {left} were not")
            await asyncio.sleep(POLL_S)
        used = read_usage(self._worker) - used
        found["processor_us_each"] = round(used.total_s * MICRO / len(devices), 1)
        answered = sorted(device.answered_at for device in devices)
        found["busy"] = (began, answered[-1])
        found["published_s"], found["first_s"] = round(published - began, 3), round(answered[0] - began, 3)
        found["last_s"] = round(answered[-1] - began, 3)
        found["half_s"] = round(answered[len(answered) // 2] - began, 3)
        mark = f'"version":"{version(turn)}"'.encode()
        found["wrong"] = sum(mark not in one.answer or b"Preference-Applied" not in one.answer for one in devices)
        return found

    def _judge_round(self, found: Json, took: Sequence[tuple[float, float]]) -> Json:
        for name in ("quiet", "busy"):
            begin, end = found.pop(name)
            times = sorted(ms for due, ms in took if begin <= due < end)
            found[f"{name}_checks"] = len(times)
            found[f"{name}_median_ms"], found[f"{name}_p99_ms"] = round(_pick(times, 50), 3), round(_pick(times, 99), 3)
        return found | {"p99_ratio": round(found["busy_p99_ms"] / found["quiet_p99_ms"], 2)}

    def _count_held(self) -> int:
        held: int = self._edge.read_status()["workers"][0]["held"]
        return held

    async def _await_held(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while (held := await asyncio.to_thread(self._count_held)) != count:
            if time.monotonic() > deadline:
                raise MeasureError(f"expected {count} held checks, got {held}")
            await asyncio.sleep(POLL_S)

    async def _await_version(self, turn: int) -> None:
        """Returns once the worker tells of a turn."""
        deadline = time.monotonic() + PATIENCE_S
        request = make_request(OTHER, 0, FIRST, wait_s=0)
        while version(turn).encode() not in (await ask_one(self._edge.port, request)).body:
            if time.monotonic() > deadline:
                raise MeasureError(f"expected version {version(turn)} within {PATIENCE_S:.0f} s")
            await asyncio.sleep(POLL_S)


def version(turn: int) -> str:
    """Returns the version that a turn brings."""
    return f"1.0.{turn}.0"


def make_document(program: str, turn: int) -> Json:
    """Returns the document that gives everybody a turn's version."""
    package = {
        "sha256": "5e" * 32,
        "size": 700,
        "signature": "unsigned",
        "transfers": [{"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}],
    }
    return {
        "format": 1,
        "program": program,
        "packages": {version(turn): package},
        "releases": [{"id": f"r{turn}", "package": version(turn)}],
    }


def make_request(program: str, number: int, installed: str, wait_s: int = WAIT_S) -> bytes:
    """Returns the request of a device of usual length, which would wait."""
    device = {
        "id": f"device-{number:08}", "user": f"u-{number:08}", "platform": "android", "os": "14", "app": "10.2.3",
        "manufacturer": "Xiaomi", "model": "MI 10", "network": "wifi", "city": "Hangzhou", "region": "CN-ZJ",
        "country": "CN", "locale": "zh-CN",
    }  # fmt: skip
    body = orjson.dumps({"workspace": WORKSPACE, "device": device, "programs": {program: installed}})
    prefer = f"Prefer: wait={wait_s}\r\n" if wait_s else ""
    head = f"Host: edge\r\nContent-Type: application/json\r\n{prefer}Content-Length: {len(body)}\r\n\r\n"
    return f"POST /v1/check HTTP/1.1\r\n{head}".encode() + body


def read_memory(pid: int) -> int:
    """Returns the bytes that a process has for itself, its share of what it shares with others included (PSS)."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise MeasureError(f"expected the memory of process {pid}, got none")


@contextmanager
def ordinary_checks(port: int, request: bytes) -> Iterator[list[tuple[float, float]]]:
    """Sends ordinary checks meanwhile; the list has when each was due and its milliseconds, once the context ends."""
    took: list[tuple[float, float]] = []
    with ExitStack() as cleanup:
        stream = subprocess.Popen(
            [sys.executable, "-m", "loadtest.stream", str(port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=make_environment({}),
        )
        cleanup.callback(stream.kill)
        assert stream.stdin is not None  # noqa: S101 - as said above
        stream.stdin.write(request)
        stream.stdin.close()
        yield took
        stream.terminate()
        assert stream.stdout is not None  # noqa: S101 - as said above
        took += orjson.loads(stream.stdout.read())
        stream.wait()


def _raise_limit(descriptors: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors:
        raise MeasureError(f"expected {descriptors} descriptors for this process, its hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, hard))


def _pick(ordered: Sequence[float], percent: int) -> float:
    """The value that so many of a hundred do not exceed."""
    return ordered[-(-percent * len(ordered) // 100) - 1] if ordered else 0.0


def judge_held(report: Json, *, is_quick: bool) -> list[str]:
    """Returns a line for each promise about held checks that a report breaks."""
    failures = [
        f"expected each told of its own news, got {one['wrong']} wrong answers, {one['told_of_others']} of others' news"
        for one in report["rounds"]
        if one["wrong"] or one["told_of_others"]
    ]
    if is_quick:
        return failures
    if report["devices"] < LEAST_HELD:
        failures.append(f"expected at least {LEAST_HELD} held checks, got {report['devices']}")
    if report["bytes_each"] > MAX_BYTES_EACH:
        failures.append(f"expected at most {MAX_BYTES_EACH} bytes a held check, got {report['bytes_each']}")
    last_s, ratio = find_last(report), find_ratio(report)
    if last_s > MAX_LAST_S:
        failures.append(f"expected all told within {MAX_LAST_S:.0f} s of a publish, got {last_s} s")
    if ratio > MAX_P99_RATIO:
        failures.append(f"expected ordinary checks' p99 at most {MAX_P99_RATIO:.0f} times the quiet one, got {ratio}")
    return failures


def find_last(report: Json) -> float:
    """Returns how long the last device waited in the slowest round, in seconds."""
    last_s: float = max(one["last_s"] for one in report["rounds"])
    return last_s


def find_ratio(report: Json) -> float:
    """Returns the median of the rounds' ratios."""
    ratio: float = median(one["p99_ratio"] for one in report["rounds"])
    return ratio


def render_held(report: Json) -> Iterator[str]:
    """Yields the lines of the table."""
    busy, quiet = [round(median(one[f"{name}_p99_ms"] for one in report["rounds"]), 2) for name in ("busy", "quiet")]
    yield (
        f"held       {report['devices']} by one worker, {report['bytes_each']} bytes each "
        f"({report['bytes_of_connection']} of them for an idle connection)"
    )
    cost_us = median(one["processor_us_each"] for one in report["rounds"])
    yield (
        f"held       all told {find_last(report)} s after a publish at most, in {len(report['rounds'])} rounds, "
        f"for {cost_us} us of the worker's processor each, ordinary checks included"
    )
    yield f"held       ordinary checks meanwhile: p99 {busy} ms, quiet {quiet} ms, ratio {find_ratio(report)}"
