"""Windows at full size: two hosts of two workers, one Redis, and everything that can happen to them while all ask.

What is counted is who was told. A window that tells one more than it may, or forgets whom it told, breaks a promise.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

import orjson
from joserfc import jws
from joserfc.jwk import OKPKey

from loadtest.author import Author, publish_all
from loadtest.client import ask_one
from loadtest.cost import Target, measure_round, mix, separate
from loadtest.crowd import Crowd
from loadtest.delivery import tell
from loadtest.errors import MeasureError
from loadtest.packager import Packager
from loadtest.population import WORKSPACE, Population
from loadtest.process import Server, await_port, await_ready, pick_cores, pick_port
from loadtest.program import make_documents
from loadtest.relay import RedisServer, Relay
from loadtest.stage import POLL_S, Edge, find_redis, is_ok, make_command, make_environment, run_command
from loadtest.wrk import Supply

Json = dict[str, Any]

ISSUER, AUDIENCE, KID = "https://bank.example", "graywave", "bench"
FIRST_PROGRAM = 2_021_900_000_000_000
# As RFC 9864 calls it; JWTs of back ends say EdDSA as well.
ALGORITHM = "Ed25519"
_REGISTRY = jws.JWSRegistry(algorithms=[ALGORITHM])
VERSION, RELEASE = "1.0.0.0", "window"
# How long hosts may take to admit again, or to have a document, in seconds.
PATIENCE_S = 60.0
# How often everybody may have to ask until all places are given.
MAX_ROUNDS = 6
# A live window may cost the checks of other programs this much of their processor time.
MAX_COST = 1.05
# Users whom the back end has proven, among those that are made up.
PROVEN = 50
HOUR_S = 3_600
# After so long every worker has every member on its host's list, in seconds.
COPY_S = 3.0
# So many connections reach every worker of a host.
PROBES = 20


@dataclass(frozen=True, slots=True)
class Size:
    """How many ask, for how many places; `faulty` is how many ask while one of the `faults` happens.

    `programs` are the others, whose checks a window may cost nothing.
    """

    devices: int
    places: int
    faulty: int
    made_up: int
    programs: int
    rounds: int
    seconds: int
    faults: tuple[str, ...]


FAULTS = ("killed_worker", "killed_redis", "emptied_redis", "promoted_replica")
FULL = Size(200_000, 10_000, 200_000, 1_000_000, programs=200, rounds=8, seconds=4, faults=FAULTS)
QUICK = Size(3_000, 200, 1_000, 3_000, programs=10, rounds=1, seconds=1, faults=FAULTS[-1:])


class Hall:
    """Two hosts of two workers with a folder each, a Redis with its replica behind one address, and a publisher.

    Args:
        folder: of everything that they write.
        cleanup: what ends with the measurement.
    """

    def __init__(self, folder: Path, cleanup: ExitStack) -> None:
        self._folder, self._cleanup = folder, cleanup
        self._token, self._numbers = secrets.token_urlsafe(24), count(1)
        self.keys = folder / "keys"
        folder.mkdir()
        run_command("keys", "new", str(self.keys), "--workspace", WORKSPACE)
        run_command("keys", "fingerprint", str(folder / "fingerprint.key"))
        self._packager = Packager(WORKSPACE, (self.keys / "package.key").read_bytes())
        self.back_end = OKPKey.generate_key("Ed25519")
        public = {**self.back_end.as_dict(private=False), "kid": KID, "use": "sig", "alg": ALGORITHM}
        (folder / "back-end.json").write_bytes(orjson.dumps({"keys": [public]}))
        primary = RedisServer(find_redis(), folder / "redis-1")
        cleanup.callback(primary.kill)
        replica = RedisServer(find_redis(), folder / "redis-2", primary.port)
        cleanup.callback(replica.kill)
        self.servers = [primary, replica]
        self.relay = cleanup.enter_context(Relay(primary.port))
        self._publisher_port = pick_port()
        self._start_publisher()
        self.publish(make_documents(1, seed=0))  # an edge without rules is not ready
        self.hosts = [self.start_host(f"host-{number}", workers=2) for number in (1, 2)]
        self.await_open()

    @property
    def ports(self) -> list[int]:
        """Where devices reach the hosts."""
        return [host.port for host in self.hosts]

    def start_host(self, name: str, *, workers: int) -> Edge:
        """Returns a host that is ready."""
        port, admin, data = pick_port(), pick_port(), self._folder / name
        settings = {
            "LISTEN": f"127.0.0.1:{port}",
            "ADMIN": f"127.0.0.1:{admin}",
            "WORKERS": str(workers),
            "MAX_BUSY_PERCENT": "100",  # who asks at full load must not be refused
            "DATA": str(data),
            "REDIS": self.relay.url,
            "WORKSPACES": f"{WORKSPACE}={self.keys / 'root.json'}",
            "FINGERPRINT_KEYS": f"k1={self._folder / 'fingerprint.key'}",
            "PROOF_KEYS": f"{WORKSPACE}={self._folder / 'back-end.json'}",
            "PROOF_ISSUERS": f"{WORKSPACE}={ISSUER}",
            "PROOF_AUDIENCES": f"{WORKSPACE}={AUDIENCE}",
        }
        server = self._start(name, "edge", {f"GRAYWAVE_EDGE_{key}": value for key, value in settings.items()})
        await_ready(lambda: is_ok(f"http://127.0.0.1:{admin}/readyz"), server)
        return Edge(server, port, admin, data, has_lane=True)

    def _start(self, name: str, command: str, environment: dict[str, str]) -> Server:
        server = Server(name, make_command(command), self._folder / f"{name}.log", make_environment(environment))
        self._cleanup.callback(server.stop)
        return server

    def _start_publisher(self) -> None:
        settings = {
            "LISTEN": f"127.0.0.1:{self._publisher_port}",
            "WORKSPACE": WORKSPACE,
            "REDIS": self.relay.url,
            "FOLDER": str(self._folder / "publisher"),
            "ROOT": str(self.keys / "root.json"),
            "OFFER_KEY": str(self.keys / "offer.key"),
            "CHANNEL_KEY": str(self.keys / "channel.key"),
            "TOKEN": self._token,
            "UNCHECKED_FILES": "true",
            "FINGERPRINT_KEYS": f"k1={self._folder / 'fingerprint.key'}",
        }
        environment = {f"GRAYWAVE_PUBLISHER_{key}": value for key, value in settings.items()}
        await_port(self._publisher_port, self._start("publisher", "publisher", environment))

    def publish(self, documents: Sequence[Json]) -> None:
        """Publishes documents that were not there before."""
        asyncio.run(publish_all(Author(self._publisher_port, self._token, self._packager), documents))

    def replace(self, document: Json) -> None:
        """Publishes a document anew."""

        async def put() -> None:
            async with Author(self._publisher_port, self._token, self._packager) as author:
                await author.put(document["program"], author.sign(document), is_new=False)

        asyncio.run(put())

    def open_window(self, places: int, **members: Any) -> "Line":
        """Publishes a program with a window, and returns who may queue for it, once both hosts know it."""
        line = Line(str(FIRST_PROGRAM + next(self._numbers)))
        _retry(lambda: self.publish([line.make_document(places, **members)]))
        self.await_program(line, self.hosts)
        self.await_open()
        return line

    def await_program(self, line: "Line", hosts: Sequence[Edge]) -> None:
        """Returns once all workers of these hosts know a program."""
        for host in hosts:
            _await(partial(line.is_known, host))

    def await_open(self, after: int = 0) -> None:
        """Returns once both hosts admit, in a later generation than this."""
        for host in self.hosts:
            _await(partial(_admits, host, after))

    def read_generation(self) -> int:
        """Returns how often Redis was given everything."""
        generation: int = _read_windows(self.hosts[0])["generation"]
        return generation

    def prove(self, user: str) -> str:
        """Returns the back end's token for a user."""
        claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": user, "exp": int(time.time()) + HOUR_S}
        registry = jws.JWSRegistry(algorithms=["EdDSA"])
        return jws.serialize_compact(
            {"alg": "EdDSA", "kid": KID}, orjson.dumps(claims), self.back_end, registry=registry
        )


@dataclass(frozen=True, slots=True)
class Line:
    """Those who queue for one program's window."""

    program: str

    def make_document(self, places: int, *, state: str = "live", **members: Any) -> Json:
        """Returns the document: a release for a window, and for one user, so that the hosts can be asked about it."""
        window = {"limit": places, "closes_at": int(time.time()) + HOUR_S, **members}
        package = {
            "sha256": "5e" * 32,
            "size": 700,
            "signature": "unsigned",
            "transfers": [{"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}],
        }
        return {
            "format": 1,
            "program": self.program,
            "packages": {VERSION: package},
            "releases": [{"id": RELEASE, "package": VERSION, "state": state, "who": {"window": window}}],
        }

    def make_request(self, device: str, user: str = "", token: str = "", installed: str = "") -> bytes:
        """Returns the request of a device."""
        body = (
            f'{{"workspace":"{WORKSPACE}","device":{{"id":"{device}","platform":"android","user":"{user}"}},'
            f'"programs":{{"{self.program}":"{installed}"}}}}'
        )
        fields = f"Host: edge\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        proof = f"Authorization: Bearer {token}\r\n" if token else ""
        return f"POST /v1/check HTTP/1.1\r\n{fields}{proof}\r\n{body}".encode()

    def make_crowd(self, make: Callable[[int], bytes] | None = None) -> Crowd:
        """Returns the devices, each with an id of its own."""
        return Crowd(make or (lambda number: self.make_request(f"d-{number:09}")), b'"release":"%b"' % RELEASE.encode())

    def is_known(self, host: Edge) -> bool:
        """Says whether so many connections, hence every worker of a host, know the program; they take no place."""
        probe = self.make_request("probe", installed=VERSION)
        return all(b'"unknown"' not in asyncio.run(ask_one(host.port, probe)).body for _ in range(PROBES))


def _read_windows(host: Edge) -> Json:
    windows: Json = host.read_status()["workspaces"][WORKSPACE]["windows"]
    return windows


def _admits(host: Edge, after: int) -> bool:
    windows = _read_windows(host)
    return bool(windows["admits"]) and windows["generation"] > after


def _await(is_true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        if time.monotonic() > deadline:
            raise MeasureError(f"expected the hosts to be there within {PATIENCE_S:.0f} s")
        time.sleep(POLL_S)


def _retry(act: Callable[[], None]) -> None:
    """Does what a publisher may refuse while its Redis has just come back."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return act()
        except MeasureError:
            if time.monotonic() > deadline:
                raise
            time.sleep(1)


class Measurement:
    """Everything that is asked of windows.

    Args:
        hall: where.
        size: how many.
    """

    def __init__(self, hall: Hall, size: Size) -> None:
        self._hall, self._size = hall, size
        self._victim = 0

    def run(self) -> Json:
        """Returns the figures."""
        size = self._size
        tell(f"{size.devices} devices ask at once for {size.places} places")
        report: Json = {"crowd": self._measure_crowd()}
        tell(f"{size.made_up} made-up devices ask where proof is wanted")
        report["made_up"] = self._measure_made_up()
        acts = (self._kill_worker, self._kill_redis, self._empty_redis, self._promote_replica)
        report["faults"] = {
            name: self._measure_fault(name, act, loses=name != FAULTS[0])
            for name, act in zip(FAULTS, acts, strict=True)
            if name in size.faults
        }
        return report

    def _measure_crowd(self) -> Json:
        size, hall = self._size, self._hall
        line = hall.open_window(size.places)
        crowd = line.make_crowd()
        started = time.perf_counter()
        first = crowd.ask(hall.ports, size.devices)
        first_s = time.perf_counter() - started
        told, rounds = self._ask_until_full(crowd, first.told, size.devices, size.places)
        figures: Json = {"devices": size.devices, "places": size.places, "first_s": round(first_s, 2)}
        figures |= {"told_first": len(first.told), "told": len(told), "rounds": rounds}
        return figures | self._compare_hosts(crowd, told, size.devices)

    def _ask_until_full(self, crowd: Crowd, before: set[int], devices: int, places: int) -> tuple[set[int], int]:
        """Everybody asks again until so many were told; returns all who were, and how many rounds there were in all."""
        told = set(before)
        for number in range(2, MAX_ROUNDS + 2):
            told |= crowd.ask(self._hall.ports, devices).told
            if len(told) >= places:
                return told, number
            time.sleep(1)  # a worker that has found Redis slow looks again in the next second
        return told, MAX_ROUNDS + 1

    def _compare_hosts(self, crowd: Crowd, told: set[int], devices: int) -> Json:
        """Everybody asks each host; who was told and is not, or is and was not, is counted."""
        time.sleep(COPY_S)
        forgotten, more = 0, 0
        for port in self._hall.ports:
            again = crowd.ask([port], devices).told
            forgotten += len(told - again)
            more += len(again - told)
        return {"forgotten": forgotten, "differing": forgotten + more}

    def _measure_made_up(self) -> Json:
        size, hall = self._size, self._hall
        line = hall.open_window(size.places, proven=True)
        crowd = line.make_crowd(lambda number: line.make_request(f"d-{number:09}", user=f"u-{number:09}"))
        started = time.perf_counter()
        told = crowd.ask(hall.ports, size.made_up).told
        took_s = time.perf_counter() - started
        tokens = [hall.prove(f"p-{number}") for number in range(PROVEN)]
        proven = line.make_crowd(lambda number: line.make_request(f"d-{number}", f"p-{number}", tokens[number]))
        right, _ = self._ask_until_full(proven, set(), PROVEN, PROVEN)
        return {
            "devices": size.made_up,
            "told": len(told),
            "s": round(took_s, 2),
            "proven": PROVEN,
            "proven_told": len(right),
        }

    def _measure_fault(self, name: str, act: Callable[[], None], *, loses: bool) -> Json:
        """All ask, something happens when half of the places are given, and all ask again until all places are.

        Where Redis `loses` something, they ask again when the hosts have put it back.
        """
        size, hall = self._size, self._hall
        tell(f"{name}: {size.faulty} devices ask for {size.places} places")
        line, generation = hall.open_window(size.places), hall.read_generation()
        self._victim = hall.hosts[0].worker
        if name == "promoted_replica":
            _await(hall.servers[1].has_copied)
        crowd, steps = line.make_crowd(), [(0.5, act)]
        if name == "promoted_replica":
            steps.insert(0, (0.25, self._cut_replica))
        happened: list[float] = []

        def watch(told: int) -> None:
            while steps and told >= steps[0][0] * size.places:
                happened.append(time.perf_counter())
                steps.pop(0)[1]()

        tally = crowd.ask(hall.ports, size.faulty, watch)
        watch(size.places)  # however few were told
        hall.await_open(generation if loses else 0)
        closed_s = time.perf_counter() - happened[-1] if loses else 0.0
        told, rounds = self._ask_until_full(crowd, tally.told, size.faulty, size.places)
        figures: Json = {"devices": size.faulty, "places": size.places, "told_first": len(tally.told)}
        figures |= {"unanswered": tally.unanswered, "told": len(told), "rounds": rounds, "closed_s": round(closed_s, 2)}
        return figures | self._compare_hosts(crowd, told, size.faulty)

    def _kill_worker(self) -> None:
        os.kill(self._victim, signal.SIGKILL)

    def _kill_redis(self) -> None:
        self._hall.servers[0].kill()
        self._hall.servers[0].start()

    def _empty_redis(self) -> None:
        self._hall.servers[0].client.flushall()

    def _cut_replica(self) -> None:
        """From now on it misses what is given."""
        self._hall.servers[1].client.replicaof("NO", "ONE")

    def _promote_replica(self) -> None:
        """It takes over, and knows of the first quarter alone."""
        self._hall.relay.point(self._hall.servers[1].port)
        self._hall.servers[0].kill()


def measure_cost_of_window(hall: Hall, size: Size, folder: Path) -> Json:
    """Returns what a live window costs the checks of other programs: with and without it, interleaved."""
    cores = sorted(os.sched_getaffinity(0))
    load_core, server_core = pick_cores(cores)
    documents = make_documents(size.programs, seed=0)
    hall.publish(documents[1:])
    edge = hall.start_host("host-of-cost", workers=1)
    line = hall.open_window(size.places)
    hall.await_program(line, [edge])
    line.make_crowd().ask([edge.port], size.places // 2)
    supply = Supply(Population(documents, 0), folder)
    target = Target("edge", edge.port, edge.worker)
    separate([target], load_core, server_core)
    costs: dict[str, list[float]] = {"live": [], "paused": []}
    for number in range(size.rounds + 1):  # the first one warms up
        for state, found in costs.items():
            hall.replace(line.make_document(size.places, state=state))
            time.sleep(1)  # the edge has it, and its workers have looked at their windows
            one = measure_round(number, target, supply, size.seconds, load_core)
            if number:
                found.append(one.processor_us)
            tell(f"round {number} of {size.rounds}: window {state:7} {one.processor_us:6.2f} us a check")
    mix(cores)
    ratios = [live / paused for live, paused in zip(costs["live"], costs["paused"], strict=True)]
    medians = {f"{state}_us": round(median(found), 3) for state, found in costs.items()}
    return {"ratio": round(median(ratios), 4), **medians, "rounds": size.rounds}


def measure_windows(folder: Path, cleanup: ExitStack, *, is_quick: bool) -> Json:
    """Returns the figures of windows; raises LoadtestError where the measurement itself fails."""
    size = QUICK if is_quick else FULL
    hall = Hall(folder / "hall", cleanup)
    report: Json = {"cost": measure_cost_of_window(hall, size, folder)}
    return report | Measurement(hall, size).run()


def judge_windows(report: Json, *, is_quick: bool) -> list[str]:
    """Returns a line for each promise about windows that a report breaks."""
    failures = []
    for name, one in [("crowd", report["crowd"]), *report["faults"].items()]:
        if one["told"] != one["places"]:
            failures.append(f"expected exactly {one['places']} devices told ({name}), got {one['told']}")
        if one["differing"]:
            failures.append(f"expected the same answer everywhere ({name}), got {one['differing']} others")
        if one["forgotten"]:
            failures.append(f"expected nobody forgotten ({name}), got {one['forgotten']}")
    made_up = report["made_up"]
    if made_up["told"] or made_up["proven_told"] != made_up["proven"]:
        got = f"{made_up['told']} made-up and {made_up['proven_told']} proven ones"
        failures.append(f"expected places for {made_up['proven']} proven users alone, got {got}")
    if not is_quick and report["cost"]["ratio"] > MAX_COST:
        failures.append(f"expected a window to cost others at most {MAX_COST} times, got {report['cost']['ratio']}")
    return failures


def render_windows(report: Json) -> Iterator[str]:
    """Yields the lines of the table."""
    crowd, made_up, cost = report["crowd"], report["made_up"], report["cost"]
    yield (
        f"window     {crowd['devices']} devices for {crowd['places']} places: {crowd['told_first']} at first, "
        f"{crowd['told']} in round {crowd['rounds']}, {crowd['differing']} answers differ"
    )
    for name, one in report["faults"].items():
        yield (
            f"window     {name}: {one['told']} of {one['places']} in round {one['rounds']}, "
            f"{one['forgotten']} forgotten, "
            f"{one['differing']} differ, open and answered after {one['closed_s']} s"
        )
    proven = f"{made_up['proven_told']} of {made_up['proven']} proven ones"
    yield f"window     told {made_up['told']} of {made_up['devices']} made-up devices, and {proven}"
    yield f"window     others cost {cost['ratio']} times: {cost['live_us']} us with it, {cost['paused_us']} us without"
