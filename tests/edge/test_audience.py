"""Tests of edge/audience.py: what is asked, what holds nobody and why, and what a table takes."""

import os
from pathlib import Path
from typing import Any

import orjson
import pytest

from edge.audience import Opener, Table
from ruleset import Audience, AudienceDocument, parse_audience
from tests.edge.press import FINGERPRINT_KEY, build_file, keep_file, make_audience

FILE = build_file("u-1", "u-2")


def make(file: bytes | None = FILE, **members: Any) -> AudienceDocument:
    return parse_audience(orjson.dumps(make_audience(file, **members)))


@pytest.fixture
def opener(tmp_path: Path) -> Opener:
    """Opens what lies in the test's folder."""
    return Opener(tmp_path, {"k1": FINGERPRINT_KEY})


def test_file_and_patterns_are_asked(tmp_path: Path, opener: Opener) -> None:
    """A user is held by either, by the one that is there alone, and by nothing else; case counts."""
    keep_file(tmp_path, FILE)
    for document, held in (
        (make(), ["u-1", "u-2"]),
        (make(patterns=["qa-*", "u-?"]), ["u-1", "u-2", "u-3", "qa-7"]),
        (make(None, patterns=["qa-*"]), ["qa-7"]),
        (make(None, removed=True), []),
    ):
        opened = opener.open(document)
        assert opened.problem == ""
        asked = ["u-1", "u-2", "u-3", "U-1", "qa-7", "QA-7"]
        assert [user for user in asked if opened.whitelist.holds(user)] == held


@pytest.mark.parametrize(
    ("members", "file", "problem"),
    [
        ({"key": "k2"}, FILE, "fingerprint key 'k2' is not in this edge's settings"),
        ({}, None, "its file cannot be used: No such file or directory"),
        ({}, b"", "its file cannot be used: cannot mmap an empty file"),
        ({}, FILE[:-1], "its file cannot be used: expected 56 bytes for 2 fingerprints, got 55"),
        ({}, b"x" * 64, "its file cannot be used: expected a file of fingerprints, which begins with b'gwprints'"),
    ],
)
def test_what_cannot_be_asked_holds_nobody(
    tmp_path: Path, opener: Opener, members: dict[str, Any], file: bytes | None, problem: str
) -> None:
    """An audience is whole or not there: without its file nobody fits, by a pattern neither, and the reason is told."""
    document = make(patterns=["qa-*"], **members)
    if file is not None:
        keep_file(tmp_path, FILE).write_bytes(file)
    opened = opener.open(document)
    assert opened.problem.startswith(problem)
    assert not any(opened.whitelist.holds(user) for user in ("u-1", "qa-7"))


def test_a_file_of_another_key_holds_nobody(tmp_path: Path, opener: Opener) -> None:
    """Where two hosts call two keys by one name it is noticed, and not that nobody is found."""
    file = build_file("u-1", key=bytes(32))
    keep_file(tmp_path, file)
    opened = opener.open(make(file))
    assert opened.problem == "another key made its file than the one that this edge knows as 'k1'"
    assert not opened.whitelist.holds("u-1")


def test_a_table_is_replaced_where_something_changed(tmp_path: Path, opener: Opener) -> None:
    """A new document makes a new mapping, and leaves the old one and its files as they were for whoever reads it."""
    keep_file(tmp_path, FILE)
    table = Table("demo", opener)
    first = table.put({"qa": make()})
    assert first is not None
    other = build_file("u-9")
    keep_file(tmp_path, other)
    second = table.put({"qa": make(other, revision=2), "vip": make(None, name="vip", patterns=["*"])})
    assert second is not None
    keep_file(tmp_path, FILE).unlink()
    assert (first["qa"].holds("u-1"), first["qa"].holds("u-9"), "vip" in first) == (True, False, False)
    assert (second["qa"].holds("u-1"), second["qa"].holds("u-9"), second["vip"].holds("x")) == (False, True, True)
    assert table.put({}) is None


def test_an_older_document_changes_nothing(opener: Opener) -> None:
    """After edge.db was replaced by one that is behind, the newer list stays."""
    table = Table("demo", opener)
    table.put({"qa": make(None, patterns=["new-*"], revision=5)})
    assert table.put({"qa": make(None, patterns=["old-*"], revision=4)}) is None
    assert table.opened["qa"].document.revision == 5


def test_a_removed_audience_is_not_there(opener: Opener) -> None:
    """Its tombstone is known, so that an older document does not bring it back, and no check finds it."""
    table = Table("demo", opener)
    table.put({"qa": make(None, patterns=["*"], revision=1)})
    assert table.put({"qa": make(None, removed=True, revision=2)}) == {}
    assert table.put({"qa": make(None, patterns=["*"], revision=1)}) is None


def hold(audiences: Any, user: str) -> bool:
    found: Audience = audiences["qa"]
    return found.holds(user)


def test_a_file_that_comes_or_goes_is_noticed(tmp_path: Path, opener: Opener, caplog: pytest.LogCaptureFixture) -> None:
    """A missing file is an alarm, told once; it is opened as soon as it is there, and anew where it was replaced."""
    table = Table("demo", opener)
    audiences = table.put({"qa": make()})
    assert (table.broken, hold(audiences, "u-1")) == (1, False)
    assert table.put({}) is None
    assert [record.getMessage() for record in caplog.records] == [
        "workspace demo: audience qa holds nobody: its file cannot be used: No such file or directory"
    ]
    path = keep_file(tmp_path, FILE)
    assert (hold(table.put({}), "u-1"), table.broken) == (True, 0)
    fresh = tmp_path / "fresh"
    fresh.write_bytes(FILE)
    os.replace(fresh, path)  # noqa: PTH105 - as the library does it
    assert hold(table.put({}), "u-1")
    path.unlink()
    assert (hold(table.put({}), "u-1"), table.broken) == (False, 1)
