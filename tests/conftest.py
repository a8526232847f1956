"""Fixtures that every test may use: real servers, each in a folder of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from cli.embedded import PrivateRedis

# A slow machine is not a wrong answer: no deadline for an example, and no haste in drawing it.
settings.register_profile("graywave", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("graywave")


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[PrivateRedis]:
    """A real, empty redis-server on a unix socket; `.url` is what redis-py takes."""
    server = PrivateRedis(tmp_path / "redis")
    server.start()
    yield server
    server.stop()
