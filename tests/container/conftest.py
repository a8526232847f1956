"""The fixtures of the container's tests."""

from pathlib import Path

import pytest

from tests.container.world import World


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world with one edge, no package, and a device with nothing on it."""
    return World(tmp_path)
