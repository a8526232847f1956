"""Sealing anew on the command line: another key for the same package, and no key in anything that is said."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bundle import LocalStore, SealError, apply_delta, decompress, unseal
from cli.exit import CommandError
from cli.reseal import replace_package
from tests.cli.conftest import Run
from tests.cli.running import Running

_programs = (f"20210000000040{number:02}" for number in itertools.count(1))
TEXT = "".join(f"line {number} of {number * number % 977}\n" for number in range(3000))


@pytest.fixture
def program() -> str:
    """A program that nobody has published."""
    return next(_programs)


@pytest.fixture
def publish(graywave: Run, program: str, tmp_path: Path) -> Callable[..., Any]:
    """Packs a version of the program and releases it; returns what is published of it then."""

    def publish(version: str, *options: str) -> Any:
        source, out = tmp_path / f"source-{version}", tmp_path / f"out-{version}"
        source.mkdir(exist_ok=True)
        (source / "app.js").write_text(f"// {version}\n{TEXT}")
        named = ("--program", program, "--version", version, "--out", out)
        assert graywave("pack", source, *named, *options).exit_code == 0
        result = graywave("release", out)
        assert (result.exit_code, "SECRET" in result.output) == (0, False)
        return json.loads(graywave("document get", program).stdout)["packages"][version]

    return publish


def test_a_package_is_sealed_anew(
    graywave: Run, running: Running, publish: Callable[..., Any], program: str, tmp_path: Path
) -> None:
    """Each transfer is another file, which only the new key opens; the package and its signature stay."""
    old, before = publish("1.0", "--seal"), publish("1.1", "--seal")
    assert [transfer["format"] for transfer in before["transfers"]] == ["zstd", "dcz"]
    result = graywave("reseal", program, "1.1")
    assert (result.exit_code, result.stderr) == (0, "")
    after = json.loads(graywave("document get", program).stdout)["packages"]["1.1"]
    assert after["key"].startswith("AGE-SECRET-KEY-1")
    assert after["key"] != before["key"]
    moved = ("key", "transfers")
    assert {name: after[name] for name in after if name not in moved} == {
        name: before[name] for name in before if name not in moved
    }
    plain = []
    store = LocalStore(running.data / "store")
    for was, transfer in zip(before["transfers"], after["transfers"], strict=True):
        assert transfer["sha256"] != was["sha256"]
        assert transfer["url"] == f"/v1/files/{transfer['sha256']}"
        assert store.path(transfer["sha256"]).stat().st_size == transfer["size"]
        assert [transfer.get(name) for name in ("format", "from")] == [was.get(name) for name in ("format", "from")]
        with pytest.raises(SealError):
            unseal(store.path(transfer["sha256"]), tmp_path / "plain", before["key"])
        unseal(store.path(transfer["sha256"]), tmp_path / "plain", after["key"])
        plain.append((tmp_path / "plain").read_bytes())
    tar = b"".join(decompress([plain[0]], after["size"]))
    unseal(store.path(old["transfers"][0]["sha256"]), tmp_path / "plain", old["key"])
    base = b"".join(decompress([(tmp_path / "plain").read_bytes()], old["size"]))
    assert b"".join(apply_delta(base, [plain[1]], len(tar))) == tar
    first, second, *files = result.stdout.splitlines()
    assert first.startswith(f"sealed 2 files of 1.1 of {program} anew, revision ")
    assert (second, files) == (
        "the leaked key still opens these:", [transfer["sha256"] for transfer in before["transfers"]],
    )  # fmt: skip
    assert "SECRET" not in result.output


def test_a_release_after_it_keeps_the_new_key(
    graywave: Run, publish: Callable[..., Any], program: str, tmp_path: Path
) -> None:
    """What lies packed with the leaked key is released again with the new one, and its old files are not told."""
    before = publish("1.0", "--seal")
    told = json.loads(graywave("reseal", program, "1.0", "--json").stdout)
    assert told | {"revision": 0} == {
        "program": program, "version": "1.0", "revision": 0, "old_files": [before["transfers"][0]["sha256"]],
    }  # fmt: skip
    document = json.loads(graywave("document get", program).stdout)
    assert graywave("release", tmp_path / "out-1.0", "--user", "a").exit_code == 0
    after = json.loads(graywave("document get", program).stdout)
    assert after["packages"] == document["packages"]
    assert after["packages"]["1.0"]["key"] != before["key"]


def test_a_package_that_is_not_sealed(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """Without a key there is none to change."""
    publish("1.0")
    result = graywave("reseal", program, "1.0")
    message = f"graywave: version 1.0 of {program} is not sealed: there is no key to change\n"
    assert (result.exit_code, result.stderr) == (3, message)


def test_a_file_that_is_gone(graywave: Run, publish: Callable[..., Any], program: str) -> None:
    """A package whose file is not in the store cannot be sealed anew: nothing is published."""
    before = publish("1.0", "--seal")
    result = graywave("reseal", program, "1.0", "--store", "empty")
    assert result.exit_code == 1
    assert result.stderr.startswith(f"graywave: 1.0 of {program}: empty: expected the file ")
    assert json.loads(graywave("document get", program).stdout)["packages"]["1.0"] == before


def test_a_package_that_was_changed_meanwhile() -> None:
    """A key that somebody else has changed, or transfers that were added, are not overwritten."""
    seen = {"key": "a", "transfers": []}
    for now in ({}, {"1.0": {"key": "b", "transfers": []}}):
        with pytest.raises(CommandError, match=r"version 1\.0 of 1 was changed meanwhile: start again"):
            replace_package({"program": "1", "packages": now}, "1.0", seen, {"key": "c"})
    changed = replace_package({"program": "1", "packages": {"1.0": seen, "2.0": {}}}, "1.0", seen, {"key": "c"})
    assert changed == {"program": "1", "packages": {"1.0": {"key": "c"}, "2.0": {}}}
