"""Publisher and edge on a Redis of several servers, as processes: a server dies, and devices get the next release."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from channel import Keys
from tests.channel.servers import Cluster, Sentinels, list_binaries
from tests.end_to_end.town import Host, Server, Town, eventually


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what a test has started, also where it fails."""
    with ExitStack() as stack:
        yield stack


def make_cluster(folder: Path, stack: ExitStack) -> Cluster:
    """A cluster, of which one server has the workspace's keys."""
    return Cluster(list_binaries()["7"], folder, Keys.of("demo").head, stack)


def make_sentinels(folder: Path, stack: ExitStack) -> Sentinels:
    """A server and its replica, under sentinels."""
    return Sentinels(list_binaries()["7"], folder, stack)


@pytest.mark.parametrize("make", [make_cluster, make_sentinels])
def test_release_reaches_devices_after_a_failover(
    tmp_path: Path, stack: ExitStack, make: Callable[[Path, ExitStack], Cluster | Sentinels]
) -> None:
    """What is published before and after a server's death is told to devices, and nobody has to be restarted."""
    redis = make(tmp_path / "servers", stack)
    town = Town(tmp_path)
    stack.callback(town.close)
    settings = {"GRAYWAVE_PUBLISHER_REDIS": redis.url, "GRAYWAVE_PUBLISHER_FOLDER": str(tmp_path / "there")}
    publisher = stack.enter_context(Server(["publisher"], {**town.set_publisher(), **settings}, tmp_path / "there.log"))
    town.address = publisher.find(r"publishing workspace demo at http://(\S+)")
    root = town.keys["demo"] / "root.json"
    edge = town.set_edge(tmp_path / "edge", REDIS=redis.url, WORKSPACES=f"demo={root}")
    host = stack.enter_context(Host(edge, tmp_path / "edge.log"))
    town.publish("1.0.0.0")
    eventually(host.is_ready)
    eventually(lambda: host.is_told_everywhere("1.0.0.0"))
    redis.fail_over()
    assert host.is_told_everywhere("1.0.0.0")
    town.publish("2.0.0.0")
    eventually(lambda: host.is_told_everywhere("2.0.0.0"))
    eventually(lambda: host.read_status()["workspaces"]["demo"]["problem"] == "")
