"""Where one message ends and the next begins, for the aiohttp side: bytes in, pieces of one message at a time out.

aiohttp's parser drops the messages that stood before a malformed one in the same read, and bounds fields, not heads. It
is given no more than one message at a time, then, and no head before it is whole. What is malformed, the parser says.
"""

import re
from typing import Final

from edge.body import MAX_BODY_BYTES
from edge.errors import RefusedError
from edge.exchange import MAX_HEAD_BYTES

# What ends a head, whatever ends the line before it: that is for the parser to judge.
BLANK_LINE: Final = b"\n\r\n"
# The parser refuses every head with another length, or with two of them.
_find_length: Final = re.compile(rb"\r\ncontent-length:[ \t]*0*+([1-9][0-9]{0,19})[ \t]*\r\n").search
_find_encoding: Final = re.compile(rb"\r\ntransfer-encoding:").search


class Frame:
    """The bytes of a connection that have come and are not yet cut into pieces."""

    __slots__ = ("_body", "_held", "_is_last")

    def __init__(self) -> None:
        self._held = b""
        self._body = 0
        # Set by a Transfer-Encoding: where such a message ends, only the parser knows, so that it is the last one.
        self._is_last = False

    @property
    def is_empty(self) -> bool:
        """Says whether no message has begun that is not yet cut out whole."""
        return not self._held and not self._body

    def add(self, data: bytes) -> None:
        """Takes bytes from the network."""
        self._held += data

    def cut(self) -> bytes:
        """Returns the next piece: a whole head, or what is there of a body; empty where more bytes are needed.

        Raises:
            RefusedError: `malformed_request`, a head that no more bytes can mend.
        """
        if self._body:
            size = min(self._body, len(self._held))
            self._body -= size
        elif self._is_last:
            self._held, size = b"", 0
        else:
            size = find_head_end(self._held)
            self._note_body(self._held[:size].lower())
        piece, self._held = self._held[:size], self._held[size:]
        return piece

    def _note_body(self, head: bytes) -> None:
        length = _find_length(head)
        if _find_encoding(head):
            self._body, self._is_last = MAX_BODY_BYTES, True
        elif length:
            self._body = int(length[1])


def find_head_end(data: bytes) -> int:
    """Returns the length of the head that `data` begins with, 0 where it has not ended.

    Raises:
        RefusedError: `malformed_request`, the head is too long or has a line that ends with LF alone.
    """
    end = data.find(BLANK_LINE, 0, MAX_HEAD_BYTES)
    if end >= 0:
        return end + len(BLANK_LINE)
    if len(data) >= MAX_HEAD_BYTES:
        message = f"expected a head of at most {MAX_HEAD_BYTES} bytes, got more"
        raise RefusedError("malformed_request", message, closes=True)
    if data.count(b"\n") != data.count(b"\r\n"):
        message = "expected each line to end with CR and LF, got one with LF alone"
        raise RefusedError("malformed_request", message, closes=True)
    return 0
