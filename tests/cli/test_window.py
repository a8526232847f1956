"""Windows on the command line: how full they are, and a host that is gone."""

import json
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from cli.embedded import PrivateRedis
from cli.exit import Exit
from cli.moment import show_moment
from cli.window import find_windows
from tests.cli.conftest import Run
from tests.end_to_end.town import eventually

PROGRAM = "2021000000008001"
NOW = 1_800_000_000
FENCE = "gw:{demo}:windows"


def test_windows_are_listed(graywave: Run, tmp_path: Path) -> None:
    """A window is there with its places, those that are given and those that there are; a device takes one."""
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    (source / "index.html").write_text("hello")
    assert (
        graywave("pack", source, "--program", PROGRAM, "--version", "1.0", "--out", out, "--level", "1").exit_code == 0
    )
    released = graywave("release", out, "--no-refine", "--window", "1000", "--until", "+1h")
    assert released.exit_code == 0, released.output

    def find() -> dict[str, Any]:
        assert graywave("check", PROGRAM, "--device", "id=windows-device").exit_code == 0
        told = json.loads(graywave("windows list", "--json").stdout)["windows"]
        return next(row for row in told if row["program"] == PROGRAM)

    found = eventually(lambda: row if (row := find())["admitted"] == 1 else None)
    assert (found["release"], found["limit"], found["state"]) == ("r1", 1000, "open")
    lines = graywave("windows list").stdout.splitlines()
    assert f"{PROGRAM}  r1  1 of 1,000  open  until {show_moment(found['closes_at'])}" in lines


def test_workspace_that_is_none(graywave: Run) -> None:
    """A workspace that is not served there is named, with those that are."""
    result = graywave("windows list", "--workspace", "shop")
    assert result.exit_code == Exit.FAILED
    assert "expected a workspace that is served there, one of demo, got 'shop'" in result.stderr


@pytest.mark.parametrize(
    ("release", "times", "admitted", "state"),
    [
        ({}, (0, NOW + 1), 2, "open"),
        ({}, (NOW, NOW + 1), 2, "open"),
        ({}, (0, NOW + 1), 3, "full"),
        ({}, (0, NOW), 2, "closed"),
        ({}, (NOW + 1, NOW + 2), 0, f"opens {show_moment(NOW + 1)}"),
        ({"state": "paused"}, (0, NOW), 3, "paused"),
    ],
)
def test_state_of_a_window(release: dict[str, str], times: tuple[int, int], admitted: int, state: str) -> None:
    """The release comes first, then the times, both ends of them, then the places."""
    window = {"id": "aa", "limit": 3, "opens_at": times[0], "closes_at": times[1]}
    document = {"program": PROGRAM, "releases": [{"id": "r1", "who": {"window": window}, **release}, {"id": "r0"}]}
    (found,) = find_windows(document, {"aa": admitted}, NOW)
    assert (found["state"], found["admitted"]) == (state, admitted)


def test_host_that_is_gone(run: Run, redis_server: PrivateRedis) -> None:
    """A host that a recovery waits for is waited for no longer; of any other nothing is written."""
    words = ("windows", "gone", "host-c", "--redis", redis_server.url)
    refused = run(*words)
    assert refused.exit_code == Exit.REFUSED
    assert "expected a host that windows of 'demo' wait for, got 'host-c'" in refused.stderr
    with Redis.from_url(redis_server.url) as client:
        assert not client.exists(FENCE)
        client.hset(FENCE, mapping={"recovering": "run", "entry": "2:run:1:0", "need:host-c": "1"})
        done = run(*words)
        assert (done.exit_code, done.stdout) == (0, "windows of demo wait for host-c no longer\n")
        assert client.hget(FENCE, "gone:host-c") == b"1"


def test_redis_that_is_away(run: Run) -> None:
    """Nothing can be said where Redis is not there."""
    assert run("windows", "gone", "host-c", "--redis", "unix:///nowhere.sock").exit_code == Exit.UNREACHABLE
