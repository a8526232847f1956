"""Transfers: what is compressed comes back, and nothing longer, shorter or other is let through."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle import TransferError, compress, decompress, verify_bytes
from bundle.transfer import CHUNK_BYTES, Digest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ABC_SHA256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def pack(data: bytes, level: int = 3) -> bytes:
    return b"".join(compress([data], len(data), level))


def unpack(data: bytes, size: int, step: int = 1000) -> bytes:
    return b"".join(decompress((data[at : at + step] for at in range(0, len(data), step)), size))


@given(st.binary(max_size=5000), st.integers(1, 5000))
def test_content_survives(data: bytes, step: int) -> None:
    """Any content comes back, whatever chunks it is moved in."""
    assert unpack(pack(data), len(data), step) == data


def test_same_content_gives_the_same_transfer() -> None:
    """Two compressions of one content, in different chunks, are the same bytes."""
    data = b"graywave " * 10_000
    chunks = [data[at : at + 777] for at in range(0, len(data), 777)]
    assert b"".join(compress(chunks, len(data), 19)) == pack(data, 19)


def test_bomb_is_stopped_at_the_promised_size() -> None:
    """A frame that holds more than was promised is stopped by the chunk, not unpacked."""
    bomb = pack(bytes(50_000_000))
    assert len(bomb) < 10_000
    sizes: list[int] = []
    with pytest.raises(TransferError, match="expected 1000000 bytes decompressed, got more"):
        sizes.extend(map(len, decompress([bomb], 1_000_000)))
    assert max(sizes) <= CHUNK_BYTES
    assert sum(sizes) <= 1_000_000


def test_window_that_no_device_has_is_refused() -> None:
    """A frame that asks for a window of 256 MiB is refused before it is allocated."""
    options: dict[int, int] = {zstd.CompressionParameter.window_log: 28, zstd.CompressionParameter.content_size_flag: 0}
    compressor = zstd.ZstdCompressor(options=options)
    frame = compressor.compress(b"abc") + compressor.flush()
    with pytest.raises(TransferError, match=r"expected a zstd frame with a window of at most 2\^27 bytes: "):
        unpack(frame, 3)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a whole zstd frame, got its beginning"),
        (pack(b"abc")[:-1], "expected a whole zstd frame, got its beginning"),
        (b"not a frame", "expected a zstd frame with a window of at most 2^27 bytes: "),
        (pack(b"abc") + b"x", "expected nothing after the zstd frame, got more bytes"),
        (pack(b"abc") + pack(b"d"), "expected nothing after the zstd frame, got more bytes"),
        (pack(b"ab"), "expected 3 bytes decompressed, got 2"),
        (pack(b"abcd"), "expected 3 bytes decompressed, got more"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_transfer_that_is_not_one_frame_is_refused(data: bytes, message: str, step: int) -> None:
    """A broken, cut, continued, shorter or longer frame is refused, in whatever chunks it comes."""
    with pytest.raises(TransferError) as caught:
        unpack(data, 3, step)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("level", [0, 23, -1])
def test_level_is_bounded(level: int) -> None:
    """Levels are from 1 to 22."""
    with pytest.raises(TransferError, match=f"expected a compression level from 1 to 22, got {level}"):
        pack(b"abc", level)


@pytest.mark.parametrize("data", [b"ab", b"abcd"])
def test_content_of_another_size_is_not_compressed(data: bytes) -> None:
    """A content that has changed its size is refused: the frame says the size."""
    with pytest.raises(TransferError, match="expected 3 bytes to compress, got another number of them"):
        list(compress([data], 3))


def test_verified_bytes_pass() -> None:
    """Bytes with the right digest and size pass as they are."""
    assert list(verify_bytes([b"a", b"bc"], ABC_SHA256, 3, "it")) == [b"a", b"bc"]


@pytest.mark.parametrize(
    ("chunks", "message"),
    [
        ([b"abc", b"d"], "expected 3 bytes of it, got more"),
        ([b"ab"], "expected 3 bytes of it, got 2"),
        ([b"abd"], f"expected it with sha256 {ABC_SHA256}, got "),
    ],
)
def test_other_bytes_are_refused(chunks: list[bytes], message: str) -> None:
    """Bytes that are more, fewer or other than promised are refused."""
    with pytest.raises(TransferError) as caught:
        list(verify_bytes(chunks, ABC_SHA256, 3, "it"))
    assert str(caught.value).startswith(message)


def test_digest_counts_what_passes() -> None:
    """A digest is of what has passed so far."""
    digest = Digest()
    assert list(digest.watch([b"ab", b"c"])) == [b"ab", b"c"]
    assert (digest.sha256, digest.size) == (ABC_SHA256, 3)
