"""The load generator: one wrk thread on a core of its own, sending records that no round has sent before."""

import os
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import orjson

from loadtest.errors import MeasureError
from loadtest.nginx import DEBIAN
from loadtest.population import ADDRESS_AT, DEVICE_ID_AT, RECORD, REQUEST_ID_AT, count_repeated
from loadtest.process import die_with_parent, find_tool

SCRIPT = Path(__file__).parent / "request.lua"
CYCLE = Path(__file__).parent / "cycle.lua"
CONNECTIONS = 64
# What wrk may take longer than it was asked to, in seconds: reading the templates, closing connections.
GRACE_S = 30.0
# More than any server of one core answers in a second; so many records lie ready for a round.
CEILING_A_SECOND = 300_000
# How many records are drawn at a time.
BATCH = 100_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What wrk counted in one round; times in microseconds."""

    requests: int
    duration_us: int
    sent: int
    repeated: int
    status: int
    broken: int
    p50_us: int
    p99_us: int


class Source(Protocol):
    """Whose requests they are: `Population`, or a simpler one."""

    templates: list[bytes]

    def draw_records(self, start: int, count: int) -> bytes:
        """Returns the records from number `start` on, RECORD.size bytes each."""

    def render(self, records: bytes) -> Iterable[bytes]:
        """Yields the requests that records stand for."""


class Supply:
    """The files from which wrk reads: templates, and records that are drawn as they are needed and used once.

    Args:
        population: who asks.
        folder: takes both files.
    """

    def __init__(self, population: Source, folder: Path) -> None:
        self.population = population
        self.templates = folder / "templates"
        self.records = folder / "records"
        self.used = 0
        self._drawn = 0
        self.templates.write_bytes(b"".join(map(encode_template, population.templates)))
        self.records.write_bytes(b"")

    def prepare(self, seconds: int) -> None:
        """Draws what the fastest server could want in so many seconds."""
        self.ensure(seconds * CEILING_A_SECOND)

    def ensure(self, count: int) -> None:
        """Draws records until so many lie ready that have not been used."""
        with self.records.open("ab") as output:
            while self._drawn - self.used < count:
                output.write(self.population.draw_records(self._drawn, BATCH))
                self._drawn += BATCH

    def take(self, count: int) -> bytes:
        """Returns the next records for a client of the bench's own; they are used up with it."""
        self.ensure(count)
        with self.records.open("rb") as source:
            source.seek(self.used * RECORD.size)
            records = source.read(count * RECORD.size)
        self.used += count
        return records

    def count_repeated(self) -> int:
        """Returns how many of all records that were used come from a device that has asked before."""
        repeated = 0
        with self.records.open("rb") as source:
            for start in range(0, self.used, BATCH):
                records = source.read(min(BATCH, self.used - start) * RECORD.size)
                repeated += count_repeated(records, start)
        return repeated

    def sample(self, count: int) -> bytes:
        """Returns records from all over what has been used, evenly spread."""
        step = max(1, self.used // count) | 1  # odd, so that it does not keep in step with every 20th device
        with self.records.open("rb") as source:
            return b"".join([_read_record(source.fileno(), place) for place in range(0, self.used, step)])


def _read_record(descriptor: int, place: int) -> bytes:
    return os.pread(descriptor, RECORD.size, place * RECORD.size)


def encode_template(template: bytes) -> bytes:
    """Returns a template as `request.lua` reads it: its length in four bytes, little end first, and its bytes."""
    return len(template).to_bytes(4, "little") + template


def run_wrk(supply: Supply, port: int, seconds: int, core: int) -> Summary:
    """Asks a server of this machine as fast as it answers.

    Args:
        supply: what to ask; what was sent is used up afterwards.
        port: the server's, on the loopback interface.
        seconds: how long.
        core: on which the generator runs.

    Raises:
        ToolError: wrk is not installed.
        MeasureError: wrk failed, requests failed, or devices repeated.
    """
    supply.prepare(seconds)
    summary = _run(make_command(supply, port, seconds, supply.used), seconds, core)
    supply.used += summary.sent
    refuse_flawed(summary)
    return summary


def cycle(requests: Path, url: str, seconds: int, core: int) -> Summary:
    """Sends the requests in a file again and again, as fast as they are answered.

    Args:
        requests: each as `encode_template` has it.
        url: the server's, with a target for the sake of wrk alone.
        seconds: how long.
        core: on which the generator runs.

    Raises:
        ToolError: wrk is not installed.
        MeasureError: wrk failed, or requests did.
    """
    options = ["-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", "-s", str(CYCLE)]
    summary = _run([find_tool(DEBIAN, "wrk"), *options, url, "--", str(requests)], seconds, core)
    refuse_flawed(summary)
    return summary


def _run(command: list[str], seconds: int, core: int) -> Summary:
    try:
        done = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=seconds + GRACE_S,
            preexec_fn=lambda: _prepare(core),
        )
    except subprocess.TimeoutExpired:
        raise MeasureError(f"wrk did not end within {seconds + GRACE_S:.0f} s") from None
    if done.returncode:
        raise MeasureError(f"wrk ended with code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return parse_summary(done.stdout)


def _prepare(core: int) -> None:
    """In wrk's process, before it is wrk."""
    die_with_parent()
    os.sched_setaffinity(0, {core})


def make_command(supply: Supply, port: int, seconds: int, start: int) -> list[str]:
    """Returns wrk's command line."""
    # fmt: off
    return [
        find_tool(DEBIAN, "wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--timeout", "5s", "-s", str(SCRIPT),
        f"http://127.0.0.1:{port}/v1/check", "--", str(supply.templates), str(supply.records), str(start),
        str(seconds * CEILING_A_SECOND), str(ADDRESS_AT), str(REQUEST_ID_AT), str(DEVICE_ID_AT),
    ]
    # fmt: on


def parse_summary(output: str) -> Summary:
    """Returns what the script's last line says.

    Raises:
        MeasureError: there is no such line.
    """
    for line in output.splitlines():
        word, _, text = line.partition(" ")
        if word == "summary":
            return Summary(**orjson.loads(text))
    raise MeasureError(f"expected a summary from wrk, got {output[-500:]!r}")


def refuse_flawed(summary: Summary) -> None:
    """Returns where a round may be counted.

    Raises:
        MeasureError: requests failed or were refused, or devices repeated.
    """
    if summary.status or summary.broken:
        raise MeasureError(f"expected 200 for every request, got {summary.status} others, {summary.broken} broken")
    if summary.repeated:
        raise MeasureError(f"the records were used up {summary.repeated} times: devices repeated in this round")
    if not summary.requests:
        raise MeasureError("expected answers, got none")
