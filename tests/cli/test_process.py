"""Processes that end with their parent: started apart, ended in order, and never left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from cli import process
from cli.process import end, start_bound
from tests.end_to_end.town import ROOT, eventually, is_running

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def test_a_session_of_its_own() -> None:
    """A terminal's interrupt, which goes to a whole group, does not reach it."""
    started = start_bound(["sleep", "60"])
    assert os.getsid(started.pid) == started.pid != os.getsid(0)
    end(started)
    assert started.returncode == -signal.SIGTERM


def test_output_and_environment(tmp_path: Path) -> None:
    """Both outputs go where they should, and the environment is what is given."""
    with (tmp_path / "log").open("wb") as log:
        started = start_bound(["/bin/sh", "-c", "echo $A; echo b >&2"], log, {"A": "a"})
    assert started.wait() == 0
    assert (tmp_path / "log").read_text() == "a\nb\n"


def test_what_is_not_there() -> None:
    """A command that is not there is an OSError, as of any other."""
    with pytest.raises(FileNotFoundError):
        start_bound(["/nowhere/server"])


def test_a_stubborn_one_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that heeds no signal is killed in the end."""
    monkeypatch.setattr(process, "STOP_TIMEOUT_S", 0.2)
    with (tmp_path / "log").open("wb") as log:
        started = start_bound([sys.executable, "-c", STUBBORN], log)
    eventually((tmp_path / "log").read_text)
    end(started)
    assert started.returncode == -signal.SIGKILL


def test_it_dies_with_its_parent() -> None:
    """A parent that is killed takes it along."""
    code = "from cli.process import start_bound; import time; print(start_bound(['sleep', '60']).pid, flush=True)"
    command = [sys.executable, "-c", f"{code}; time.sleep(60)"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    eventually(lambda: not is_running(pid))
