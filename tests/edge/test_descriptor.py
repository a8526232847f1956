"""Tests of edge/descriptor.py."""

import logging
import resource
import subprocess
import sys

import pytest

from edge.descriptor import bound_connections


@pytest.mark.parametrize(
    ("limit", "connections"),
    [(20_000, 15_000), (16_024, 15_000), (16_023, 14_999), (4_096, 3_072), (1_024, 512), (64, 32), (-1, 15_000)],
)
def test_connections_leave_descriptors_for_all_else(limit: int, connections: int) -> None:
    """Connections get what is not reserved, of a small limit half, of none what is wanted."""
    assert resource.RLIM_INFINITY == -1
    assert bound_connections(15_000, limit) == connections


@pytest.mark.parametrize(("limit", "told"), [(1_024, 1), (20_000, 0)])
def test_too_few_descriptors_are_told(caplog: pytest.LogCaptureFixture, limit: int, told: int) -> None:
    """An operator whose setting cannot be kept reads why."""
    with caplog.at_level(logging.WARNING):
        bound_connections(15_000, limit)
    assert len(caplog.messages) == told
    assert all("at most 512 connections" in message for message in caplog.messages)


def test_limit_is_raised() -> None:
    """A process takes what it may have, whatever it was started with."""
    code = """if True:
        import resource
        from edge.descriptor import raise_limit
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 300))
        print(raise_limit(), raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "300 300 (300, 300)\n"
