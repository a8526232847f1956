"""README.md is true: every command in it runs as it stands there, and answers what stands there."""

import os
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import Running
from tests.docs.page import read_blocks
from tests.end_to_end.town import ROOT

README = (ROOT / "README.md").read_text("utf-8")
# What runs while the others are run, and what runs this test.
NOT_RUN = {"scripts/run", "scripts/test"}
# What a reader's checkout does not have, or this one must keep for itself.
NOT_LINKED = {"data", "dist", "hello", "phone", ".git"}
ANY = "…"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout, whose files are links to this one's, to be written into."""
    folder = tmp_path_factory.mktemp("checkout")
    for path in ROOT.iterdir():
        if path.name not in NOT_LINKED:
            (folder / path.name).symlink_to(path)
    return folder


@pytest.fixture(scope="module")
def running(checkout: Path) -> Iterator[Running]:
    """What `scripts/run` starts there."""
    with Running(checkout, command=("scripts/run",), cwd=checkout) as running:
        yield running.wait_ready()


def run_line(line: str, folder: Path) -> str:
    """All that a line prints in a terminal whose folder is the checkout."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("GRAYWAVE_")}
    (folder / ".curlrc").write_text("silent\n")  # in a pipe curl would show how far it is
    environ["CURL_HOME"] = str(folder)
    done = subprocess.run(
        ["bash", "-c", line],
        cwd=folder,
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (line, done.stdout)
    return done.stdout


def is_answer(shown: str, said: str, language: str) -> bool:
    """Says whether what is shown is what was said; `…` stands for a value, for a line's rest, or for any lines."""
    if language == "json":  # shown on several lines, so that it can be read
        pattern = re.escape("".join(map(str.strip, shown.splitlines()))).replace(ANY, r'[^"\s,{}]*')
        return re.fullmatch(pattern, said.strip()) is not None
    lines = [".*" if line == ANY else re.escape(line).replace(ANY, r"[^\n]+") for line in shown.splitlines()]
    return re.fullmatch("\n".join(lines), said.strip(), re.DOTALL) is not None


def test_every_command_and_answer(running: Running, checkout: Path) -> None:
    """The commands run in their order, and each block of an answer is what those above it print."""
    said, compared = "", 0
    for language, text in read_blocks(README):
        if language == "sh":
            lines = [line.replace("127.0.0.1:8080", running.edge) for line in text.splitlines() if line not in NOT_RUN]
            said = "".join(run_line(line, checkout) for line in lines)
        else:
            assert is_answer(text, said.replace(running.edge, "127.0.0.1:8080"), language), (text, said)
            compared += 1
    assert compared == 4


@pytest.mark.parametrize(
    ("shown", "said", "language", "is_same"),
    [
        ('{"a":…,\n "b":"e…"}', '{"a":12,"b":"eyJ.x"}\n', "json", True),
        ('{"a":…,\n "b":"e…"}', '{"a":12,"b":"x"}', "json", False),
        ('{"a":…}', '{"a":12,"b":1}', "json", False),
        ('{"a":1}', '{"a":1,"b":1}', "json", False),
        ("1 files\n{\n…\n}\nend", "1 files\n{\n a\n b\n}\nend\n", "text", True),
        ("… ms", "1.5 ms\n", "text", True),
        ("… ms", "one line more\n1.5 ms\n", "text", False),
        ("… ms", " ms more", "text", False),
    ],
)
def test_the_comparison_can_fail(shown: str, said: str, language: str, *, is_same: bool) -> None:
    """An answer is compared to its last letter, but for what `…` stands for."""
    assert is_answer(shown, said, language) is is_same


def test_the_first_screen() -> None:
    """What it decides, one command, the question with its answer, and the folders come before the first heading."""
    first = README.partition("\n## ")[0]
    assert [block.text.split()[0] for block in read_blocks(first) if block.language == "sh"] == [
        "scripts/run",
        "curl",
        "scripts/graywave",
    ]
    assert "| folder |" in first


def test_the_map_of_the_folders() -> None:
    """Every folder in the table is there, and every package of the project is in it."""
    rows = [line.split("|")[1] for line in README.splitlines() if line.startswith("| `")]
    named = re.findall(r"`([\w/]+)/`", " ".join(rows))
    assert all((ROOT / name).is_dir() for name in named), named
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]["packages"]
    assert set(packages) <= set(named)


def test_five_commands() -> None:
    """From a folder to an activated package it takes five commands."""
    block, _ = [block for block in read_blocks(README) if "pack hello" in block.text]
    assert len(block.text.splitlines()) == 5
