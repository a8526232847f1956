"""The canonical tar: one tree, one sequence of bytes, written and read as chunks; no file is touched here.

1. Regular files only, sorted by their names' UTF-8 bytes; folders follow from the names.
2. Each has a ustar header (POSIX.1-1988): mode 0644, or 0755 where the owner may execute; owner 0, time 0, no names.
3. A name that is not ASCII, or has over 100 bytes, stands in a pax header (POSIX.1-2001) before it, its only record.
4. Contents are padded to 512 bytes; two zero blocks end the archive, and nothing follows.

The reader derives each header again from what it says, and wants the same bytes: what it accepts, the writer wrote.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from bundle.errors import ArchiveError, EntryError
from bundle.inventory import MAX_FILES, MAX_NAME_BYTES, MAX_UNPACKED_BYTES, Inventory

BLOCK_BYTES = 512
_NAME_FIELD_BYTES = 100
_END = bytes(2 * BLOCK_BYTES)
# A pax record is its own length in digits, a space, `path=`, the name and a newline; two blocks more than the name.
_MAX_PAX_BYTES = MAX_NAME_BYTES + 2 * BLOCK_BYTES
# The most that an archive within the limits can have: a header, a pax header with its body, and padding for each file.
MAX_ARCHIVE_BYTES = MAX_UNPACKED_BYTES + MAX_FILES * (3 * BLOCK_BYTES + _MAX_PAX_BYTES) + len(_END)


@dataclass(frozen=True, slots=True)
class Entry:
    """A file to be packed: `read` starts its content from the beginning, in chunks of any size."""

    name: str
    size: int
    is_executable: bool
    read: Callable[[], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: `chunks` must be used up before the next member is asked for."""

    name: str
    size: int
    is_executable: bool
    chunks: Iterator[bytes]


def plan_archive(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Returns the entries in the order of the archive, once all of them are known to be allowed.

    Raises:
        EntryError: a name, the count or the size is refused; the first one stops the listing.
    """
    inventory = Inventory()
    named = [(inventory.add(entry.name, entry.size), entry) for entry in entries]
    if not named:
        raise EntryError("expected at least one file to pack, got none")
    return tuple(entry for _, entry in sorted(named, key=lambda pair: pair[0]))


def measure_archive(plan: Sequence[Entry]) -> int:
    """Returns how many bytes the archive of a plan has."""
    return sum(len(_head(entry)) + _padded(entry.size) for entry in plan) + len(_END)


def write_archive(plan: Sequence[Entry]) -> Iterator[bytes]:
    """Yields the archive of a plan.

    Raises:
        EntryError: a file does not have the size that it was listed with.
    """
    for entry in plan:
        yield _head(entry)
        yield from _exactly(entry)
        yield bytes(_padded(entry.size) - entry.size)
    yield _END


def read_archive(chunks: Iterable[bytes]) -> Iterator[Member]:
    """Yields the files of an archive, every rule checked again, never more than a block ahead of the caller.

    Raises:
        ArchiveError: the bytes are not the canonical tar of any tree.
        EntryError: a name, the count or the size is refused.
    """
    stream, inventory = _Stream(chunks), Inventory()
    last = b""
    while (head := stream.take(BLOCK_BYTES)) != _END[:BLOCK_BYTES]:
        name, size, is_executable = _read_head(head, stream)
        encoded = inventory.add(name, size)
        if encoded <= last:
            raise ArchiveError(f"{name!r}: expected files sorted by name, got this one after {last.decode()!r}")
        last = encoded
        before = stream.position
        yield Member(name, size, is_executable, stream.pass_on(size))
        _check_used_up(name, size, stream.position - before)
        _check_padding(name, stream.take(_padded(size) - size))
    if not last:
        raise ArchiveError("expected at least one file in the archive, got none")
    _check_end(stream)


def _check_used_up(name: str, size: int, used: int) -> None:
    if used != size:
        raise ArchiveError(f"{name!r}: expected its {size} bytes to be read before the next file, got {used} read")


def _check_padding(name: str, padding: bytes) -> None:
    if padding.strip(b"\0"):
        raise ArchiveError(f"{name!r}: expected zeros after the content, got other bytes")


def _check_end(stream: "_Stream") -> None:
    if stream.take(BLOCK_BYTES) != _END[BLOCK_BYTES:]:
        raise ArchiveError("expected two zero blocks at the end of the archive, got one")
    if not stream.is_over():
        raise ArchiveError("expected nothing after the end of the archive, got more bytes")


def _exactly(entry: Entry) -> Iterator[bytes]:
    count = 0
    for chunk in entry.read():
        count += len(chunk)
        if count > entry.size:
            raise EntryError(f"{entry.name!r}: expected {entry.size} bytes as listed, got more")
        yield chunk
    if count < entry.size:
        raise EntryError(f"{entry.name!r}: expected {entry.size} bytes as listed, got {count}")


def _padded(size: int) -> int:
    return -(-size // BLOCK_BYTES) * BLOCK_BYTES


def _head(entry: Entry) -> bytes:
    return _build_head(entry.name, entry.size, is_executable=entry.is_executable)


def _build_head(name: str, size: int, *, is_executable: bool) -> bytes:
    """Returns rules 2 and 3: everything before a file's content."""
    mode = 0o755 if is_executable else 0o644
    if name.isascii() and len(name) <= _NAME_FIELD_BYTES:
        return _build_block(name.encode(), size, mode, b"0")
    record = _build_record(name.encode())
    pax = _build_block(b"PaxHeader", len(record), 0o644, b"x") + record.ljust(_padded(len(record)), b"\0")
    # What readers without pax would show; they are not meant to succeed, only not to be led elsewhere.
    short = name.encode("ascii", "replace")[:_NAME_FIELD_BYTES]
    return pax + _build_block(short, size, mode, b"0")


def _build_record(path: bytes) -> bytes:
    rest = b" path=" + path + b"\n"
    length = len(rest) + 1
    while length != len(str(length)) + len(rest):  # the length counts its own digits
        length = len(str(length)) + len(rest)
    return str(length).encode() + rest


def _build_block(name: bytes, size: int, mode: int, kind: bytes) -> bytes:
    before = name.ljust(_NAME_FIELD_BYTES, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (mode, 0, 0, size, 0)
    after = (kind + bytes(100) + b"ustar\x0000").ljust(BLOCK_BYTES - len(before) - 8, b"\0")
    checksum = sum(before) + sum(after) + 8 * ord(" ")
    return before + b"%06o\0 " % checksum + after


def _read_head(block: bytes, stream: "_Stream") -> tuple[str, int, bool]:
    path, head = None, block
    if block[156:157] == b"x":
        record = stream.take(_padded(_read_size(block, _MAX_PAX_BYTES)))
        path = _read_record(record)
        block = stream.take(BLOCK_BYTES)
        head += record + block
    name = _decode(block[:_NAME_FIELD_BYTES].rstrip(b"\0") if path is None else path)
    size, is_executable = _read_size(block, MAX_UNPACKED_BYTES), block[100:107] == b"0000755"
    if head != _build_head(name, size, is_executable=is_executable):
        raise ArchiveError(f"{name!r}: expected the header of a regular file in canonical form, got another")
    return name, size, is_executable


def _read_size(block: bytes, limit: int) -> int:
    try:
        size = int(block[124:135], 8)
    except ValueError:
        raise ArchiveError(f"expected a size in the header of a file, got {block[124:136]!r}") from None
    if not 0 <= size <= limit:
        raise ArchiveError(f"expected a size of at most {limit} bytes in a header, got {size}")
    return size


def _read_record(record: bytes) -> bytes:
    # Only cut out here: the comparison with the header built again checks every byte of it.
    return record.partition(b" path=")[2].rstrip(b"\0")[:-1]


def _decode(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ArchiveError(f"{name[:80]!r}: expected a name in UTF-8, got other bytes") from None


class _Stream:
    """Chunks of any size as a stream that is read exactly; holds one chunk and what was asked for, no more."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._held = b""
        self.position = 0

    def take(self, size: int) -> bytes:
        return b"".join(self.pass_on(size))

    def pass_on(self, size: int) -> Iterator[bytes]:
        while size:
            if not self._held and self.is_over():
                raise ArchiveError(f"expected {size} bytes more, got the end of the archive at {self.position}")
            part, self._held = self._held[:size], self._held[size:]
            self.position += len(part)
            size -= len(part)
            yield part

    def is_over(self) -> bool:
        while not self._held:
            chunk = next(self._chunks, None)
            if chunk is None:
                return True
            self._held = chunk
        return False
