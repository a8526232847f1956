"""The files of vectors are what the generator writes: they can neither drift from the oracle nor lose their layout."""

import json
from pathlib import Path

import pytest

from contract.generate import regenerate, render, render_file
from contract.vector import list_files


@pytest.mark.parametrize("path", list_files(), ids=lambda path: path.stem)
def test_files_are_as_generated(path: Path) -> None:
    """Generating anew changes nothing; if this fails, run `python -m contract.generate` and read the difference."""
    assert render_file(json.loads(path.read_text())) == path.read_text()


def test_a_wrong_answer_is_written_anew() -> None:
    """What stands in a vector as answer and decisions is never taken over."""
    entry = json.loads(list_files()[0].read_text())[0]
    assert regenerate({**entry, "answer": {}, "decisions": {}}) == entry


def test_refusals_stay_as_they_are() -> None:
    """The oracle has no word on bodies that are refused."""
    entry = {"name": "none", "question_raw": "", "status": 400, "code": "malformed_json"}
    assert regenerate(entry) == entry


def test_renders_short_members_side_by_side() -> None:
    """What fits stands on one line; of what does not, short members share lines and long ones get their own."""
    assert render({"a": [1, 2], "b": {}}) == '{"a": [1, 2], "b": {}}'
    long = {"a": 1, "b": 2, "c": ["x" * 60, "y" * 60], "d": 3}
    expected = '{\n "a": 1, "b": 2,\n "c": [\n  "' + "x" * 60 + '",\n  "' + "y" * 60 + '"\n ],\n "d": 3\n}'
    assert render(long) == expected
