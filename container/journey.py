"""One transfer on its way from a server into its part: how the rest is asked for, and what of an answer may be taken.

1. With bytes and their tag there, the rest is asked for, under that tag; else everything.
2. A 206 that is just this rest goes behind what is there, a 200 in its place.
3. Anything else, an overloaded edge's word excepted, ends the part: everything is asked for, once.
4. So it does if bytes of two answers turn out not to be the transfer: the first ones may have been wrong.
5. What is wrong after that is refused, and nothing of it kept to go on with.
"""

import re
from collections.abc import Callable, Iterator, Mapping

from container.errors import VerificationError
from container.fetcher import Response
from container.part import Part, keep_strong
from container.wire import Transfer

_OK, _PARTIAL = 200, 206
# RFC 9110, section 14.4; sizes beyond 2^53 are nobody's.
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})")

Watch = Callable[[int], None]


class Journey:
    """A transfer into its part; `watch` is called with the number of bytes that are there. OSError if the disk is full.

    `is_over` says that the part is the transfer, `moved` how many bytes came for that.
    """

    def __init__(self, transfer: Transfer, part: Part, watch: Watch) -> None:
        self._transfer = transfer
        self._part = part
        self._watch = watch
        self._asked_for_rest = False
        self._tag = ""
        self.moved = 0
        self.is_over = not self.missing and part.is_whole()
        if not self.is_over and self.missing <= 0:
            part.discard()

    @property
    def missing(self) -> int:
        """How many bytes are not there yet."""
        return self._transfer.size - self._part.size

    def ask(self) -> dict[str, str]:
        """Returns the headers of the next request (steps 1 and 3)."""
        self._tag = self._part.tag
        self._asked_for_rest = self._part.size > 0 and bool(self._tag)
        if not self._asked_for_rest:
            return {}
        return {"Range": f"bytes={self._part.size}-", "If-Range": self._tag}

    def may_take(self, response: Response) -> bool:
        """Says whether an answer has what was asked for (step 2)."""
        if response.status == _OK:
            return True
        return self._asked_for_rest and response.status == _PARTIAL and self._is_rest(response.headers)

    def _is_rest(self, headers: Mapping[str, str]) -> bool:
        told = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
        size = self._transfer.size
        is_range = told is not None and tuple(map(int, told.groups())) == (self._part.size, size - 1, size)
        is_same_file = keep_strong(headers.get("etag", self._tag)) == self._tag
        return is_range and is_same_file and headers.get("content-length", str(self.missing)) == str(self.missing)

    def start_over(self) -> bool:
        """Forgets the part if an answer was one to a question for the rest (step 3); says whether it was."""
        if self._asked_for_rest:
            self._part.discard()
        return self._asked_for_rest

    def take(self, response: Response, chunks: Iterator[bytes]) -> None:
        """Takes in the body of an answer that may be taken, as far as it comes.

        Raises:
            VerificationError: "transfer_refused": it is not the transfer, or too long or too short (step 5).
        """
        if response.status == _OK:
            self._asked_for_rest = False
            self._part.begin(response.headers.get("etag", ""))
            self._check_length(response.headers.get("content-length", ""))
        for there in self._part.append(self._count(chunks)):
            self._watch(there)
        self._check()

    def _check_length(self, told: str) -> None:
        if told and told != str(self.missing):
            raise self._refuse(f"expected {self.missing} bytes of the transfer, got a Content-Length of {told!r:.40}")

    def _count(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        left = self.missing
        for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                raise self._refuse(f"expected {self._transfer.size} bytes of the transfer, got more")
            self.moved += len(chunk)
            yield chunk

    def _check(self) -> None:
        if self.missing:
            raise self._refuse(f"expected {self._transfer.size} bytes of the transfer, got {self._part.size}")
        if self._part.is_whole():
            self.is_over = True
        elif not self.start_over():  # step 4
            raise self._refuse(f"expected the transfer with sha256 {self._transfer.sha256}, got another")

    def _refuse(self, message: str) -> VerificationError:
        self._part.discard()
        return VerificationError(f"{self._transfer.url[:200]!r}: {message}", "transfer_refused")
