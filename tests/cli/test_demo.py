"""The demo on the command line: a release changed, and the changed answer; and what may be missing."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli import demo
from cli.demo import PROGRAM, publish_demo, read_question
from cli.exit import CommandError, Exit
from cli.home import Home
from cli.publishing import open_publisher
from tests.cli.conftest import Run
from tests.cli.running import Running

Serve = Callable[[int, bytes], str]


def test_there_and_back(graywave: Run) -> None:
    """The demo takes the update away and gives it back, and says in how many milliseconds."""
    first = graywave("demo")
    said, answer, took = first.stdout.splitlines()
    assert (first.exit_code, said) == (0, "ferry-gray is now paused")
    assert json.loads(answer)["updates"] == []
    assert re.fullmatch(r"\d+\.\d ms from publish to the changed answer", took)
    said, answer, _ = graywave("demo").stdout.splitlines()
    (update,) = json.loads(answer)["updates"]
    assert (said, update["release"], update["offer"]) == ("ferry-gray is now live", "ferry-gray", "eyJ…")


def test_json(graywave: Run) -> None:
    """A script gets the whole answer, signatures included."""
    first, second = (json.loads(graywave("demo", "--json").stdout) for _ in range(2))
    assert [first["state"], second["state"]] == ["paused", "live"]
    assert first["release"] == second["release"] == "ferry-gray"
    assert len(second["answer"]["updates"][0]["signature"]) > 100
    assert second["ms"] > 0


def test_what_is_published_stays(running: Running) -> None:
    """Publishing the demo again changes nothing."""
    publisher = open_publisher(Home(running.data), None, None)
    before = publisher.get(PROGRAM)
    publish_demo(Home(running.data), publisher)
    assert publisher.get(PROGRAM) == before


def make_home(folder: Path, publisher: str, edge: str) -> Home:
    """A data folder whose servers are others."""
    home = Home(folder)
    home.token.write_text("a-token-of-the-tests")
    home.addresses.write_text(json.dumps({"publisher": publisher, "edge": edge}))
    return home


def write_document(*releases: str) -> bytes:
    """A publisher's answer: a document with these releases, and a revision."""
    return json.dumps({"revision": 9, "releases": [{"id": name} for name in releases]}).encode()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((404, b"{}"), f"program {PROGRAM} is not published: start scripts/run without --no-demo"),
        ((200, write_document("other")), f"program {PROGRAM} has no release ferry-gray any more"),
    ],
)
def test_no_demo(run: Run, serve: Serve, tmp_path: Path, answer: tuple[int, bytes], message: str) -> None:
    """Where the program or its release is not there, that is said."""
    make_home(tmp_path, serve(*answer), serve(200, b"{}"))
    result = run("demo", "--data", tmp_path)
    assert (result.exit_code, result.stderr) == (1, f"graywave: {message}\n")


def test_a_change_that_does_not_come(run: Run, serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An edge that stays behind is told with where to look."""
    monkeypatch.setattr(demo, "CHANGE_TIMEOUT_S", 0.1)
    make_home(tmp_path, serve(200, write_document("ferry-gray")), serve(200, b'{"revision": 8, "updates": []}'))
    result = run("demo", "--data", tmp_path)
    message = "graywave: revision 9 did not reach the edge within 0 s: see /status\n"
    assert (result.exit_code, result.stderr) == (1, message)


def test_nothing_runs(run: Run) -> None:
    """Where nothing runs, the code is 4."""
    assert run("demo").exit_code == 4


def test_an_installation_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo programs are in a checkout; elsewhere the message says so."""
    monkeypatch.setattr(demo, "FOLDER", tmp_path)
    with pytest.raises(CommandError) as caught:
        read_question()
    message = f"{tmp_path} is not part of this installation: run a checkout's scripts/run, or up --no-demo"
    assert (caught.value.message, caught.value.exit_code) == (message, Exit.USAGE)


def test_the_question_is_the_ferrys() -> None:
    """The question is about the program whose release changes."""
    question: dict[str, Any] = read_question()
    assert list(question["programs"]) == [PROGRAM]
