"""The picture: a PNG that any reader takes, with what was drawn where it was drawn."""

import struct
import zlib

from tests.faults.picture import Picture

RED = (200, 0, 0)
WHITE = (255, 255, 255)


def read_pixels(png: bytes) -> list[list[tuple[int, ...]]]:
    """The pixels of such a PNG, row by row; every chunk's sum has to be right."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(png):
        (length,), kind = struct.unpack_from(">I", png, at), png[at + 4 : at + 8]
        data = png[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", png, at + 8 + length) == (zlib.crc32(kind + data),)
        chunks[kind], at = data, at + 12 + length
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    pixels, line = zlib.decompress(chunks[b"IDAT"]), 1 + 3 * width
    rows = [pixels[row * line : (row + 1) * line] for row in range(height)]
    assert all(row[0] == 0 for row in rows)
    return [[tuple(row[1 + 3 * x : 4 + 3 * x]) for x in range(width)] for row in rows]


def test_box() -> None:
    """A box is where it was drawn, and what would lie outside of the sheet is not drawn."""
    picture = Picture(6, 4)
    picture.fill(4, -1, 9, 3, RED)
    picture.fill(-3, 3, 2, 1, RED)
    pixels = read_pixels(picture.encode())
    assert [[pixel == RED for pixel in row] for row in pixels] == [
        [False] * 4 + [True] * 2,
        [False] * 4 + [True] * 2,
        [False] * 6,
        [False] * 6,
    ]


def test_text() -> None:
    """A letter has its shape, also as a small one; what there is no letter for is blank."""
    picture = Picture(24, 10)
    picture.write(0, 0, "?l", RED)
    pixels = read_pixels(picture.encode())
    shape = ["".join("#" if pixel == RED else "." for pixel in row[8:14:2]) for row in pixels[::2]]
    assert shape == ["#..", "#..", "#..", "#..", "###"]
    assert all(pixel == WHITE for row in pixels for pixel in row[:8])
