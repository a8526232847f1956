"""Documents on the command line: read, published, tried, refused."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run

TEA = "2021000000000002"


def test_there_and_back(graywave: Run) -> None:
    """What `get` prints, `put` takes: a file or standard input, over the revision there or the one named."""
    got = graywave("document get", TEA)
    revision = got.stderr.removeprefix("revision ").strip()
    assert (got.exit_code, json.loads(got.stdout)["program"], revision.isdigit()) == (0, TEA, True)
    put = graywave("document put", "-", stdin=got.stdout)
    assert (put.exit_code, json.loads(put.stdout)["id"]) == (0, TEA)


def test_a_switch_set(graywave: Run) -> None:
    """Documents of other kinds are put by what they say they are, and got by their kind."""
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
    switches = {"format": 1, "switches": "tea", "flags": {"new-home": flag}}
    put = graywave("document put", "-", stdin=json.dumps(switches))
    assert (put.exit_code, json.loads(put.stdout)["kind"]) == (0, "switches")
    got = graywave("document get", "tea", "--kind", "switches")
    assert json.loads(got.stdout)["flags"]["new-home"]["default"] == "off"
    gone = graywave("document put", "-", stdin='{"format":1,"switches":"tea","removed":true}')
    assert (gone.exit_code, json.loads(gone.stdout)["unchanged"]) == (0, False)
    none = graywave("document get", "coffee", "--kind", "switches")
    assert none.stderr == "graywave: no document of switches 'coffee' is published\n"


def test_a_dry_run(graywave: Run) -> None:
    """A dry run says what would happen, and changes nothing."""
    got = graywave("document get", TEA)
    changed = json.dumps(json.loads(got.stdout) | {"poll_after": 77})
    assert graywave("document put", "-", "--dry-run", stdin=changed).exit_code == 0
    assert graywave("document get", TEA).stdout == got.stdout


def test_an_older_revision(graywave: Run) -> None:
    """A revision that is not there any more is a conflict, with code 3."""
    got = graywave("document get", TEA)
    result = graywave("document put", "-", "--revision", "0", stdin=got.stdout)
    assert result.exit_code == 3
    assert "conflict: " in result.stderr


def test_a_bad_document(graywave: Run) -> None:
    """A document that the publisher refuses is told with its place."""
    got = graywave("document get", TEA)
    bad = json.loads(got.stdout)
    bad["releases"][0]["package"] = "9.9.9"
    result = graywave("document put", "-", stdin=json.dumps(bad))
    assert result.exit_code == 3
    assert "bad_document: $.releases[0].package: " in result.stderr


def test_none_is_published(graywave: Run) -> None:
    """A program that has no document is named, with code 3."""
    result = graywave("document get", "2021000000000404")
    message = "graywave: no document of program '2021000000000404' is published\n"
    assert (result.exit_code, result.stdout, result.stderr) == (3, "", message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "program.json: expected JSON: "),
        ("[" * 100_000, "program.json: expected JSON: "),
        ("[1]", "program.json: expected a JSON object, got [1]"),
    ],
)
def test_what_is_no_document(graywave: Run, text: str, message: str) -> None:
    """What is no JSON object is told before anybody is asked."""
    Path("program.json").write_text(text)
    result = graywave("document put", "program.json")
    assert result.exit_code == 2
    assert result.stderr.startswith(f"graywave: {message}")


def test_nothing_runs(run: Run) -> None:
    """Where nothing runs, the code is 4."""
    assert run("document", "get", TEA).exit_code == 4
