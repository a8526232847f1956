"""`graywave simulate`: a table and JSON of who would move, judged by the publisher, and nothing is published."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run

FERRY = "2021000000000001"
Json = dict[str, Any]


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Three devices on Android 14 and one on iOS that have the ferry 1.0.0, and one that asks about another program."""
    phone = {"platform": "android", "os": "14", "app": "10.2.3"}
    devices = [*({"id": f"d-{n}", **phone} for n in range(3)), {"id": "d-3", "platform": "ios"}]
    taken = [{"at": 1, "workspace": "demo", "device": device, "programs": {FERRY: "1.0.0"}} for device in devices]
    taken.append({"at": 1, "workspace": "demo", "device": devices[0], "programs": {"2021000000000002": ""}})
    path = tmp_path / "samples.json"
    path.write_text(json.dumps({"samples": taken}), "utf-8")
    return path


@pytest.fixture
def document(graywave: Run) -> Json:
    """The ferry's document."""
    found: Json = json.loads(graywave("document get", FERRY).stdout)
    return found


def write(folder: Path, document: Json, name: str = "changed.json") -> Path:
    """Writes a document."""
    path = folder / name
    path.write_text(json.dumps(document), "utf-8")
    return path


def put_on_top(document: Json, **members: Any) -> Json:
    """Returns the document with one more release on top, of the version 1.1.0."""
    release = {"id": "new", "package": "1.1.0", **members}
    return document | {"releases": [release, *document["releases"]]}


def test_a_table_says_who_moves(graywave: Run, samples: Path, document: Json, tmp_path: Path) -> None:
    """A draft without a salt is completed by the publisher's dry run; nothing is published."""
    android = {"attribute": "platform", "op": "in", "values": ["android"]}
    changed = put_on_top(document, when=[android], who={"percent": {"parts": 1_000_000}})
    result = graywave("simulate", write(tmp_path, changed), "--samples", samples)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert lines[0].startswith(f"{FERRY}, as of ")
    assert lines[0].endswith(": 4 of 5 samples ask about it")
    assert [" ".join(line.split()) for line in lines[1:]] == [
        "from to questions share",
        "> current ferry-official 1.0.0.0 install new 1.1.0.0 3 75.0%",
        "such as platform=android, os=14, app=10.2.3",
        "current ferry-official 1.0.0.0 current ferry-official 1.0.0.0 1 25.0%",
        "3 of 4 would move (75.0%)",
    ]
    assert json.loads(graywave("document get", FERRY).stdout) == document


def test_windows_are_shown_as_asked(graywave: Run, samples: Path, document: Json, tmp_path: Path) -> None:
    """Who is not in a window would have to be asked for; it is JSON for scripts."""
    changed = put_on_top(document, who={"window": {"limit": 10, "closes_at": int(time.time()) + 3_600}})
    result = graywave("simulate", write(tmp_path, changed), "--samples", samples, "--samples", samples, "--json")
    told = json.loads(result.stdout)
    assert (told["samples"], told["asked"], told["moved"], told["warnings"]) == (10, 8, 8, [])
    (move,) = told["moves"]
    assert move["from"] == {"release": "ferry-official", "version": "1.0.0.0", "reason": "current"}
    assert (move["to"]["reason"], move["count"], move["share"], move["moves"]) == ("ask", 8, 1.0, True)
    assert move["examples"][0] == {"id": "d-0", "platform": "android", "os": "14", "app": "10.2.3"}
    shown = graywave("simulate", write(tmp_path, changed), "--samples", samples)
    assert "asks the window of new 1.1.0.0" in shown.stdout
    later = graywave("simulate", write(tmp_path, changed), "--samples", samples, "--at", "+2h")
    assert "0 of 4 would move (0.0%)" in later.stdout


def test_a_program_that_is_not_published(graywave: Run, samples: Path, document: Json, tmp_path: Path) -> None:
    """It works before anything is published, and then everybody comes from nowhere."""
    other = document | {"program": "2021000000000077", "packages": {}, "releases": []}
    taken = json.loads(samples.read_bytes())
    taken["samples"][0]["programs"] = {"2021000000000077": ""}
    samples.write_text(json.dumps(taken), "utf-8")
    result = graywave("simulate", write(tmp_path, other), "--samples", samples)
    assert "> not published" in result.stdout
    assert graywave("document get", "2021000000000077").exit_code == 3


def test_what_the_publisher_refuses(graywave: Run, samples: Path, document: Json, tmp_path: Path) -> None:
    """A document that could not be published is refused with its path; what is hardly meant is warned of."""
    bad = put_on_top(document, when=[{"attribute": "modle", "op": "in", "values": ["a"]}])
    result = graywave("simulate", write(tmp_path, bad), "--samples", samples)
    assert result.exit_code == 3
    assert "bad_document: $.releases[0].when[0].attribute: expected one of" in result.stderr
    doubtful = put_on_top(document, closes_at=1)
    result = graywave("simulate", write(tmp_path, doubtful), "--samples", samples)
    assert (result.exit_code, "warning: $.releases[0].closes_at: it closed at 1" in result.stderr) == (0, True)


def test_two_files_without_a_publisher(run: Run, samples: Path, document: Json, tmp_path: Path) -> None:
    """Two complete documents are compared without asking anybody; one that is not complete is refused."""
    current = write(tmp_path, document, "current.json")
    changed = write(tmp_path, document | {"taken_down": True})
    result = run("simulate", changed, "--current", current, "--samples", samples)
    assert (result.exit_code, "4 of 4 would move (100.0%)" in result.stdout) == (0, True)
    assert "remove" in result.stdout
    draft = write(tmp_path, put_on_top(document, who={"percent": {"parts": 1}}))
    result = run("simulate", draft, "--current", current, "--samples", samples)
    assert result.exit_code == 2
    assert "$.releases[0].who.percent.salt: expected a salt" in result.stderr


def test_samples_of_another_program(run: Run, document: Json, tmp_path: Path) -> None:
    """Where nobody asks, that is all there is to say."""
    (tmp_path / "samples.json").write_text('{"samples": []}', "utf-8")
    path = write(tmp_path, document)
    result = run("simulate", path, "--current", path, "--samples", tmp_path / "samples.json")
    assert result.stdout.splitlines()[0].endswith(": 0 of 0 samples ask about it")
    assert len(result.stdout.splitlines()) == 1


@pytest.mark.parametrize("content", [None, "{", "[]", '{"samples": [{"at": 1}]}', "[" * 100_000])
def test_samples_that_are_none(run: Run, document: Json, tmp_path: Path, content: str | None) -> None:
    """A file that has no samples is named."""
    path, taken = write(tmp_path, document), tmp_path / "samples.json"
    if content is not None:
        taken.write_text(content, "utf-8")
    result = run("simulate", path, "--current", path, "--samples", taken)
    assert result.exit_code == 2
    assert str(taken) in result.stderr
