"""The bench of packing: its packages, its promises, and a whole quick run."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from loadtest.deltas import MEBI
from loadtest.packing import CHANGED_EVERY, find_failures, main, make_package, render_table

PART = {"bytes": 1, "files": 1, "moved": 1, "ms": 30_000.0, "memory": 64 * MEBI, "same_twice": True}
APPLIED = {"tar": 1, "delta": 1, "make_ms": 1.0, "make_memory": MEBI, "ms": 1_000.0, "memory": 32 * MEBI}
REPORT: dict[str, Any] = {
    "packing": {"small": PART | {"memory": 40 * MEBI}, "large": PART},
    "applying": {"10": APPLIED, "50": APPLIED | {"memory": 160 * MEBI}},
}


def test_kept_promises_are_kept_at_their_bounds() -> None:
    """All of them, at the very limit."""
    assert find_failures(REPORT) == []


@pytest.mark.parametrize(
    ("place", "value", "said"),
    [
        (("packing", "large", "same_twice"), False, "expected the same bytes twice"),
        (("packing", "large", "ms"), 30_001.0, "expected packing within 30000 ms"),
        (("packing", "large", "memory"), 65 * MEBI, "expected memory that does not grow"),
        (("applying", "10", "memory"), 32 * MEBI + 1, "10 MB: expected at most 33554432 bytes"),
        (("applying", "50", "memory"), 160 * MEBI + 1, "50 MB: expected at most 167772160 bytes"),
        (("applying", "50", "ms"), 1_001.0, "50 MB: expected at most 1000.0 ms"),
    ],
)
def test_a_broken_promise_is_named(place: tuple[str, str, str], value: object, said: str) -> None:
    """Each promise is judged for itself."""
    report = copy.deepcopy(REPORT)
    section, part, member = place
    report[section][part][member] = value
    (failure,) = find_failures(report)
    assert failure.startswith(said)


def test_packages_are_the_same_in_every_run(tmp_path: Path) -> None:
    """Made from a seed; another version differs in every tenth file and keeps its size."""
    for name, version in (("a", 1), ("b", 1), ("c", 2)):
        make_package(tmp_path / name, 100_000, 20, version)
    contents = {name: sorted((p.name, p.read_bytes()) for p in (tmp_path / name).rglob("*.js")) for name in "abc"}
    assert contents["a"] == contents["b"]
    changed = [one for one, other in zip(contents["a"], contents["c"], strict=True) if one != other]
    assert len(changed) == 20 // CHANGED_EVERY
    assert sum(len(data) for _, data in contents["c"]) == 100_000


def test_a_quick_run_measures_everything(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Small packages, packed twice, and a delta applied; nothing is left behind."""
    path = tmp_path / "report.json"
    main(["--quick", "--json", str(path)])
    report = json.loads(path.read_bytes())
    assert report["packing"]["large"]["same_twice"]
    assert report["applying"]["10"]["memory"] > 0
    assert report["packing"]["large"]["moved"] > report["packing"]["small"]["moved"]
    assert capsys.readouterr().out.splitlines() == render_table(report).splitlines()
