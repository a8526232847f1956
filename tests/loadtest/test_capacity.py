"""Tests of loadtest/capacity.py: what its figures prove, how they are told, and a small run on real processes."""

from contextlib import ExitStack
from pathlib import Path

import pytest

from loadtest.capacity import FULL, CapacityBench, Size, judge_capacity, render_capacity
from loadtest.program import make_document
from loadtest.stage import Stage

SEED = 3
START = {"workers": 1, "first_answer_s": 2.5, "compiled_s": 9.0, "compared": 500, "wrong": 0, "worker_bytes": 3 << 20}
REPORT = {"programs": 100_000, "file_bytes": 1, "starts": [START, {**START, "first_answer_s": 2.75}]}


@pytest.mark.parametrize(
    ("change", "failures"),
    [
        ({}, []),
        ({"first_answer_s": 5.0}, ["expected an answer in under 5 s after a start with 1 workers, got 5.0"]),
        ({"wrong": 2}, ["expected no wrong answer after a start, got 2"]),
    ],
)
def test_promises(change: dict[str, float], failures: list[str]) -> None:
    """Each start has to be quick and right; a quick run proves that it is right alone."""
    report = {**REPORT, "starts": [START, {**START, **change}]}
    assert judge_capacity(report, is_quick=False) == failures
    assert judge_capacity(report, is_quick=True) == (failures if "wrong" in change else [])


def test_lines() -> None:
    """A line for each number of workers, with the starts one by one and the worst of all else."""
    (line,) = render_capacity(REPORT)
    assert line.startswith("capacity   100000 programs, 1 workers: first answer after 2.5, 2.75 s, ")
    assert line.endswith(" all compiled after 9.0 s, 3 MB a worker, 0 wrong of 1000")


def test_full_size_is_what_is_promised() -> None:
    """A hundred thousand programs, with one worker and with two."""
    assert (FULL.programs, FULL.workers) == (100_000, (1, 2))


def test_run(tmp_path: Path) -> None:
    """Every start is answered right from its first answer on, and its figures are there."""
    with ExitStack() as cleanup:
        stage = Stage(tmp_path, cleanup)
        stage.publish([make_document(number, SEED) for number in range(20)])
        (tmp_path / "questions").mkdir()
        report = CapacityBench(stage, tmp_path / "questions", Size(20, (1,), 1, 20), SEED).run()
    (start,) = report["starts"]
    assert (report["programs"], start["workers"], start["compared"], start["wrong"]) == (20, 1, 20, 0)
    assert 0 < start["first_answer_s"] <= start["compiled_s"]
    assert start["worker_bytes"] > 1 << 20
