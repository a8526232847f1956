"""Packing on the command line: what comes out, and each way of refusing."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from cli.pack import pack_with_keys
from tests.cli.conftest import Run
from tests.end_to_end.town import ROOT

PROGRAM = "2021000000000001"
NAMED = ("--program", PROGRAM, "--version", "1.0.0")


@pytest.fixture
def source(run: Run, tmp_path: Path) -> Path:
    """A small program, beside a folder of keys."""
    run("keys", "new", "data/keys", "--workspace", "demo")
    source = tmp_path / "hello"
    source.mkdir()
    (source / "index.html").write_text("<h1>hello</h1>\n")
    return source


def test_a_folder_is_packed(run: Run, source: Path, tmp_path: Path) -> None:
    """The package lies where the output says, under its digest, and the manifest describes it."""
    result = run("pack", source, *NAMED)
    manifest = json.loads((tmp_path / f"dist/{PROGRAM}-1.0.0/package.json").read_bytes())
    (transfer,) = manifest["package"]["transfers"]
    lines = [
        f"1 files, {manifest['package']['size']} bytes, {transfer['size']} to move",
        f"sha256 {manifest['package']['sha256']}",
        f"packed dist/{PROGRAM}-1.0.0",
    ]
    assert (result.exit_code, result.stdout.splitlines(), result.stderr) == (0, lines, "")
    assert (tmp_path / f"dist/{PROGRAM}-1.0.0" / transfer["sha256"]).stat().st_size == transfer["size"]


def test_json(run: Run, source: Path) -> None:
    """A script gets names, sizes and digests, and the same input gives the same ones."""
    first, second = (json.loads(run("pack", source, *NAMED, "--out", out, "--json").stdout) for out in ("a", "b"))
    assert first.pop("folder") == "a"
    assert second.pop("folder") == "b"
    assert first == second
    assert sorted(first) == ["files", "program", "sha256", "size", "transfer_sha256", "transfer_size", "version"]


def test_pack_returns_what_the_manifest_says(source: Path, tmp_path: Path) -> None:
    """What is returned to other commands is what was written."""
    told = pack_with_keys(source, tmp_path / "out", PROGRAM, "1.0.0", tmp_path / "data/keys", level=1)
    manifest = json.loads((tmp_path / "out/package.json").read_bytes())
    assert told["sha256"] == manifest["package"]["sha256"]
    assert told["transfer_sha256"] == manifest["package"]["transfers"][0]["sha256"]


@pytest.mark.parametrize(
    ("program", "version", "word"),
    [("12", "1.0.0", "program"), (PROGRAM, "1.0.0.0.0", "version"), (PROGRAM, "one", "version")],
)
def test_a_name_that_is_none(run: Run, source: Path, program: str, version: str, word: str) -> None:
    """A wrong program or version is the caller's mistake, told by name before anything is written."""
    result = run("pack", source, "--program", program, "--version", version)
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: ")
    assert word in result.stderr
    assert not Path("dist").exists()


def test_a_tree_that_may_not_be_packed(run: Run, source: Path) -> None:
    """What the format refuses is named."""
    (source / "INDEX.html").touch()
    result = run("pack", source, *NAMED)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: {source}: ")
    assert "index.html" in result.stderr.lower()


@pytest.mark.usefixtures("source")
def test_a_source_that_is_no_archive(run: Run, tmp_path: Path) -> None:
    """A file that is no archive is named."""
    (tmp_path / "photo.png").write_bytes(b"\x89PNG")
    result = run("pack", tmp_path / "photo.png", *NAMED)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: {tmp_path / 'photo.png'}: expected a .tar or .tgz that can be read")


def test_a_place_that_is_taken(run: Run, source: Path) -> None:
    """A file where the folder should be is named."""
    Path("dist").touch()
    result = run("pack", source, *NAMED)
    assert result.exit_code == 1
    assert "dist" in result.stderr


@pytest.mark.parametrize("spoil", ["absent", "broken"])
def test_no_keys(run: Run, source: Path, spoil: str) -> None:
    """Keys that are absent or broken are named, with the command that makes some."""
    Path("other").mkdir()
    if spoil == "broken":
        Path("other/package.key").write_text("{}")
    result = run("pack", source, *NAMED, "--keys", "other")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot use the keys in other: ")
    assert result.stderr.endswith("(make some: graywave keys new)\n")


def test_progress_is_shown_to_people(source: Path, tmp_path: Path) -> None:
    """On a terminal a bar runs to its end; a pipe gets none (as the tests above see)."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "cli", "pack", str(source), *NAMED, "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, stderr=follower, stdout=subprocess.DEVNULL, check=True)  # noqa: S603 - our own
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert shown.endswith(f"packing [{'#' * 30}] 100 %\r\n")
