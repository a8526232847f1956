"""Who cannot be stopped from connecting to an edge: what ordinary devices are told meanwhile, and what is left of it.

The crowds are those of the benchmark, smaller; how fast ordinary checks are beside them is measured there.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge.connection import IDLE_DEADLINE_S
from loadtest.hostile import CROWDS, Mob
from tests.wire.client import GOOD, Client, make_check
from tests.wire.conftest import ROOT_NUMBER, publish_usual, wait_until_empty
from tests.wire.server import WireServer
from trust import ROLES, PrivateKey, make_root

SIZE = 20


@pytest.fixture(params=[True, False], ids=["lane", "plain"])
def edge(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[WireServer]:
    """A worker's network side, with the lane and without."""
    root = tmp_path / "root.json"
    key = PrivateKey.generate()
    root.write_bytes(make_root("demo", ROOT_NUMBER, 2_000_000_000, {role: [key.public] for role in ROLES}, [key]))
    server = WireServer(lane=request.param, root=root, store=tmp_path)
    server.start()
    publish_usual(server)
    yield server
    server.stop()


def ask_beside(edge: WireServer, name: str) -> Mob:
    """Lets a crowd come, and a device ask while it does its worst; the device is answered each time."""
    crowd = CROWDS[name]
    mob = Mob(replace(crowd, pause_s=0.01) if crowd.pause_s else crowd, edge.port, SIZE)
    while not mob.has_come:
        mob.tick(time.monotonic())
    with Client(edge) as device:
        for _ in range(50):
            mob.tick(time.monotonic())
            device.send(make_check())
            assert device.read() == GOOD
    return mob


def work(mob: Mob, tell_time: Callable[[], float]) -> None:
    """The crowd does its worst until so many of its connections were ended."""
    deadline = time.monotonic() + 30
    while mob.ended < SIZE:
        assert time.monotonic() < deadline
        mob.tick(tell_time())


def leave(edge: WireServer, mob: Mob) -> None:
    """The crowd goes, and nothing of it is left."""
    mob.close()
    wait_until_empty(edge)
    assert edge.call(lambda: len(edge.connections)) == 0


@pytest.mark.parametrize("name", ["slow", "idle"])
def test_crowd_that_only_takes_place(edge: WireServer, name: str) -> None:
    """Others are answered beside connections that say nothing, or a byte at a time; their time ends."""
    mob = ask_beside(edge, name)
    edge.call(lambda: edge.connections.tick(time.monotonic() + IDLE_DEADLINE_S + 1))
    work(mob, lambda: 0.0)  # of those that have ended none comes again
    leave(edge, mob)


def test_crowd_with_bodies_that_do_not_end(edge: WireServer) -> None:
    """Others are answered beside bodies without end, whose connections are ended; they come again in vain."""
    mob = ask_beside(edge, "bodies")
    work(mob, time.monotonic)
    leave(edge, mob)


def test_crowd_of_another_workspace(edge: WireServer) -> None:
    """Others are answered beside who asks as fast as he is answered, here for a workspace that is not served."""
    leave(edge, ask_beside(edge, "flood"))
