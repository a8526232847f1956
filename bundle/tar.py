"""A foreign .tar or .tgz as a source of entries, in whatever order, with whatever owners and times."""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from functools import partial
from typing import IO, Self

from bundle.archive import Entry
from bundle.errors import EntryError, SourceError
from bundle.file import CHUNK_BYTES
from bundle.inventory import MAX_UNPACKED_BYTES
from bundle.tree import MAX_ITEMS, Tree

# The most that a tar within the limits has, with 4 KiB of headers for each item. A bomb is stopped here: gzip packs
# a thousandfold, and the tar is unpacked beside the source before its files are known.
MAX_TAR_BYTES = MAX_UNPACKED_BYTES + MAX_ITEMS * 4096
_OWNER_MAY_EXECUTE = 0o100
_KINDS = {
    tarfile.CHRTYPE: "a character device",
    tarfile.BLKTYPE: "a block device",
    tarfile.FIFOTYPE: "a fifo",
    tarfile.GNUTYPE_SPARSE: "a sparse file",
}
# What one header may have to say beyond a name: extended attributes, a comment. And the longest run of digits in it:
# tarfile before Python 3.11.10 looks through such a run in time that grows with its square (CVE-2024-6232).
MAX_HEADER_BYTES = 64 * 1024
_has_long_number = re.compile(rb"[0-9]{65}").search
_EXTENDED = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE)
_LONG = (*_EXTENDED, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
# What tarfile raises for bytes that are no proper tar; it recurses with each header that belongs to the next.
_BROKEN = (tarfile.TarError, EOFError, OSError, ValueError, OverflowError, RecursionError)


class _Member(tarfile.TarInfo):
    """A member whose further headers are bounded before tarfile reads them."""

    def _proc_member(self, archive: tarfile.TarFile) -> Self | None:
        if self.type in _LONG:
            _refuse_header(archive, self.type, self.size)
        member: Self | None = super()._proc_member(archive)  # type: ignore[misc]  # tarfile's own seam, since Python 2.5
        return member


def _refuse_header(archive: tarfile.TarFile, kind: bytes, size: int) -> None:
    if size > MAX_HEADER_BYTES:
        raise tarfile.ReadError(f"expected a header of at most {MAX_HEADER_BYTES} bytes, got {size}")
    file = archive.fileobj
    assert file is not None  # noqa: S101 - an open archive has one
    begin = file.tell()
    if kind in _EXTENDED and _has_long_number(file.read(size)):
        raise tarfile.ReadError("expected numbers of at most 64 digits in a header, got a longer one")
    file.seek(begin)


def unzip(file: IO[bytes], scratch: IO[bytes]) -> None:
    """Writes what a .gz holds to `scratch`, which is left at its beginning.

    Raises:
        SourceError: it is no .gz, or holds more than MAX_TAR_BYTES.
    """
    size = 0
    for chunk in _gunzip(file):
        size += len(chunk)
        if size > MAX_TAR_BYTES:
            raise SourceError(f"expected a .tgz with at most {MAX_TAR_BYTES} bytes of tar, got more")
        scratch.write(chunk)
    scratch.seek(0)


def _gunzip(file: IO[bytes]) -> Iterator[bytes]:
    try:
        with gzip.GzipFile(fileobj=file, mode="rb") as content:
            while chunk := content.read(CHUNK_BYTES):
                yield chunk
    except (OSError, EOFError, zlib.error) as error:
        raise SourceError(f"expected a .tgz that can be unpacked: {error}") from error


def list_tar(file: IO[bytes]) -> Iterator[Entry]:
    """Yields the files of an open tar, which must stay open until they are read.

    Raises:
        SourceError: it is no tar, or broken.
        EntryError: something in it is neither a file, nor a folder, nor a link to a file of the tree.
    """
    tree: Tree[tarfile.TarInfo] = Tree()
    try:
        archive = tarfile.TarFile(fileobj=file, tarinfo=_Member, encoding="utf-8", errors="surrogateescape")
        for member in archive:
            _take(tree, member)
    except _BROKEN as error:
        raise SourceError(f"expected a .tar or .tgz that can be read: {error}") from error
    for name, member in tree.files():
        is_executable = bool(member.mode & _OWNER_MAY_EXECUTE)
        yield Entry(name, member.size, is_executable, partial(_read, archive, name, member))


def _take(tree: Tree[tarfile.TarInfo], member: tarfile.TarInfo) -> None:
    name = member.name
    if member.isdir():
        tree.add_folder(name)
    elif member.issym():
        is_absolute = member.linkname.startswith("/")
        tree.add_link(name, member.linkname if is_absolute else f"{name.rpartition('/')[0] or '.'}/{member.linkname}")
    elif member.islnk():
        tree.add_link(name, member.linkname)
    elif member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse():
        tree.add_file(name, member)
    else:
        kind = _KINDS.get(member.type, "a sparse file" if member.issparse() else f"one of type {member.type!r}")
        raise EntryError(f"{name!r}: expected a regular file, got {kind}")


def _read(archive: tarfile.TarFile, name: str, member: tarfile.TarInfo) -> Iterator[bytes]:
    try:
        file = archive.extractfile(member)
        while file and (chunk := file.read(CHUNK_BYTES)):
            yield chunk
    except _BROKEN as error:
        raise SourceError(f"{name!r}: expected a file that can be read from the tar: {error}") from error
