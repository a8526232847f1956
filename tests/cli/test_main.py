"""The command itself: its subcommands, their help, its version, and libraries that are not installed."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from cli.main import COMMANDS, VERSION
from tests.cli.conftest import Run
from tests.end_to_end.town import ROOT

EVERY = [[name] for name in COMMANDS] + [["keys", "new"], ["document", "get"], ["document", "put"]]


@pytest.mark.parametrize("command", [[], *EVERY], ids=" ".join)
@pytest.mark.parametrize("option", ["--help", "-h"])
def test_help(run: Run, command: list[str], option: str) -> None:
    """Every command says what it does and ends with code 0."""
    result = run(*command, option)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['main', *command])} ")
    assert result.stderr == ""


def test_commands_are_listed(run: Run) -> None:
    """The help lists what people use, and cuts no summary short."""
    listed = run("--help").stdout.partition("Commands:\n")[2]
    assert re.findall(r"^  (\w+) ", listed, re.MULTILINE) == [name for name in COMMANDS if name != "reference"]
    assert "..." not in listed


@pytest.mark.parametrize("arguments", [["nonsense"], ["--nonsense"], ["pack"], ["up", "--port", "0"], ["check"]])
def test_wrong_usage(run: Run, arguments: list[str]) -> None:
    """Wrong usage ends with code 2 and says what is wrong."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert "\nError: " in result.stderr


def test_version(run: Run) -> None:
    """The version is the project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert run("--version").stdout == f"{VERSION}\n" == f"{project['version']}\n"


def test_a_part_that_is_not_installed(tmp_path: Path) -> None:
    """Where the SDK's library is not installed, other commands work, and those that need it say so in one line."""
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['urllib3'] = None\n")
    environ = os.environ | {"PYTHONPATH": str(tmp_path)}

    def run(*arguments: str) -> tuple[int, str, str]:
        command = [sys.executable, "-m", "cli", *arguments]
        done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout, done.stderr

    code, listed, _ = run("--help")
    assert code == 0
    assert "  edge " in listed
    assert "  update " not in listed
    message = "graywave: graywave update is not part of this installation: it lacks urllib3\n"
    assert run("update", "2021000000000001", "--folder", "x") == (2, "", message)
    assert run("edge", "--help")[0] == 0


def test_modules_of_the_folder_are_not_ours(tmp_path: Path) -> None:
    """scripts/graywave works in any folder, whatever Python files lie there."""
    for name in ("cli", "json", "click", "settings"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not mine')\n")
    command = [str(ROOT / "scripts/graywave"), "--version"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"{VERSION}\n")
