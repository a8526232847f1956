"""Tests of edge/watch.py."""

import logging
import os
from pathlib import Path

import pytest

from edge.watch import Watch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file."""
    path = tmp_path / "file"
    path.write_text("first", "utf-8")
    return path


def replace(path: Path, text: str) -> None:
    """Replaces a file as careful operators do: by another one that gets its name."""
    fresh = path.with_name("fresh")
    fresh.write_text(text, "utf-8")
    fresh.rename(path)


def test_file_is_read_once_until_it_changes(path: Path) -> None:
    """A file is read at the first look, and again when it is another: replaced, or written in place."""
    read: list[str] = []
    watch = Watch(path, lambda path: read.append(path.read_text("utf-8")))
    watch.look()
    watch.look()
    replace(path, "other")
    watch.look()
    watch.look()
    path.write_text("a third", "utf-8")
    watch.look()
    os.utime(path, ns=(1, 1))
    watch.look()
    assert read == ["first", "other", "a third", "a third"]


def test_bad_file_is_told_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is wrong with a file is told once each time it changes, and is over when it is mended."""

    def take(path: Path) -> None:
        text = path.read_text("utf-8")
        if text != "good":
            raise ValueError(f"expected 'good', got {text!r}")

    caplog.set_level(logging.ERROR)
    watch = Watch(path, take)
    watch.look()
    watch.look()
    assert watch.problem == f"{path}: expected 'good', got 'first'"
    path.unlink()
    watch.look()
    watch.look()
    assert watch.problem == f"{path}: No such file or directory"
    assert len(caplog.records) == 2
    replace(path, "good")
    watch.look()
    assert watch.problem == ""
