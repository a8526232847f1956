"""A .zip as a source of entries; the sizes that it declares are held against what comes out."""

import stat
import zipfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO

from bundle.archive import Entry
from bundle.errors import EntryError, SourceError
from bundle.file import CHUNK_BYTES
from bundle.tree import Tree

_UTF8_FLAG = 0x800
_ENCRYPTED_FLAG = 0x1
_UNIX = 3
# A link's target is a path; what has more bytes is no link.
_MAX_TARGET_BYTES = 4096
# Others unpack a whole read at once, whatever the size that is declared: a bomb.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
# What zipfile raises for bytes that are no proper .zip.
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, OSError, ValueError)


def list_zip(file: IO[bytes]) -> Iterator[Entry]:
    """Yields the files of an open .zip, which must stay open until they are read.

    Raises:
        SourceError: it is no .zip, or broken.
        EntryError: something in it is encrypted, is neither stored nor deflated, or is neither a file, nor a folder,
            nor a link to a file of the tree.
    """
    try:
        archive = zipfile.ZipFile(file)
    except _BROKEN as error:
        raise SourceError(f"expected a .zip that can be read: {error}") from error
    tree: Tree[zipfile.ZipInfo] = Tree()
    for info in archive.infolist():
        _take(tree, archive, info)
    for name, info in tree.files():
        yield Entry(name, info.file_size, _is_executable(info), partial(_read, archive, name, info))


def _take(tree: Tree[zipfile.ZipInfo], archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> None:
    name, kind = _read_name(info), stat.S_IFMT(_mode(info))
    if info.flag_bits & _ENCRYPTED_FLAG:
        raise EntryError(f"{name!r}: expected a file without a password, got an encrypted one")
    if info.compress_type not in _METHODS:
        raise EntryError(f"{name!r}: expected a file that is stored or deflated, got method {info.compress_type}")
    if name.endswith("/") or kind == stat.S_IFDIR:
        tree.add_folder(name)
    elif kind == stat.S_IFLNK:
        tree.add_link(name, _read_target(archive, name, info))
    elif kind in (0, stat.S_IFREG):
        tree.add_file(name, info)
    else:
        raise EntryError(f"{name!r}: expected a regular file, got one of type 0o{kind:o}")


def _read_name(info: zipfile.ZipInfo) -> str:
    # As stored: zipfile cuts `filename` at a NUL, and takes names without the flag for code page 437.
    if info.flag_bits & _UTF8_FLAG:
        return info.orig_filename
    return info.orig_filename.encode("cp437").decode("utf-8", "surrogateescape")


def _mode(info: zipfile.ZipInfo) -> int:
    return info.external_attr >> 16 if info.create_system == _UNIX else 0


def _is_executable(info: zipfile.ZipInfo) -> bool:
    return bool(_mode(info) & stat.S_IXUSR)


def _read_target(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> str:
    if info.file_size > _MAX_TARGET_BYTES:
        raise EntryError(f"{name!r}: expected a link of at most {_MAX_TARGET_BYTES} bytes, got {info.file_size}")
    target = b"".join(_read(archive, name, info)).decode("utf-8", "surrogateescape")
    return target if target.startswith("/") else f"{name.rpartition('/')[0] or '.'}/{target}"


def _read(archive: zipfile.ZipFile, name: str, info: zipfile.ZipInfo) -> Iterator[bytes]:
    try:
        with archive.open(info) as file:
            while chunk := file.read(CHUNK_BYTES):
                yield chunk
    except _BROKEN as error:
        raise SourceError(f"{name!r}: expected a file that can be unpacked: {error}") from error
