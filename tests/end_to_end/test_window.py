"""Windows on two hosts of two workers: never more than there are places, whatever is killed, and nobody forgotten."""

import asyncio
import contextlib
import itertools
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cli.keys import make_fingerprint_key, make_keys
from loadtest.client import Connection
from loadtest.errors import MeasureError
from loadtest.relay import RedisServer, Relay
from loadtest.stage import find_redis
from tests.edge.passport import AUDIENCE, ISSUER, BackEnd
from tests.end_to_end.town import PROGRAM, YEAR_S, Hand, Host, eventually, is_running
from trust import PrivateKey

DEVICES, LIMIT = 300, 40
BACK_END = BackEnd()
CONNECTIONS = 40


@dataclass(slots=True)
class Pair:
    """Two hosts that share a Redis, which has a replica."""

    relay: Relay
    servers: list[RedisServer]
    hosts: list[Host]
    hand: Hand
    numbers: Iterator[int]

    def open_window(self, limit: int = LIMIT, **members: Any) -> str:
        """Publishes a release for a new window, and returns its version once both hosts tell it to somebody."""
        number = next(self.numbers)
        version = f"{number}.0.0.0"
        window = {
            "limit": limit,
            "closes_at": int(time.time()) + 3_600,
            "id": f"{number:016x}",
            "key": "k1",
            **members,
        }
        releases = [
            {"id": f"r{number}", "package": version, "who": {"users": ["u-canary"], "window": window}},
        ]
        self.hand.put(self.hand.seal(self.hand.make(version, releases=releases)))
        for host in self.hosts:
            eventually(lambda host=host: self._is_everywhere(host))
        return version

    def _is_everywhere(self, host: Host) -> bool:
        last = host.read_status()["row"]
        return all(worker["cursor"] == last for worker in host.read_status()["workers"]) and (
            host.read_status()["workspaces"]["hand"]["revision"] == self.hand.revision
        )

    def wait_until_open(self) -> None:
        """Returns once both hosts admit, and their workers know it."""
        for host in self.hosts:
            eventually(lambda host=host: host.read_status()["workspaces"]["hand"]["windows"]["admits"])

    def count(self, version: str) -> int:
        """How many have a place in the window of a version, as the first host's status has it."""
        members = self.hosts[0].read_status()["workspaces"]["hand"]["windows"]["members"]
        return int(members.get(f"{int(version.partition('.')[0]):016x}", 0))

    def ask(
        self, version: str, devices: Sequence[str], host: int | None = None, make: Callable[[str], bytes] | None = None
    ) -> set[str]:
        """Asks for all of these at once, on both hosts or on one; returns those who are told of the version."""
        ports = [int(one.devices.rpartition(":")[2]) for one in self.hosts]
        return asyncio.run(ask_all(ports if host is None else [ports[host]], version, devices, make or make_check))


async def ask_all(ports: list[int], version: str, devices: Sequence[str], make: Callable[[str], bytes]) -> set[str]:
    """Who of these is told of a version; a connection that ends has told nothing."""
    told: set[str] = set()

    async def work(mine: Sequence[str], port: int) -> None:
        for device in mine:
            with contextlib.suppress(MeasureError, OSError):
                async with await Connection.open(port) as connection:
                    answer = await connection.ask(make(device))
                    updates = json.loads(answer.body)["updates"]
                    if [update["version"] for update in updates] == [version]:
                        told.add(device)

    await asyncio.gather(
        *[work(devices[place::CONNECTIONS], ports[place % len(ports)]) for place in range(CONNECTIONS)]
    )
    return told


def make_check(device: str, user: str = "", token: str = "") -> bytes:
    """A whole request."""
    question = {
        "workspace": "hand",
        "device": {"id": device, "platform": "android", "user": user},
        "programs": {PROGRAM: ""},
    }
    body = json.dumps(question).encode()
    head = f"Authorization: Bearer {token}\r\n" if token else ""
    return (
        f"POST /v1/check HTTP/1.1\r\nHost: e\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"{head}\r\n"
    ).encode() + body


def name_devices(prefix: str, count: int = DEVICES) -> list[str]:
    """The ids of so many devices."""
    return [f"{prefix}-{number}" for number in range(count)]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Two hosts with a folder each, and a Redis with its replica."""
    folder = tmp_path_factory.mktemp("pair")
    make_keys(folder / "keys", "hand", int(time.time()) + YEAR_S)
    (folder / "back-end.json").write_bytes(BACK_END.make_key_set())
    make_fingerprint_key(folder / "fingerprint.key")
    with contextlib.ExitStack() as stack:
        primary = RedisServer(find_redis(), folder / "redis-1")
        servers = [primary, RedisServer(find_redis(), folder / "redis-2", primary.port)]
        stack.callback(lambda: [server.kill() for server in servers])
        relay = stack.enter_context(Relay(primary.port))
        hand = Hand(relay.url, PrivateKey.from_json((folder / "keys" / "channel.key").read_bytes()))
        hand.put(hand.seal(hand.make("1.0.0.0")))
        hosts = [stack.enter_context(start_host(folder, relay, name)) for name in ("a", "b")]
        pair = Pair(relay, servers, hosts, hand, itertools.count(2))
        pair.wait_until_open()
        yield pair


def start_host(folder: Path, relay: Relay, name: str) -> Host:
    """Starts a host with two workers."""
    settings = {
        "LISTEN": "127.0.0.1:0",
        "ADMIN": "127.0.0.1:0",
        "WORKERS": "2",
        "REDIS": relay.url,
        "DATA": folder / name,
        "WORKSPACES": f"hand={folder / 'keys' / 'root.json'}",
        "FINGERPRINT_KEYS": f"k1={folder / 'fingerprint.key'}",
        "PROOF_KEYS": f"hand={folder / 'back-end.json'}",
        "PROOF_ISSUERS": f"hand={ISSUER}",
        "PROOF_AUDIENCES": f"hand={AUDIENCE}",
    }
    return Host({f"GRAYWAVE_EDGE_{key}": str(value) for key, value in settings.items()}, folder / f"{name}.log")


def settle(pair: Pair, version: str, devices: Sequence[str], told: set[str]) -> None:
    """After whatever has happened: exactly as many as there are places, the same on every host, `told` among them."""
    assert len(told) <= LIMIT
    pair.wait_until_open()
    everybody: set[str] = set()

    def are_given() -> bool:
        everybody.update(pair.ask(version, devices))
        return len(everybody) >= LIMIT

    eventually(are_given)
    assert len(everybody) == LIMIT
    assert told <= everybody
    for host in (0, 1):
        eventually(lambda host=host: pair.ask(version, devices, host) == everybody)


def ask_while(pair: Pair, version: str, devices: Sequence[str], happens: Callable[[], None]) -> set[str]:
    """Lets the devices ask, again and again, while something happens; returns all that were told at any time."""
    told: set[str] = set()
    has_happened = threading.Event()

    def ask() -> None:
        while not has_happened.is_set():
            told.update(pair.ask(version, devices[: LIMIT // 2]))  # first a few, so that there are places left
            told.update(pair.ask(version, devices[: LIMIT - 5]))

    thread = threading.Thread(target=ask)
    thread.start()
    happens()
    has_happened.set()
    thread.join()
    return told | pair.ask(version, devices)


def test_exactly_so_many_are_admitted(pair: Pair) -> None:
    """All ask at once on four workers: never more than there are places, and each the same answer on every host."""
    version, devices = pair.open_window(), name_devices("crowd")
    settle(pair, version, devices, pair.ask(version, devices))
    eventually(lambda: pair.count(version) == LIMIT)


def test_made_up_devices_take_no_place(pair: Pair) -> None:
    """Where proof is asked for, devices and users that somebody makes up take no place; proven users do, once each."""
    version, devices = pair.open_window(limit=5, proven=True), name_devices("made-up")
    assert not pair.ask(version, devices, make=lambda device: make_check(device, user=f"u-{device}"))
    users = itertools.cycle([f"u-{number}" for number in range(8)])
    tokens = {
        device: (user, BACK_END.sign(sub=user, exp=int(time.time()) + 600).decode())
        for device, user in zip(devices[:40], users, strict=False)
    }
    admitted: set[str] = set()

    def are_given() -> bool:
        told = pair.ask(version, list(tokens), make=lambda device: make_check(device, *tokens[device]))
        admitted.update(tokens[device][0] for device in told)
        return len(admitted) >= 5

    eventually(are_given)
    eventually(lambda: pair.count(version) == 5)
    assert len(admitted) == 5


def test_killed_worker_forgets_nobody(pair: Pair) -> None:
    """A worker that is killed while it admits has written down whom it told."""
    version, devices = pair.open_window(), name_devices("worker")

    def kill() -> None:
        pid = pair.hosts[0].read_status()["workers"][0]["pid"]
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: not is_running(pid))
        eventually(lambda: pair.hosts[0].read_status()["workers"][0]["pid"] not in {0, pid})
        eventually(pair.hosts[0].is_ready)

    settle(pair, version, devices, ask_while(pair, version, devices, kill))


def test_killed_redis_forgets_nobody(pair: Pair) -> None:
    """A Redis that is killed and has lost its last second is given back what the hosts know, and only then admits."""
    version, devices = pair.open_window(), name_devices("killed")

    def kill() -> None:
        pair.servers[0].kill()
        pair.servers[0].start()

    settle(pair, version, devices, ask_while(pair, version, devices, kill))


def test_emptied_redis_forgets_nobody(pair: Pair) -> None:
    """So does one that has lost everything."""
    version, devices = pair.open_window(), name_devices("emptied")
    told = pair.ask(version, devices[: LIMIT // 2])
    assert len(told) > 0
    pair.servers[0].client.flushall()
    settle(pair, version, devices, told)


def test_promoted_replica_forgets_nobody(pair: Pair) -> None:
    """A replica that has missed the last places takes over under the same address."""
    version, devices = pair.open_window(), name_devices("replica")
    primary, replica = pair.servers
    eventually(replica.has_copied)
    told = pair.ask(version, devices[: LIMIT // 2])
    replica.client.replicaof("NO", "ONE")
    told |= pair.ask(version, devices[: LIMIT - 5])
    pair.relay.point(replica.port)
    primary.kill()
    settle(pair, version, devices, told | pair.ask(version, devices))
