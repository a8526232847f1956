"""The bench as a command: its options, its exit codes, a whole quick run, and that it leaves nothing behind."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from loadtest.bench import ON_REQUEST, SECTIONS, main, make_plan, make_questions, parse_arguments
from loadtest.capacity import MAX_FIRST_ANSWER_S
from loadtest.population import Census, Population, parse_question
from loadtest.report import (
    LEAST_COMPARED,
    MAX_AUDIENCE_BYTES,
    MAX_AUDIENCE_RATIO,
    MAX_BUILD_S,
    MAX_CHANGE_GROWTH,
    MAX_CHANGE_MEDIAN_MS,
    MAX_LOAD_MS,
    MAX_LOOKUP_US,
    MAX_UNCHANGED_RATIO,
    MILLION,
    RATIO_LIMITS,
)
from loadtest.stage import HOME, make_environment

COMMAND = [sys.executable, "-m", "loadtest.bench"]
# What overloads a machine on purpose is run by hand.
USUAL = [section for section in SECTIONS if section != "overload"]


def find_processes(folder: Path) -> list[str]:
    """The processes that were started with this folder for temporary files, still running."""
    found = []
    for process in Path("/proc").iterdir():
        try:
            environment = (process / "environ").read_bytes()
        except OSError:
            continue
        if f"TMPDIR={folder}".encode() in environment.split(b"\0"):
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.mark.usefixtures("load_tools")
def test_a_quick_run_measures_everything(tmp_path: Path) -> None:
    """All sections but one run, no answer is wrong, the report has its members, nothing is left behind."""
    environment = make_environment({"TMPDIR": str(tmp_path)})
    report_path = tmp_path / "report.json"
    done = subprocess.run(
        [*COMMAND, "--quick", "--only", ",".join(USUAL), "--json", str(report_path)],
        env=environment, check=False, capture_output=True, text=True, cwd=tmp_path, timeout=480,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(report_path.read_bytes())
    assert report["wrong"] == 0
    assert report["compared"] == dict.fromkeys(("lane", "plain_edge", "aiohttp_app"), 2_000)
    assert report["ratios"].keys() == {"lane/nginx", "lane/aiohttp_app", "plain_edge/nginx"}
    assert report["processor_us"].keys() == {"nginx", "lane", "plain_edge", "aiohttp_app"}
    assert report["processor_us"]["lane"].keys() == {"user", "system", "total"}
    assert report["conditions_a_check"] == report["population"]["conditions_a_check"] > 10
    assert report["population"]["repeated_devices"] == 0
    assert report["devices"]["used"] > 2_000
    assert report["devices"]["repeated"] == 0
    assert report["load"]["programs"] == 400
    assert report["change"].keys() == {"100", "400"}
    audience = report["audience"]
    assert (audience["ids"], audience["workers"], audience["ids_in_all"]) == (50_000, 4, 50_000)
    assert audience["file_bytes"] > 400_000
    assert abs(audience["memory_bytes"]) < 10_000_000  # a list of this size is less than what allocators do
    assert audience["processor_us"].keys() == {"audience", "inline"}
    assert audience["lookup_us"].keys() == {"member", "stranger"}
    assert audience["ratio"] > 0
    window = report["window"]
    assert (window["crowd"]["told"], window["faults"]["promoted_replica"]["told"]) == (200, 200)
    assert (window["made_up"]["told"], window["made_up"]["proven_told"]) == (0, 50)
    held = report["held"]
    assert (held["devices"], len(held["rounds"]), held["rounds"][0]["wrong"]) == (500, 1, 0)
    assert report["ofrep"]["switches"] == 100
    assert report["ofrep"]["processor_us"].keys() == {"check", "unchanged", "whole"}
    assert report["ofrep"]["ratio"] > 0
    assert "ratio      lane/nginx" in done.stdout
    assert find_processes(tmp_path) == []
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_run_leaves_nothing(tmp_path: Path, number: signal.Signals, code: int) -> None:
    """Interrupted in the middle, the bench ends its servers and removes its folder."""
    environment = make_environment({"TMPDIR": str(tmp_path)})
    command = [*COMMAND, "--quick", "--only", "change"]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as bench:
        assert bench.stderr is not None
        while "publishing" not in bench.stderr.readline():
            assert bench.poll() is None
        assert len(find_processes(tmp_path)) > 3
        bench.send_signal(number)
        bench.stderr.read()
    assert bench.returncode == code
    assert find_processes(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_hangs_is_ended() -> None:
    """After MAX_RUN_S the bench ends what it has started and itself, though every exception is swallowed."""
    code = (
        "import time, contextlib, loadtest.bench as bench\n"
        "with contextlib.ExitStack() as cleanup:\n"
        "    bench.end_on_signals(cleanup, 1)\n"
        "    cleanup.callback(print, 'servers ended', flush=True)\n"
        "    while True:\n"
        "        with contextlib.suppress(BaseException):\n"
        "            time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=make_environment({}), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (4, "servers ended\n")
    assert done.stderr == "bench: failed: it did not end within 1 s\n"


def test_a_missing_tool_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without wrk the bench ends with 3 and says what to install."""
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("loadtest.process.SYSTEM_PATH", "/nowhere")
    assert main(["--only", "cost"]) == 3
    expected = "bench: wrk is not installed (Debian: apt-get install wrk nginx-light)\n"
    assert capsys.readouterr().err == expected


def test_options_make_a_plan(tmp_path: Path) -> None:
    """Rounds, seconds, sections and the report's file are options; without them everything is measured five times."""
    plan, path = parse_arguments([])
    assert (plan.rounds, plan.seconds, plan.compared, plan.changes, path) == (5, 5, 100_000, 200, None)
    assert plan.sections == frozenset(SECTIONS)
    given = ["--rounds", "7", "--seconds", "2", "--only", "load", "--only", "change", "--json", str(tmp_path / "f")]
    plan, path = parse_arguments(given)
    assert (plan.rounds, plan.seconds, path) == (7, 2, tmp_path / "f")
    assert plan.wants("load")
    assert plan.wants("cost", "change")
    assert not plan.wants("cost", "answers")
    assert parse_arguments(["--only", "capacity"])[0].sections == {"capacity"}
    plan, _ = parse_arguments(["--only", "audience,load", "--only", "change"])
    assert plan.sections == {"audience", "load", "change"}


@pytest.mark.parametrize(
    "arguments", [["--rounds", "0"], ["--seconds", "x"], ["--only", "nothing"], ["--only", "load,"]]
)
def test_wrong_options_end_with_two(arguments: list[str]) -> None:
    """A wrong option ends the bench before anything is started."""
    with pytest.raises(SystemExit) as ended:
        parse_arguments(arguments)
    assert ended.value.code == 2


def test_a_full_plan_keeps_what_is_promised() -> None:
    """What a run without options measures is what the promises are about."""
    plan = make_plan(SECTIONS, 5, 5, is_quick=False)
    assert (plan.usual, plan.many) == (1_000, 10_000)
    assert plan.compared >= 100_000
    assert plan.changes >= 200


def test_some_questions_ask_about_several_programs(population: Population) -> None:
    """One of ten compared questions asks about several programs and an unknown one, and no request is lost."""
    requests = list(population.render(population.draw_records(0, 100)))
    questions = make_questions(requests)
    sizes = [len(parse_question(question)["programs"]) for question in questions]
    assert len(questions) == 100
    assert [size > 2 for size in sizes] == [place % 10 == 0 for place in range(100)]
    assert questions[1:10] == requests[1:10]


def test_the_script_is_the_module(tmp_path: Path) -> None:
    """`scripts/bench` runs the module from any folder, and hands its arguments on."""
    script = HOME / "scripts" / "bench"
    done = subprocess.run([script, "--help"], check=True, capture_output=True, text=True, cwd=tmp_path)
    assert "usage: scripts/bench" in done.stdout
    assert os.access(script, os.X_OK)


def test_the_document_says_what_the_code_does() -> None:
    """docs/benchmark.md has the limits, sections and figures that the bench has."""
    text = " ".join((HOME / "docs" / "benchmark.md").read_text("utf-8").split())
    for name, limit in RATIO_LIMITS.items():
        assert f"| `{name}`:" in text
        assert f"| {limit} |" in text
    for limit in (
        f"{MAX_BUILD_S:.0f} s",
        f"{MAX_AUDIENCE_BYTES // MILLION} MB",
        MAX_AUDIENCE_RATIO,
        f"{MAX_LOOKUP_US:.0f} µs",
    ):
        assert f"| {limit} |" in text
    for promise in (
        f"{LEAST_COMPARED:,} on the lane",
        f"| {MAX_LOAD_MS / 1000:.0f} s |",
        f"{MAX_CHANGE_MEDIAN_MS:.0f} ms",
    ):
        assert promise in text
    assert f"| {MAX_CHANGE_GROWTH} |" in text
    assert f"a 304, over a check's | {MAX_UNCHANGED_RATIO} |" in text
    assert f"first right answer | {MAX_FIRST_ANSWER_S:.0f} s |" in text
    for section in SECTIONS + ON_REQUEST:
        assert f"## `{section}`: " in text
    for field in fields(Census):
        if field.name not in ("checks", "programs", "refusals_a_check"):
            assert f"`{field.name}`" in text
    for option in ("--json FILE", "--rounds N", "--seconds N", "--only SECTION", "--quick"):
        assert f"| `{option}` |" in text
