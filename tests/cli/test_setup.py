"""scripts/setup: makes the environment once, with nothing but bash, coreutils and Python, and says what is missing.

Python's own part (venv, pip) is played by a script that notes what it is asked for: nothing is fetched here.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.end_to_end.town import ROOT

TOOLS = ("bash", "cat", "chmod", "cp", "dirname", "env", "mkdir", "rm", "sleep")
PYTHON = """#!/usr/bin/env bash
case "$*" in
  *version_info*) exit {old} ;;
  *ensurepip*) exit {bare} ;;
  *fcntl*) exec {real} "$@" ;;
  "-m venv --clear .venv")
    echo venv >> asked
    rm -rf .venv; mkdir -p .venv/bin; cp "$0.inner" .venv/bin/python; chmod +x .venv/bin/python ;;
esac
"""
INNER = """#!/usr/bin/env bash
case "$*" in
  *"pip --version") exit 0 ;;
  *"pip install"*) echo install >> asked; sleep 0.3; exit {fails} ;;
esac
"""
ANNOUNCED = "graywave: installing into .venv, once (about a minute) ...\n"


class Checkout:
    """A checkout with a lock and scripts/setup, and a PATH with little on it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "checkout"
        self.path = folder / "bin"
        self.path.mkdir()
        for tool in TOOLS:
            (self.path / tool).symlink_to(str(shutil.which(tool)))
        (self.folder / "requirements").mkdir(parents=True)
        self.lock = self.folder / "requirements/dev.lock"
        self.lock.write_text("a==1\n")
        shutil.copytree(ROOT / "scripts", self.folder / "scripts")

    def give_python(self, *, old: int = 0, bare: int = 0, fails: int = 0) -> None:
        """Puts a Python on the PATH: one that is old, has no venv, or whose pip fails."""
        python = self.path / "python3"
        python.write_text(PYTHON.format(old=old, bare=bare, real=sys.executable))
        python.chmod(0o755)
        (self.path / "python3.inner").write_text(INNER.format(fails=fails))

    def start(self, script: str = "setup") -> "subprocess.Popen[str]":
        """Starts a script."""
        command = [str(self.folder / "scripts" / script)]
        environ = {"PATH": str(self.path)}
        return subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, script: str = "setup") -> tuple[int, str]:
        """Runs a script; returns its exit code and all that it said."""
        with self.start(script) as process:
            out, said = process.communicate()
        return process.returncode, out + said

    @property
    def asked(self) -> list[str]:
        """What Python was asked for."""
        path = self.folder / "asked"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """A checkout that was never started."""
    return Checkout(tmp_path)


def test_once(checkout: Checkout) -> None:
    """The first start installs and says so; the second does nothing and says nothing."""
    checkout.give_python()
    assert checkout.run() == (0, ANNOUNCED)
    assert checkout.run() == (0, "")
    assert checkout.asked == ["venv", "install"]


def test_two_at_once(checkout: Checkout) -> None:
    """Of two first starts at once one installs, and the other waits for it."""
    checkout.give_python()
    with checkout.start() as first, checkout.start() as second:
        said = first.communicate()[1] + second.communicate()[1]
    assert (first.returncode, second.returncode, said) == (0, 0, ANNOUNCED)
    assert checkout.asked == ["venv", "install"]


def test_another_lock(checkout: Checkout) -> None:
    """A lock that has changed is installed into the environment that is there."""
    checkout.give_python()
    checkout.run()
    checkout.lock.write_text("a==2\n")
    assert checkout.run() == (0, ANNOUNCED)
    assert checkout.asked == ["venv", "install", "install"]


@pytest.mark.parametrize("spoil", ["no python", "no pip"])
def test_an_environment_that_is_broken(checkout: Checkout, spoil: str) -> None:
    """An environment whose making was cut off, or whose Python is gone, is made anew."""
    checkout.give_python()
    checkout.run()
    python = checkout.folder / ".venv/bin/python"
    if spoil == "no python":
        python.unlink()
        python.symlink_to("/nowhere/python3")
    else:
        python.write_text("#!/usr/bin/env bash\nexit 1\n")
        (checkout.folder / ".venv/installed.lock").unlink()
    assert checkout.run() == (0, ANNOUNCED)
    assert checkout.asked == ["venv", "install"] * 2


def test_an_installation_that_fails(checkout: Checkout) -> None:
    """Where pip fails, the last line says what to do, and the next start tries again."""
    checkout.give_python(fails=1)
    code, said = checkout.run()
    line = (
        "graywave: the installation failed; the lines above say why. Run it again, or delete .venv and run it again\n"
    )
    assert (code, said) == (1, ANNOUNCED + line)
    checkout.give_python()
    shutil.rmtree(checkout.folder / ".venv")
    assert checkout.run() == (0, ANNOUNCED)


NO_PYTHON = "graywave: needs Python 3.11 or newer as python3 (Debian: apt-get install python3 python3-venv)\n"
NO_VENV = "graywave: this Python has no venv (Debian: apt-get install python3-venv)\n"


@pytest.mark.parametrize("script", ["setup", "run", "test", "graywave", "bench"])
@pytest.mark.parametrize("missing", ["python", "new python", "venv"])
def test_what_is_missing(checkout: Checkout, script: str, missing: str) -> None:
    """What the machine lacks is told in one line, by every script, and nothing is made."""
    if missing != "python":
        checkout.give_python(old=int(missing == "new python"), bare=int(missing == "venv"))
    assert checkout.run(script) == (1, NO_VENV if missing == "venv" else NO_PYTHON)
    assert sorted(path.name for path in checkout.folder.iterdir()) == ["requirements", "scripts"]
