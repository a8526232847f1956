"""Marks as files: what happened to a version while another process may be updating; what they mean, the state knows.

A mark is an empty file in `folder`, whose name says it all: `<program>-<number>.<kind>`. It is made in one step, by
whoever opens, confirms or applies, and needs no lock: marks are only added, and the state says which of them count.
Those that say nothing any more go when the next update begins.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import get_args

from bundle import sync
from container.state import Kind, Mark

_NAME = re.compile(rf"([0-9]{{8}}|[0-9]{{16}})-([0-9]{{1,16}})\.({'|'.join(get_args(Kind))})")


class Marks:
    """The marks in a folder, which is made with the first; OSError if the disk does not bear it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def read(self) -> frozenset[Mark]:
        """Returns all marks."""
        try:
            names = [path.name for path in self._folder.iterdir()]
        except FileNotFoundError:
            return frozenset()
        return frozenset(mark for name in names if (mark := _parse(name)) is not None)

    def add(self, mark: Mark) -> None:
        """Makes a mark that a power cut does not undo."""
        self._folder.mkdir(parents=True, exist_ok=True)
        (self._folder / f"{mark.program}-{mark.number}.{mark.kind}").touch()
        sync(self._folder)

    def sweep(self, kept: Iterable[tuple[str, int]]) -> None:
        """Removes whatever is not a mark of these programs and numbers."""
        named = set(kept)
        for path in self._folder.glob("*"):
            mark = _parse(path.name)
            if mark is None or (mark.program, mark.number) not in named:
                path.unlink()


def _parse(name: str) -> Mark | None:
    parts = _NAME.fullmatch(name)
    return Mark(parts[1], int(parts[2]), parts[3]) if parts else None  # type: ignore[arg-type]  # a Kind, by the pattern
