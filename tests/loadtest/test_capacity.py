"""Tests of loadtest/capacity.py: what its figures prove, and how they are told; its --quick run is tried by hand."""

import pytest

from loadtest.capacity import FULL, judge_capacity, render_capacity

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
