"""A disk that takes nothing: the syncer goes on in memory with all that it has, workers follow, and both come back."""

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from channel import Position
from edge import cache as module
from edge import refuge
from edge.cache import FILE_NAME, Cache, CacheReader
from edge.errors import CacheError
from edge.refuge import is_safe, make_refuge, name_refuge, remove_refuge
from tests.edge.press import WORKSPACE, make_row


def read_all(reader: CacheReader) -> tuple[set[str], dict[str, Position]]:
    """The ids of all that a worker would read, and how far the workspaces are."""
    batch = reader.read(0)
    return {row.name.id for row in batch.rows}, batch.progress


def write(cache: Cache, revision: int, program: str) -> None:
    """Writes a document at a revision."""
    cache.write(WORKSPACE, [make_row(revision=revision, program=program)], [], Position(1, revision))


def fill(cache: Cache) -> None:
    """Leaves no room in the file, so that the next write fails as on a full disk."""
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count = {pages}")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[CacheReader]:
    """A worker's way to the file."""
    reader = CacheReader(tmp_path)
    yield reader
    reader.close()


def test_full_disk_is_left(cache: Cache, reader: CacheReader, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What the disk does not take goes into memory, beside a copy of all before; a worker finds it there."""
    write(cache, 1, "p1")
    assert read_all(reader) == ({"p1"}, {WORKSPACE: Position(1, 1)})
    assert reader.has_changed()
    fill(cache)
    cache.write(WORKSPACE, [make_row("1.0.0.0", 2, f"p{number}") for number in range(2, 60)], [], Position(1, 2))
    assert cache.path == name_refuge(tmp_path) / FILE_NAME
    assert "database or disk is full" in cache.problem
    assert caplog.text.count("going on in memory") == 1
    assert reader.has_changed()
    ids, progress = read_all(reader)
    assert (len(ids), progress) == (59, {WORKSPACE: Position(1, 2)})
    assert cache.read_progress(WORKSPACE) == Position(1, 2)


def test_disk_that_works_again_is_used_again(
    cache: Cache, reader: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a later write everything goes back to the disk, and nothing stays in memory."""
    write(cache, 1, "p1")
    fill(cache)
    cache.write(WORKSPACE, [make_row("1.0.0.0", 2, f"p{number}") for number in range(2, 60)], [], Position(1, 2))
    write(cache, 3, "q")
    assert cache.problem  # it was tried a moment ago
    monkeypatch.setattr(module, "RETURN_S", 0)
    write(cache, 4, "r")
    assert (cache.problem, cache.path) == ("", tmp_path / FILE_NAME)
    assert not name_refuge(tmp_path).exists()
    ids, progress = read_all(reader)
    assert ({"p1", "q", "r"} <= ids, progress) == (True, {WORKSPACE: Position(1, 4)})


def test_disk_that_still_fails_is_left_alone(cache: Cache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the disk does not work again the host stays in memory."""
    fill(cache)
    cache.write(WORKSPACE, [make_row("1.0.0.0", 1, f"p{number}") for number in range(60)], [], Position(1, 1))
    monkeypatch.setattr(module, "RETURN_S", 0)
    (tmp_path / FILE_NAME).unlink()
    (tmp_path / FILE_NAME).mkdir()
    write(cache, 2, "q")
    assert "cannot be used" in cache.problem
    assert cache.read_progress(WORKSPACE) == Position(1, 2)


def test_next_syncer_brings_home_what_was_in_memory(cache: Cache, reader: CacheReader, tmp_path: Path) -> None:
    """A syncer that starts with the disk working takes over what the one before had come to."""
    write(cache, 1, "p1")
    fill(cache)
    cache.write(WORKSPACE, [make_row("1.0.0.0", 2, f"p{number}") for number in range(2, 60)], [], Position(1, 2))
    cache.close()
    later = Cache(tmp_path)
    assert (later.problem, later.read_progress(WORKSPACE)) == ("", Position(1, 2))
    assert not name_refuge(tmp_path).exists()
    assert len(read_all(reader)[0]) == 59
    later.close()


def test_what_is_older_in_memory_is_thrown_away(cache: Cache, tmp_path: Path) -> None:
    """A copy in memory that the disk has overtaken does not come back."""
    write(cache, 2, "p1")
    refuge_folder = name_refuge(tmp_path)
    make_refuge(refuge_folder)
    with sqlite3.connect(refuge_folder / FILE_NAME) as db:
        db.executescript(module._SCHEMA)
    db.close()
    later = Cache(tmp_path)
    assert later.read_progress(WORKSPACE) == Position(1, 2)
    assert not refuge_folder.exists()
    later.close()


def test_next_syncer_stays_in_memory_while_the_disk_is_full(
    cache: Cache, reader: CacheReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that lets itself be opened, and takes nothing, costs nothing of what is in memory."""
    write(cache, 1, "p1")
    fill(cache)
    cache.write(WORKSPACE, [make_row("1.0.0.0", 2, f"p{number}") for number in range(2, 60)], [], Position(1, 2))
    cache.close()
    opened = module._open_to_write

    def open_full(path: Path) -> sqlite3.Connection:
        db = opened(path)
        if path.parent == tmp_path:
            db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")
        return db

    monkeypatch.setattr(module, "_open_to_write", open_full)
    later = Cache(tmp_path)
    assert "cannot be used" in later.problem
    assert later.read_progress(WORKSPACE) == Position(1, 2)
    write(later, 3, "q")
    assert "q" in read_all(reader)[0]
    later.close()


def test_noise_in_memory_is_thrown_away(cache: Cache, tmp_path: Path) -> None:
    """A file in memory that is none is not brought home."""
    write(cache, 1, "p1")
    make_refuge(name_refuge(tmp_path))
    (name_refuge(tmp_path) / FILE_NAME).write_bytes(b"noise" * 1_000)
    later = Cache(tmp_path)
    assert (later.problem, later.read_progress(WORKSPACE)) == ("", Position(1, 1))
    assert not name_refuge(tmp_path).exists()
    later.close()


@pytest.mark.parametrize("damage", ["folder", "file"])
def test_start_without_a_disk(tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A syncer that starts where nothing can be written begins in memory, with what can be read of the disk."""
    home = tmp_path / "data"
    if damage == "folder":
        home.write_bytes(b"no folder")
    else:
        before = Cache(home)
        write(before, 1, "p1")
        before.close()
        opened = module._open_to_write

        def fail(path: Path) -> sqlite3.Connection:
            if path.parent == home:
                error = sqlite3.OperationalError("attempt to write a readonly database")
                error.sqlite_errorcode = sqlite3.SQLITE_READONLY
                raise error
            return opened(path)

        monkeypatch.setattr(module, "_open_to_write", fail)
    cache, reader = Cache(home), CacheReader(home)
    assert "cannot be used" in cache.problem
    assert cache.read_progress(WORKSPACE) == (Position(1, 1) if damage == "file" else Position(0, 0))
    write(cache, 2, "q")
    assert read_all(reader) == ({"p1", "q"} if damage == "file" else {"q"}, {WORKSPACE: Position(1, 2)})
    cache.close()
    again = Cache(home)
    assert again.read_progress(WORKSPACE) == Position(1, 2)
    again.close()
    reader.close()


def test_nothing_in_memory_either(cache: Cache, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where memory takes nothing either, the batch is refused as a whole, and what was there stays."""
    write(cache, 1, "p1")
    fill(cache)
    monkeypatch.setattr(refuge, "BASE", tmp_path / "nowhere")
    cache._refuge = name_refuge(tmp_path)
    with pytest.raises(CacheError, match="nor can it be copied into memory"):
        cache.write(WORKSPACE, [make_row("1.0.0.0", 2, f"p{number}") for number in range(60)], [], Position(1, 2))
    assert (cache.problem, cache.read_progress(WORKSPACE)) == ("", Position(1, 1))
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(CacheError, match="nor is there one in memory"):
        Cache(tmp_path / "file")


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.chmod(0o770),
        lambda path: (path.rename(path.with_name("x")), path.symlink_to(path.with_name("x"))),
        lambda path: (path.rmdir(), path.write_bytes(b"")),
        lambda path: path.rmdir(),
    ],
)
def test_folder_of_somebody_else_is_no_refuge(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    """What others may write to, or is no folder, is neither read nor removed: anybody may make it."""
    path = name_refuge(tmp_path)
    make_refuge(path)
    assert is_safe(path)
    spoil(path)
    assert not is_safe(path)
    before = path.is_symlink() or path.exists()
    remove_refuge(path)
    assert before == (path.is_symlink() or path.exists())


def test_worker_does_not_believe_a_strangers_folder(cache: Cache, reader: CacheReader, tmp_path: Path) -> None:
    """A file that somebody has put there is not read."""
    write(cache, 1, "p1")
    path = name_refuge(tmp_path)
    path.mkdir(mode=0o755)
    stranger = Cache(tmp_path / "stranger")
    write(stranger, 9, "forged")
    stranger._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    stranger.close()
    (path / FILE_NAME).write_bytes((tmp_path / "stranger" / FILE_NAME).read_bytes())
    assert read_all(reader)[0] == {"p1"}


def test_folders_have_refuges_of_their_own(tmp_path: Path) -> None:
    """Two hosts on one machine do not meet in one; a relative name is the same folder's."""
    assert name_refuge(tmp_path / "a") != name_refuge(tmp_path / "b")
    assert name_refuge(Path("data")) == name_refuge(Path.cwd() / "data")
