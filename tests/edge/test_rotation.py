"""A whole host, with its processes, whose workspace gets a new root: followed by all of it, without a restart."""

import http.client
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from channel import connect
from cli.embedded import PrivateRedis
from tests.edge.press import NEXT_KEYS, PROGRAM, ROOT_BYTES, WORKSPACE, make_successor, write_root
from tests.edge.source import Source
from tests.end_to_end.town import PATIENCE_S, Host, ask, eventually, read_folder

SUCCESSOR = make_successor(epoch=2)


@pytest.fixture
async def source(redis_server: PrivateRedis) -> AsyncIterator[Source]:
    """A Redis with a document that the pinned root's channel key has signed."""
    client = connect(redis_server.url, 5)
    source = Source(client)
    await source.publish("1.0.0.0")
    yield source
    await client.aclose()


def start_host(folder: Path, redis: str, log: str) -> Host:
    """An edge of two workers, pinned to the workspace's root 3."""
    settings = {
        "LISTEN": "127.0.0.1:0",
        "ADMIN": "127.0.0.1:0",
        "WORKERS": 2,
        "REDIS": redis,
        "DATA": folder / "edge",
        "WORKSPACES": f"{WORKSPACE}={write_root(folder)}",
    }
    return Host({f"GRAYWAVE_EDGE_{name}": str(value) for name, value in settings.items()}, folder / log)


def fetch(host: Host, path: str) -> tuple[int, bytes]:
    """What a device gets for a path."""
    connection = http.client.HTTPConnection(host.devices, timeout=PATIENCE_S)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def report(host: Host, device: str, version: str, outcome: str) -> None:
    """Lets a device report, over a connection of its own, hence to any of the workers."""
    event = {"program": PROGRAM, "to": version, "outcome": outcome, "at": 1, "nonce": f"{version} {outcome}"}
    body = {"workspace": WORKSPACE, "device": {"id": device, "platform": "ios"}, "events": [event]}
    assert ask(host.devices, "POST", "/v1/report", body)[0] == http.HTTPStatus.ACCEPTED


async def test_host_follows_its_root(source: Source, redis_server: PrivateRedis, tmp_path: Path) -> None:
    """Every worker tells the new root, serves it, and answers from what its channel key signed; then without Redis."""
    with start_host(tmp_path, redis_server.url, "first.log") as host:
        eventually(host.is_current)
        assert host.is_told_everywhere("1.0.0.0")
        pids = host.list_pids()
        assert (host.check()["root"], fetch(host, "/v1/root/3")) == (3, (200, ROOT_BYTES))
        assert fetch(host, "/v1/root/4")[0] == http.HTTPStatus.NOT_FOUND
        await source.put_root(4, SUCCESSOR)
        source.key, source.epoch = NEXT_KEYS["channel"], 2
        await source.publish("2.0.0.0")
        eventually(lambda: host.is_told_everywhere("2.0.0.0"))
        assert {host.check()["root"] for _ in range(20)} == {4}
        assert {fetch(host, "/v1/root/4") for _ in range(20)} == {(200, SUCCESSOR)}
        assert fetch(host, "/v1/root/3") == (200, ROOT_BYTES)
        eventually(lambda: host.read_status()["workspaces"][WORKSPACE]["epoch"] == 2)
        told = host.read_status()["workspaces"][WORKSPACE]
        assert (told["root"]["number"], told["root"]["epoch"], told["root"]["problem"]) == (4, 2, "")
        assert (told["problem"], host.list_pids()) == ("", pids)
    redis_server.kill()
    with start_host(tmp_path, redis_server.url, "second.log") as host:
        eventually(host.is_current)
        assert host.is_told_everywhere("2.0.0.0")
        assert (host.check()["root"], fetch(host, "/v1/root/4")) == (4, (200, SUCCESSOR))
        eventually(lambda: host.read_status()["workspaces"][WORKSPACE]["problem"])


@pytest.mark.usefixtures("source")
def test_host_tells_which_versions_run(redis_server: PrivateRedis, tmp_path: Path) -> None:
    """Devices are counted once over all workers, whichever gets their reports; no device's id is written anywhere."""
    with start_host(tmp_path, redis_server.url, "edge.log") as host:
        eventually(host.is_current)
        assert host.is_told_everywhere("1.0.0.0")

        def read() -> Any:
            return ask(host.operators, "GET", f"/versions?workspace={WORKSPACE}&program={PROGRAM}")[1]

        for number in range(10):
            report(host, f"a-device-{number}", "1.0", "activated")
            report(host, f"a-device-{number}", "1.0.0.0", "confirmed")
        wanted = {"workspace": WORKSPACE, "program": PROGRAM, "devices": 10, "versions": {"1.0.0.0": 10}}
        eventually(lambda: read() == wanted)
        report(host, "a-device-3", "2.0", "activated")
        eventually(lambda: read()["versions"] == {"1.0.0.0": 9, "2.0.0.0": 1})
        report(host, "a-device-3", "1.0", "fell_back")
        eventually(lambda: read() == wanted)
        assert "a-device" not in host.read_log()
        files = read_folder(tmp_path / "edge")
        assert files
        assert not any(b"a-device" in data for data in files.values())
