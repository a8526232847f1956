"""Tests of edge/cache.py."""

import logging
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from channel import NOWHERE, DocumentName, Position
from edge import cache as cache_module
from edge.cache import FILE_NAME, Batch, Cache, CacheReader, Refusal, Start
from edge.errors import CacheError
from tests.edge.press import OTHER_PROGRAM, PROGRAM, WORKSPACE, make_audience, make_audience_row, make_row
from tests.end_to_end.town import ROOT

NAME = DocumentName("program", PROGRAM)
OTHER_NAME = DocumentName("program", OTHER_PROGRAM)


def alter(folder: Path, statement: str) -> None:
    """Changes the file behind the cache's back."""
    with closing(sqlite3.connect(folder / FILE_NAME, isolation_level=None)) as db:
        db.execute(statement)


def test_new_file_has_come_nowhere(cache: Cache) -> None:
    """A new file holds nothing, and its workspaces stand nowhere."""
    assert cache.read_progress(WORKSPACE) == NOWHERE
    assert cache.read_position(WORKSPACE, NAME) is None
    assert (cache.read_positions(WORKSPACE), cache.read_refused(WORKSPACE), cache.read_last_row()) == ({}, [], 0)


def test_what_is_written_is_read(cache: Cache, tmp_path: Path) -> None:
    """A batch is read as it was written, after a restart too, and by workspace."""
    cache.write(WORKSPACE, [make_row(revision=4)], [], Position(1, 5))
    cache.close()
    again = Cache(tmp_path)
    assert again.read_progress(WORKSPACE) == Position(1, 5)
    assert again.read_position(WORKSPACE, NAME) == Position(1, 4)
    assert again.read_positions(WORKSPACE) == {NAME: Position(1, 4)}
    assert again.read_positions("shop") == {}
    again.close()


def test_document_is_replaced(cache: Cache, tmp_path: Path) -> None:
    """There is one row a document, and a newer one gets a newer number."""
    cache.write(WORKSPACE, [make_row(revision=1), make_row(revision=1, program=OTHER_PROGRAM)], [], None)
    cache.write(WORKSPACE, [make_row(revision=2)], [], None)
    batch = CacheReader(tmp_path).read(0)
    assert [(row.row, row.name) for row in batch.rows] == [(2, OTHER_NAME), (3, NAME)]


def test_refusals_are_kept_until_settled(cache: Cache) -> None:
    """What was refused is told until a good document of the name comes, or the name is settled."""
    refused = [Refusal(NAME, Position(1, 2), "forged"), Refusal(OTHER_NAME, Position(1, 3), "no")]
    cache.write(WORKSPACE, [], refused, None)
    assert cache.read_refused(WORKSPACE) == [
        {"kind": "program", "id": PROGRAM, "position": "1-2", "reason": "forged"},
        {"kind": "program", "id": OTHER_PROGRAM, "position": "1-3", "reason": "no"},
    ]
    cache.write(WORKSPACE, [make_row(revision=4)], [], None)
    assert [entry["id"] for entry in cache.read_refused(WORKSPACE)] == [OTHER_PROGRAM]
    cache.write(WORKSPACE, [], [], None, [OTHER_NAME])
    assert cache.read_refused(WORKSPACE) == []


def test_batch_is_written_wholly_or_not(cache: Cache, tmp_path: Path) -> None:
    """Where the last statement of a batch fails, nothing of it was written."""
    alter(tmp_path, "CREATE TRIGGER t BEFORE INSERT ON progress BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(CacheError, match="cannot be used: no"):
        cache.write(WORKSPACE, [make_row()], [Refusal(OTHER_NAME, NOWHERE, "no")], Position(1, 1))
    assert cache.read_position(WORKSPACE, NAME) is None
    assert cache.read_refused(WORKSPACE) == []
    cache.write(WORKSPACE, [make_row()], [], None)


def test_large_batch_on_a_full_disk_goes_to_memory(cache: Cache) -> None:
    """A disk that is full loses nothing of what is there; what it does not take is in memory."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")
    large = make_row(revision=2)._replace(envelope=bytes(100_000))
    cache.write(WORKSPACE, [large], [], Position(1, 2))
    assert "database or disk is full" in cache.problem
    assert cache.read_position(WORKSPACE, NAME) == cache.read_progress(WORKSPACE) == Position(1, 2)


WRITE_ON = """
import sys
from pathlib import Path
from channel import Position
from edge.cache import Cache
from tests.edge.press import WORKSPACE, make_row
cache = Cache(Path(sys.argv[1]))
print("begun", flush=True)
revision = cache.read_progress(WORKSPACE).revision
while True:
    revision += 1
    rows = [make_row(revision=revision, program=f"p{number}") for number in range(20)]
    cache.write(WORKSPACE, rows, [], Position(1, revision))
"""


def test_killed_at_any_moment_it_is_whole(tmp_path: Path) -> None:
    """Whenever its writer is killed, the file holds whole batches, and nothing of it is lost or set aside."""
    last = 0
    for number in range(8):
        command = [sys.executable, "-c", WRITE_ON, str(tmp_path)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"begun\n"
            time.sleep(0.005 * number)  # for as many moments, and not for luck: each has to do
            writer.kill()
        cache, reader = Cache(tmp_path), CacheReader(tmp_path)
        position = cache.read_progress(WORKSPACE)
        assert set(cache.read_positions(WORKSPACE).values()) == ({position} if position.revision else set())
        assert [row.envelope is not None for row in reader.read(0).rows] == [True] * (20 if position.revision else 0)
        assert position.revision >= last
        last = position.revision
        reader.close()
        cache.close()
    assert last
    assert not list(tmp_path.glob("*.broken"))


@pytest.mark.parametrize("part", [0.5, 0.01])
def test_half_a_file_is_set_aside(tmp_path: Path, part: float) -> None:
    """A file that was cut is set aside, and one that is whole takes its place."""
    cache = Cache(tmp_path)
    cache.write(WORKSPACE, [make_row(program=f"p{number}") for number in range(200)], [], Position(1, 1))
    cache.close()
    os.truncate(cache.path, int(cache.path.stat().st_size * part))
    again = Cache(tmp_path)
    assert (again.read_progress(WORKSPACE), again.read_positions(WORKSPACE)) == (Position(0, 0), {})
    assert (tmp_path / "edge-2.broken").exists()
    again.write(WORKSPACE, [make_row()], [], Position(1, 1))
    again.close()


def test_noise_is_set_aside(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is no database is set aside with its log, and an empty one takes its place."""
    noise = os.urandom(9_000)
    (tmp_path / FILE_NAME).write_bytes(noise)
    (tmp_path / f"{FILE_NAME}-wal").write_bytes(noise)
    (tmp_path / "edge-2.broken").write_bytes(b"an earlier one")
    cache = Cache(tmp_path)
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    cache.close()
    assert (tmp_path / "edge-2.broken").read_bytes() == noise
    assert "file is not a database: set aside as edge-2.broken, loading anew" in caplog.text


def test_file_set_aside_shares_nothing_with_the_new(cache: Cache, tmp_path: Path) -> None:
    """A worker that still has the damaged file open shares neither log nor index with the new one."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    reader = CacheReader(tmp_path)
    reader.read(0)
    files = [tmp_path / f"{FILE_NAME}{suffix}" for suffix in ("-wal", "-shm")]
    before = [file.stat().st_ino for file in files]  # the reader has them open: no other file gets these numbers
    cache._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    cache.close()
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.write(os.urandom(9_000))
    again = Cache(tmp_path)
    assert not {*before} & {file.stat().st_ino for file in files}
    again.write(WORKSPACE, [make_row(revision=2)], [], Position(1, 2))
    assert reader.read(0).progress == {WORKSPACE: Position(1, 2)}
    reader.close()
    again.close()


def test_damaged_page_is_found_at_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that is damaged inside is set aside when it is opened, not when the page is met."""
    cache = Cache(tmp_path)
    for revision in range(1, 30):
        cache.write(WORKSPACE, [make_row(revision=revision, program=f"{revision:08}")], [], Position(1, revision))
    cache.close()
    size = (tmp_path / FILE_NAME).stat().st_size
    with (tmp_path / FILE_NAME).open("r+b") as file:
        file.seek(size // 2 // 4_096 * 4_096)
        file.write(os.urandom(8_192))
    again = Cache(tmp_path)
    assert again.read_progress(WORKSPACE) == NOWHERE
    assert "set aside" in caplog.text
    again.close()


def test_busy_file_is_not_set_aside(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody has locked is a good one: it stays, and the operator is told."""
    monkeypatch.setattr(cache_module, "BUSY_S", 0.01)
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    cache._db.execute("BEGIN IMMEDIATE")
    with pytest.raises(CacheError, match="database is locked"):
        Cache(tmp_path)
    cache._db.execute("ROLLBACK")
    assert not (tmp_path / "edge-2.broken").exists()
    assert cache.read_progress(WORKSPACE) == Position(1, 1)


def test_folder_that_cannot_be_made(tmp_path: Path) -> None:
    """A folder that cannot be made is the operator's to mend, and is named."""
    (tmp_path / "file").touch()
    cache = Cache(tmp_path / "file" / "folder")
    assert re.search(r"edge-2\.db cannot be used: .*Not a directory|File exists", cache.problem)
    cache.close()


def test_damaged_file_that_cannot_be_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a damaged file cannot be replaced, both reasons are told."""

    def refuse(*_: object) -> None:
        raise PermissionError("not yours")

    (tmp_path / FILE_NAME).write_bytes(os.urandom(9_000))
    monkeypatch.setattr(Path, "replace", refuse)
    with pytest.raises(CacheError, match="cannot be used: file is not a database, nor replaced: not yours"):
        Cache(tmp_path)


def test_damaged_row_is_fetched_again(cache: Cache, tmp_path: Path) -> None:
    """A row whose bytes have changed has no position any more and is told of, until it is written again."""
    cache.write(WORKSPACE, [make_row(revision=4), make_row(revision=5, program=OTHER_PROGRAM)], [], Position(1, 5))
    cache.close()
    alter(tmp_path, f"UPDATE document SET envelope = envelope || 'x' WHERE id = '{PROGRAM}'")
    again = Cache(tmp_path)
    assert again.read_positions(WORKSPACE) == {NAME: NOWHERE, OTHER_NAME: Position(1, 5)}
    assert [entry["reason"] for entry in again.read_refused(WORKSPACE)] == ["its row in edge.db is damaged"]
    again.write(WORKSPACE, [make_row(revision=4)], [], None)
    assert again.read_refused(WORKSPACE) == []
    again.close()
    assert Cache(tmp_path).read_refused(WORKSPACE) == []


def test_reader_reads_by_pages(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more than a page the first page comes; the last one is whole."""
    monkeypatch.setattr(cache_module, "PAGE", 2)
    reached = {WORKSPACE: Position(1, 3)}
    rows = [make_row(revision=1, program=f"{20210000 + i}") for i in range(3)]
    cache.write(WORKSPACE, rows, [], Position(1, 3))
    reader = CacheReader(tmp_path)
    first = reader.read(0)
    assert ([row.row for row in first.rows], first.progress, first.last, first.is_whole) == ([1, 2], reached, 2, False)
    rest = reader.read(first.last)
    assert ([row.row for row in rest.rows], rest.progress, rest.is_whole) == ([3], reached, True)
    reader.close()


def test_reader_reads_what_is_newer(cache: Cache, tmp_path: Path) -> None:
    """A reader gets the rows after the last it has, how far workspaces have come since, and the last row now."""
    cache.write(WORKSPACE, [make_row(revision=1)], [], Position(1, 1))
    reader = CacheReader(tmp_path)
    first = reader.read(0)
    assert [(row.name, row.envelope) for row in first.rows] == [(NAME, make_row(revision=1).envelope)]
    assert (first.progress, first.last) == ({WORKSPACE: Position(1, 1)}, cache.read_last_row())
    assert reader.read(first.last) == Batch([], {}, {}, first.last)
    cache.write("shop", [make_row(revision=7, program=OTHER_PROGRAM)], [], Position(1, 7))
    second = reader.read(first.last)
    assert [(row.workspace, row.name) for row in second.rows] == [("shop", OTHER_NAME)]
    assert second.progress == {"shop": Position(1, 7)}
    reader.close()


def test_reader_comes_before_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A reader that comes before file or tables are made reads nothing, logs nothing, and reads them then."""
    reader = CacheReader(tmp_path)
    assert reader.read(0) == Batch([], {}, {}, 0)
    assert not reader.has_changed()
    alter(tmp_path, "PRAGMA journal_mode = WAL")
    assert reader.has_changed()
    assert reader.read(0) == Batch([], {}, {}, 0)
    cache = Cache(tmp_path)
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    assert reader.has_changed()
    assert len(reader.read(0).rows) == 1
    assert caplog.text == ""
    reader.close()
    cache.close()


def test_reader_notices_each_write_once(cache: Cache, tmp_path: Path) -> None:
    """A write is noticed, and only once."""
    cache.write(WORKSPACE, [make_row()], [], None)
    reader = CacheReader(tmp_path)
    reader.read(0)
    reader.has_changed()
    assert not reader.has_changed()
    cache.write(WORKSPACE, [make_row(revision=2)], [], None)
    assert reader.has_changed()
    assert not reader.has_changed()
    reader.close()


def test_reader_of_another_file_begins_anew(cache: Cache, tmp_path: Path) -> None:
    """A file that was replaced is noticed and read from its first row, however far the old one was read."""
    cache.write(WORKSPACE, [make_row(revision=9)], [], Position(1, 9))
    reader = CacheReader(tmp_path)
    assert reader.read(0).last
    cache.close()
    (tmp_path / FILE_NAME).replace(tmp_path / "old.db")
    other = Cache(tmp_path)
    other.write(WORKSPACE, [make_row(revision=10)], [], None)
    assert reader.has_changed()
    assert [row.row for row in reader.read(1_000).rows] == [1]
    assert reader.read(1) == Batch([], {}, {}, 1)
    reader.close()
    other.close()


def test_reader_of_noise_goes_on(cache: Cache, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A file that cannot be read is named in the log and changes nothing."""
    cache.close()
    (tmp_path / FILE_NAME).write_bytes(os.urandom(9_000))
    reader = CacheReader(tmp_path)
    with caplog.at_level(logging.ERROR):
        assert reader.read(0) == Batch([], {}, {}, 0)
    assert "edge-2.db cannot be read: file is not a database" in caplog.text
    reader.close()


def test_reader_finds_what_a_killed_writer_left(cache: Cache, tmp_path: Path) -> None:
    """A worker that comes before the syncer reads what a crash has left in the write-ahead log."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    reader = CacheReader(crashed)
    assert reader.read(0).progress == {WORKSPACE: Position(1, 1)}
    reader.close()


@pytest.mark.parametrize("damage", ["x'00'", "'text'", "7"])
def test_row_whose_digest_does_not_fit(cache: Cache, tmp_path: Path, damage: str) -> None:
    """A damaged row is read as one without bytes."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    alter(tmp_path, f"UPDATE document SET envelope = {damage}")
    reader = CacheReader(tmp_path)
    assert [row.envelope for row in reader.read(0).rows] == [None]
    reader.close()


ROOTS = {3: b"three", 4: b"four"}


def test_roots_are_read_as_written(cache: Cache, tmp_path: Path) -> None:
    """Root documents are replaced together, with new rows, and a reader gets all of a workspace where one is new."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    reader = CacheReader(tmp_path)
    before = reader.read(0)
    assert (before.roots, cache.read_roots(WORKSPACE)) == ({}, {})
    cache.write_roots(WORKSPACE, ROOTS)
    cache.write_roots("shop", {1: b"one"})
    assert (cache.read_roots(WORKSPACE), cache.read_roots("shop")) == (ROOTS, {1: b"one"})
    first = reader.read(before.last)
    assert (first.rows, first.progress, first.roots) == ([], {}, {WORKSPACE: ROOTS, "shop": {1: b"one"}})
    assert first.last == cache.read_last_row() == before.last + 3
    assert reader.read(first.last).roots == {}
    cache.write_roots(WORKSPACE, {4: b"four"})
    second = reader.read(first.last)
    assert (second.roots, second.last) == ({WORKSPACE: {4: b"four"}}, first.last + 1)
    assert cache.read_roots(WORKSPACE) == {4: b"four"}
    reader.close()


def test_rows_never_go_back(cache: Cache) -> None:
    """Where a workspace has fewer roots than before, what is written then is newer for every reader all the same."""
    cache.write_roots(WORKSPACE, dict.fromkeys(range(1, 9), b"root"))
    last = cache.read_last_row()
    cache.write_roots(WORKSPACE, {8: b"root"})
    assert cache.read_last_row() > last


@pytest.mark.parametrize(
    "damage",
    ["document = x'00'", "document = 'four'", "number = 9", "number = 'four'", "digest = x'00'"],
)
def test_damaged_root_is_left_out(cache: Cache, tmp_path: Path, damage: str) -> None:
    """A root that the disk has damaged is read neither by the syncer nor by workers; the others are."""
    cache.write_roots(WORKSPACE, ROOTS)
    alter(tmp_path, f"UPDATE root SET {damage} WHERE number = 4")
    reader = CacheReader(tmp_path)
    assert cache.read_roots(WORKSPACE) == reader.read(0).roots[WORKSPACE] == {3: b"three"}
    reader.close()


def test_roots_are_written_wholly_or_not(cache: Cache, tmp_path: Path) -> None:
    """Where the last statement fails, the roots before are there."""
    cache.write_roots(WORKSPACE, {3: b"three"})
    alter(tmp_path, "CREATE TRIGGER t BEFORE INSERT ON root BEGIN SELECT RAISE(ABORT, 'no'); END")
    with pytest.raises(CacheError, match="cannot be used: no"):
        cache.write_roots(WORKSPACE, ROOTS)
    assert cache.read_roots(WORKSPACE) == {3: b"three"}


def test_file_is_nobody_elses_to_read(cache: Cache, tmp_path: Path) -> None:
    """Documents hold the keys of sealed packages: file and log are their owner's alone."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}


def test_start_names_what_is_read_later(cache: Cache, tmp_path: Path) -> None:
    """Of one kind the start has the names alone, by workspace; of all others it has the documents."""
    audience = make_audience_row(make_audience(patterns=["t-*"]))
    cache.write(WORKSPACE, [make_row(), audience], [], Position(1, 2))
    cache.write("shop", [make_row(program=OTHER_PROGRAM)], [], Position(2, 1))
    cache.write_roots(WORKSPACE, {3: b"three"})
    reader = CacheReader(tmp_path)
    batch, late = reader.read_start("program")
    assert late == {WORKSPACE: [PROGRAM], "shop": [OTHER_PROGRAM]}
    assert [(row.name, row.envelope) for row in batch.rows] == [(audience.name, audience.envelope)]
    assert batch[1:] == reader.read(0)[1:]
    reader.close()


def test_start_of_a_new_host(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where there is no file, or none that can be read, or one that is just being made, there is nothing."""
    nothing = Start(Batch([], {}, {}, 0), {})
    assert CacheReader(tmp_path).read_start("program") == nothing
    assert caplog.text == ""
    (tmp_path / FILE_NAME).touch()
    assert CacheReader(tmp_path).read_start("program") == nothing
    (tmp_path / FILE_NAME).write_bytes(b"noise" * 1_000)
    assert CacheReader(tmp_path).read_start("program") == nothing
    assert "cannot be read" in caplog.text


def test_one_row(cache: Cache, tmp_path: Path) -> None:
    """One document is read as it is now; one that is not there, or no file at all, is an error."""
    row = make_row()
    cache.write(WORKSPACE, [row], [], Position(1, 1))
    reader = CacheReader(tmp_path)
    with pytest.raises(CacheError, match="has no program:"):
        reader.read_row(WORKSPACE, row.name)  # nothing is open yet
    reader.read_start("program")
    assert reader.read_row(WORKSPACE, row.name).envelope == row.envelope
    with pytest.raises(CacheError, match="of shop any more"):
        reader.read_row("shop", row.name)
    cache._db.execute("UPDATE document SET digest = x'00'")
    assert reader.read_row(WORKSPACE, row.name).envelope is None
    reader.close()
