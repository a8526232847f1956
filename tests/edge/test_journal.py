"""Tests of edge/journal.py: what is told stands in it, and what stands in it too late is not told."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import journal as journal_module
from edge.journal import Given, Journal, JournalKeeper

WINDOW = "00000000000000aa"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the journal is."""
    return tmp_path / "journal"


@pytest.fixture
def keeper(path: Path) -> Iterator[JournalKeeper]:
    """The syncer's side."""
    keeper = JournalKeeper(path)
    yield keeper
    keeper.close()


@pytest.fixture
def journal(path: Path, keeper: JournalKeeper) -> Iterator[Journal]:  # noqa: ARG001 - who makes the file
    """A worker's side."""
    journal = Journal(path)
    yield journal
    journal.close()


def test_new_journal_is_shut(journal: Journal) -> None:
    """Before the syncer has said so nobody is given a place."""
    assert journal.read_entry() == ""
    assert not journal.append("", [Given(WINDOW, 1)])


def test_places_are_read(keeper: JournalKeeper, journal: Journal) -> None:
    """What is written under the entry may be told, and is read once, by a later keeper again."""
    keeper.open("1:a")
    assert journal.read_entry() == "1:a"
    places = [Given(WINDOW, 1), Given(WINDOW, (1 << 64) - 1)]
    assert journal.append("1:a", places)
    assert keeper.read() == places
    assert keeper.read() == []
    assert keeper.reread() == places


def test_shut_journal_tells_nothing(keeper: JournalKeeper, journal: Journal, path: Path) -> None:
    """Who writes after it was shut may not tell; the place is read all the same, under its own entry."""
    keeper.open("1:a")
    assert journal.read_entry() == "1:a"
    keeper.shut()
    assert not journal.append("1:a", [Given(WINDOW, 1)])
    assert journal.read_entry() == keeper.open_entry == ""
    again = JournalKeeper(path)
    assert again.reread() == [Given(WINDOW, 1)]
    again.close()


def test_earlier_entries_are_passed_over(keeper: JournalKeeper, journal: Journal) -> None:
    """Under another entry what was written late under the one before tells nothing and is not read."""
    keeper.open("1:a")
    keeper.shut()
    keeper.open("2:b")
    assert not journal.append("1:a", [Given(WINDOW, 1)])
    assert journal.read_entry() == "2:b"
    assert journal.append("2:b", [Given(WINDOW, 2)])
    assert keeper.reread() == [Given(WINDOW, 2)]


def test_torn_lines_are_no_places(keeper: JournalKeeper, journal: Journal, path: Path) -> None:
    """What a full disk has cut off, or damaged, is passed over; what follows is read."""
    keeper.open("1:a")
    with path.open("ab") as file:
        file.write(b"\n1:a 00000000000000aa zzzzzzzzzzzzzzzz\n1:a 00000000000000aa 00")
    assert journal.read_entry() == "1:a"
    assert journal.append("1:a", [Given(WINDOW, 3)])
    assert keeper.read() == [Given(WINDOW, 3)]


def test_half_a_line_waits(keeper: JournalKeeper, path: Path) -> None:
    """A line that is being written is read when it is whole."""
    keeper.open("1:a")
    line = b"\n1:a 00000000000000aa 0000000000000009\n"
    with path.open("ab", buffering=0) as file:
        file.write(line[:-9])
        assert keeper.read() == []
        file.write(line[-9:])
    assert keeper.read() == [Given(WINDOW, 9)]


def test_full_disk_tells_nothing(keeper: JournalKeeper, journal: Journal) -> None:
    """A place that cannot be written down is not told."""
    keeper.open("1:a")
    assert journal.read_entry() == "1:a"
    os.close(journal._file)
    journal._file = os.open("/dev/full", os.O_RDWR)
    assert not journal.append("1:a", [Given(WINDOW, 1)])


def test_begins_anew(keeper: JournalKeeper, journal: Journal, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long journal is begun anew; who writes into the old one may not tell, and then goes over to the new one."""
    monkeypatch.setattr(journal_module, "MAX_BYTES", 200)
    keeper.open("1:a")
    assert journal.read_entry() == "1:a"
    assert not keeper.is_long
    assert journal.append("1:a", [Given(WINDOW, 1), Given(WINDOW, 2)])
    assert keeper.read() == [Given(WINDOW, 1), Given(WINDOW, 2)]
    assert keeper.is_long
    assert journal.append("1:a", [Given(WINDOW, 3)])
    assert keeper.begin_anew() == [Given(WINDOW, 3)]
    assert not journal.append("1:a", [Given(WINDOW, 4)])
    assert journal.read_entry() == "1:a"
    assert journal.append("1:a", [Given(WINDOW, 5)])
    assert keeper.read() == [Given(WINDOW, 5)]
    assert path.stat().st_size < 200
    keeper.sync()


def test_without_a_file_nobody_is_given_a_place(tmp_path: Path) -> None:
    """A worker may be there before the syncer."""
    journal = Journal(tmp_path / "journal")
    assert journal.read_entry() == ""
    assert not journal.append("1:a", [Given(WINDOW, 1)])
    JournalKeeper(tmp_path / "journal").close()
    assert journal.read_entry() == ""


def test_disk_that_takes_nothing(keeper: JournalKeeper, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that cannot be opened for writing, as on a disk that was made read-only, lets nobody in."""
    keeper.open("1:a")
    journal = Journal(path)

    def refuse(*_: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_open", refuse)
        assert journal.read_entry() == ""
    assert journal.read_entry() == "1:a"
    journal.close()


def test_damaged_head_is_a_shut_one(keeper: JournalKeeper, journal: Journal, path: Path) -> None:
    """A head that cannot be read lets nobody in."""
    keeper.open("1:a")
    with path.open("r+b") as file:
        file.write(b"9")
    assert journal.read_entry() == ""
