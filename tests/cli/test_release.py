"""Releasing on the command line: what becomes of a document, and a package that reaches devices."""

import itertools
import json
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore
from cli.exit import CommandError, Exit
from cli.release import add_release, count_parts
from tests.cli.conftest import Run
from tests.cli.running import Running
from tests.end_to_end.town import eventually

_programs = (f"20210000000010{number:02}" for number in itertools.count(1))
MANIFEST: dict[str, Any] = {
    "program": "2021000000000001",
    "version": "1.1.0",
    "package": {"sha256": "5e" * 32, "transfers": [{"sha256": "7f" * 32}]},
}


@pytest.fixture
def program() -> str:
    """A program that nobody has published."""
    return next(_programs)


@pytest.fixture
def packed(graywave: Run, program: str, tmp_path: Path) -> Path:
    """Its version 1.0.0, packed."""
    return pack(graywave, tmp_path, program, "1.0.0", "hello")


def pack(graywave: Run, folder: Path, program: str, version: str, text: str) -> Path:
    """Packs a program of one page."""
    source = folder / f"source-{version}"
    source.mkdir(exist_ok=True)
    (source / "index.html").write_text(text)
    out = folder / f"out-{version}"
    result = graywave("pack", source, "--program", program, "--version", version, "--out", out, "--level", "1")
    assert result.exit_code == 0, result.stderr
    return out


def test_a_release_reaches_devices(graywave: Run, running: Running, packed: Path, program: str) -> None:
    """The file is in the store, and devices are told of it."""
    result = graywave("release", packed)
    assert result.exit_code == 0
    assert result.stdout.startswith(f"released 1.0.0 of {program} as r1, revision ")
    manifest = json.loads((packed / "package.json").read_bytes())
    assert LocalStore(running.data / "store").has(manifest["package"]["transfers"][0]["sha256"])
    (update,) = eventually(lambda: json.loads(graywave("check", program).stdout)["updates"])
    assert (update["version"], update["release"]) == ("1.0.0", "r1")


def test_a_second_version(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """A newer version goes on top, for whom the options name; a script gets JSON."""
    graywave("release", packed)
    newer = pack(graywave, tmp_path, program, "1.1.0", "hello again")
    told = json.loads(graywave("release", newer, "--percent", "12.5", "--user", "a", "--user", "b", "--json").stdout)
    assert (told["program"], told["version"], told["release"]) == (program, "1.1.0", "r2")
    document = json.loads(graywave("document get", program).stdout)
    assert [release["id"] for release in document["releases"]] == ["r2", "r1"]
    who = document["releases"][0]["who"]
    assert (who["users"], who["percent"]["parts"]) == (["a", "b"], 125_000)


def test_a_dry_run(graywave: Run, running: Running, packed: Path, program: str) -> None:
    """A dry run stores and publishes nothing."""
    result = graywave("release", packed, "--dry-run", "--store", running.data / "other")
    assert result.stdout.startswith(f"would release 1.0.0 of {program} as r1")
    assert graywave("document get", program).exit_code == 3
    assert not (running.data / "other").exists()


def test_other_bytes_under_a_version(graywave: Run, packed: Path, program: str, tmp_path: Path) -> None:
    """A version that is published keeps its bytes; the same bytes may be released again."""
    graywave("release", packed)
    other = pack(graywave, tmp_path, program, "1.0.0", "other bytes")
    result = graywave("release", other)
    message = f"graywave: version 1.0.0 of {program} is published with other bytes: pack them as a newer version\n"
    assert (result.exit_code, result.stderr) == (3, message)
    pack(graywave, tmp_path, program, "1.0.0", "hello")
    assert graywave("release", packed, "--user", "a").exit_code == 0


def test_a_warning_is_for_people(graywave: Run, packed: Path) -> None:
    """What the publisher doubts is shown beside the result."""
    graywave("release", packed)
    result = graywave("release", packed, "--id", "below", "--below", "r1")
    assert result.exit_code == 0
    assert result.stderr.startswith("warning: ")


@pytest.mark.parametrize("spoil", ["bytes", "absent"])
def test_a_package_that_was_changed(graywave: Run, packed: Path, program: str, spoil: str) -> None:
    """A file that is not what the manifest says is released to nobody."""
    digest = json.loads((packed / "package.json").read_bytes())["package"]["transfers"][0]["sha256"]
    if spoil == "bytes":
        (packed / digest).write_bytes(b"other")
    else:
        (packed / digest).unlink()
    result = graywave("release", packed)
    assert result.exit_code == 1
    said = f"{packed}: expected a file of sha256 {digest}, got " if spoil == "bytes" else f"{packed / digest}: expected"
    assert result.stderr.startswith(f"graywave: {said}")
    assert graywave("document get", program).exit_code == 3


@pytest.mark.parametrize(
    "change",
    [
        None,
        "{",
        "[]",
        "{}",
        MANIFEST | {"version": 1},
        MANIFEST | {"program": "../../x"},
        MANIFEST | {"package": {"sha256": "5e" * 32, "transfers": [{"sha256": "../../../../etc/passwd"}]}},
        MANIFEST | {"package": {"sha256": "5e" * 32}},
    ],
)
def test_what_was_not_packed(graywave: Run, tmp_path: Path, change: object) -> None:
    """A folder that `graywave pack` did not write is named; a digest that is a path opens nothing."""
    if change is not None:
        (tmp_path / "package.json").write_text(change if isinstance(change, str) else json.dumps(change))
    result = graywave("release", tmp_path)
    assert result.exit_code == 2
    assert result.stderr.startswith(f"graywave: {tmp_path}: expected a folder that graywave pack wrote: ")


def test_nothing_runs(run: Run, tmp_path: Path) -> None:
    """Where nothing runs, the code is 4."""
    (tmp_path / "package.json").write_text(json.dumps(MANIFEST))
    assert run("release", tmp_path).exit_code == 4


@pytest.mark.parametrize(("percent", "parts"), [("0", 0), ("0.0001", 1), ("33.3333", 333_333), ("100", 1_000_000)])
def test_a_percentage_in_parts(percent: str, parts: int) -> None:
    """A percentage becomes a whole number of parts, exactly."""
    assert count_parts(percent) == parts


@pytest.mark.parametrize("percent", ["-1", "100.0001", "0.00001", "nan", "inf", "", "half", "1e999999999"])
def test_a_percentage_that_is_none(run: Run, tmp_path: Path, percent: str) -> None:
    """Less than nothing, more than all, and what is finer than a part is refused, not rounded."""
    result = run("release", tmp_path, "--percent", percent)
    message = f"graywave: expected --percent from 0 to 100 in steps of 0.0001, got {percent!r}\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_the_document_given_is_left_alone() -> None:
    """A release is added to a copy; ids in use are passed over."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": "r1"}, {"id": "r3"}]}
    changed, made = add_release(document, MANIFEST, None, None, None)
    assert made == "r2"
    assert changed["releases"][0] == {"id": "r2", "package": "1.1.0"}
    assert len(document["releases"]) == 2
    assert document["packages"] == {}


def test_below_another() -> None:
    """A hotfix goes right below the release that is named."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": "gray"}, {"id": "all"}]}
    changed, _ = add_release(document, MANIFEST, {"users": ["a"]}, "fix", "gray")
    assert [release["id"] for release in changed["releases"]] == ["gray", "fix", "all"]
    assert changed["releases"][1]["who"] == {"users": ["a"]}


@pytest.mark.parametrize(("ids", "named"), [(["gray", "all"], "gray, all"), ([], "none")])
def test_below_none(ids: list[str], named: str) -> None:
    """A release that there is none is told with those that there are."""
    document = {"program": "2021000000000001", "packages": {}, "releases": [{"id": name} for name in ids]}
    with pytest.raises(CommandError) as caught:
        add_release(document, MANIFEST, None, None, "other")
    assert caught.value.message == f"expected a release of {named} for --below, got other"
    assert caught.value.exit_code == Exit.USAGE
