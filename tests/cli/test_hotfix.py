"""A hotfix while grays run, on a running edge: who is in a gray stays in it, to the device, whatever is published."""

import json
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import eventually

PROGRAM = "2021000000005001"
DEVICES = 200
PLACES = 40
GRAYS = ("whitelist", "listed", "window", "percent")

Cohorts = dict[str, str]


@pytest.fixture
def ask(running: Running) -> Any:
    """Asks as each device would, all of which have 1.0; returns the release of each, empty for none."""
    pool = urllib3.PoolManager(retries=False)

    def ask() -> Cohorts:
        found = {}
        for n in range(DEVICES):
            device = {"id": f"hotfix-{n}", "platform": "android", "user": f"hotfix-user-{n}"}
            body = json.dumps({"workspace": "demo", "device": device, "programs": {PROGRAM: "1.0"}})
            headers = {"Content-Type": "application/json"}
            answer = pool.request("POST", f"http://{running.edge}/v1/check", body=body, headers=headers)
            (*updates,) = json.loads(answer.data)["updates"]
            found[device["id"]] = updates[0]["release"] if updates else ""
        return found

    yield ask
    pool.clear()


@pytest.fixture
def pack(graywave: Run, tmp_path: Path) -> Any:
    """Packs a version, and returns its folder."""

    def pack(version: str) -> Path:
        source, out = tmp_path / version, tmp_path / f"packed-{version}"
        source.mkdir()
        (source / "index.html").write_text(version)
        result = graywave("pack", source, "--program", PROGRAM, "--version", version, "--out", out, "--level", "1")
        assert result.exit_code == 0, result.output
        return out

    return pack


def release(graywave: Run, running: Running, *arguments: object) -> None:
    """Releases, and returns once every worker has it."""
    result = graywave("release", *arguments, "--no-refine", "--json")
    assert result.exit_code == 0, result.output
    running.wait_everywhere(json.loads(result.stdout)["revision"])


def test_hotfixes_leave_the_grays_alone(graywave: Run, running: Running, ask: Any, pack: Any) -> None:
    """Below the grays, above them for some, and of one of them: nobody else moves."""
    assert graywave("audience put", "hotfix-qa", "--pattern", "hotfix-user-?").exit_code == 0
    release(graywave, running, pack("1.0"), "--id", "all")
    gray = pack("2.0")
    release(graywave, running, gray, "--id", "percent", "--percent", "30")
    release(graywave, running, gray, "--id", "window", "--window", PLACES, "--until", "+1h")
    release(graywave, running, gray, "--id", "listed", "--audience", "hotfix-qa")
    release(graywave, running, gray, "--id", "whitelist", "--user", "hotfix-user-11", "--user", "hotfix-user-12")
    eventually(lambda: sum(name == "window" for name in ask().values()) == PLACES)
    # A check waits 50 ms for a place at most: nobody is asked about any more once each worker has the whole list.
    stranger = next(device for device, name in ask().items() if name == "")
    eventually(lambda: explain(graywave, stranger) is False)
    before = eventually(lambda: found if (found := ask()) == ask() else None)
    sizes = {name: list(before.values()).count(name) for name in GRAYS}
    assert (sizes["whitelist"], sizes["listed"], sizes["window"]) == (2, 10, PLACES)
    assert sizes["percent"] > 20
    others = {device for device, name in before.items() if not name}

    release(graywave, running, pack("1.1"), "--id", "below", "--below", "percent")
    assert ask() == {device: "below" if device in others else name for device, name in before.items()}

    named = [device for device, name in before.items() if name == "percent"][:5]
    users = [part for device in named for part in ("--user", device.replace("hotfix-", "hotfix-user-"))]
    release(graywave, running, pack("2.1"), "--id", "above", *users)
    hotfixed = {device: "above" if device in named else name or "below" for device, name in before.items()}
    assert ask() == hotfixed

    release(graywave, running, pack("2.2"), "--id", "of-window", "--continues", "window", "--below", "listed")
    assert ask() == {device: "of-window" if name == "window" else name for device, name in hotfixed.items()}

    members = {device for device, name in before.items() if name == "window"}
    for device in (min(members), min(before.keys() - members)):
        eventually(lambda device=device: explain(graywave, device) == (device in members))


def explain(graywave: Run, device: str) -> bool | None:
    """Says whether the window's release has a device in it, as the host explains it; it asks for no place.

    None until the host has copied whom another process of it has admitted.
    """
    result = graywave("explain", PROGRAM, "--device", f"id={device}", "--json")
    (told,) = (one for one in json.loads(result.stdout)["releases"] if one["id"] == "window")
    (part,) = told["who"]
    if part["standing"] == "ask":
        return None
    assert part["why"] in {
        "admitted before, and stays so",
        f"no place is left of {PLACES}, or nobody new is admitted now",
    }
    return bool(part["standing"] == "inside")
