"""Files that are there wholly or not at all."""

import ctypes
import errno
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bundle import file, read_chunks, replace_file


def broken() -> Iterator[bytes]:
    yield b"half"
    raise RuntimeError("stop")


def test_file_is_replaced(tmp_path: Path) -> None:
    """A file gets its new content and mode in one step, and nothing is left beside it."""
    path = tmp_path / "file"
    replace_file(path, [b"old"])
    replace_file(path, [b"n", b"ew"], mode=0o600)
    assert b"".join(read_chunks(path)) == b"new"
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_failure_leaves_the_old_file(tmp_path: Path) -> None:
    """A writer that fails half-way leaves what was there, and nothing else."""
    path = tmp_path / "file"
    replace_file(path, [b"old"])
    with pytest.raises(RuntimeError, match="stop"):
        replace_file(path, broken())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("libc", [file._LIBC, object()], ids=["syncfs", "one by one"])
def test_a_tree_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, libc: object) -> None:
    """By one call, or file by file where there is none; a folder that is not there is told either way."""
    monkeypatch.setattr(file, "_LIBC", libc)
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "a").write_bytes(b"a")
    file.sync_tree(tmp_path)


def test_a_sync_that_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that could not write is no success."""
    broken = SimpleNamespace(syncfs=lambda _: ctypes.set_errno(errno.EIO) or -1)
    monkeypatch.setattr(file, "_LIBC", broken)
    with pytest.raises(OSError, match="Input/output error") as caught:
        file.sync_tree(tmp_path)
    assert caught.value.errno == errno.EIO
