"""Tests of edge/connection.py."""

import asyncio
import time
from typing import Any

import pytest

from edge.connection import (
    DOWNLOAD_DEADLINE_S,
    IDLE_DEADLINE_S,
    LIFE_S,
    LIFE_SPREAD,
    QUIET_S,
    REQUEST_DEADLINE_S,
    Connections,
    FullError,
)
from edge.errors import FloodError
from edge.quota import Quota


class Served:
    """A protocol that notes what it is told."""

    def __init__(self) -> None:
        self.deadline = self.life_end = 0.0
        self.told: list[str] = []
        self.descriptor = -1

    def expire(self) -> None:
        self.told.append("expire")

    def retire(self) -> None:
        self.told.append("retire")

    def end_idle(self) -> None:
        self.told.append("end idle")

    def find_descriptor(self) -> int:
        return self.descriptor


class Transport(asyncio.BaseTransport):
    """A connection from a peer."""

    def __init__(self, peer: Any = ("192.0.2.1", 5)) -> None:
        super().__init__({"peername": peer})


def add(connections: Connections, peer: Any = ("192.0.2.1", 5)) -> Served:
    """A new connection of a peer."""
    served = Served()
    connections.add(served, Transport(peer))
    return served


def test_limit_of_all() -> None:
    """One connection more than the limit is refused; one that ends makes room."""
    connections = Connections(2)
    first = add(connections)
    add(connections)
    with pytest.raises(FullError, match="expected at most 2 connections, 0 a peer"):
        add(connections)
    connections.remove(first)
    add(connections)
    assert len(connections) == 2


def test_limit_of_a_peer() -> None:
    """One peer may have so many connections, whatever its ports; another peer has its own."""
    connections = Connections(9, peer_limit=2)
    first = add(connections, ("192.0.2.1", 1))
    add(connections, ("192.0.2.1", 2))
    with pytest.raises(FullError):
        add(connections, ("192.0.2.1", 3))
    add(connections, ("192.0.2.2", 3))
    connections.remove(first)
    add(connections, ("192.0.2.1", 4))
    with pytest.raises(FullError):
        add(connections, ("192.0.2.1", 5))


def test_peer_without_address() -> None:
    """A connection that is already gone has no address, and is counted all the same."""
    connections = Connections(9, peer_limit=1)
    add(connections, None)
    with pytest.raises(FullError):
        add(connections, None)


def test_no_limit_of_a_peer_behind_a_balancer() -> None:
    """Without a limit a peer may have as many as there may be in all."""
    connections = Connections(50)
    for _ in range(50):
        add(connections)
    assert len(connections) == 50


def test_refused_or_removed_twice() -> None:
    """Forgetting a connection that is not registered changes nothing."""
    connections = Connections(9, peer_limit=1)
    served = add(connections)
    connections.remove(served)
    connections.remove(served)
    connections.remove(Served())
    assert len(connections) == 0
    assert connections._peers == {}  # or each peer that ever came would be remembered
    add(connections)


def test_life_has_an_end_with_jitter() -> None:
    """A connection lives 10 minutes, give or take 20 %, and not all of them the same."""
    connections = Connections(100)
    before = time.monotonic()
    lives = [add(connections).life_end - before for _ in range(100)]
    assert LIFE_S * (1 - LIFE_SPREAD) <= min(lives) < max(lives) <= LIFE_S * (1 + LIFE_SPREAD) + 60
    assert max(lives) - min(lives) > LIFE_S * LIFE_SPREAD / 2


def test_successor_takes_the_place() -> None:
    """A connection whose protocol is replaced stays one, with the end of its life and a deadline for its request."""
    connections = Connections(1, peer_limit=1)
    served, successor = add(connections), Served()
    connections.tick(1_000.0)
    connections.replace(served, successor)
    assert len(connections) == 1
    assert successor.life_end == served.life_end
    assert successor.deadline == 1_000.0 + REQUEST_DEADLINE_S
    connections.remove(served)
    assert len(connections) == 1
    connections.remove(successor)
    add(connections)


def test_deadlines_follow_the_tick() -> None:
    """Each tick says what deadlines begin now."""
    connections = Connections(1)
    connections.tick(1_000.0)
    found = (connections.request_deadline, connections.idle_deadline, connections.download_deadline)
    assert found == (1_000 + REQUEST_DEADLINE_S, 1_000 + IDLE_DEADLINE_S, 1_000 + DOWNLOAD_DEADLINE_S)


def test_tick_ends_what_is_over() -> None:
    """What is beyond its deadline expires, what is at the end of its life retires, the rest is left alone."""
    connections = Connections(9)
    late, old, good = add(connections), add(connections), add(connections)
    late.deadline, late.life_end = 99.0, 99.0
    old.deadline, old.life_end = 100.0, 99.0
    good.deadline, good.life_end = 100.0, 100.0
    connections.tick(100.0)
    assert (late.told, old.told, good.told) == (["expire"], ["retire"], [])


def test_drain_retires_all() -> None:
    """Draining retires every connection and says when the last has ended."""
    connections = Connections(9)
    first, second = add(connections), add(connections)
    assert not connections.emptied.is_set()
    connections.drain()
    assert first.told == second.told == ["retire"]
    connections.remove(first)
    assert not connections.emptied.is_set()
    connections.remove(second)
    assert connections.emptied.is_set()


def test_drain_of_none() -> None:
    """Where there is no connection, draining has ended at once."""
    connections = Connections(9)
    connections.drain()
    assert connections.is_draining
    assert connections.emptied.is_set()


def test_connection_that_retires_by_ending() -> None:
    """A connection may be forgotten while it is told: nothing is left out and nothing told twice."""
    connections = Connections(9)

    class Quick(Served):
        def retire(self) -> None:
            super().retire()
            connections.remove(self)

    served = [Quick() for _ in range(3)]
    for each in served:
        connections.add(each, Transport())
    connections.drain()
    assert [each.told for each in served] == [["retire"]] * 3
    assert connections.emptied.is_set()


@pytest.mark.parametrize(
    ("since_s", "deadline_s", "told"),
    [
        (QUIET_S - 0.1, IDLE_DEADLINE_S, []),
        (QUIET_S, IDLE_DEADLINE_S, ["end idle"]),
        (QUIET_S - 0.1, REQUEST_DEADLINE_S, []),
        (QUIET_S, REQUEST_DEADLINE_S, ["end idle"]),
        (QUIET_S, DOWNLOAD_DEADLINE_S, []),
    ],
)
def test_quiet_connections_of_a_draining_worker_end(since_s: float, deadline_s: float, told: list[str]) -> None:
    """Nobody has asked for QUIET_S: whether it was asked before, or only connected; a download takes longer."""
    connections = Connections(9)
    served = add(connections)
    connections.drain()
    served.told.clear()
    served.deadline = 1_000.0 + deadline_s
    served.life_end = 9_000.0
    connections.tick(1_000.0 + since_s)
    assert served.told == told


def test_quiet_connections_of_others_stay() -> None:
    """Where nobody drains a device may be quiet."""
    connections = Connections(9)
    served = add(connections)
    served.deadline, served.life_end = 1_000.0 + IDLE_DEADLINE_S, 9_000.0
    connections.tick(1_000.0 + IDLE_DEADLINE_S - 1)
    assert served.told == []


def test_movable_connections() -> None:
    """Those are listed that another process can go on with, and no more than wanted; one may be let go meanwhile."""
    connections = Connections(9)
    first, second, third, fourth = (add(connections) for _ in range(4))
    first.descriptor, third.descriptor, fourth.descriptor = 5, 6, 7
    listed = []
    for served in connections.list_movable(2):
        listed.append(served)
        connections.let_go(served)
    assert listed == [first, third]
    assert [each.told for each in (first, second, third, fourth)] == [["expire"], [], ["expire"], []]
    assert len(connections) == 2


def test_worker_whose_connections_others_go_on_with() -> None:
    """Nothing is retired, for it can move; the last one that goes is noticed."""
    connections = Connections(9)
    served = add(connections)
    connections.pass_on()
    assert connections.is_draining
    assert served.told == []
    connections.let_go(served)
    assert connections.emptied.is_set()


def test_connection_that_another_worker_gives_is_let_in() -> None:
    """It was let in there: no limit refuses it here, once; others are refused as before."""
    connections = Connections(1, peer_limit=1)
    add(connections)
    given, gone = Served(), Served()
    connections.expect(given)
    connections.add(given, Transport())
    assert len(connections) == 2
    with pytest.raises(FullError):
        add(connections)
    connections.expect(gone)
    connections.remove(gone)
    with pytest.raises(FullError):
        connections.add(gone, Transport())
    connections.remove(given)
    with pytest.raises(FullError):
        connections.add(given, Transport())


def test_turned_away_is_counted() -> None:
    """Who came in vain is told to the operator."""
    connections = Connections(1)
    add(connections)
    for _ in range(2):
        with pytest.raises(FullError):
            add(connections)
    assert connections.turned_away == 2


def test_quota_follows_connections() -> None:
    """A workspace's connection that is handed over stays its own, and one that ends makes room."""
    quota = Quota({}, {"a": 1})
    connections = Connections(9, quota=quota)
    first, successor = add(connections), Served()
    quota.admit("a", first, 5)
    connections.replace(first, successor)
    connections.remove(first)
    with pytest.raises(FloodError):
        quota.admit("a", add(connections), 5)
    connections.remove(successor)
    quota.admit("a", add(connections), 5)


@pytest.mark.parametrize("wait_s", [1, 2, 3, 50])
def test_end_of_a_wait(wait_s: int) -> None:
    """Who may wait is noticed by the tick a second before its time is over, at least by the next one."""
    connections = Connections(9)
    connections.tick(100.0)
    end = connections.find_end(wait_s)
    noticed = next(second for second in range(101, 200) if end < second)
    assert noticed == 100 + max(wait_s - 1, 1)
