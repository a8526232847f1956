"""While costs are measured, the servers under test have a core for themselves."""

import os
from pathlib import Path

import pytest

from loadtest.cost import Target, list_family, mix, separate
from loadtest.process import Server


def test_a_family_is_everybody_below(tmp_path: Path) -> None:
    """A process, its children and theirs."""
    server = Server("shell", ["sh", "-c", "sleep 600 & wait"], tmp_path / "log")
    try:
        while len(list_family(server.pid)) < 2:
            pass
        assert set(list_family(server.pid)) < set(list_family(os.getpid()))
    finally:
        server.stop()


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core")
def test_servers_and_load_are_separated_and_mixed_again(tmp_path: Path) -> None:
    """The answering process is alone on its core, the bench itself stays away; afterwards all may run anywhere."""
    cores = sorted(os.sched_getaffinity(0))
    server = Server("sleep", ["sleep", "600"], tmp_path / "log")
    try:
        separate([Target("lane", 0, server.pid)], cores[0], cores[-1])
        assert os.sched_getaffinity(server.pid) == {cores[-1]}
        assert os.sched_getaffinity(0) == {cores[0]}
    finally:
        mix(cores)
        assert os.sched_getaffinity(0) == os.sched_getaffinity(server.pid) == set(cores)
        server.stop()
