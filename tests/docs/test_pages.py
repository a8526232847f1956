"""All pages: what they name is there. Links lead somewhere, files, scripts, commands, options and variables exist."""

import os
import re
from pathlib import Path

import click
import pytest

from cli.main import main
from cli.serve import SETTINGS
from settings import describe
from tests.docs.page import PAGES, read_blocks, read_links, read_spans
from tests.end_to_end.town import ROOT

FOLDERS = [path.name for path in ROOT.iterdir() if path.is_dir()]
SERVERS = {prefix + row.name.upper() for cls, prefix, _ in (f() for f in SETTINGS.values()) for row in describe(cls)}
VARIABLE = re.compile(r"GRAYWAVE_[A-Z0-9_]*[A-Z0-9]")
# Those of commands and tests stand in the code as they are.
OTHERS = {
    name
    for folder in ("cli", "loadtest", "tests/properties")
    for path in (ROOT / folder).glob("*.py")
    for name in VARIABLE.findall(path.read_text("utf-8"))
}

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def find_missing(text: str, folder: Path) -> list[str]:
    """What a page links to, or names as a file or folder of the project, and is not there."""
    links = [folder / link.partition("#")[0] for link in read_links(text) if "://" not in link and link[0] != "#"]
    spans = [span for span in read_spans(text) if re.fullmatch(rf"({'|'.join(FOLDERS)})/[\w./-]*", span)]
    scripts = re.findall(r"(?<![\w/.])(?:scripts|\.ci)/\w+", text)
    places = [*links, *(ROOT / name for name in {*spans, *scripts})]
    return sorted(str(place) for place in places if not place.exists())


def find_commands(text: str) -> list[str]:
    """What a page has of our command: `graywave …` in spans and at the start of lines in blocks."""
    lines = [line.strip() for block in read_blocks(text) if block.language == "sh" for line in block.text.splitlines()]
    calls = [re.sub(r"^(\S*/)?graywave( |$)", "graywave ", part) for part in [*lines, *read_spans(text)]]
    return [call.strip() for call in calls if call.startswith("graywave ")]


def find_unknown(call: str) -> list[str]:
    """The words of a call that our command does not know: a subcommand or an option."""
    command: click.Command = main
    # With the settings of the real one: a command remembers the help option of the first context that asks for it.
    context = click.Context(main, **main.context_settings)
    words = call.split()[1:]
    while words and isinstance(command, click.Group) and not words[0].startswith("-"):
        found = command.get_command(context, words[0])
        if found is None:
            return [words[0]]
        command, words = found, words[1:]
    known = {option for parameter in command.get_params(context) for option in parameter.opts} | {"--help", "-h"}
    return [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]


@pages
def test_links_and_paths(page: Path) -> None:
    """What a page links to and what it names of the project is there."""
    assert find_missing(page.read_text("utf-8"), page.parent) == []


@pages
def test_commands(page: Path) -> None:
    """Commands and options that a page names are there."""
    calls = find_commands(page.read_text("utf-8"))
    assert {call: unknown for call in calls if (unknown := find_unknown(call))} == {}


@pages
def test_variables(page: Path) -> None:
    """Variables that a page names are read by something."""
    assert set(VARIABLE.findall(page.read_text("utf-8"))) - SERVERS - OTHERS == set()


def test_the_guards_see() -> None:
    """A page that names what is not there is seen."""
    text = "[a](nowhere.md) [b](README.md#x) [c](https://nowhere) `edge/nowhere.py` `edge/lane.py` scripts/nowhere"
    assert find_missing(text, ROOT) == [
        str(ROOT / name) for name in ("edge/nowhere.py", "nowhere.md", "scripts/nowhere")
    ]
    assert find_commands("`graywave pack X`\n```sh\nscripts/graywave demo\n```\n`graywave-edge`") == [
        "graywave demo",
        "graywave pack X",
    ]
    calls = ("graywave keys new D --workspace W", "graywave keys old", "graywave pack --fast", "graywave nowhere")
    assert [find_unknown(call) for call in calls] == [[], ["old"], ["--fast"], ["nowhere"]]


@pytest.mark.parametrize("name", ["bench", "fuzz", "graywave", "lock", "run", "setup", "soak", "test"])
def test_scripts(name: str) -> None:
    """Every script can be run, says in its second line what it does, and stops at the first error."""
    path = ROOT / "scripts" / name
    first, second, *rest = path.read_text("utf-8").splitlines()
    assert os.access(path, os.X_OK)
    assert first == "#!/usr/bin/env bash"
    assert second.startswith("# ")
    assert "set -euo pipefail" in rest
