"""Audiences on the command line: made, changed, shown and removed, through a real publisher and store."""

import gzip
import json
import mmap
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore
from cli import audience
from cli.keys import make_fingerprint_key
from ruleset import Fingerprints
from ruleset.fingerprint import Fingerprinter, measure_file
from settings.key import read_key
from tests.cli.conftest import Run
from tests.cli.running import Running

TEA = "2021000000000002"

Holds = Callable[[str, str], bool]


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """An audience of this test's own."""
    return re.sub(r"[^\w-]", "-", str(request.node.name), flags=re.ASCII)[:60]


@pytest.fixture
def ids(tmp_path: Path) -> Path:
    """A file of three users."""
    path = tmp_path / "ids.txt"
    path.write_text("u-1\nu-2\nu-3\n")
    return path


def read(graywave: Run, name: str) -> dict[str, Any]:
    result = graywave("audience show", name, "--json")
    assert result.exit_code == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


@pytest.fixture
def holds(running: Running, graywave: Run) -> Holds:
    """Says whether the published file of an audience holds a user."""
    compute = Fingerprinter(read_key(running.data / "keys/fingerprint.key")).compute

    def holds(name: str, user: str) -> bool:
        path = LocalStore(running.data / "store").path(read(graywave, name)["sha256"])
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return Fingerprints(memoryview(mapped)).holds(compute(user))

    return holds


def test_an_audience_is_put(graywave: Run, name: str, ids: Path, holds: Holds) -> None:
    """Its file is in the store and its document at the publisher, which has fetched it; nobody is named in either."""
    result = graywave("audience put", name, ids, "--pattern", "qa-*")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"published audience {name}: 3 users, 1 pattern, revision ")
    document = read(graywave, name)
    assert (document["count"], document["size"], document["patterns"]) == (3, measure_file(3), ["qa-*"])
    assert (document["key"], document["url"]) == ("k1", f"/v1/files/{document['sha256']}")
    assert [user for user in ("u-1", "u-2", "u-3", "u-4") if holds(name, user)] == ["u-1", "u-2", "u-3"]
    result = graywave("audience show", name)
    assert result.stdout.splitlines() == [
        f"{name}  3 users, 1 pattern, revision {document['revision']}",
        "pattern qa-*",
        f"file {document['sha256']}, {document['size']} bytes, under key k1",
        "of 6.1e+18 users that are not on the list, one is taken for one that is",
    ]


def test_whatever_form_the_ids_have(graywave: Run, name: str, ids: Path, tmp_path: Path) -> None:
    """Text, gzip, a column of a CSV, standard input, and several files make the same file of the same users."""
    graywave("audience put", name, ids)
    sha256 = read(graywave, name)["sha256"]
    (tmp_path / "ids.gz").write_bytes(gzip.compress(b"u-3\nu-2\nu-1\nu-1\n"))
    (tmp_path / "ids.csv").write_text("name,id\nAnn,u-1\nBob,u-2\nEve,u-3\n")
    (tmp_path / "one.txt").write_text("u-1\n")
    (tmp_path / "two.txt").write_text("u-2\nu-3\n")
    for arguments, stdin in (
        ((tmp_path / "ids.gz",), None),
        ((tmp_path / "ids.csv", "--column", "id"), None),
        ((tmp_path / "one.txt", tmp_path / "two.txt"), None),
        (("-",), "u-1\nu-2\nu-3\n"),
    ):
        result = graywave("audience put", name, *arguments, stdin=stdin)
        assert (result.exit_code, result.stderr) == (0, "")
        assert read(graywave, name)["sha256"] == sha256


def test_users_are_added_and_taken_out(graywave: Run, name: str, ids: Path, tmp_path: Path, holds: Holds) -> None:
    """What is there stays but for what is named; the same set has the same file, however it came about."""
    graywave("audience put", name, ids)
    before = read(graywave, name)["sha256"]
    (tmp_path / "more.txt").write_text("u-3\nu-4\n")
    result = graywave("audience add", name, tmp_path / "more.txt", "--pattern", "qa-*")
    assert result.stdout.startswith(f"published audience {name}: 4 users, 1 pattern, revision ")
    assert [user for user in ("u-1", "u-3", "u-4", "u-5") if holds(name, user)] == ["u-1", "u-3", "u-4"]
    (tmp_path / "gone.txt").write_text("u-4\nu-9\n")
    result = graywave("audience remove", name, tmp_path / "gone.txt", "--pattern", "qa-*")
    assert result.stdout.startswith(f"published audience {name}: 3 users, revision ")
    assert read(graywave, name)["sha256"] == before
    assert "patterns" not in read(graywave, name)


def test_patterns_alone(graywave: Run, name: str) -> None:
    """An audience needs no file, and no key then; patterns come and go."""
    assert graywave("audience put", name, "--pattern", "qa-*", "--key", "k9=nowhere").exit_code == 0
    assert graywave("audience add", name, "--pattern", "*@example.com").exit_code == 0
    assert read(graywave, name)["patterns"] == ["qa-*", "*@example.com"]
    assert graywave("audience remove", name, "--pattern", "qa-*").exit_code == 0
    document = read(graywave, name)
    assert (document["patterns"], "sha256" in document) == (["*@example.com"], False)
    result = graywave("audience show", name)
    assert result.stdout.splitlines()[1:] == ["pattern *@example.com"]


def test_a_dry_run_publishes_nothing(graywave: Run, name: str, ids: Path, running: Running) -> None:
    """It says what would be, and stores nothing."""
    ids.write_text("only-here\n")
    before = {file.sha256 for file in LocalStore(running.data / "store").files()}
    result = graywave("audience put", name, ids, "--dry-run")
    assert result.stdout.startswith(f"would publish audience {name}: 1 user, revision ")
    assert graywave("audience show", name).exit_code == 3
    assert {file.sha256 for file in LocalStore(running.data / "store").files()} == before
    graywave("audience put", name, ids)
    assert graywave("audience drop", name, "--dry-run").stdout.startswith(f"would remove audience {name}, revision ")
    assert read(graywave, name)["count"] == 1


def test_a_name_that_is_none_builds_nothing(graywave: Run, ids: Path) -> None:
    """It is refused before anything is read or stored."""
    result = graywave("audience put", "q a", ids, "--key", "k1=nowhere")
    assert (result.exit_code, result.stderr.startswith("graywave: $.audience: expected `str` matching")) == (3, True)


def test_an_audience_is_dropped(graywave: Run, name: str, ids: Path) -> None:
    """It is listed no more, and shown as removed; it may be made anew."""
    graywave("audience put", name, ids)
    assert f"{name}  3 users\n" in graywave("audience list").stdout
    assert graywave("audience drop", name).stdout.startswith(f"removed audience {name}, revision ")
    assert name not in graywave("audience list").stdout
    assert graywave("audience show", name).stdout.startswith(f"{name}  removed, revision ")
    result = graywave("audience add", name, ids)
    assert (result.exit_code, "make it with graywave audience put" in result.stderr) == (3, True)
    assert graywave("audience put", name, ids).exit_code == 0
    listed = json.loads(graywave("audience list", "--json").stdout)["audiences"]
    assert [one["count"] for one in listed if one["audience"] == name] == [3]


def test_one_that_a_release_names_is_not_dropped(graywave: Run, name: str, ids: Path, tmp_path: Path) -> None:
    """It goes once the release has ended; and a release cannot name one that there is not."""
    document = json.loads(graywave("document get", TEA).stdout)
    version = next(iter(document["packages"]))
    document["releases"].append({"id": name, "package": version, "who": {"audiences": [name]}})
    path = tmp_path / "document.json"
    path.write_text(json.dumps(document))
    result = graywave("document put", path)
    place = f"$.releases[{len(document['releases']) - 1}].who.audiences[0]"
    assert (result.exit_code, f"{place}: expected an audience that is published, got '{name}'" in result.stderr) == (
        3,
        True,
    )
    graywave("audience put", name, ids)
    assert graywave("document put", path).exit_code == 0
    result = graywave("audience drop", name)
    expected = f"$.removed: expected nothing that names it, got release '{name}' of program {TEA}"
    assert (result.exit_code, expected in result.stderr) == (3, True)
    document["releases"][-1]["state"] = "ended"
    path.write_text(json.dumps(document))
    assert graywave("document put", path).exit_code == 0
    assert graywave("audience drop", name).exit_code == 0
    document["releases"][-1]["state"] = "live"
    path.write_text(json.dumps(document))
    result = graywave("document put", path)
    assert (result.exit_code, place in result.stderr) == (3, True)


def test_the_store_needs_not_be_told_twice(graywave: Run, name: str, ids: Path, running: Running) -> None:
    """A list that is the same is published without change."""
    graywave("audience put", name, ids)
    before = read(graywave, name)
    assert json.loads(graywave("audience put", name, ids, "--json").stdout)["unchanged"] is True
    assert read(graywave, name) == before
    assert LocalStore(running.data / "store").has(before["sha256"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("put",), 2, "expected a FILE of user ids or a --pattern, got neither"),
        (("put", "bad.txt"), 2, "bad.txt, line 2: expected an id without blanks around it, got ' b'"),
        (
            ("put", "bad.txt", "--column", "x"),
            2,
            "bad.txt, line 1: expected a column 'x', or a number from 1 to 1, got 'a'",
        ),
        (("put", "empty.txt"), 3, "expected 1 to 100000000 users, got 0"),
        (("put", "good.txt", "--key", "k1"), 2, "expected --key ID=FILE, such as k1=fingerprint.key, got 'k1'"),
        (
            ("put", "good.txt", "--key", "k1=bad.txt"),
            2,
            "bad.txt: expected a key of 64 hexadecimal digits, got something",
        ),
        (("put", "good.txt", "--key", "k2=other.key"), 3, "$.key: expected one of k1, got 'k2'"),
        (("put", "good.txt", "--pattern", "*****"), 3, "$.patterns[0]: expected at most 4 stars in a pattern, got 5"),
        (("add", "good.txt"), 3, "is published: make it with graywave audience put"),
        (("remove", "good.txt"), 3, "is published: make it with graywave audience put"),
        (("drop",), 3, "is published"),
        (("show",), 3, "is published"),
    ],
)
def test_what_is_refused(
    graywave: Run, name: str, tmp_path: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    """With what was expected, and nothing is published."""
    (tmp_path / "bad.txt").write_text("a\n b\n")
    (tmp_path / "bad.txt").chmod(0o600)
    (tmp_path / "good.txt").write_text("a\nb\n")
    (tmp_path / "empty.txt").write_text("\n")
    make_fingerprint_key(tmp_path / "other.key")
    verb, *rest = arguments
    result = graywave(f"audience {verb}", name, *rest)
    assert (result.exit_code, result.stdout) == (code, "")
    assert message in result.stderr
    assert graywave("audience show", name).exit_code == 3


def test_what_cannot_be_taken_out(graywave: Run, name: str, ids: Path, tmp_path: Path) -> None:
    """Neither the last user, nor a pattern that it has not, nor users of one that has patterns alone."""
    graywave("audience put", name, ids)
    for arguments, message in (
        ((ids,), "expected 1 to 100000000 users, got 0"),
        (("--pattern", "x"), f"expected a pattern that audience {name} has, got 'x'"),
        ((), "expected a FILE of user ids or a --pattern, got neither"),
    ):
        result = graywave("audience remove", name, *arguments)
        assert message in result.stderr
    make_fingerprint_key(tmp_path / "other.key")
    result = graywave("audience add", name, ids, "--key", f"k2={tmp_path / 'other.key'}")
    assert "was made under key k1, not k2: put it anew, whole" in result.stderr
    result = graywave("audience add", name, ids, "--key", f"k1={tmp_path / 'other.key'}")
    assert "expected a file that was made under the same key, got one of another" in result.stderr
    graywave("audience put", name, "--pattern", "x")
    assert "has patterns alone, and no users to take out" in graywave("audience remove", name, ids).stderr


def test_people_see_how_far_it_is(graywave: Run, name: str, ids: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading by bytes, where the end is known, then sorting."""
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(audience, "make_progress", lambda: lambda *given: told.append(given))
    graywave("audience put", name, ids)
    assert told[0] == (f"reading {ids}", 12, 12)
    assert told[-1] == ("sorting", 256, 256)
    told.clear()
    graywave("audience put", name, "-", stdin="a\n")
    assert told[-1] == ("sorting", 256, 256)
