"""A file that an operator may replace while the edge runs: what it was read as last, and whether it is another now.

It knows files and no content. One that cannot be read, or is not what it should be, never replaces a good one.
"""

import logging
from collections.abc import Callable
from pathlib import Path

_log = logging.getLogger("graywave.edge")


class Watch:
    """Reads a file at first, and again when it has changed.

    Args:
        path: the file.
        take: reads it and puts it to use; raises OSError or ValueError where it is of no use.
    """

    def __init__(self, path: Path, take: Callable[[Path], None]) -> None:
        self._path = path
        self._take = take
        self._seen: tuple[int, ...] | None = None
        self.problem = ""

    def look(self) -> None:
        """Takes the file if it is another than before; logs what is wrong with it, once each time it changes."""
        seen = self._identify()
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._take(self._path)
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error)
            self.problem = f"{self._path}: {reason}"
            _log.error("%s; what was read before stays in use", self.problem)
        else:
            self.problem = ""
            _log.info("%s was read", self._path)

    def _identify(self) -> tuple[int, ...]:
        """Which file it is and in which state; of one that is not there nothing."""
        try:
            found = self._path.stat()
        except OSError:
            return ()
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
