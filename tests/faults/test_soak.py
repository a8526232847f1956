"""A whole soak, short: faults of every kind under load. What hangs on the machine's speed is not judged here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.errors import ToolError
from tests.end_to_end.town import ROOT
from tests.faults.plan import COUNTS
from tests.faults.soak import main
from tests.faults.verdict import judge_answers

MINUTES = 0.3
# A run ends by itself; this is for one that does not.
LIMIT_S = 600


def run_soak(*arguments: object) -> "subprocess.CompletedProcess[str]":
    """Runs the soak to its end."""
    return subprocess.run(
        [sys.executable, "-m", "tests.faults.soak", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


def test_short_soak(tmp_path: Path) -> None:
    """No answer is wrong or old, no connection is refused but by a dead host, and each retry is answered."""
    done = run_soak(MINUTES, "--json", tmp_path / "soak.json", "--png", tmp_path / "soak.png")
    assert done.returncode in {0, 1}, done.stderr
    report = json.loads((tmp_path / "soak.json").read_text("utf-8"))
    found = report["main"]
    # A machine that is busy keeps a device waiting without any fault: silence alone is no one's mistake here.
    found["unexplained"] = [failure for failure in found["unexplained"] if failure["what"] != "silent"]
    assert judge_answers(found) == [], done.stderr
    assert set(report["main"]["faults"]) == set(COUNTS)
    assert report["main"]["judged"] > 1_000
    assert len(report["main"]["published"]) == 7
    assert report["reach"]["publishes"] == 30
    assert f"run        {MINUTES} minutes" in done.stdout
    assert (done.returncode == 0) == (report["failures"] == [])
    assert (tmp_path / "soak.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("arguments", [[], ["0"], ["many"], ["1", "--seed", "x"], ["2000"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What cannot be understood ends with 2, and says what was expected."""
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage: scripts/soak" in capsys.readouterr().err


def test_machine_without_redis(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Where no Redis is to be found the soak ends with 3, and says what to install."""
    monkeypatch.setattr("loadtest.stage.find_tool", _find_nothing)
    assert main(["1"]) == 3
    assert "soak: redis-server is not installed" in capsys.readouterr().err


def _find_nothing(*_: str) -> str:
    raise ToolError("redis-server is not installed")
