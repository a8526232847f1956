"""The doctor on the command line: a line for each check, the first fault named, and the code of its kind."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.doctor import _describe
from container.doctor import Finding
from tests.cli.conftest import Run
from tests.cli.running import Running

Serve = Callable[[int, bytes], str]
TEA = "2021000000000002"
CHECKS = ["config", "folder", "clock", "addresses", "workspace", "keys", "offers", "store", "range"]


def test_all_is_well(graywave: Run) -> None:
    """Beside a running Graywave nothing is wrong; each check has a line."""
    result = graywave("doctor", "--program", TEA, "--folder", "phone")
    lines = result.stdout.splitlines()
    assert (result.exit_code, lines.pop()) == (0, "no fault"), result.stdout
    assert [line.split()[:2] for line in lines] == [[name, "ok"] for name in CHECKS]
    assert not Path("phone").exists()


def test_json(graywave: Run) -> None:
    """A script gets each check."""
    told = json.loads(graywave("doctor", "--program", TEA, "--json").stdout)
    assert told["first_fault"] is None
    assert [check["check"] for check in told["checks"]] == CHECKS
    assert {check["status"] for check in told["checks"]} == {"ok"}
    assert {check["code"] for check in told["checks"]} == {0}


def test_installed_programs_are_looked_at(graywave: Run) -> None:
    """Without a program the installed ones are looked at: one whose files have changed is the first fault."""
    graywave("update", TEA, "--folder", "phone")
    assert graywave("doctor", "--folder", "phone").exit_code == 0
    (page,) = Path("phone").rglob("index.html")
    page.write_text("evil")
    result = graywave("doctor", "--folder", "phone")
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (1, "first fault: folder")


def test_nobody_there(graywave: Run, run: Run, running: Running) -> None:
    """Where no edge answers, that is the first fault: code 4, with what to do."""
    run("client", "--keys", running.data / "keys", "--edge", "http://127.0.0.1:1", "--out", "client.json")
    result = graywave("doctor", "--config", "client.json", "--program", TEA)
    lines = {line.split()[0]: line for line in result.stdout.splitlines()}
    assert result.exit_code == 4
    assert lines["addresses"].startswith("addresses FAULT   http://127.0.0.1:1/v1/check: expected an answer")
    assert lines["addresses"].endswith("; see that the address is right, its edge runs, and this network reaches it")
    assert lines["store"] == "store     skipped no address answers a check"
    assert result.stdout.splitlines()[-1] == "first fault: addresses"


def test_another_workspace(graywave: Run, run: Run, running: Running) -> None:
    """A workspace that the edge does not serve is the first fault: code 3."""
    run("keys", "new", "other", "--workspace", "other")
    run("client", "--keys", "other", "--edge", f"http://{running.edge}", "--out", "client.json")
    result = graywave("doctor", "--config", "client.json", "--program", TEA, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["first_fault"]) == (3, "workspace")
    (fault,) = [check for check in told["checks"] if check["status"] == "fault"]
    assert "unknown_workspace" in fault["fault"]
    assert (fault["code"], fault["advice"]) == (
        3,
        "see /status of that edge: it must list the workspace, with its rules",
    )


def test_other_keys(graywave: Run, run: Run, running: Running) -> None:
    """A device that pins other keys believes no offer: code 5."""
    run("keys", "new", "other", "--workspace", "demo")
    run("client", "--keys", "other", "--edge", f"http://{running.edge}", "--out", "client.json")
    result = graywave("doctor", "--config", "client.json", "--program", TEA)
    assert (result.exit_code, result.stdout.splitlines()[-1]) == (5, "first fault: offers")


def test_no_configuration(run: Run) -> None:
    """Without a client.json nothing else can be looked at: code 2."""
    result = run("doctor")
    assert result.exit_code == 2
    assert result.stdout.startswith("config    FAULT   data/client.json: expected a file that can be read: ")
    assert result.stdout.count(" skipped ") == len(CHECKS) - 1


@pytest.mark.parametrize("as_json", [False, True])
def test_what_an_edge_says_moves_no_cursor(
    graywave: Run,
    run: Run,
    running: Running,
    serve: Serve,
    as_json: bool,
) -> None:
    """Words of a hostile edge reach the terminal without their control characters."""
    edge = serve(400, json.dumps({"error": {"code": "x", "message": "\x1b[2Jgone"}}).encode())
    run("client", "--keys", running.data / "keys", "--edge", edge, "--out", "client.json")
    result = graywave("doctor", "--config", "client.json", *(["--json"] if as_json else []))
    assert result.exit_code == 3
    assert "\x1b" not in result.stdout
    assert "gone" in result.stdout


def test_no_check_moves_a_cursor() -> None:
    """Whatever a check has seen, a header for example, has no control characters on the terminal."""
    assert _describe(Finding("range", "\x1b[2J")) == "range     ok      \\x1b[2J"
