"""Marks as files: added in one step, read by all, and swept when they say nothing any more."""

from pathlib import Path

from container.mark import Marks
from container.state import Mark

PROGRAM, OTHER = "2021000000000001", "20210000"
MARKS = frozenset({Mark(PROGRAM, 1, "opened"), Mark(PROGRAM, 12, "declined"), Mark(OTHER, 1, "applied")})


def test_no_folder_is_no_mark(tmp_path: Path) -> None:
    """Where nothing has happened, there is nothing, and to look makes nothing."""
    assert Marks(tmp_path / "marks").read() == frozenset()
    Marks(tmp_path / "marks").sweep([])
    assert list(tmp_path.iterdir()) == []


def test_what_is_added_is_read_by_others(tmp_path: Path) -> None:
    """A mark is there for every process, and twice the same is one."""
    for mark in [*MARKS, *MARKS]:
        Marks(tmp_path / "marks").add(mark)
    assert Marks(tmp_path / "marks").read() == MARKS
    assert len(list((tmp_path / "marks").iterdir())) == 3


def test_what_says_nothing_goes(tmp_path: Path) -> None:
    """Marks of other numbers and programs go, and whatever is no mark; those that count stay."""
    marks = Marks(tmp_path)
    for mark in MARKS:
        marks.add(mark)
    (tmp_path / "something").touch()
    (tmp_path / f"{PROGRAM}-12.unknown").touch()
    assert marks.read() == MARKS
    marks.sweep([(PROGRAM, 12), (OTHER, 2)])
    assert [path.name for path in tmp_path.iterdir()] == [f"{PROGRAM}-12.declined"]
