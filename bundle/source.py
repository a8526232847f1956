"""Where a package comes from: a folder, a .zip, a .tar or a .tgz, told apart by what they are, not by name."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from bundle.archive import Entry, plan_archive
from bundle.errors import SourceError
from bundle.folder import list_folder
from bundle.tar import list_tar, unzip
from bundle.zip import list_zip

_GZIP = b"\x1f\x8b"
_ZIP = (b"PK\x03\x04", b"PK\x05\x06")


@contextmanager
def open_source(path: Path, scratch: Path) -> Iterator[tuple[Entry, ...]]:
    """Gives the files of a source in the order of the archive; they can be read until the context ends.

    Args:
        path: a folder, .zip, .tar or .tgz.
        scratch: a folder on a disk with room, where a .tgz is unpacked for as long as the context lasts.

    Raises:
        SourceError: the source cannot be read.
        EntryError: something in it may not be in a package.
    """
    if path.is_dir():
        yield plan_archive(list_folder(path))
        return
    with _open(path) as file, tempfile.TemporaryFile(dir=scratch) as unzipped:
        yield plan_archive(_list_archive(file, unzipped))


def _open(path: Path) -> IO[bytes]:
    if path.exists() and not path.is_file():
        raise SourceError(f"{path}: expected a folder, .zip, .tar or .tgz, got something else")
    try:
        return path.open("rb")
    except OSError as error:
        raise SourceError(f"{path}: expected a file that can be read: {error.strerror}") from error


def _list_archive(file: IO[bytes], unzipped: IO[bytes]) -> Iterator[Entry]:
    start = file.read(4)
    file.seek(0)
    if start in _ZIP:
        return list_zip(file)
    if start[:2] != _GZIP:
        return list_tar(file)
    unzip(file, unzipped)
    return list_tar(unzipped)
