"""A package on its way: compressed, decompressed and verified as chunks; where they come from and go is not known.

The format is one zstd frame (RFC 8878).
"""

import hashlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from bundle.codec import zstd
from bundle.errors import TransferError
from bundle.file import read_chunks

# Level 19 has the best ratio whose window (8 MiB) every decoder must support; see RFC 8878, section 3.1.1.1.2.
STRONG_LEVEL = 19
DEFAULT_LEVEL = STRONG_LEVEL
# A tenth of the time, and a fifth more to move: 150 MB in some 4 s, where the strong level takes a minute.
QUICK_LEVEL = 9
MAX_LEVEL = 22
# The window of level 22, 128 MiB. A frame may ask for 3.75 TiB, which a decoder would try to allocate.
MAX_WINDOW_LOG = 27
DECODER_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: MAX_WINDOW_LOG}
# How much is decompressed at once: what a frame of a few bytes can make a device hold.
CHUNK_BYTES = 128 * 1024

# Called with (bytes done, bytes in all).
Progress = Callable[[int, int], None]


def compress(chunks: Iterable[bytes], size: int, level: int = DEFAULT_LEVEL) -> Iterator[bytes]:
    """Yields the one frame of content of `size` bytes, at a level from 1 to MAX_LEVEL.

    Raises:
        TransferError: the level is out of bounds, or the chunks do not have `size` bytes.
    """
    if not 1 <= level <= MAX_LEVEL:
        raise TransferError(f"expected a compression level from 1 to {MAX_LEVEL}, got {level}")
    compressor = zstd.ZstdCompressor(level=level)
    compressor.set_pledged_input_size(size)
    try:
        for chunk in chunks:
            yield compressor.compress(chunk)
        yield compressor.flush(zstd.ZstdCompressor.FLUSH_FRAME)
    except zstd.ZstdError as error:
        raise TransferError(f"expected {size} bytes to compress, got another number of them") from error


def decompress(chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yields what a frame holds, which has to be `size` bytes, in chunks of at most CHUNK_BYTES.

    Raises:
        TransferError: it is no frame, wants too large a window, ends early, or holds more or less, or more follows it.
    """
    yield from expand(zstd.ZstdDecompressor(options=DECODER_OPTIONS), chunks, size)


def expand(decompressor: zstd.ZstdDecompressor, chunks: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Yields what a decompressor makes of the one frame in `chunks`; see `decompress`."""
    count = 0
    for chunk in _drain(decompressor, chunks):
        count += len(chunk)
        if count > size:
            raise TransferError(f"expected {size} bytes decompressed, got more")
        yield chunk
    if not decompressor.eof:
        raise TransferError("expected a whole zstd frame, got its beginning")
    if count < size:
        raise TransferError(f"expected {size} bytes decompressed, got {count}")


def _drain(decompressor: zstd.ZstdDecompressor, chunks: Iterable[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if decompressor.eof:
            raise TransferError("expected nothing after the zstd frame, got more bytes")
        yield _step(decompressor, chunk)
        while not decompressor.needs_input and not decompressor.eof:
            yield _step(decompressor, b"")
        if decompressor.unused_data:
            raise TransferError("expected nothing after the zstd frame, got more bytes")


def _step(decompressor: zstd.ZstdDecompressor, chunk: bytes) -> bytes:
    try:
        return decompressor.decompress(chunk, max_length=CHUNK_BYTES)
    except zstd.ZstdError as error:
        raise TransferError(
            f"expected a zstd frame with a window of at most 2^{MAX_WINDOW_LOG} bytes: {error}"
        ) from error


def report(chunks: Iterable[bytes], total: int, progress: Progress | None) -> Iterator[bytes]:
    """Yields the chunks, and says after each how many bytes of the total are done."""
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress:
            progress(done, total)


class Digest:
    """What has passed: the SHA-256 and the size of the chunks so far."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.size = 0

    @property
    def sha256(self) -> str:
        """The digest of what has passed, in hex."""
        return self._hash.hexdigest()

    def watch(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        """Yields the chunks, counted and hashed."""
        for chunk in chunks:
            self._hash.update(chunk)
            self.size += len(chunk)
            yield chunk


def measure_file(path: Path) -> Digest:
    """Returns the SHA-256 and the size of a file."""
    digest = Digest()
    for _ in digest.watch(read_chunks(path)):
        pass
    return digest


def verify_bytes(chunks: Iterable[bytes], sha256: str, size: int, what: str) -> Iterator[bytes]:
    """Yields the chunks as they come; whoever uses them must be able to forget them when this raises at the end.

    Raises:
        TransferError: they are not the `size` bytes with this digest; too many are not waited for. Names `what`.
    """
    digest = Digest()
    for chunk in digest.watch(chunks):
        if digest.size > size:
            raise TransferError(f"expected {size} bytes of {what}, got more")
        yield chunk
    if digest.size < size:
        raise TransferError(f"expected {size} bytes of {what}, got {digest.size}")
    if digest.sha256 != sha256:
        raise TransferError(f"expected {what} with sha256 {sha256}, got {digest.sha256}")
