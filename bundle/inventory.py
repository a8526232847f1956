"""Which files a package may hold: PURE rules for names, count and size, the same when packing and unpacking.

Names are relative paths with `/`, in UTF-8. What only Windows refuses (`aux.js`, `a:b`) is let through: no container
runs there, and published packages have such names.
"""

import unicodedata

from bundle.errors import EntryError

# More files would fill a device's inodes, and its time: each costs a file system about 20 microseconds and more.
MAX_FILES = 20_000
# A name of a thousand bytes brings five hundred folders, each an inode and a place in memory.
MAX_FOLDERS = 20_000
# More bytes would fill a device's disk. A bomb unpacks a thousandfold, so what counts is what comes out.
MAX_UNPACKED_BYTES = 200 * 1024 * 1024
# What every file system in use can hold; longer names fail half-way through unpacking.
MAX_NAME_BYTES = 1024
MAX_PART_BYTES = 255


def check_name(name: str) -> bytes:
    """Returns the name in UTF-8, the bytes that files are sorted by.

    Raises:
        EntryError: the name could leave the folder, or is read differently by different systems.
    """
    encoded = _encode(name)
    if name.startswith("/"):
        raise EntryError(f"{name!r}: expected a relative path, got an absolute one")
    for part in name.split("/"):
        _check_part(name, part)
    for character in name:
        if character == "\\" or unicodedata.category(character) == "Cc":
            raise EntryError(f"{name!r}: expected a name without control characters and backslashes, got {character!r}")
    return encoded


def _encode(name: str) -> bytes:
    try:
        encoded = name.encode()
    except UnicodeEncodeError:
        raise EntryError(f"{name!r}: expected a name in UTF-8, got other bytes") from None
    if len(encoded) > MAX_NAME_BYTES:
        raise EntryError(f"{name!r}: expected a path of at most {MAX_NAME_BYTES} bytes, got {len(encoded)}")
    return encoded


def _check_part(name: str, part: str) -> None:
    if part in ("", ".", ".."):
        raise EntryError(f"{name!r}: expected a path without empty, '.' or '..' parts, got {part!r}")
    size = len(part.encode())
    if size > MAX_PART_BYTES:
        raise EntryError(f"{name!r}: expected parts of at most {MAX_PART_BYTES} bytes, got one of {size}")


def fold(name: str) -> str:
    """Returns what a case-insensitive, normalizing file system takes a name for."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


class Inventory:
    """The files of one package as they are met: refuses the first that breaks a rule."""

    def __init__(self) -> None:
        self.files = self.folders = 0
        self.unpacked_bytes = 0
        # By what a case-insensitive system takes it for: the spelling, and whether it is a folder.
        self._seen: dict[str, tuple[str, bool]] = {}

    def add(self, name: str, size: int) -> bytes:
        """Takes a file of `size` bytes in, and returns its name in UTF-8.

        Raises:
            EntryError: the name is refused or collides with another, or there are too many files, folders or bytes.
        """
        encoded = check_name(name)
        for index, character in enumerate(name):
            if character == "/":
                self._take(name, name[:index], is_folder=True)
        self._take(name, name, is_folder=False)
        self._count(name, size)
        return encoded

    def _take(self, name: str, path: str, *, is_folder: bool) -> None:
        folded = fold(path)
        known = self._seen.get(folded)
        if known is None:
            self._seen[folded] = (path, is_folder)
            self.folders += is_folder
            if self.folders > MAX_FOLDERS:
                raise EntryError(f"{name!r}: expected at most {MAX_FOLDERS} folders, got one more")
        elif not is_folder or known != (path, True):
            kind = "folder" if known[1] else "file"
            raise EntryError(f"{name!r}: expected a name that collides with no other, got that of {kind} {known[0]!r}")

    def _count(self, name: str, size: int) -> None:
        self.files += 1
        self.unpacked_bytes += size
        if self.files > MAX_FILES:
            raise EntryError(f"{name!r}: expected at most {MAX_FILES} files, got one more")
        if self.unpacked_bytes > MAX_UNPACKED_BYTES:
            raise EntryError(f"{name!r}: expected at most {MAX_UNPACKED_BYTES} bytes unpacked, got more with this file")
