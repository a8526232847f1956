"""A bench's documents, population and stage: the real ones for what is counted, small ones for what is looked at."""

from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from loadtest.change import make_probe
from loadtest.errors import ToolError
from loadtest.nginx import DEBIAN
from loadtest.population import Population
from loadtest.process import find_tool
from loadtest.program import make_documents
from loadtest.report import LANE
from loadtest.stage import Edge, Stage

SEED = 7


@pytest.fixture(scope="session")
def load_tools() -> None:
    """Passes a test over where wrk or nginx is missing; the bench itself says so in a line."""
    try:
        find_tool(DEBIAN, "wrk")
        find_tool(DEBIAN, "nginx")
    except ToolError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def documents() -> list[dict[str, Any]]:
    """A thousand programs, as the bench publishes them."""
    return make_documents(1_000, SEED)


@pytest.fixture(scope="session")
def population(documents: list[dict[str, Any]]) -> Population:
    """Who asks about them."""
    return Population(documents, SEED)


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A real Redis and publisher; the program that changes and twenty others are published."""
    with ExitStack() as cleanup:
        stage = Stage(tmp_path_factory.mktemp("stage"), cleanup)
        stage.publish([make_probe(SEED, 0), *make_documents(20, SEED)])
        yield stage


@pytest.fixture(scope="session")
def edge(stage: Stage) -> Edge:
    """A real edge of one worker, with the lane, on that stage."""
    return stage.start_edge(LANE, has_lane=True)
