"""Files that are there wholly or not at all, also after a power cut; what they hold is not known here."""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

CHUNK_BYTES = 256 * 1024
READABLE = 0o644


def read_chunks(path: Path) -> Iterator[bytes]:
    """Yields a file's content."""
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def replace_file(path: Path, chunks: Iterable[bytes], mode: int = READABLE) -> None:
    """Writes a file beside `path`, syncs it, and puts it in its place in one step; on any failure the old one stays."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123, a descriptor has no path
            file.writelines(chunks)
            os.fchmod(descriptor, mode)
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)  # noqa: PTH105, the name is text
    except BaseException:
        os.unlink(name)  # noqa: PTH108
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Puts a file, or the names in a folder, on disk: a rename alone may be forgotten in a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
