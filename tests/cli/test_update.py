"""Updating on the command line: what a device gets, and how each failure ends."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.exit import Exit
from cli.update import choose_exit
from container import (
    ConfigError,
    ContainerError,
    EdgeError,
    NetworkError,
    OverloadedError,
    StorageError,
    VerificationError,
)
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import ROOT

Serve = Callable[[int, bytes], str]
TEA = "2021000000000002"
FERRY = "2021000000000001"


def test_a_program_is_installed(graywave: Run, tmp_path: Path) -> None:
    """What the device should have is active, and the next time there is nothing to do."""
    result = graywave("update", TEA, "--folder", "phone")
    first, second = result.stdout.splitlines()
    assert result.exit_code == 0
    assert first.startswith(f"{TEA} nothing -> 1.0.0: activated (")
    assert second.startswith(f"{TEA} 1.0.0 is active in phone/")
    folder = tmp_path / second.rpartition(" is active in ")[2]
    assert (folder / "index.html").read_bytes() == (ROOT / "config/demo/tea/1.0.0/index.html").read_bytes()
    again = graywave("update", "--folder", "phone")
    assert (again.exit_code, again.stdout.splitlines()) == (0, [second])


def test_json(graywave: Run) -> None:
    """A script gets what became of each program."""
    (told,) = json.loads(graywave("update", TEA, "--folder", "phone", "--json").stdout)
    assert told.pop("bytes") > 0
    assert told.pop("ms") >= 0
    assert told == {
        "program": TEA,
        "action": "install",
        "before": "",
        "version": "1.0.0",
        "status": "activated",
        "error": "",
    }
    assert json.loads(graywave("update", TEA, "--folder", "phone", "--json").stdout) == []


def test_facts_of_the_device_count(graywave: Run) -> None:
    """The device asks with its facts: a user of the whitelist gets the gray release."""
    device = [part for fact in ("user=u-777", "os=14", "app=10.2.3", "model=MI 10") for part in ("--device", fact)]
    assert "-> 1.1.0: activated" in graywave("update", FERRY, "--folder", "phone", *device).stdout


def test_nothing_to_do(graywave: Run) -> None:
    """Where nothing is installed and nothing named, that is said."""
    result = graywave("update", "--folder", "phone")
    assert (result.exit_code, result.stdout) == (0, "nothing is installed in phone, and nothing is to be\n")


def write_client(running: Running, path: Path, **members: object) -> Path:
    """A client.json that differs from the running Graywave's."""
    path.write_text(json.dumps(json.loads((running.data / "client.json").read_bytes()) | members))
    return path


def test_other_keys(graywave: Run, run: Run, running: Running, tmp_path: Path) -> None:
    """A device that pins other keys believes nothing: code 5, the reason in the line, nothing active."""
    run("keys", "new", "other", "--workspace", "demo")
    client = write_client(running, tmp_path / "client.json", root=json.loads(Path("other/root.json").read_bytes()))
    result = graywave("update", TEA, "--folder", "phone", "--config", client)
    assert result.exit_code == 5
    assert result.stdout.startswith(f"{TEA} nothing -> 1.0.0: failed: ")
    assert "is active" not in result.stdout


def test_nobody_there(graywave: Run, running: Running, tmp_path: Path) -> None:
    """Where no edge answers, the code is 4."""
    client = write_client(running, tmp_path / "client.json", edges=["http://127.0.0.1:1"])
    result = graywave("update", TEA, "--folder", "phone", "--config", client)
    assert result.exit_code == 4
    assert result.stderr.startswith("graywave: ")


def test_an_edge_that_refuses(graywave: Run, running: Running, serve: Serve, tmp_path: Path) -> None:
    """What an edge refuses ends with code 3."""
    edge = serve(400, b'{"error": {"code": "bad_field", "message": "no"}}')
    client = write_client(running, tmp_path / "client.json", edges=[edge])
    assert graywave("update", TEA, "--folder", "phone", "--config", client).exit_code == 3


def test_no_configuration(run: Run) -> None:
    """Without a client.json nobody is asked: code 2, and the file's name."""
    result = run("update", TEA)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: data/client.json: expected a file that can be read: ")


def test_a_folder_that_cannot_be_written(graywave: Run) -> None:
    """A folder that is a file ends with code 1."""
    Path("phone").touch()
    result = graywave("update", TEA, "--folder", "phone")
    assert result.exit_code == 1
    assert "phone" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (VerificationError("x", "offer_refused"), Exit.UNVERIFIED),
        (NetworkError("x"), Exit.UNREACHABLE),
        (OverloadedError("x", 503, "overloaded", 1), Exit.UNREACHABLE),
        (EdgeError("x"), Exit.REFUSED),
        (ConfigError("x"), Exit.USAGE),
        (StorageError("x"), Exit.FAILED),
        (ContainerError("x"), Exit.FAILED),
    ],
)
def test_codes(error: ContainerError, code: Exit) -> None:
    """The exit code says who has to act."""
    assert choose_exit(error) == code


def test_progress_is_shown_to_people(running: Running, tmp_path: Path) -> None:
    """On a terminal a bar runs to its end for each download."""
    leader, follower = pty.openpty()
    arguments = ["update", TEA, "--folder", str(tmp_path / "phone"), "--data", str(running.data)]
    command = [sys.executable, "-m", "cli", *arguments]
    subprocess.run(command, cwd=ROOT, stderr=follower, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert shown.endswith(f"{TEA} [{'#' * 30}] 100 %\r\n")
