"""The relay: the same address, another server."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis

from loadtest.relay import RedisServer, Relay
from loadtest.stage import find_redis


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[list[RedisServer]]:
    """A Redis, and one that copies it."""
    primary = RedisServer(find_redis(), tmp_path / "one")
    replica = RedisServer(find_redis(), tmp_path / "two", primary.port)
    yield [primary, replica]
    for server in (replica, primary):
        server.kill()


def read(relay: Relay) -> bytes | None:
    """What a new client finds behind the address."""
    with redis.Redis.from_url(relay.url) as client:
        value: bytes | None = client.get("a")
        return value


def test_another_server_takes_over(servers: list[RedisServer]) -> None:
    """Who stays connected is cut off, and finds the other one at the same address, with what it has copied."""
    primary, replica = servers
    primary.client.set("a", "1")
    while replica.client.get("a") is None or not replica.has_copied():
        pass
    replica.client.replicaof("NO", "ONE")
    primary.client.set("a", "2")
    with Relay(primary.port) as relay:
        assert read(relay) == b"2"
        address = urlsplit(relay.url)
        with socket.create_connection((address.hostname, address.port), 10) as stayed:
            stayed.sendall(b"PING\r\n")
            assert stayed.recv(99) == b"+PONG\r\n"
            relay.point(replica.port)
            assert stayed.recv(99) == b""
        primary.kill()
        assert read(relay) == b"1"
        primary.start()
        relay.point(primary.port)
        assert read(relay) == b"2"


def test_nobody_behind_it(servers: list[RedisServer]) -> None:
    """Without a server behind it, connections end."""
    with Relay(servers[0].port) as relay:
        relay.point(0)
        with pytest.raises(redis.ConnectionError):
            redis.Redis.from_url(relay.url).get("a")


def test_slow_link(servers: list[RedisServer]) -> None:
    """Each piece takes as long as it is told, on its way there and back."""
    with Relay(servers[0].port) as relay:
        relay.delay_s = 0.1
        began = time.monotonic()
        assert read(relay) is None
        assert time.monotonic() - began >= 0.2


def test_black_hole(servers: list[RedisServer]) -> None:
    """Everybody can connect, nothing comes through; afterwards what was sent meanwhile arrives."""
    with Relay(servers[0].port) as relay:
        relay.is_hole = True
        address = urlsplit(relay.url)
        with socket.create_connection((address.hostname, address.port), 30) as waiting:
            waiting.sendall(b"PING\r\n")
            waiting.settimeout(0.3)
            with pytest.raises(TimeoutError):
                waiting.recv(99)
            relay.is_hole = False
            waiting.settimeout(30)
            assert waiting.recv(99) == b"+PONG\r\n"
