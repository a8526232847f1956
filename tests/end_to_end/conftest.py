"""The fixtures of the tests of a whole host."""

from collections.abc import Iterator

import pytest

from tests.end_to_end.town import Host, Town


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """A Redis and a publisher that the tests of a module share."""
    town = Town(tmp_path_factory.mktemp("town"))
    yield town
    town.close()


@pytest.fixture(scope="module")
def shared_host(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A host with two workers that answers, for tests that leave it answering."""
    town.publish("1.0.0.0")
    with town.start_host(tmp_path_factory.mktemp("shared")) as host:
        yield host


@pytest.fixture
def host(town: Town, shared_host: Host) -> Host:
    """The shared host, when Redis and both workers are there."""
    if town.redis.pid is None:
        town.redis.start()
    return shared_host
