"""Asking on the command line: what an edge says, and what goes wrong on the way."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from cli.http import TIMEOUT_S, Answer
from tests.cli.conftest import Run
from tests.cli.running import Running

FERRY = "2021000000000001"


def test_an_answer_is_shown(graywave: Run) -> None:
    """The answer is JSON, on the standard output alone; the time is for people."""
    result = graywave("check", f"{FERRY}=1.0.0", "2021000000000002")
    updates = {update["program"]: update["version"] for update in json.loads(result.stdout)["updates"]}
    assert (result.exit_code, updates) == (0, {"2021000000000002": "1.0.0"})
    assert result.stderr.startswith("answered in ")


def test_facts_of_the_device_count(graywave: Run) -> None:
    """The device asks with its facts."""
    device = [part for fact in ("user=u-777", "os=14", "app=10.2.3", "model=MI 10") for part in ("--device", fact)]
    (update,) = json.loads(graywave("check", f"{FERRY}=1.0.0", *device).stdout)["updates"]
    assert (update["version"], update["release"]) == ("1.1.0", "ferry-gray")


def test_another_edge_and_workspace(run: Run, running: Running) -> None:
    """Without a data folder an address is enough; what the edge refuses ends with code 3 and its words."""
    result = run("check", FERRY, "--edge", f"http://{running.edge}/")
    assert result.exit_code == 0
    result = run("check", FERRY, "--edge", f"http://{running.edge}", "--workspace", "other")
    assert result.exit_code == 3
    assert result.stderr.startswith(f"graywave: POST http://{running.edge}/v1/check: unknown_workspace: ")


def test_nothing_runs(run: Run) -> None:
    """Where nothing runs, the message says what to start, and the code is 4."""
    result = run("check", FERRY)
    message = "graywave: nothing runs in data: start scripts/run, or name the address yourself\n"
    assert (result.exit_code, result.stderr) == (4, message)


def test_a_wrong_fact(run: Run) -> None:
    """A wrong fact is told before anybody is asked."""
    assert run("check", FERRY, "--device", "os").exit_code == 2


def test_keys_are_not_shown(run: Run, serve: Callable[[int, bytes], str]) -> None:
    """What opens a sealed package is for devices: it does not end in a log."""
    key = "AGE-SECRET-KEY-1" + "Q" * 58
    told = {"revision": 1, "updates": [{"program": FERRY, "key": key}, {"program": "2021000000000002"}]}
    result = run("check", FERRY, "--edge", serve(200, json.dumps(told).encode()))
    assert result.exit_code == 0
    assert key not in result.output
    shown = json.loads(result.stdout)["updates"]
    assert shown == [{"program": FERRY, "key": "***"}, {"program": "2021000000000002"}]


@pytest.mark.parametrize("updates", [None, {}, [1], "x"])
def test_an_answer_of_another_form(run: Run, serve: Callable[[int, bytes], str], updates: object) -> None:
    """Whatever else an edge answers is shown as it is."""
    answer = {"revision": 1, "updates": updates}
    result = run("check", FERRY, "--edge", serve(200, json.dumps(answer).encode()))
    assert (result.exit_code, json.loads(result.stdout)) == (0, answer)


@pytest.mark.parametrize(("options", "headers"), [((), {}), (("--wait", "20"), {"Prefer": "wait=20"})])
def test_waiting_for_news(
    run: Run, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], headers: dict[str, str]
) -> None:
    """Who would wait says so, and has the patience."""
    asked: dict[str, Any] = {}

    def ask(_method: str, _url: str, **given: Any) -> Answer:
        asked.update(given)
        return Answer(200, "", {"updates": []})

    monkeypatch.setattr("cli.check.ask", ask)
    assert run("check", FERRY, "--edge", "http://edge", *options).exit_code == 0
    assert (asked["headers"], asked["timeout_s"]) == (headers, TIMEOUT_S + (20 if options else 0))
