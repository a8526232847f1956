"""The bench of deltas: its pairs, its promises, and a whole run over a small pair."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from loadtest.deltas import find_failures, find_source, main, parse_arguments, render_table
from loadtest.errors import MeasureError

NEW = "vant-weapp-1.11.5"
PAIR: dict[str, Any] = {
    "old": "vant-weapp-1.11.4", "new": NEW, "tar": 10_240, "full": 4_000, "delta": 400, "bsdiff4": 380,
    **{f"{name}_ms": 7 for name in ("full", "delta", "bsdiff4", "apply")},
    **{f"{name}_memory": 7 * 1024 * 1024 for name in ("full", "delta", "bsdiff4", "apply")},
}  # fmt: skip


def write_package(path: Path, text: str) -> None:
    """An npm-like package of one file."""
    with tarfile.open(path, "w:gz") as archive:
        info = tarfile.TarInfo("package/index.js")
        info.size = len(text)
        archive.addfile(info, io.BytesIO(text.encode()))


def test_sides_are_taken_in_pairs() -> None:
    """Each OLD stands before its NEW."""
    assert parse_arguments(["a", "b", "c", "d"]) == ([("a", "b"), ("c", "d")], None)


def test_half_a_pair_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """An odd number of packages is a usage error."""
    with pytest.raises(SystemExit) as caught:
        parse_arguments(["a", "b", "c"])
    assert caught.value.code == 2
    assert "expected pairs of OLD and NEW, got 3 packages" in capsys.readouterr().err


@pytest.mark.parametrize("side", ["nowhere", "./no@1", "--registry=x@1"])
def test_what_is_neither_there_nor_named_is_refused(tmp_path: Path, side: str) -> None:
    """A mistyped path is no package of npm, and an option none either."""
    with pytest.raises(MeasureError, match="expected a file, a folder or name@version"):
        find_source(side, tmp_path)


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({"delta": 420, "full": 4_200}, f"{NEW}: expected a delta below bsdiff4's 380 and 40, got 420"),
        ({"full": 3_999}, f"{NEW}: expected a delta of at most 1/10 of the full transfer's 3999, got 400"),
        (
            {"delta": 542, "bsdiff4": 517, "full": 97_000},
            f"{NEW}: expected a delta of at most 433 bytes, 2 % and 100, got 542",
        ),
    ],
)
def test_a_broken_promise_is_named(members: dict[str, Any], said: str) -> None:
    """Each promise is judged for itself; at its bound it is kept."""
    assert find_failures([PAIR | members]) == [said]


def test_kept_promises_are_kept_at_their_bounds() -> None:
    """One byte below bsdiff4 and its header, a tenth of the full transfer, 2 % and 100 bytes above the prototype."""
    largest = PAIR | {"delta": 541, "bsdiff4": 517, "full": 97_000}
    assert find_failures([PAIR, PAIR | {"delta": 400, "bsdiff4": 361}, largest]) == []


def test_nothing_is_promised_of_other_packages() -> None:
    """A package whose versions have little in common moves what it must."""
    assert find_failures([PAIR | {"new": "another-1.0.0", "delta": 4_000, "bsdiff4": 100}]) == []


def test_the_table_has_a_line_a_pair() -> None:
    """Bytes with commas, milliseconds and memory beside them."""
    *_, line = render_table([PAIR]).splitlines()
    assert line.split()[:5] == [NEW, "10,240", "4,000", "400", "380"]


def test_a_whole_run_measures_a_pair(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two versions of a package, packed, compared and applied in processes of their own."""
    lines = [f"export const value{number} = '{number * number:x}';" for number in range(4_000)]
    write_package(tmp_path / "old.tgz", "\n".join(lines))
    write_package(tmp_path / "new.tgz", "\n".join([*lines, "export const last = true;"]))
    report = tmp_path / "report.json"
    assert main([str(tmp_path / "old.tgz"), str(tmp_path / "new.tgz"), "--json", str(report)]) == 0
    told = json.loads(report.read_bytes())
    (pair,) = told["pairs"]
    assert (pair["old"], pair["new"], told["failures"]) == ("old", "new", [])
    assert 40 < pair["delta"] < pair["full"] / 10
    assert pair["apply_memory"] > 0
    assert "new" in capsys.readouterr().out
