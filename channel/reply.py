"""How much one answer of Redis may be: who can write to Redis, or stands in its place, may not fill a reader's memory.

It counts bytes as they are parsed; what is asked, and what an answer means, is not known here.
"""

from typing import Any

from redis._parsers import _AsyncRESP2Parser
from redis.exceptions import InvalidResponse

from channel.envelope import MAX_ENVELOPE_BYTES

# The largest honest answer is one envelope of 1 MiB; pages of the index and of the log have some 200 kB. A value of
# Redis may have 512 MiB, and a list of them any number: one such answer would fill the memory of every host at once.
MAX_REPLY_BYTES = 2 * MAX_ENVELOPE_BYTES


class OversizedReplyError(InvalidResponse):
    """An answer was larger than MAX_REPLY_BYTES, or nested without end: no more of it is read, the connection ends."""


class BoundedParser(_AsyncRESP2Parser):
    """redis-py's reader of RESP2, which goes no further than MAX_REPLY_BYTES into one answer.

    It is given as `parser_class`. What it overrides is private to redis-py: the tests, which read huge values from a
    real Redis, fail where a later version does without it.
    """

    async def read_response(self, disable_decoding: bool = False) -> Any:  # noqa: FBT001, FBT002 - redis-py's
        """Returns the next answer; raises OversizedReplyError."""
        try:
            return await super().read_response(disable_decoding=disable_decoding)
        except (RecursionError, ValueError) as error:  # lists in lists, a line without an end, a length that is none
            raise OversizedReplyError(f"redis sent what is no answer: {error}") from error

    async def _read(self, length: int) -> bytes:
        self._check(length)
        return await super()._read(length)

    async def _readline(self) -> bytes:
        line = await super()._readline()
        self._check(0)
        return line

    def _check(self, ahead: int) -> None:
        """Counts from the answer's first byte, which is at 0."""
        if self._pos + ahead > MAX_REPLY_BYTES:
            raise OversizedReplyError(f"expected an answer of at most {MAX_REPLY_BYTES} bytes")
