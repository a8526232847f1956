"""What a whitelist of ten million costs: building it, the memory of a host, and a check that looks in it.

The list goes the way of all lists: a file of ids, `graywave audience put`, the store, a host that fetches and maps it.
A check that looks in it is set against one with a thousand users inline, by the processor time of the same worker.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import orjson

from loadtest.cost import WARM_UP_S, Target, measure_round, mix, separate
from loadtest.delivery import tell
from loadtest.errors import MeasureError, ServerError
from loadtest.population import (
    ADDRESS_AT,
    BLANK_ADDRESS,
    BLANK_ID,
    DEVICE_ID_AT,
    HEAD,
    ID_MASK,
    ID_STEP,
    RECORD,
    REQUEST_ID_AT,
    WORKSPACE,
    make_address,
)
from loadtest.report import Round, list_rounds
from loadtest.stage import ARRIVAL_TIMEOUT_S, Edge, Stage, await_revision, make_environment
from loadtest.wrk import Supply, run_wrk

Json = dict[str, Any]

NAME: Final = "big"
AUDIENCE, INLINE = "audience", "inline"
# One program for each kind of list, above all that are published for load.
PROGRAMS: Final = {AUDIENCE: "2021000000950001", INLINE: "2021000000950002"}
VERSION: Final = "1.0.0.0"
# As many as a document may name.
INLINE_USERS: Final = 1_000
# The workers of the host whose memory is measured.
WORKERS: Final = 4
# How long a command may take that is promised to take a minute, in seconds.
BUILD_TIMEOUT_S: Final = 300.0
# How long the many lists may take to be made and asked, in seconds.
LOOKUP_TIMEOUT_S: Final = 600.0
LINES: Final = 100_000
KIB: Final = 1_024
# The same as other questions: a device that has the newest version, so that each answer has nothing to do.
_BODY: Final = (
    '{{"workspace":"{workspace}","device":{{"user":"{id}","id":"d1","platform":"android"}},"programs":{programs}}}'
)


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: the ids of the one list; of the many lists how many, their ids each, and look-ups."""

    ids: int
    lists: int
    ids_each: int
    lookups: int


FULL: Final = Size(10_000_000, 100, 1_000_000, 200_000)
QUICK: Final = Size(50_000, 5, 10_000, 10_000)


def name_user(number: int) -> str:
    """Returns a user's id; no two numbers below 2^64 have the same."""
    return f"{number * ID_STEP & ID_MASK:016x}"


def make_program(kind: str) -> Json:
    """Returns the document of a program whose one release is for a list of one kind."""
    digest = sha256(kind.encode()).hexdigest()
    transfer = {"format": "zstd", "url": f"https://cdn.example/{kind}.zst", "size": 1, "sha256": digest}
    users = [name_user(number) for number in range(INLINE_USERS)]
    return {
        "format": 1,
        "program": PROGRAMS[kind],
        "packages": {VERSION: {"sha256": digest, "size": 1, "transfers": [transfer]}},
        "releases": [
            {"id": "r1", "package": VERSION, "who": {"audiences": [NAME]} if kind == AUDIENCE else {"users": users}}
        ],
    }


def make_template(kind: str) -> bytes:
    """Returns a request in which a user's id stands where other requests have the device's.

    Raises:
        MeasureError: it would stand elsewhere; then `request.lua` would ask about nobody.
    """
    body = _BODY.format(workspace=WORKSPACE, id=BLANK_ID, programs=orjson.dumps({PROGRAMS[kind]: VERSION}).decode())
    # A character less than other requests have here, since `user` is one more than `id`.
    head = HEAD.replace("okhttp/4.12.0", "okhttp/4.9.0")
    request = (head.format(address=BLANK_ADDRESS, id=BLANK_ID, length=len(body)) + body).encode()
    places = (request.find(BLANK_ADDRESS.encode()), request.find(BLANK_ID.encode()), request.rfind(BLANK_ID.encode()))
    if places[1:] != (REQUEST_ID_AT, DEVICE_ID_AT) or request.find(b"?") != ADDRESS_AT:
        raise MeasureError(f"expected ids at {REQUEST_ID_AT} and {DEVICE_ID_AT}, got them at {places[1:]}")
    return request


class Users:
    """Who asks: every other one is a member of the list, drawn from all of it, and the others are on none.

    Args:
        kind: of the list.
        members: how many it has.
        seed: of all drawing.
    """

    def __init__(self, kind: str, members: int, seed: int) -> None:
        self.templates = [make_template(kind)]
        self._members, self._seed = members, seed

    def draw_records(self, start: int, count: int) -> bytes:
        """Returns the records of the users from number `start` on, as `Population` does."""
        draw = Random(f"{self._seed}/users/{start}").randrange
        members, strangers, pack = self._members, 1 << 62, RECORD.pack
        records = bytearray()
        for number in range(start, start + count):
            place = draw(members) if number & 1 else members + draw(strangers)
            records += pack(name_user(place).encode(), make_address(number), 0)
        return bytes(records)

    def render(self, records: bytes) -> Iterable[bytes]:
        """Yields the requests that records stand for."""
        for user, address, _ in RECORD.iter_unpack(records):
            request = bytearray(self.templates[0])
            request[ADDRESS_AT : ADDRESS_AT + len(BLANK_ADDRESS)] = address
            request[REQUEST_ID_AT : REQUEST_ID_AT + len(BLANK_ID)] = user
            request[DEVICE_ID_AT : DEVICE_ID_AT + len(BLANK_ID)] = user
            yield bytes(request)


def write_ids(path: Path, count: int) -> None:
    """Writes a file of ids, one a line."""
    with path.open("w", encoding="ascii") as file:
        for start in range(0, count, LINES):
            file.write("".join(f"{name_user(number)}\n" for number in range(start, min(start + LINES, count))))


def read_pss(pids: Iterable[int]) -> int:
    """Returns the bytes of memory of some processes, what they share counted once between them.

    Raises:
        MeasureError: Linux does not say.
    """
    return sum(_parse_pss(Path(f"/proc/{pid}/smaps_rollup").read_text()) for pid in pids)


def _parse_pss(text: str) -> int:
    for line in text.splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * KIB
    raise MeasureError(f"expected a line of Pss in smaps_rollup, got {text[:80]!r}")


def compute_ratio(rounds: Sequence[Round]) -> float:
    """Returns the median over the rounds of what a check of the audience costs, over one with inline users."""
    costs = {(one.number, one.server): one.processor_us for one in rounds}
    numbers = sorted({one.number for one in rounds})
    return round(median(costs[number, AUDIENCE] / costs[number, INLINE] for number in numbers), 3)


class AudienceBench:
    """Measures audiences on a stage.

    Args:
        stage: with nothing of audiences published yet.
        folder: of what is written.
        size: how much.
        rounds: how often both kinds of checks are measured.
        seconds: how long each time.
        cores: of the load, and of the worker.
        seed: of all drawing.
    """

    def __init__(
        self, stage: Stage, folder: Path, size: Size, *, rounds: int, seconds: int, cores: tuple[int, int], seed: int
    ) -> None:
        self._stage, self._folder, self._size = stage, folder, size
        self._rounds, self._seconds, self._cores = rounds, seconds, cores
        self._supplies = {}
        for kind, members in ((AUDIENCE, size.ids), (INLINE, INLINE_USERS)):
            (folder / kind).mkdir()
            self._supplies[kind] = Supply(Users(kind, members, seed), folder / kind)

    def run(self) -> Json:
        """Returns the figures."""
        host = self._stage.start_edge("host", has_lane=True, workers=WORKERS)
        single = self._stage.start_edge("single", has_lane=True)
        await_revision(host, self._ask(INLINE), self._stage.publish([make_program(INLINE)]))
        self._load(host, INLINE)
        before = read_pss(_list_workers(host))
        report = {"ids": self._size.ids, **self._build()}
        revision = self._stage.publish([make_program(AUDIENCE)])
        for edge in (host, single):
            _await_audience(edge, self._size.ids)
            await_revision(edge, self._ask(AUDIENCE), revision)
        self._load(host, AUDIENCE)
        report["memory_bytes"] = read_pss(_list_workers(host)) - before
        report["workers"] = WORKERS
        host.server.stop()
        report |= self._measure_cost(single)
        single.server.stop()
        return report | self._look_up()

    def _ask(self, kind: str) -> bytes:
        """A question about a kind's program."""
        return next(iter(self._supplies[kind].population.render(self._supplies[kind].take(1))))

    def _load(self, edge: Edge, kind: str) -> None:
        run_wrk(self._supplies[kind], edge.port, self._seconds, self._cores[0])

    def _build(self) -> Json:
        tell(f"building an audience of {self._size.ids} ids")
        ids = self._folder / "ids.txt"
        write_ids(ids, self._size.ids)
        began = time.perf_counter()
        self._stage.put_audience(NAME, ids, BUILD_TIMEOUT_S)
        took = time.perf_counter() - began
        ids.unlink()
        (file,) = [path for path in self._stage.store.glob("*/*") if path.is_file()]
        return {"build_s": round(took, 1), "file_bytes": file.stat().st_size}

    def _measure_cost(self, edge: Edge) -> Json:
        """Both kinds of checks on one worker, in turn, as the section `cost` does it."""
        load_core, server_core = self._cores
        target = Target(AUDIENCE, edge.port, edge.worker)
        rounds: list[Round] = []
        separate([target], load_core, server_core)
        for supply in self._supplies.values():
            run_wrk(supply, edge.port, WARM_UP_S, load_core)
        for number in range(1, self._rounds + 1):
            for kind, supply in self._supplies.items():
                one = measure_round(number, Target(kind, edge.port, edge.worker), supply, self._seconds, load_core)
                tell(f"round {number} of {self._rounds}: {kind:12} {one.processor_us:6.2f} us a check")
                rounds.append(one)
        mix(sorted({load_core, server_core}))
        costs = {
            kind: round(median(one.processor_us for one in rounds if one.server == kind), 3) for kind in self._supplies
        }
        return {"ratio": compute_ratio(rounds), "processor_us": costs, "rounds": list_rounds(rounds)}

    def _look_up(self) -> Json:
        """Many lists in a process that maps them as a worker does; see `loadtest.lookup`."""
        size = self._size
        tell(f"looking up in {size.lists} audiences with {size.lists * size.ids_each} ids in all")
        folder = self._folder / "lists"
        folder.mkdir()
        numbers = map(str, (size.lists, size.ids_each, size.lookups))
        command = [sys.executable, "-m", "loadtest.lookup", str(folder), *numbers]
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=make_environment({}), timeout=LOOKUP_TIMEOUT_S
        )
        if done.returncode:
            raise ServerError(f"loadtest.lookup ended with code {done.returncode}: {done.stderr.strip()[-500:]}")
        return {"lists": size.lists, "ids_in_all": size.lists * size.ids_each, **orjson.loads(done.stdout)}


def _list_workers(edge: Edge) -> list[int]:
    return [int(worker["pid"]) for worker in edge.read_status()["workers"]]


def _await_audience(edge: Edge, users: int) -> None:
    """Returns once a host has the list, and all its workers the row of it."""

    def is_there() -> bool:
        status = edge.read_status()
        held = status["workspaces"][WORKSPACE]["audiences"].get(NAME, {})
        reached = all(worker["cursor"] >= status["row"] for worker in status["workers"])
        return reached and held.get("users") == users and not held.get("problem")

    _await(is_there, f"{edge.server.name} to have the audience")


def _await(is_there: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while not is_there():
        if time.monotonic() > deadline:
            raise MeasureError(f"expected {what} within {ARRIVAL_TIMEOUT_S:.0f} s")
        time.sleep(0.1)
