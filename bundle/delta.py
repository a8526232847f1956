"""The difference between two canonical tars: RFC 9842's dcz, made, checked and applied; which versions, is not known.

A delta is 8 magic bytes, the SHA-256 of the old tar, and one zstd frame (RFC 8878) that continues the old tar.
"""

import hashlib
import mmap
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Final

from bundle.codec import zstd
from bundle.errors import TransferError
from bundle.file import read_chunks, replace_file
from bundle.transfer import DECODER_OPTIONS, MAX_LEVEL, MAX_WINDOW_LOG, Digest, Progress, expand, report, verify_bytes

# RFC 9842, section 5: a skippable frame of zstd, so that the digest in it hurts no decoder.
MAGIC: Final = bytes.fromhex("5e2a4d1820000000")
HEADER_BYTES: Final = len(MAGIC) + hashlib.sha256().digest_size
# RFC 9842, section 5: a decoder has to bear a window of 8 MiB, or of 1.25 times the old tar up to 128 MiB. What a frame
# asks for beyond that, a device would have to allocate.
MIN_WINDOW_BYTES: Final = 8 * 1024 * 1024
MAX_WINDOW_BYTES: Final = 1 << MAX_WINDOW_LOG
# The least that zstd takes.
_MIN_WINDOW_LOG: Final = 10
# RFC 8878, section 3.1.1.1: magic number, descriptor, window, dictionary's id, content size.
_MAX_FRAME_HEADER_BYTES: Final = 18
_FRAME_MAGIC: Final = bytes.fromhex("28b52ffd")
# One byte less than zstd's largest block: a block that could be split in two is, and deltas are then up to a quarter
# larger, since almost all of their blocks are a single match.
_BLOCK_BYTES: Final = 128 * 1024 - 1
# 2^12 candidates a position and not level 22's 2^9, matches of any length followed: 0.3 % smaller, no slower.
_SEARCH_LOG: Final = 12
_TARGET_LENGTH: Final = 4096
# Tables of 256 and 32 MiB at most, where level 22 takes 512 and 128. Without effect on two tars of 10 MB; on two of 50,
# deltas are 4 % larger, and with one step less three times as large.
_MAX_CHAIN_LOG: Final = 26
_MAX_HASH_LOG: Final = 23

# What an old tar may lie in.
Tar = bytes | bytearray | mmap.mmap


def make_delta(old: Path, new: Path, target: Path, progress: Progress | None = None) -> Digest:
    """Writes to `target` what makes the tar `new` of the tar `old`, applied once before it is there; says what it is.

    Needs four times a tar's size of memory, up to 0.3 GB more (0.2 GB for tars of 10 MB, 0.7 for 120), and a second for
    each 3 to 4 MB.

    Raises:
        TransferError: a file is empty, or changed while it was read.
        OSError: a file cannot be read or written.
    """
    made = Digest()
    unproven = target.with_name(f".{target.name}.unproven")
    try:
        with _open_tar(old) as before, _open_tar(new) as after:
            replace_file(unproven, made.watch(_compress(before, after, progress)))
            _prove(before, after, unproven)
        unproven.replace(target)
    finally:
        unproven.unlink(missing_ok=True)
    return made


def apply_delta(old: Tar, chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yields the new tar, which has to be `size` bytes, in chunks; its digest is the caller's to check.

    Holds a copy of the old tar, and a window of at most the new one's size. `old` is let go, and a map's pages given
    back, before the window is allocated: a caller that keeps no reference either needs one copy less.

    Raises:
        TransferError: it is no delta, or one from another tar, or wants too large a window, ends early, or holds more
            or less, or more follows it.
    """
    stream = iter(chunks)
    header, stream = _take(stream, HEADER_BYTES)
    base = _read_header(header)
    if (got := hashlib.sha256(old).hexdigest()) != base:
        raise TransferError(f"expected a delta from the tar with sha256 {got}, got one from {base}")
    frame, stream = _take(stream, _MAX_FRAME_HEADER_BYTES)
    _check_window(frame, len(old), size)
    decompressor = zstd.ZstdDecompressor(zstd_dict=_read_prefix(old).as_prefix, options=DECODER_OPTIONS)
    _let_go(old)
    del old
    yield from expand(decompressor, chain([frame], stream), size)


def read_base(chunks: Iterable[bytes]) -> str:
    """Returns the SHA-256 of the tar that a delta starts from, as its header names it; reads no more than that.

    Raises:
        TransferError: it is no delta.
    """
    return _read_header(_take(iter(chunks), HEADER_BYTES)[0])


def limit_window(old_size: int) -> int:
    """Returns how many bytes the window of a delta from a tar of `old_size` bytes may have."""
    return min(MAX_WINDOW_BYTES, max(MIN_WINDOW_BYTES, old_size * 5 // 4))


@contextmanager
def _open_tar(path: Path) -> Iterator[mmap.mmap]:
    with path.open("rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:
            raise TransferError(f"{path}: expected a tar, got an empty file") from None
        with content:
            yield content


def _compress(old: mmap.mmap, new: mmap.mmap, progress: Progress | None) -> Iterator[bytes]:
    yield MAGIC + hashlib.sha256(old).digest()
    # As a prefix, and not loaded as a dictionary: it is used once, and so it is searched as well as the tar itself.
    options = _choose_options(len(old), len(new))
    compressor = zstd.ZstdCompressor(options=options, zstd_dict=_read_prefix(old).as_prefix)
    _let_go(old)
    compressor.set_pledged_input_size(len(new))
    blocks = (new[at : at + _BLOCK_BYTES] for at in range(0, len(new), _BLOCK_BYTES))
    for block in report(blocks, len(new), progress):
        yield compressor.compress(block, zstd.ZstdCompressor.FLUSH_BLOCK)
    yield compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)


def _read_prefix(old: Tar) -> zstd.ZstdDict:
    try:
        return zstd.ZstdDict(old, is_raw=True)
    except ValueError:
        raise TransferError(f"expected a tar to start from, got {len(old)} bytes") from None


def _choose_options(old_size: int, new_size: int) -> dict[int, int]:
    limit = limit_window(old_size)
    # A frame whose window would hold all of it says its size instead; else windows are powers of two.
    window_log = (new_size - 1).bit_length() if new_size <= limit else limit.bit_length() - 1
    bits = (old_size + new_size).bit_length()
    return {
        zstd.CompressionParameter.compression_level: MAX_LEVEL,
        zstd.CompressionParameter.enable_long_distance_matching: 1,
        zstd.CompressionParameter.window_log: max(window_log, _MIN_WINDOW_LOG),
        zstd.CompressionParameter.chain_log: min(_MAX_CHAIN_LOG, max(bits, _MIN_WINDOW_LOG)),
        zstd.CompressionParameter.hash_log: min(_MAX_HASH_LOG, max(bits, _MIN_WINDOW_LOG)),
        zstd.CompressionParameter.search_log: _SEARCH_LOG,
        zstd.CompressionParameter.target_length: _TARGET_LENGTH,
    }


def _prove(old: mmap.mmap, new: mmap.mmap, delta: Path) -> None:
    wanted = hashlib.sha256(new).hexdigest()
    for _ in verify_bytes(apply_delta(old, read_chunks(delta), len(new)), wanted, len(new), "what the delta makes"):
        pass


def _read_header(header: bytes) -> str:
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise TransferError(f"expected a delta with the header of dcz, got {header[: len(MAGIC)].hex() or 'nothing'}")
    return header[len(MAGIC) :].hex()


def _take(stream: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """The first `size` bytes, or fewer where there are no more, and what follows them."""
    held = b""
    while len(held) < size and (chunk := next(stream, None)) is not None:
        held += chunk
    return held[:size], chain([held[size:]], stream) if len(held) > size else stream


def _check_window(frame: bytes, old_size: int, size: int) -> None:
    window, content_size = _read_frame_header(frame)
    if content_size is not None and content_size != size:
        raise TransferError(f"expected a delta that makes {size} bytes, got one that makes {content_size}")
    if window > (limit := limit_window(old_size)):
        raise TransferError(f"expected a delta with a window of at most {limit} bytes, got {window}")


def _read_frame_header(frame: bytes) -> tuple[int, int | None]:
    """Returns the window and, where it is said, the content size: RFC 8878, section 3.1.1.1."""
    if len(frame) < len(_FRAME_MAGIC) + 2 or not frame.startswith(_FRAME_MAGIC):
        raise TransferError("expected a zstd frame behind the header of a delta, got something else")
    descriptor = frame[4]
    is_single, size_flag = bool(descriptor & 0x20), descriptor >> 6
    at = 5 + (0 if is_single else 1) + (0, 1, 2, 4)[descriptor & 3]
    length = (int(is_single), 2, 4, 8)[size_flag]
    content_size = (
        int.from_bytes(frame[at : at + length], "little") + (256 if size_flag == 1 else 0) if length else None
    )
    if is_single and content_size is not None:
        return content_size, content_size
    base = 1 << 10 + (frame[5] >> 3)
    return base + base // 8 * (frame[5] & 7), content_size


def _let_go(old: Tar) -> None:
    if isinstance(old, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        old.madvise(mmap.MADV_DONTNEED)
