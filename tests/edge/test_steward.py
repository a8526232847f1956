"""Tests of edge/steward.py: hosts that lose their Redis, their workers and each other, and never the count."""

import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from redis.asyncio import Redis

from channel import Answer, Asked, Windows, connect
from cli.embedded import PrivateRedis
from edge.journal import Given, Journal, JournalKeeper
from edge.ledger import JOURNAL_FILE, Ledger
from edge.steward import Steward
from ruleset import Place
from ruleset.compiler import CompiledWindow
from ruleset.fingerprint import KEY_BYTES, compute_fingerprint
from tests.edge.press import NOW, WORKSPACE

WINDOW = "00112233445566ff"
FENCE = f"gw:{{{WORKSPACE}}}:windows"
MEMBERS = f"gw:{{{WORKSPACE}}}:window:{WINDOW}"
LIMIT = 10
DEVICES = 40
# Stories told by the model; the long run tells more.
STORIES = int(os.environ.get("GRAYWAVE_EXAMPLES", "0")) // 100 or 12
STEPS = 120


class Clock:
    """Redis' time, which passes when the test says so."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


class Host:
    """A host: its steward, and a worker that asks; `told` is whom it has told that they have a place."""

    def __init__(self, name: str, folder: Path, client: Redis, clock: Clock) -> None:
        self.name, self.folder = name, folder
        folder.mkdir()
        self.windows = Windows(client, WORKSPACE, clock=clock)
        self.told: set[int] = set()
        self.held: list[tuple[str, int]] = []
        self.restart_syncer()
        self.restart_worker()

    def restart_syncer(self) -> None:
        """A new syncer has what is on the disk."""
        self.journal = JournalKeeper(self.folder / JOURNAL_FILE)
        self.steward = Steward(WORKSPACE, self.name, self.windows, Ledger(self.folder), self.journal)

    def restart_worker(self) -> None:
        """A new worker knows nothing of what the old one was about to tell."""
        self.worker = Journal(self.folder / JOURNAL_FILE)
        self.held.clear()

    async def ask(self, device: int, limit: int = LIMIT) -> Answer | None:
        """Asks Redis for a device, and holds the answer; None where the host may not ask."""
        entry = self.worker.read_entry()
        if not entry:
            return None
        ((answer,),) = await self.windows.admit(
            self.name, entry, [Asked(WINDOW, limit, 0, NOW + 10**6, None, [device])]
        )
        if answer in {Answer.MEMBER, Answer.ADMITTED}:
            self.held.append((entry, device))
        return answer

    def tell(self) -> None:
        """Tells what is held, as far as that is allowed."""
        for entry, device in self.held:
            if self.worker.append(entry, [Given(WINDOW, device)]):
                self.told.add(device)
        self.held.clear()

    async def admit(self, device: int, limit: int = LIMIT) -> bool:
        """Asks and tells; says whether the device has a place."""
        await self.ask(device, limit)
        self.tell()
        return device in self.told


@pytest.fixture
async def client(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of the real Redis, for breaking it."""
    client = connect(redis_server.url, 5)
    yield client
    await client.aclose()


@pytest.fixture
def clock() -> Clock:
    """Redis' time."""
    return Clock()


@pytest.fixture
def hosts(tmp_path: Path, client: Redis, clock: Clock) -> list[Host]:
    """Three hosts that were never seen."""
    return [Host(f"host-{letter}", tmp_path / letter, client, clock) for letter in "abc"]


async def beat(hosts: list[Host], clock: Clock, seconds: int = 1) -> None:
    """All of these give their sign of life, second by second."""
    for _ in range(seconds):
        clock.now += 1
        for host in hosts:
            await host.steward.beat()


async def take_copy(client: Redis) -> dict[bytes, bytes]:
    """What a replica has now."""
    entry = {b"entry": await client.hget(FENCE, "entry") or b""}
    return {key: await client.dump(key) for key in await client.keys("*")} | entry


@dataclass(slots=True)
class Attic:
    """What replicas have had, and what the server has that was replaced last."""

    copies: list[dict[bytes, bytes]] = field(default_factory=lambda: [{}])
    departed: dict[bytes, bytes] = field(default_factory=dict)


async def fail_over(client: Redis, copy: dict[bytes, bytes], attic: Attic | None = None) -> None:
    """Another server takes over with an older copy; it is another process, so that what is open is open elsewhere."""
    if attic is not None:
        attic.departed = await take_copy(client)
    await client.flushall()
    for key in copy.keys() - {b"entry"}:
        await client.restore(key, 0, copy[key])
    for name in ("run", "recovering"):
        if await client.hexists(FENCE, name):
            await client.hset(FENCE, name, "another")


async def come_back(client: Redis, hosts: list[Host], copy: dict[bytes, bytes]) -> None:
    """A server that had been replaced takes over again as it was, after every host has heard of its successor."""
    entry = copy.get(b"entry", b"").decode()
    if any(host.steward._done in {"", entry} for host in hosts):
        return
    await client.flushall()
    for key in copy.keys() - {b"entry"}:  # its own process: what is open there is open here
        await client.restore(key, 0, copy[key])


async def read_members(client: Redis) -> set[int]:
    """Who has a place, as Redis has it."""
    lineage = await client.hget(FENCE, "lineage")
    name = f"{MEMBERS}:{lineage.decode()}" if lineage else MEMBERS
    return {int.from_bytes(member, "big") for member in await client.zrange(name, 0, -1)}


async def is_open(client: Redis) -> bool:
    """Whether this very server admits anybody."""
    return await client.hget(FENCE, "run") == (await client.info("server"))["run_id"].encode()


async def test_first_host_admits_at_once(hosts: list[Host], clock: Clock) -> None:
    """A host that is alone waits for nobody, and gives just as many places as there are."""
    host = hosts[0]
    await beat([host], clock)
    assert "hosts that may still come" in host.steward.state.problem
    await beat([host], clock, 3)
    assert host.steward.state.is_open
    assert sum([await host.admit(device) for device in range(DEVICES)]) == LIMIT


async def test_second_host_is_heard_of_first(hosts: list[Host], clock: Clock) -> None:
    """A host that comes later admits nobody until another one has written down that it is there."""
    first, second, _ = hosts
    await beat([first], clock, 4)
    await beat([second], clock)
    assert second.steward.state.problem == "no other host has heard of this one yet"
    assert await second.ask(1) is Answer.FENCED
    await beat([first, second], clock, 2)
    assert second.steward.state.is_open
    assert await second.admit(1)


async def test_members_are_copied(hosts: list[Host], clock: Clock) -> None:
    """What one host has given is on the other's disk a beat later."""
    first, second, _ = hosts
    await beat(hosts, clock, 6)
    assert await first.admit(7)
    await beat([second], clock)
    assert Ledger(second.folder).list_members(WINDOW).tolist() == [7]


async def test_windows_are_known_without_asking(hosts: list[Host], clock: Clock) -> None:
    """Who explains a decision sees who is in, and whether others could be asked for; nobody under an unknown key."""
    key = b"k" * KEY_BYTES
    rule = CompiledWindow(WINDOW, "k1", LIMIT, 0, NOW + 10**6, None, proven=False)
    host = hosts[0]
    assert host.steward.know([rule], {"k1": key})[WINDOW].find("d-1") is Place.SHUT
    await beat(hosts[:1], clock, 4)
    assert await host.admit(compute_fingerprint(key, "d-1"))
    await beat(hosts[:1], clock)
    known = host.steward.know([rule], {"k1": key})[WINDOW]
    assert (known.find("d-1"), known.find("d-2")) == (Place.MEMBER, Place.OPEN)
    full = host.steward.know([replace(rule, limit=1)], {"k1": key})[WINDOW]
    assert (full.find("d-1"), full.find("d-2")) == (Place.MEMBER, Place.SHUT)
    assert host.steward.know([rule], {})[WINDOW].find("d-1") is Place.SHUT


async def test_emptied_redis_gets_everything_back(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """After FLUSHALL nobody is admitted until each host has put back what it gave, copied or not."""
    await beat(hosts, clock, 6)
    for device in range(LIMIT - 1):
        assert await hosts[device % 3].admit(device)
    await client.flushall()
    assert await hosts[0].ask(99) is Answer.FENCED
    await beat(hosts[:2], clock, 6)
    assert "waiting for host-c" in hosts[0].steward.state.problem
    await beat(hosts, clock, 2)
    assert await read_members(client) == set(range(LIMIT - 1))
    assert [await hosts[0].admit(device) for device in (98, 99)] == [True, False]


async def test_lagging_replica_is_fenced(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """A promoted replica that has missed places is given them before it admits anybody."""
    await beat(hosts, clock, 6)
    assert await hosts[0].admit(1)
    copy = await take_copy(client)
    assert await hosts[1].admit(2)
    await fail_over(client, copy)
    assert await hosts[0].ask(3) is Answer.FENCED
    await beat(hosts, clock, 5)
    assert await read_members(client) == {1, 2}


async def test_place_that_was_not_told_in_time_is_not_told(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """An answer that a worker still holds while the host puts back is told to nobody: it may be lost."""
    await beat(hosts, clock, 6)
    host = hosts[0]
    assert await host.ask(1) is Answer.ADMITTED
    await client.flushall()
    await beat(hosts, clock, 6)
    host.tell()
    assert host.told == set()
    assert await read_members(client) == set()


async def test_dead_host_is_waited_for(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """A host that ended together with Redis may have told somebody: only an operator can say that it is gone."""
    await beat(hosts, clock, 6)
    assert await hosts[2].admit(1)
    await client.flushall()
    await beat(hosts[:2], clock, 60)
    assert not await is_open(client)
    assert hosts[0].steward.state.stand is not None
    assert hosts[0].steward.state.stand.needed == ("host-c",)
    windows = Windows(client, WORKSPACE)
    assert [await windows.give_up(name) for name in ("host-a", "host-x", "host-c")] == [False, False, True]
    await beat(hosts[:2], clock, 2)
    assert await is_open(client)
    assert not await windows.give_up("host-c")
    assert not any(field.startswith(b"gone:") for field in await client.hkeys(FENCE))


async def test_host_that_ended_before_is_not_waited_for(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """Of a host that was silent long before, the others have everything: nobody waits for it, and nothing is lost."""
    await beat(hosts, clock, 6)
    assert await hosts[2].admit(1)
    await beat(hosts[:2], clock, 25)
    await client.flushall()
    await beat(hosts[:2], clock, 6)
    assert await is_open(client)
    assert await read_members(client) == {1}


async def test_host_that_leaves_is_not_waited_for(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """A host that has ended in good order is off the list as soon as another one has looked."""
    await beat(hosts, clock, 6)
    assert await hosts[2].admit(1)
    await hosts[2].steward.leave()
    assert hosts[2].worker.read_entry() == ""
    await beat(hosts[:2], clock)
    await client.flushall()
    await beat(hosts[:2], clock, 6)
    assert await is_open(client)
    assert await read_members(client) == {1}


async def test_lost_members_alone_are_noticed(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """Members that somebody has deleted, and nothing else, close the fence too."""
    await beat(hosts, clock, 6)
    for device in range(3):
        assert await hosts[0].admit(device)
    await beat(hosts, clock)
    await client.delete(MEMBERS)
    assert await hosts[0].ask(9, limit=3) is Answer.FENCED
    await beat(hosts, clock, 5)
    assert await read_members(client) == {0, 1, 2}
    assert not await hosts[0].admit(9, limit=3)


async def test_returning_primary_is_fenced(hosts: list[Host], clock: Clock, client: Redis) -> None:
    """A server that comes back with a fence that is still open there is behind what hosts know, and is closed."""
    await beat(hosts, clock, 6)
    copy = await take_copy(client)
    assert await hosts[0].admit(1)
    await fail_over(client, copy)
    await beat(hosts, clock, 6)
    assert await hosts[1].admit(2)
    await come_back(client, hosts, copy)
    assert await hosts[2].ask(3) is Answer.FENCED
    await beat(hosts, clock, 6)
    assert await read_members(client) == {1, 2}


@pytest.mark.parametrize("seed", range(STORIES))
async def test_never_more_and_nobody_forgotten(hosts: list[Host], clock: Clock, client: Redis, seed: int) -> None:
    """Whatever is lost, in whatever order: no more are told than there are places, and who admits has all of them."""
    chance = random.Random(seed)
    attic = Attic()
    for _ in range(STEPS):
        await _do_something(chance, hosts, clock, client, attic)
        told = set().union(*(host.told for host in hosts))
        assert len(told) <= LIMIT
        entries = {host.worker.read_entry().encode() for host in hosts}
        if await is_open(client) and await client.hget(FENCE, "entry") in entries:  # somebody may admit
            found = await read_members(client)
            assert told <= found
            assert len(found) <= LIMIT
    for _ in range(2):  # of those who are silent one may have to come back first
        await beat(hosts, clock, 8)
    for host in hosts:
        host.tell()
        assert host.steward.state.is_open, host.steward.state.problem
    for device in range(DEVICES):
        await chance.choice(hosts).admit(device)
    told = set().union(*(host.told for host in hosts))
    assert len(told) == LIMIT
    assert told == await read_members(client)
    await beat(hosts, clock)
    assert all(set(Ledger(host.folder).list_members(WINDOW)) == told for host in hosts)


async def _do_something(
    chance: random.Random,
    hosts: list[Host],
    clock: Clock,
    client: Redis,
    attic: Attic,
) -> None:
    host, device = chance.choice(hosts), chance.randrange(DEVICES)
    deeds: list[tuple[int, Any]] = [
        (30, lambda: host.ask(device)),
        (25, host.tell),
        (12, host.steward.beat),
        (14, lambda: beat(hosts, clock)),
        (4, lambda: beat(chance.sample(hosts, 2), clock, chance.choice([1, 3, 30]))),
        (3, lambda: beat(hosts, clock, 5)),
        (4, host.restart_syncer),
        (2, host.restart_worker),
        (5, None),
        (2, lambda: fail_over(client, attic.copies[-1], attic)),
        (1, lambda: fail_over(client, chance.choice(attic.copies[-3:]), attic)),
        (1, lambda: fail_over(client, {}, attic)),
        (2, lambda: come_back(client, hosts, attic.departed)),
    ]
    (deed,) = chance.choices([deed for _, deed in deeds], [weight for weight, _ in deeds])
    if deed is None:
        attic.copies.append(await take_copy(client))
        return
    done = deed()
    if done is not None:
        await done
