"""A picture of a run as a PNG, drawn without a library: boxes, and short texts in letters of 3 by 5. PURE."""

import struct
import zlib
from typing import Final

# Five rows of three points each, as octal digits.
_LETTERS: Final = {
    "0": "75557", "1": "26227", "2": "71747", "3": "71717", "4": "55711", "5": "74717", "6": "74757", "7": "71111",
    "8": "75757", "9": "75717", "A": "25755", "B": "65656", "C": "34443", "D": "65556", "E": "74647", "F": "74644",
    "G": "34553", "H": "55755", "I": "72227", "J": "11152", "K": "55655", "L": "44447", "M": "57755", "N": "65555",
    "O": "25552", "P": "65644", "Q": "25563", "R": "65655", "S": "34216", "T": "72222", "U": "55557", "V": "55552",
    "W": "55775", "X": "55255", "Y": "55222", "Z": "71247", ".": "00002", ",": "00024", ":": "02020", "-": "00700",
    "%": "51245", "(": "24442", ")": "21112", "=": "07070", "/": "11244",
}  # fmt: skip
# A letter's width with the gap behind it, and the side of one of its points, in pixels.
ADVANCE, POINT = 8, 2
Colour = tuple[int, int, int]


class Picture:
    """A sheet of pixels; what lies outside of it is not drawn.

    Args:
        width: in pixels.
        height: in pixels; y grows downwards.
    """

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        self._rows = [bytearray(b"\xff" * 3 * width) for _ in range(height)]

    def fill(self, x: int, y: int, width: int, height: int, colour: Colour) -> None:
        """Draws a box, from its upper left corner."""
        left, right = max(0, x), min(self._width, x + width)
        if left < right:
            for row in self._rows[max(0, y) : max(0, y + height)]:
                row[3 * left : 3 * right] = bytes(colour) * (right - left)

    def write(self, x: int, y: int, text: str, colour: Colour) -> None:
        """Writes a text, whose upper left corner is there; a letter that there is not stays blank."""
        for place, letter in enumerate(text.upper()):
            for row, points in enumerate(_LETTERS.get(letter, "00000")):
                for column in range(3):
                    if int(points) >> (2 - column) & 1:
                        self.fill(x + place * ADVANCE + column * POINT, y + row * POINT, POINT, POINT, colour)

    def encode(self) -> bytes:
        """Returns the PNG: 8 bits a colour, no filter (ISO/IEC 15948)."""
        head = struct.pack(">IIBBBBB", self._width, self._height, 8, 2, 0, 0, 0)
        pixels = zlib.compress(b"".join(b"\0" + bytes(row) for row in self._rows), 9)
        return b"\x89PNG\r\n\x1a\n" + b"".join(
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
            for kind, data in ((b"IHDR", head), (b"IDAT", pixels), (b"IEND", b""))
        )
