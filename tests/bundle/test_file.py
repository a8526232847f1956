"""Files that are there wholly or not at all."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bundle import read_chunks, replace_file


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
