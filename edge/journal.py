"""A host's journal of the places that its workers gave, one a workspace: written before the device is told.

It outlives a killed worker and whatever Redis loses. It holds two things in one file: a head that says under which
entry (`Stand.entry`) this host may give places now, and a line for each place given. Who appends looks at the head
afterwards, who closes the head reads the lines afterwards. A file's writes have an order, so that of these two one sees
the other: a place that the closer has not read is told to nobody.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, NamedTuple

# `1 open <entry>` padded with blanks to a fixed length, so that it is replaced in one write.
HEAD_BYTES: Final = 128
FORMAT: Final = b"1"
_OPEN, _CLOSED, _MOVED = b"open", b"closed", b"moved"
# A journal of which everything is copied begins anew at this size, about 150,000 places.
MAX_BYTES: Final = 8 * 1024 * 1024


class Given(NamedTuple):
    """A place that was given: in which window, and to whom."""

    window: str
    fingerprint: int


class Journal:
    """A worker's side: appends, and says whether that may be told.

    Args:
        path: the file, which the syncer makes.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = -1

    def read_entry(self) -> str:
        """Returns the entry under which places may be given now, empty for none, and on a disk that takes nothing."""
        state, entry = self._read_head()
        if state == _MOVED or self._file < 0:
            self.close()
            try:
                self._file = _open(self._path, os.O_RDWR | os.O_APPEND)
            except OSError:
                return ""
            state, entry = self._read_head()
        return entry.decode() if state == _OPEN else ""

    def append(self, entry: str, given: Iterable[Given]) -> bool:
        """Writes places down that were given under an entry; says whether the devices may be told.

        They may not where the disk has not taken it, or the host gives places under another entry by now.
        """
        lines = b"\n" + b"".join(
            b"%b %b %016x\n" % (entry.encode(), one.window.encode(), one.fingerprint) for one in given
        )
        try:
            # The blank line in front ends one that was cut off.
            is_whole = os.write(self._file, lines) == len(lines)
        except OSError:
            return False
        return is_whole and self._read_head() == (_OPEN, entry.encode())

    def _read_head(self) -> tuple[bytes, bytes]:
        try:
            return _parse_head(os.pread(self._file, HEAD_BYTES, 0))
        except OSError:
            return _CLOSED, b""

    def close(self) -> None:
        """Closes the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class JournalKeeper:
    """The syncer's side: says when places may be given, and reads which were.

    Args:
        path: the file; made where it does not exist.

    Raises:
        OSError: it can be neither read nor made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = _open(path, os.O_RDWR | os.O_CREAT)
        if os.fstat(self._file).st_size < HEAD_BYTES:
            self._write_head(_CLOSED, b"")
        self._state, self._entry = _parse_head(os.pread(self._file, HEAD_BYTES, 0))
        self._offset = HEAD_BYTES

    @property
    def open_entry(self) -> str:
        """Under which places may be given now, an empty text for none."""
        return self._entry.decode() if self._state == _OPEN else ""

    def open(self, entry: str) -> None:
        """From now on places may be given under this entry. Raises OSError."""
        self._write_head(_OPEN, entry.encode())

    def shut(self) -> None:
        """From now on no place is told that `read` has not returned or will return. Raises OSError."""
        if self._state != _CLOSED:
            self._write_head(_CLOSED, self._entry)

    def read(self) -> list[Given]:
        """Returns what was given under the last entry since it was last called. Raises OSError."""
        data = b""
        while piece := os.pread(self._file, 1 << 20, self._offset + len(data)):
            data += piece
        end = data.rfind(b"\n") + 1
        self._offset += end
        return list(_parse_lines(data[:end], self._entry))

    def reread(self) -> list[Given]:
        """Returns everything that was given under the last entry. Raises OSError."""
        self._offset = HEAD_BYTES
        return self.read()

    def sync(self) -> None:
        """Has the disk keep what was written. Raises OSError."""
        os.fdatasync(self._file)

    @property
    def is_long(self) -> bool:
        """Whether it is time to begin anew."""
        return self._offset > MAX_BYTES

    def begin_anew(self) -> list[Given]:
        """Begins an empty journal under the same entry; returns what was given since `read` was last called.

        Raises:
            OSError: the disk does not take it; the old one goes on.
        """
        fresh = self._path.with_suffix(".fresh")
        state, entry = self._state, self._entry
        descriptor = _open(fresh, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.pwrite(descriptor, _make_head(state, entry), 0)
        os.fsync(descriptor)
        self._write_head(_MOVED, entry)
        rest = self.read()
        fresh.replace(self._path)
        os.close(self._file)
        self._file, self._state, self._offset = descriptor, state, HEAD_BYTES
        return rest

    def _write_head(self, state: bytes, entry: bytes) -> None:
        os.pwrite(self._file, _make_head(state, entry), 0)
        self._state, self._entry = state, entry

    def close(self) -> None:
        """Closes the file."""
        os.close(self._file)


def _open(path: Path, flags: int) -> int:
    try:
        return os.open(path, flags | os.O_CLOEXEC, 0o600)
    except FileNotFoundError:
        if flags & os.O_CREAT:
            raise
        return -1  # the syncer has not made it yet


def _make_head(state: bytes, entry: bytes) -> bytes:
    return b" ".join((FORMAT, state, entry)).ljust(HEAD_BYTES - 1) + b"\n"


def _parse_head(head: bytes) -> tuple[bytes, bytes]:
    words = head.split()
    if len(words) in {2, 3} and words[0] == FORMAT:
        return words[1], b"".join(words[2:])
    return _CLOSED, b""


def _parse_lines(data: bytes, entry: bytes) -> Iterator[Given]:
    """Lines of other entries are of no use any more, and what is no line was cut off."""
    for line in data.splitlines():
        words = line.split()
        if len(words) == 3 and words[0] == entry and len(words[2]) == 16:  # noqa: PLR2004 - as `append` writes them
            try:
                yield Given(words[1].decode("ascii"), int(words[2], 16))
            except ValueError:
                continue
