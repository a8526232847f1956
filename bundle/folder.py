"""A folder as a source of entries; the order that its file system lists it in does not matter.

Empty folders are left out. Links follow `bundle.link`: copies of files of the tree, or refused.
"""

import os
import stat
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from bundle.archive import Entry
from bundle.errors import EntryError, SourceError
from bundle.file import CHUNK_BYTES

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFDIR: "a folder",
}


def list_folder(root: Path) -> Iterator[Entry]:
    """Yields the files of a folder and of those below it.

    Raises:
        SourceError: a folder cannot be listed.
        EntryError: something in it is neither a file, nor a folder, nor a link to a file of the tree.
    """
    real = root.resolve()
    folders = [real]
    while folders:
        for item in _scan(folders.pop()):
            if item.is_dir(follow_symlinks=False):
                folders.append(Path(item.path))
            else:
                yield _build_entry(real, Path(item.path))


def _scan(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            return list(items)
    except OSError as error:
        raise SourceError(f"{folder}: expected a folder that can be listed: {error.strerror}") from error


def _build_entry(root: Path, path: Path) -> Entry:
    name = path.relative_to(root).as_posix()
    target = _follow(root, name, path) if path.is_symlink() else path
    status = target.lstat()
    if not stat.S_ISREG(status.st_mode):
        kind = _KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise EntryError(f"{name!r}: expected a regular file, got {kind}")
    is_executable = bool(status.st_mode & stat.S_IXUSR)
    return Entry(name, status.st_size, is_executable, partial(_read, name, target))


def _follow(root: Path, name: str, link: Path) -> Path:
    try:
        target = link.resolve(strict=True)
    except (OSError, RuntimeError) as error:  # RuntimeError: a loop, until Python 3.13
        raise EntryError(f"{name!r}: expected a link to a file within the tree, got one to nothing") from error
    if not target.is_relative_to(root):
        raise EntryError(f"{name!r}: expected a link to a file within the tree, got one out of it: {str(target)!r}")
    return target


def _read(name: str, path: Path) -> Iterator[bytes]:
    try:
        # What has become a link or a fifo since it was listed is not followed, nor waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise SourceError(f"{name!r}: expected a file that can be read: {error.strerror}") from error
    with os.fdopen(descriptor, "rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
