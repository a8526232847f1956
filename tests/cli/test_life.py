"""The life of a release on the command line: each command publishes one change, and says what it did."""

import itertools
import json
import time
from pathlib import Path
from typing import Any

import pytest

from cli.life import URGENT_POLL_S, make_urgent
from cli.moment import show_moment
from tests.cli.conftest import Run

Json = dict[str, Any]
_programs = (f"20210000000060{number:02}" for number in itertools.count(1))


@pytest.fixture
def program(graywave: Run, tmp_path: Path) -> str:
    """A program with the releases r2 (2.0, to half of all devices) and r1 (1.0, to everybody)."""
    program = next(_programs)
    for version, options in (("1.0", ()), ("2.0", ("--percent", "50"))):
        source = tmp_path / version
        source.mkdir()
        (source / "index.html").write_text(version)
        packed = tmp_path / f"packed-{version}"
        arguments = ("--program", program, "--version", version, "--out", packed, "--level", "1")
        assert graywave("pack", source, *arguments).exit_code == 0
        result = graywave("release", packed, "--no-refine", *options)
        assert result.exit_code == 0, result.stderr
    return program


def read(graywave: Run, program: str) -> Json:
    """Returns the program's document."""
    document: Json = json.loads(graywave("document get", program).stdout)
    return document


def find(graywave: Run, program: str, name: str) -> Json:
    """Returns a release of the program."""
    (release,) = (one for one in read(graywave, program)["releases"] if one["id"] == name)
    return dict(release)


def do(graywave: Run, command: str, *arguments: object) -> str:
    """Runs a command that has to succeed; returns what it says."""
    result = graywave(f"release {command}", *arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_release_is_paused_resumed_and_ended(graywave: Run, program: str) -> None:
    """Its state is all that changes."""
    before = find(graywave, program, "r2")
    for command, state, done in (
        ("pause", "paused", "paused"),
        ("resume", "live", "resumed"),
        ("end", "ended", "ended"),
    ):
        said = do(graywave, command, program, "r2")
        assert said.startswith(f"{done} r2 of {program}, revision ")
        assert find(graywave, program, "r2") == before | {"state": state}
    assert do(graywave, "end", program, "r2").endswith(", as it was already\n")


def test_a_dry_run_and_scripts(graywave: Run, program: str) -> None:
    """A dry run publishes nothing; a script gets the publisher's answer."""
    before = read(graywave, program)
    assert do(graywave, "pause", program, "r2", "--dry-run").startswith(f"would have paused r2 of {program}")
    told = json.loads(do(graywave, "pause", program, "r2", "--dry-run", "--json"))
    assert (told["dry_run"], told["unchanged"], "document" in told) == (True, False, False)
    assert read(graywave, program) == before


def test_a_release_is_moved(graywave: Run, program: str) -> None:
    """What can never be reached is warned of."""
    result = graywave("release move", program, "r1")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [one["id"] for one in read(graywave, program)["releases"]] == ["r1", "r2"]
    do(graywave, "move", program, "r1", "--below", "r2")
    assert [one["id"] for one in read(graywave, program)["releases"]] == ["r2", "r1"]
    assert graywave("release move", program, "r1", "--below", "r9").stderr == (
        "graywave: expected a release of r2, got r9\n"
    )


def test_a_percentage_is_raised(graywave: Run, program: str) -> None:
    """Now, by itself, and held; its salt stays."""
    salt = find(graywave, program, "r2")["who"]["percent"]["salt"]
    do(graywave, "ramp", program, "r2", "60%@+1h,70%@2099-01-01")
    percent = find(graywave, program, "r2")["who"]["percent"]
    assert (percent["parts"], [step["parts"] for step in percent["steps"]]) == (500_000, [600_000, 700_000])
    assert percent["steps"][1]["at"] == 4_070_908_800
    do(graywave, "ramp", program, "r2", "--percent", "55", "60%@+1h")
    do(graywave, "ramp", program, "r2", "--hold")
    assert find(graywave, program, "r2")["who"]["percent"] == percent | {"parts": 550_000, "steps": [], "salt": salt}


@pytest.mark.parametrize("arguments", [(), ("60%@+1h", "--hold"), ("--percent", "5", "--hold")])
def test_what_a_ramp_needs(graywave: Run, program: str, arguments: tuple[str, ...]) -> None:
    """Steps or a percentage, or to hold it, and not both."""
    result = graywave("release ramp", program, "r2", *arguments)
    assert (result.exit_code, result.stderr) == (2, "graywave: expected steps, --percent or both, or --hold alone\n")


def test_a_ramp_that_falls_is_refused(graywave: Run, program: str) -> None:
    """A step below what there is, is refused with its place."""
    result = graywave("release ramp", program, "r2", "40%@+1h")
    assert result.exit_code == 3
    place = "bad_document: $.releases[0].who.percent.steps[0].parts"
    assert f"{place}: expected at least the 500000 before, got 400000" in result.stderr


def test_a_release_is_scheduled(graywave: Run, program: str) -> None:
    """What is not given stays; one that closes in the past is warned of."""
    do(graywave, "schedule", program, "r2", "--opens", "2030-01-01")
    do(graywave, "schedule", program, "r2", "--closes", "2031-01-01")
    release = find(graywave, program, "r2")
    assert (release["opens_at"], release["closes_at"]) == (1_893_456_000, 1_924_992_000)
    result = graywave("release schedule", program, "r1", "--closes", "1000")
    assert (result.exit_code, result.stderr.startswith("warning: $.releases[1].closes_at: it closed at 1000")) == (
        0,
        True,
    )
    result = graywave("release schedule", program, "r2", "--closes", "2029-01-01")
    assert "bad_document: $.releases[0].closes_at: expected a time after opens_at 1893456000" in result.stderr
    result = graywave("release schedule", program, "r2")
    assert (result.exit_code, result.stderr) == (2, "graywave: expected --opens, --closes or both\n")


def test_devices_are_taken_back(graywave: Run, program: str) -> None:
    """A rollback is a release of an older version, on top; to a version that there is, from higher ones."""
    assert do(graywave, "rollback", program, "1.0", "--from", "2.0", "--from", "1.5").startswith(
        f"rolled back to 1.0 from 2.0, 1.5 of {program}, revision "
    )
    top = read(graywave, program)["releases"][0]
    assert (top["id"], top["package"], top["rollback"], top["who"]) == ("r3", "1.0", {"from": ["2.0", "1.5"]}, None)
    refused = graywave("release rollback", program, "2.0", "--from", "1.0")
    assert "bad_document: $.releases[0].rollback.from[0]: expected a version above" in refused.stderr
    assert graywave("release rollback", program, "9.0", "--from", "9.1").exit_code == 2


def test_a_program_is_taken_down_and_back(graywave: Run, program: str) -> None:
    """All its versions, until it is undone."""
    do(graywave, "take-down", program)
    assert read(graywave, program)["taken_down"] is True
    assert "taken down" in do(graywave, "list", program)
    do(graywave, "take-down", program, "--undo")
    assert not read(graywave, program).get("taken_down")


def test_a_floor(graywave: Run, program: str) -> None:
    """One that nobody could pass is refused with its place; an empty one is none."""
    do(graywave, "floor", program, "1.0")
    assert read(graywave, program)["floor"] == "1.0"
    assert "bad_document: $.floor: expected at most" in graywave("release floor", program, "3.0").stderr
    do(graywave, "floor", program, "")
    assert not read(graywave, program).get("floor")


def test_an_urgent_time(graywave: Run, program: str) -> None:
    """Devices ask more often for some minutes, and no publication ends it; or it ends at once."""
    before = int(time.time())
    do(graywave, "urgent", program, "30")
    made = read(graywave, program)["urgent"]
    assert made["poll_after"] == URGENT_POLL_S
    assert before + 1_800 <= made["until"] <= time.time() + 1_800
    do(graywave, "urgent", program, "30", "--poll-after", "60")
    assert read(graywave, program)["urgent"]["poll_after"] == 60
    do(graywave, "urgent", program, "0")
    assert not read(graywave, program).get("urgent")


def test_how_urgent() -> None:
    """So many minutes from now."""
    assert make_urgent(5, 60, 1_000) == {"poll_after": 60, "until": 1_300}
    assert make_urgent(0, 60, 1_000) is None


def test_releases_are_listed(graywave: Run, program: str, tmp_path: Path) -> None:
    """In their order, aligned, with whom they are for; a script gets them as they are."""
    closes = int(time.time()) + 3_600
    document = read(graywave, program)
    who = {"users": ["u", "v"], "percent": {"parts": 1, "by": "user"}}
    window = {"window": {"limit": 2_000, "closes_at": closes}}
    conditions = {
        "when": [{"attribute": "os", "op": "in", "values": ["14"]}] * 2,
        "clients": {"ios": {}, "android": {}},
    }
    document["releases"] = [
        {"id": "narrow", "package": "2.0", "who": who, **conditions, "closes_at": closes},
        {"id": "w", "package": "2.0", "state": "paused", "who": window, "rollback": {"from": ["3.0"]}},
        *document["releases"],
    ]
    (tmp_path / "document.json").write_text(json.dumps(document))
    assert graywave("document put", tmp_path / "document.json").exit_code == 0
    until = show_moment(closes)
    head, *lines = do(graywave, "list", program).splitlines()
    assert head.startswith(f"{program}, revision ")
    assert lines == [
        f"  narrow  2.0  live    2 users; 0.0001 % by user; 2 conditions; on android, ios; until {until}",
        f"  w       2.0  paused  a window of 2,000 until {until}; back from 3.0",
        "  r2      2.0  live    50 % by device",
        "  r1      1.0  live    everybody",
    ]
    do(graywave, "ramp", program, "r2", f"60%@{closes}")
    assert f"50 % by device; 60 % at {until}" in do(graywave, "list", program)
    assert [one["id"] for one in json.loads(do(graywave, "list", program, "--json"))] == ["narrow", "w", "r2", "r1"]


def test_a_program_that_is_none(graywave: Run) -> None:
    """There is nothing to change, nor to show."""
    for command, more in (("pause", ("r1",)), ("list", ())):
        result = graywave(f"release {command}", "2021000000009999", *more)
        assert result.exit_code == 3
        assert result.stderr == "graywave: no document of program '2021000000009999' is published\n"
