"""The fixtures of the attack suite: a town in memory, a device that works, and a server that speaks as it likes."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from container import HttpFetcher
from tests.attacks.harness import HostileServer, Town, Victim, make_victim

_MEMORY = Path("/dev/shm")


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is such a thing."""
    if not _MEMORY.is_dir():
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="graywave-", dir=_MEMORY) as path:
        yield Path(path)


@pytest.fixture
def town(folder: Path) -> Town:
    """A workspace in which everybody is honest."""
    return Town(folder)


@pytest.fixture
def victim(town: Town) -> Victim:
    """A device with a version that works."""
    return make_victim(town)


@pytest.fixture
def server(town: Town) -> Iterator[HostileServer]:
    """A server on loopback that speaks properly until it is told otherwise."""
    with HostileServer(town) as server:
        yield server


@pytest.fixture
def online(town: Town, server: HostileServer) -> Victim:
    """A device with a version that works, which reaches the server over real connections."""
    return make_victim(town, server.base, fetcher=HttpFetcher())
