"""Fixtures that every test may use: real servers, each in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.embedded import PrivateRedis


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A real, empty redis-server on a unix socket; `.url` is what redis-py takes."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()
