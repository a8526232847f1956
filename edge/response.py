"""Whole responses of the lane, head and body; those of most checks are alike and remembered for a second."""

from email.utils import formatdate
from typing import Final

from edge.errors import RETRIED, RefusedError
from edge.exchange import JSON
from edge.ofrep import Reply
from edge.preference import name_applied

# How many responses are remembered, and up to which length of body: answers with nothing to do are few and short.
MAX_REMEMBERED: Final = 4_096
MAX_REMEMBERED_BODY: Final = 128


class Writer:
    """Writes whole responses, head and body; those of the current second are remembered, since most are alike."""

    def __init__(self) -> None:
        self._ok: dict[bytes, bytes] = {}
        self._fields = self._date = b""
        self.tick(0)

    def tick(self, now: int) -> None:
        """Once a second: the Date of the responses from now on."""
        self._date = b"\r\nDate: %b" % formatdate(now, usegmt=True).encode()
        self._fields = b"%b\r\nContent-Type: %b\r\nContent-Length: " % (self._date, JSON.encode())
        self._ok = {}

    def write_ok(self, body: bytes, keeps_alive: bool) -> bytes:  # noqa: FBT001 - of the message being answered
        """Returns the response with an answer."""
        if not keeps_alive:
            return b"HTTP/1.1 200 OK%b%d\r\nConnection: close\r\n\r\n%b" % (self._fields, len(body), body)
        return self._ok.get(body) or self._make_ok(body)

    def _make_ok(self, body: bytes) -> bytes:
        response = b"HTTP/1.1 200 OK%b%d\r\n\r\n%b" % (self._fields, len(body), body)
        if len(body) <= MAX_REMEMBERED_BODY:
            if len(self._ok) >= MAX_REMEMBERED:
                self._ok.clear()
            self._ok[body] = response
        return response

    def write_reply(self, reply: Reply, keeps_alive: bool) -> bytes:  # noqa: FBT001 - as above
        """Returns the response to a question for switches; one that is not modified has no body, and says so."""
        status, body = reply.status, reply.body
        tag = b"\r\nETag: %b" % reply.etag if reply.etag else b""
        retry = b"\r\nRetry-After: %d" % reply.retry_after_s if status in RETRIED else b""
        close = b"" if keeps_alive else b"\r\nConnection: close"
        line = b"HTTP/1.1 %d %b%b%b%b" % (status.value, status.phrase.encode(), tag, retry, close)
        if status == status.NOT_MODIFIED:
            return b"%b%b\r\n\r\n" % (line, self._date)
        return b"%b%b%d\r\n\r\n%b" % (line, self._fields, len(body), body)

    def write_refusal(self, error: RefusedError, keeps_alive: bool) -> bytes:  # noqa: FBT001 - as above
        """Returns the response with a refusal."""
        status, body = error.status, error.body
        retry = b"\r\nRetry-After: %d" % error.retry_after_s if status in RETRIED else b""
        close = b"" if keeps_alive else b"\r\nConnection: close"
        line = b"HTTP/1.1 %d %b%b%b" % (status.value, status.phrase.encode(), retry, close)
        return b"%b%b%d\r\n\r\n%b" % (line, self._fields, len(body), body)


def write_applied(wait_s: int) -> bytes:
    """Returns the field that says that a check was held, with its line's end before it."""
    return b"\r\nPreference-Applied: %b" % name_applied(wait_s).encode()


def add_lines(response: bytes, lines: bytes) -> bytes:
    """Returns a response with more fields in its head, each with its line's end before it."""
    return response.replace(b"\r\n\r\n", lines + b"\r\n\r\n", 1) if lines else response
