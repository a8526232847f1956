"""Deltas on the command line: what is measured, what is kept, and each way of refusing."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle.manifest import read_manifest
from cli import delta as module
from tests.cli.conftest import Run

PROGRAM = "2021000000000001"
TAKEN = 50_000_000
TEXT = "".join(f"line {number} of {number * number % 977}\n" for number in range(3000))


@pytest.fixture
def keys(run: Run) -> None:
    """A folder of keys."""
    run("keys", "new", "data/keys", "--workspace", "demo")


def write(name: str, text: str) -> Path:
    Path(name).mkdir()
    (Path(name) / "app.js").write_text(text)
    (Path(name) / "package.json").write_text("{}")  # as npm's: of another kind than ours
    return Path(name)


def pack(run: Run, version: str, text: str, *options: str, program: str = PROGRAM) -> Path:
    out = Path(f"packed-{version}")
    named = ("--program", program, "--version", version, "--out", out, "--level", "quick")
    result = run("pack", write(f"source-{version}", text), *named, *options)
    assert result.exit_code == 0, result.stderr
    return out


@pytest.mark.usefixtures("keys")
def test_a_delta_is_kept(run: Run) -> None:
    """Between two packed versions the delta goes into NEW's folder and manifest."""
    old, new = pack(run, "1.0", TEXT), pack(run, "1.1", TEXT + "one more\n")
    before = read_manifest(new)
    result = run("delta", old, new)
    assert (result.exit_code, result.stderr) == (0, "")
    full, made = read_manifest(new)["package"]["transfers"]
    assert [full] == before["package"]["transfers"]
    assert made | {"sha256": "", "size": 0, "url": ""} == {
        "format": "dcz", "from": "1.0", "from_sha256": read_manifest(old)["package"]["sha256"], "sha256": "",
        "size": 0, "url": "",
    }  # fmt: skip
    assert made["url"] == f"/v1/files/{made['sha256']}"
    assert (new / made["sha256"]).stat().st_size == made["size"] < full["size"] / 5
    first, second = result.stdout.splitlines()
    share = 100 * made["size"] / full["size"]
    assert first.startswith(
        f"delta {made['size']} bytes, {share:.1f} % of the full transfer's {full['size']}: made in "
    )
    assert second == f"kept {new / made['sha256']}"


@pytest.mark.usefixtures("keys")
def test_a_sealed_package_has_sealed_deltas(run: Run) -> None:
    """A delta of a sealed package is sealed with its key, which is not shown; made again, it takes its own place."""
    old, new = pack(run, "1.0", TEXT, "--seal"), pack(run, "1.1", TEXT + "one more\n", "--seal")
    told = [json.loads(run("delta", old, new, "--json").stdout) for _ in range(2)]
    assert [part["sealed"] for part in told] == [True, True]
    assert "AGE-SECRET-KEY" not in json.dumps(told)
    transfers = read_manifest(new)["package"]["transfers"]
    assert [transfer["format"] for transfer in transfers] == ["zstd", "dcz"]
    assert transfers[1]["sha256"] == told[1]["delta_sha256"] != told[0]["delta_sha256"]
    assert (new / transfers[1]["sha256"]).read_bytes().startswith(b"age-encryption.org/v1\n")
    assert {path.name for path in new.iterdir()} == {"package.json", *(transfer["sha256"] for transfer in transfers)}
    assert (new / "package.json").stat().st_mode & 0o077 == 0


@pytest.mark.usefixtures("keys")
def test_a_delta_that_saves_too_little(run: Run) -> None:
    """A delta that saves less than a fifth is told and not kept."""
    old, new = pack(run, "1.0", TEXT), pack(run, "1.1", hashlib.shake_128(b"other").hexdigest(9000))
    before = read_manifest(new)
    assert run("delta", old, new).stdout.endswith("\nnot kept: it saves less than a fifth\n")
    told = json.loads(run("delta", old, new, "--json").stdout)
    assert (told["worth"], told["kept"]) == (False, "")
    assert read_manifest(new) == before
    assert len([*new.iterdir()]) == 2


def test_sources_are_measured(run: Run) -> None:
    """Between sources everything is measured, without keys; the file is written where it is wanted, and only there."""
    old, new = write("old", TEXT), write("new", TEXT + "one more\n")
    result = run("delta", old, new, "--json", "--out", "made.dcz")
    told = json.loads(result.stdout)
    assert (told["worth"], told["kept"], told["sealed"]) == (True, "", False)
    assert told["delta_size"] == Path("made.dcz").stat().st_size < told["full_size"] < told["new_size"]
    assert (
        Path("made.dcz").read_bytes().startswith(bytes.fromhex("5e2a4d1820000000") + bytes.fromhex(told["old_sha256"]))
    )
    assert min(told["make_ms"], told["apply_ms"]) > 0
    assert min(told["make_peak_bytes"], told["apply_peak_bytes"]) >= 0
    assert sorted(path.name for path in new.iterdir()) == ["app.js", "package.json"]
    assert run("delta", old, new).stdout.endswith("\nnot kept: only between two packages that graywave pack wrote\n")


@pytest.mark.parametrize("measure", [module._measure, module._measure_alone])
def test_memory_is_the_highest(measure: Callable[[Callable[[], object]], module.Cost]) -> None:
    """What a work has used at most is counted, though it has given it back."""
    cost = measure(take_memory)
    assert cost.peak_bytes is not None
    assert TAKEN * 0.9 < cost.peak_bytes < TAKEN * 2  # some of it was there


def take_memory() -> None:
    """Uses memory and gives it back."""
    bytearray(b"x") * TAKEN


def test_a_system_that_does_not_tell_memory(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the kernel does not say how much memory was used, that is left open."""
    monkeypatch.setattr(module, "_PEAK", Path("none/clear_refs"))
    told = json.loads(run("delta", write("old", TEXT), write("new", TEXT + "x"), "--json").stdout)
    assert told["make_peak_bytes"] is None
    assert told["make_ms"] > 0


@pytest.mark.usefixtures("keys")
@pytest.mark.parametrize(
    ("version", "program", "message"),
    [
        ("0.9", PROGRAM, "expected OLD with a lower version than NEW's 0.9, got 1.0"),
        ("1.0.0", PROGRAM, "expected OLD with a lower version than NEW's 1.0.0, got 1.0"),
        ("1.1", "20210001", f"expected two versions of one program, got {PROGRAM} and 20210001"),
        ("1.70000", PROGRAM, "expected version parts from 0 to 65535, got '1.70000'"),
    ],
)
def test_a_pair_that_is_none(run: Run, version: str, program: str, message: str) -> None:
    """A delta goes from a lower version of a program to a higher one."""
    old, new = pack(run, "1.0", TEXT), pack(run, version, TEXT + "x", program=program)
    result = run("delta", old, new)
    assert (result.exit_code, result.stderr) == (2, f"graywave: {message}\n")
    assert len(read_manifest(new)["package"]["transfers"]) == 1


def test_the_same_twice(run: Run) -> None:
    """Between equal packages there is no delta."""
    result = run("delta", write("old", TEXT), write("new", TEXT))
    assert result.exit_code == 2
    assert result.stderr.startswith("graywave: expected two different packages, got ")


@pytest.mark.usefixtures("keys")
def test_a_package_that_was_changed(run: Run) -> None:
    """A transfer that is not what the manifest says gives no delta."""
    old, new = pack(run, "1.0", TEXT), pack(run, "1.1", TEXT + "x")
    (old / read_manifest(old)["package"]["transfers"][0]["sha256"]).write_bytes(b"other")
    result = run("delta", old, new)
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: expected a zstd frame")


def test_a_source_that_is_no_archive(run: Run) -> None:
    """A file that is no archive is refused."""
    Path("photo.png").write_bytes(b"\x89PNG")
    result = run("delta", write("old", TEXT), "photo.png")
    assert result.exit_code == 1
    assert result.stderr.startswith("graywave: expected a .tar or .tgz that can be read")
