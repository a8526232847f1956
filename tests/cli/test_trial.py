"""Trials on the command line: a token for a version that is not released."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.cli.test_release import pack
from tests.end_to_end.town import ask, eventually
from trust import read_root, verify_trial

_programs = (f"20210000000077{number:02}" for number in itertools.count(1))


@pytest.fixture
def program(graywave: Run, tmp_path: Path) -> str:
    """A program with version 1.0.0 released."""
    program = next(_programs)
    packed = pack(graywave, tmp_path, program, "1.0.0", "hello")
    assert graywave("release", packed, "--no-refine").exit_code == 0
    return program


def test_trial_of_a_packed_version(graywave: Run, running: Running, program: str, tmp_path: Path) -> None:
    """The version comes into the document and its files into the store, and the token alone is printed."""
    packed = pack(graywave, tmp_path, program, "2.0.0", "hello again")
    result = graywave("trial", program, "2.0.0", "--user", "u-1", "--user", "u-2", "--days", 3, "--packed", packed)
    assert result.exit_code == 0, result.stderr
    (token,) = result.stdout.splitlines()
    claim = verify_trial(token, read_root((running.data / "keys" / "root.json").read_bytes()).role("channel"))
    assert (claim.program, claim.version, claim.users) == (program, "2.0.0", ("u-1", "u-2"))
    assert claim.expires - claim.issued in range(3 * 86_400 - 60, 3 * 86_400 + 1)
    assert result.stderr.startswith(f"trial {claim.id}: 2.0.0 of {program} for 2 users until 2")
    document = json.loads(graywave("document get", program).stdout)
    assert document["trials"] == ["2.0.0"]
    assert [release["package"] for release in document["releases"]] == ["1.0.0"]
    (transfer,) = document["packages"]["2.0.0"]["transfers"]
    assert (running.data / "store" / transfer["sha256"][:2] / transfer["sha256"]).exists()


def test_second_trial_publishes_nothing(graywave: Run, running: Running, program: str) -> None:
    """Where the version is listed already the document stays as it is."""
    first = json.loads(graywave("trial", program, "1.0.0", "--user", "u-1", "--json").stdout)
    assert first.keys() == {"id", "expires", "trial"}
    token = (running.data / "token").read_text("ascii").strip()

    def read_revision() -> object:
        listed = ask(running.publisher, "GET", "/v1/documents", Authorization=f"Bearer {token}")[1]["documents"]
        return next(one["revision"] for one in listed if one["id"] == program)

    before = read_revision()
    second = json.loads(graywave("trial", program, "1.0.0", "--user", "u-2", "--json").stdout)
    assert second["id"] != first["id"]
    assert read_revision() == before


def test_version_that_is_not_there(graywave: Run, program: str) -> None:
    """A version that the document has not has to be brought."""
    result = graywave("trial", program, "9.0", "--user", "u-1")
    assert (result.exit_code, result.stderr) == (
        2,
        "graywave: expected a version that is published, 1.0.0, got 9.0: bring it with --packed\n",
    )


def test_another_package(graywave: Run, program: str, tmp_path: Path) -> None:
    """What is brought has to be what is named."""
    packed = pack(graywave, tmp_path, program, "2.0.0", "hello again")
    result = graywave("trial", program, "3.0.0", "--user", "u-1", "--packed", packed)
    assert result.exit_code == 2
    assert f"expected 3.0.0 of {program} in {packed}, got 2.0.0 of {program}" in result.stderr


@pytest.mark.parametrize("arguments", [[], ["--user", "u-1", "--days", "0"], ["--user", "u-1", "--days", "31"]])
def test_wrong_usage(graywave: Run, program: str, arguments: list[str]) -> None:
    """Somebody has to be named, and a trial ends within 30 days."""
    assert graywave("trial", program, "1.0.0", *arguments).exit_code == 2


def test_what_the_publisher_refuses(graywave: Run, program: str) -> None:
    """Too many users are refused in the publisher's words."""
    users = [word for n in range(101) for word in ("--user", f"u-{n}")]
    result = graywave("trial", program, "1.0.0", *users)
    assert result.exit_code == 3
    assert "`$.users`" in result.stderr


def test_asking_with_tokens(graywave: Run, program: str, tmp_path: Path) -> None:
    """A check takes proof and trials from files; where no proof is wanted they change nothing."""
    (tmp_path / "trial").write_text(graywave("trial", program, "1.0.0", "--user", "u-1").stdout)
    (tmp_path / "proof").write_text("a.b.c\n")
    words = ["check", program, "--trial", tmp_path / "trial", "--proof", tmp_path / "proof"]
    (update,) = eventually(lambda: json.loads(graywave(*words).stdout)["updates"])
    assert update["release"] == "r1"
    (tmp_path / "proof").write_bytes(b"\xff")
    assert "cannot read the token: " in graywave(*words).stderr
    (tmp_path / "proof").write_text("one\ntwo")
    assert "expected one line in" in graywave(*words).stderr


def test_explained_with_a_trial(graywave: Run, program: str) -> None:
    """Explain takes the version that a trial gives, and tells nothing of it where users are not proven."""
    assert graywave("trial", program, "1.0.0", "--user", "u-1").exit_code == 0
    told = eventually(lambda: read_explanation(graywave, program))
    assert [release["id"] for release in told["releases"]] == ["r1"]


def read_explanation(graywave: Run, program: str) -> dict[str, Any]:
    """What an edge explains, as soon as it has the program."""
    result = graywave("explain", program, "--trial", "1.0.0", "--device", "user=u-1", "--json")
    return dict(json.loads(result.stdout)) if result.exit_code == 0 else {}
