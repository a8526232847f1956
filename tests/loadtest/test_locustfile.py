"""locust against the real demo for ten seconds, and what its thresholds and its refusal do."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from loadtest.process import Server, await_ready
from loadtest.stage import HOME, make_command, make_environment

LOCUSTFILE = HOME / "loadtest" / "locustfile.py"
DEMO: dict[str, Any] = json.loads((HOME / "config" / "demo" / "demo.json").read_text("utf-8"))
# The demo takes three ports in a row; the kernel gives none of these to anybody by itself.
PORT = 28_080


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The demo as `scripts/run` starts it; its address."""
    folder = tmp_path_factory.mktemp("demo")
    environment = make_environment({"GRAYWAVE_DATA": str(folder / "data"), "GRAYWAVE_PORT": str(PORT)})
    server = Server("demo", make_command("up"), folder / "log", environment)
    try:
        await_ready(lambda: "ready http" in server.show_output(), server)
        yield f"http://127.0.0.1:{PORT}"
    finally:
        server.stop()


def run_locust(host: str, run_time_s: int, **environ: str) -> subprocess.CompletedProcess[str]:
    """Locust without its web page, as it is called from a shell."""
    return subprocess.run(
        [sys.executable, "-m", "locust", "-f", str(LOCUSTFILE), "--headless", "--only-summary", "--users", "20",
         "--spawn-rate", "20", "--run-time", f"{run_time_s}s", "--host", host],
        env=make_environment(environ), check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_ten_seconds_on_the_demo_keep_the_thresholds(demo: str) -> None:
    """Devices ask the demo for ten seconds; no answer is wrong, the run ends with 0."""
    done = run_locust(demo, 10, GRAYWAVE_LOCUST_MAX_P99_MS="5000")  # a busy machine proves nothing else
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0(0.00%)" in done.stdout + done.stderr


def test_a_threshold_of_the_environment_is_heeded() -> None:
    """Where every check may fail, a run without any answer of a server ends with 0."""
    done = run_locust("http://127.0.0.1:9", 1, GRAYWAVE_LOCUST_MAX_FAILURES="1", GRAYWAVE_LOCUST_MAX_P99_MS="60000")
    assert done.returncode == 0, done.stdout + done.stderr


def test_failed_checks_set_the_exit_code() -> None:
    """Where nobody answers, every check fails, and the run ends with 1."""
    done = run_locust("http://127.0.0.1:9", 1)
    assert done.returncode == 1
    assert "locust: expected at most 0.00% failures, got 100.00%" in done.stdout


@pytest.mark.parametrize("host", ["http://example.com", "http://192.0.2.7:8080", "http://127.0.0.1.example.com"])
def test_other_machines_are_refused(host: str) -> None:
    """Pointed at another machine, locust ends before it asks anything."""
    done = run_locust(host, 1)
    assert done.returncode != 0
    assert f"expected a host of this machine, got '{host}'" in done.stderr


def run_inside(code: str) -> str:
    """Runs code beside the locustfile in a process of its own: locust rewires sockets where it is imported."""
    script = f"import json\nfrom random import Random\nimport loadtest.locustfile as l\nprint(json.dumps({code}))"
    done = subprocess.run(
        [sys.executable, "-c", script], env=make_environment({}), check=True, capture_output=True, text=True
    )
    return done.stdout.strip().splitlines()[-1]


def test_faults_are_found() -> None:
    """An answer that no demo could give is a fault, each kind with its message; a right one has none."""
    program, versions = DEMO["programs"][0]["program"], DEMO["programs"][0]["versions"]
    question = {"programs": {program: versions[0]}}
    base = {"revision": 1, "poll_after": 1, "updates": []}
    answers = [
        base,
        [],
        {**base, "unknown": [program]},
        {**base, "updates": [{"program": program, "version": "9.9"}]},
        {**base, "updates": [{"program": program, "version": versions[0]}]},
    ]
    demo = {"programs": DEMO["programs"]}
    faults = json.loads(run_inside(f"[l.find_fault({demo!r}, {question!r}, one) for one in {answers!r}]"))
    assert faults == [
        "",
        "expected an answer with revision, poll_after and updates, got []",
        f"expected every program of the demo to be known, got ['{program}']",
        f"expected a version of the demo, got '9.9' of '{program}'",
        f"expected nothing for '{program}', got the version that is installed",
    ]


def test_thresholds_are_judged() -> None:
    """The limits themselves are kept; above them, and without any answer, a run is broken."""
    good = "l.judge(10, 0.0, 250.0, {})"
    bad = "l.judge(0, 0.5, 251.0, {'GRAYWAVE_LOCUST_MAX_FAILURES': '0.25'})"
    assert json.loads(run_inside(f"[{good}, {bad}]")) == [
        [],
        [
            "expected answers, got none",
            "expected at most 25.00% failures, got 50.00%",
            "expected a 99th percentile of at most 250 ms, got 251",
        ],
    ]


def test_a_threshold_that_is_no_number_is_named() -> None:
    """A mistyped threshold is an error with its name, not a default."""
    code = "[try_threshold(value) for value in ('x', '-1', 'nan')]"
    script = (
        "def try_threshold(value):\n"
        "    try:\n"
        "        return l.read_threshold({'GRAYWAVE_LOCUST_MAX_P99_MS': value}, 'MAX_P99_MS', 1)\n"
        "    except l.ThresholdError as error:\n"
        "        return str(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", f"import json\nimport loadtest.locustfile as l\n{script}print(json.dumps({code}))"],
        env=make_environment({}), check=True, capture_output=True, text=True,
    )  # fmt: skip
    message = "expected GRAYWAVE_LOCUST_MAX_P99_MS to be a number of at least 0, got "
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [f"{message}'{value}'" for value in ("x", "-1", "nan")]
