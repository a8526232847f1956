"""Unpacks a canonical tar into a folder that did not exist before; nothing that it says is trusted."""

import os
from collections.abc import Iterable
from pathlib import Path

from bundle.archive import Member, read_archive
from bundle.errors import StoreError
from bundle.file import sync_tree


def extract(chunks: Iterable[bytes], folder: Path) -> int:
    """Unpacks an archive into `folder`, which is made, and returns the number of files; all is on disk when it returns.

    On an error the folder is left as far as it came: it is the caller's to remove.

    Raises:
        ArchiveError, EntryError: the bytes are no canonical tar of an allowed tree.
        StoreError: the folder is there already, or cannot be written.
    """
    count = 0
    try:
        folder.mkdir(parents=True)
        for member in read_archive(chunks):
            _write(folder, member)
            count += 1
        sync_tree(folder)
    except OSError as error:
        raise StoreError(f"{folder}: expected a new folder that can be written: {error.strerror}") from error
    return count


def _write(folder: Path, member: Member) -> None:
    # The name was checked: relative, without "..", colliding with no other, so no link can be in its way either.
    path = folder / member.name
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.writelines(member.chunks)
        os.fchmod(descriptor, 0o755 if member.is_executable else 0o644)
