"""Packing on the command line: what comes out, and each way of refusing."""

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from bundle.manifest import read_manifest
from cli.pack import pack_with_keys
from tests.cli.conftest import Run
from tests.end_to_end.town import ROOT
from trust import PrivateKey, Role, verify_package

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
    members = ["files", "program", "sealed", "sha256", "size", "transfer_sha256", "transfer_size", "version"]
    assert sorted(first) == members


def test_pack_returns_what_the_manifest_says(source: Path, tmp_path: Path) -> None:
    """What is returned to other commands is what was written."""
    told = pack_with_keys(source, tmp_path / "out", PROGRAM, "1.0.0", tmp_path / "data/keys", level=1)
    manifest = json.loads((tmp_path / "out/package.json").read_bytes())
    assert told["sha256"] == manifest["package"]["sha256"]
    assert told["transfer_sha256"] == manifest["package"]["transfers"][0]["sha256"]


@pytest.mark.parametrize(
    ("level", "number"), [((), 19), (("--level", "quick"), 9), (("--level", "strong"), 19), (("--level", "22"), 22)]
)
def test_a_level(run: Run, source: Path, level: tuple[str, ...], number: int) -> None:
    """A level has a word or a number, and the manifest says which; the strong one is the default."""
    assert run("pack", source, *NAMED, "--out", "out", *level).exit_code == 0
    assert read_manifest(Path("out"))["level"] == number


@pytest.mark.parametrize("level", ["0", "23", "fast", "", "-1", "1.5", "\u0661", "9" * 5000])
def test_a_level_that_is_none(run: Run, source: Path, level: str) -> None:
    """Other levels are refused."""
    result = run("pack", source, *NAMED, "--level", level)
    message = f"graywave: expected --level quick, strong or 1 to 22, got {level!r}\n"
    assert (result.exit_code, result.stderr) == (2, message)


def test_a_sealed_package(run: Run, source: Path) -> None:
    """The key stands in package.json, which says so, and nowhere in what is printed."""
    result = run("pack", source, *NAMED, "--seal", "--out", "out")
    key = read_manifest(Path("out"))["package"]["key"]
    assert key.startswith("AGE-SECRET-KEY-1")
    assert result.stdout.endswith("packed out, sealed: its package.json holds the key\n")
    told = run("pack", source, *NAMED, "--seal", "--out", "out", "--json").stdout
    assert json.loads(told)["sealed"] is True
    assert "AGE-SECRET-KEY" not in result.output + told


def test_keys_from_elsewhere(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each key that is named signs, wherever it is kept; the workspace may be named too, and then needs no folder."""
    one, other = PrivateKey.generate(), PrivateKey.generate("ES256")
    monkeypatch.setenv("PACKAGE_KEY", one.to_json().decode())
    Path("other.key").touch(0o600)
    Path("other.key").write_bytes(other.to_json())
    keys = ("--key", "env:PACKAGE_KEY", "--key", "other.key")
    result = run("pack", source, *NAMED, *keys, "--workspace", "wallet", "--keys", "none", "--out", "out")
    assert (result.exit_code, result.stderr) == (0, "")
    role = Role(2, {key.public.kid: key.public for key in (one, other)})
    assert verify_package(read_manifest(Path("out"))["package"]["signature"], role).workspace == "wallet"


def test_a_key_that_cannot_be_used(run: Run, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that is none is named by its address; what was found there is not shown."""
    monkeypatch.setenv("PACKAGE_KEY", "s3cret")
    result = run("pack", source, *NAMED, "--key", "env:PACKAGE_KEY")
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: cannot use the key: ")
    assert "PACKAGE_KEY" in result.stderr
    assert "s3cret" not in result.stderr


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


def test_a_key_that_the_root_does_not_name(run: Run, source: Path, tmp_path: Path) -> None:
    """A key that was replaced is refused here, and not first when the package is released."""
    folder = tmp_path / "keys"
    assert run("keys", "new", folder, "--workspace", "demo").exit_code == 0
    assert run("keys", "rotate", folder, "package").exit_code == 0
    result = run("pack", source, *NAMED, "--keys", folder)
    assert result.exit_code == 2
    assert "expected a package key of root 2 as package.key, got " in result.stderr
    assert result.stderr.endswith("which is none (name another with --key)\n")


def test_progress_is_shown_to_people(source: Path, tmp_path: Path) -> None:
    """On a terminal a bar runs to its end; a pipe gets none (as the tests above see)."""
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "cli", "pack", str(source), *NAMED, "--data", str(tmp_path / "data")]
    command += ["--out", str(tmp_path / "out")]
    subprocess.run(command, cwd=ROOT, stderr=follower, stdout=subprocess.DEVNULL, check=True)
    os.close(follower)
    shown = os.read(leader, 65_536).decode()
    os.close(leader)
    assert shown.endswith(f"packing [{'#' * 30}] 100 %\r\n")
