"""The hot lane: an asyncio Protocol that answers `POST /v1/check` itself and hands every other connection to aiohttp.

A message is told apart by its first line alone: exactly REQUEST_LINE is the lane's, anything else is aiohttp's, which
takes the connection over with the bytes held since that message began. httptools reads the head and is the judge of
what is malformed; the lane finds where the head ends, and so knows where each message begins.
"""

import asyncio
import re
from collections.abc import Callable
from email.utils import formatdate
from typing import Any, Final, cast

import httptools

from edge.connection import Connections, FullError
from edge.errors import RETRY_AFTER_S, RefusedError
from edge.exchange import CONTINUE, JSON, MAX_HEAD_BYTES, Rules, read_length, refuse_head

REQUEST_LINE: Final = b"POST /v1/check HTTP/1.1\r\n"
# What ends a head: the end of its last line stays with the head.
BLANK_LINE: Final = b"\n\r\n"
# The fields that decide, in a head in lower case; httptools has refused every other way to write one.
_find_fields: Final = re.compile(
    rb"\r\n(host|content-length|content-type|transfer-encoding|expect):[ \t]*([^\r]*)"
).findall
# The same fields as most clients write them, whole lines; a match of DOUBTFUL is one that says not enough.
_find_lines: Final = re.compile(
    rb"\n(host:|content-type: *application/json(?:; ?charset=utf-8)?\r|content-length: *[0-9]{1,5}\r"
    rb"|connection: *keep-alive\r|content-|connection:|transfer-encoding|expect)"
).findall
DOUBTFUL: Final = frozenset([b"content-", b"connection:", b"transfer-encoding", b"expect"])
# A head with these three, and a Content-Type of just that, needs no second look.
USUAL_FIELDS: Final = 3
USUAL_TYPE: Final = JSON.encode()
# How many combinations of usual lines, mostly one for each length of a body, and responses of a second are remembered.
MAX_REMEMBERED = 4_096
_NO_CALLBACKS: Final = object()


class HeadReader:
    """Reads the heads of checks, those of most clients quickly; one serves all connections of a worker.

    A head's deciding lines, once judged, are remembered: the next head with the same lines has the same verdict. What
    else is in it httptools judges, each time, in one pass over the whole message; it has to find the message's end
    where the lane has found it. Whatever is unusual gets a parser of its own in `read_head`.
    """

    def __init__(self) -> None:
        self._lengths: dict[tuple[bytes, ...], int] = {}
        self._unfinished: list[bool] = []
        self._renew()

    def read(self, data: bytes, head: bytes, available: int) -> tuple[int, bool, bool]:
        """Returns what `read_head` does for a head.

        Args:
            data: the bytes that the head begins.
            head: from the request line to the line before the blank one.
            available: how many bytes follow the blank line in `data`.

        Raises:
            RefusedError: not a head of HTTP/1.1, or not one of a check.
        """
        lines = tuple(_find_lines(head.lower()))
        length = self._lengths.get(lines)
        if length == available:
            self._unfinished.append(True)
            try:
                self._feed(data)
                if not self._unfinished:
                    return length, True, False
            except httptools.HttpParserError:
                pass  # judged anew, alone, below
            self._renew()
        found = read_head(head + BLANK_LINE)
        if found[1:] == (True, False) and DOUBTFUL.isdisjoint(lines):
            self._remember(lines, found[0])
        return found

    def _renew(self) -> None:
        """A parser that has seen what it did not like is not used again."""
        self._unfinished.clear()
        self._feed = httptools.HttpRequestParser(_Callbacks(self._unfinished.clear)).feed_data

    def _remember(self, lines: tuple[bytes, ...], length: int) -> None:
        if len(self._lengths) >= MAX_REMEMBERED:
            self._lengths.clear()
        self._lengths[lines] = length


class _Callbacks:
    """What httptools calls: one C function at a message's end, nothing for fields and bodies."""

    def __init__(self, on_message_complete: Callable[[], None]) -> None:
        self.on_message_complete = on_message_complete


def read_head(data: bytes) -> tuple[int, bool, bool]:
    """Returns what a head says, from its request line to its blank line: length of the body, keeps alive, expects 100.

    httptools judges whether it is a head of HTTP/1.1 at all; each gets a parser of its own, so that nothing of one
    message reaches the next. It has no folded lines, bare LF or blanks before a colon then, and the few fields that
    decide can be looked for in its bytes, which is cheaper than being told of every field (docs/adr/0004).

    Raises:
        RefusedError: not a head of HTTP/1.1, or not one of a check.
    """
    parser = httptools.HttpRequestParser(_NO_CALLBACKS)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # an offer to speak another protocol, which a server may ignore (RFC 9110, 7.8)
    except httptools.HttpParserError as error:
        raise RefusedError("malformed_request", f"expected a request of HTTP/1.1 ({error})", closes=True) from None
    found = _find_fields(data.lower())
    fields = dict(found)
    length = fields.get(b"content-length", b"")
    if len(found) != USUAL_FIELDS or len(fields) != USUAL_FIELDS or fields.get(b"content-type") != USUAL_TYPE:
        refuse_head(
            [name for name, _ in found].count(b"host"),
            length,
            fields.get(b"content-type", b""),
            fields.get(b"transfer-encoding", b""),
            fields.get(b"expect", b""),
        )
    return read_length(length), parser.should_keep_alive(), b"expect" in fields


class Lane(asyncio.Protocol):
    """One connection on the lane.

    Args:
        rules: what checks are answered from.
        connections: where the connection is registered.
        writer: makes responses.
        reader: reads the heads of requests.
        hand_over: makes the protocol that takes a connection over.
    """

    __slots__ = (
        "_connections",
        "_continued",
        "_hand_over",
        "_held",
        "_needed",
        "_reader",
        "_retired",
        "_rules",
        "_transport",
        "_writer",
        "deadline",
        "life_end",
    )

    def __init__(
        self,
        rules: Rules,
        connections: Connections,
        writer: "Writer",
        reader: HeadReader,
        hand_over: Callable[[], Any],
    ) -> None:
        self._rules = rules
        self._connections = connections
        self._writer = writer
        self._reader = reader
        self._hand_over = hand_over
        self._held = b""
        self._needed = 0
        self._continued = False
        self._retired = connections.is_draining
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self.deadline = self.life_end = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Registers the connection, or ends it where there are too many."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            self._connections.add(self, transport)
        except FullError:
            self._transport.abort()

    def connection_lost(self, _exc: Exception | None) -> None:
        """Forgets the connection."""
        self._connections.remove(self)

    def pause_writing(self) -> None:
        """A client that does not read its answers is not read from either."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has read its answers."""
        self._transport.resume_reading()

    def expire(self) -> None:
        """Ends a connection that took too long."""
        self._transport.abort()

    def retire(self) -> None:
        """Ends the connection: now where no message has begun, else with its answer."""
        self._retired = True
        if not self._held:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        """Answers each whole check in the bytes so far, and holds what is not whole."""
        if self._held:
            data = self._held + data
            if len(data) < self._needed:
                self._held = data
                return
        rest = self._serve(data)
        if rest and not self._held:
            self.deadline = self._connections.request_deadline
        self._held = rest

    def _serve(self, data: bytes) -> bytes:
        """Serves what begins at the start of `data`; returns the bytes of a message that is not yet whole."""
        while data.startswith(REQUEST_LINE):
            head, blank, body = data.partition(BLANK_LINE)
            if not blank or len(head) > MAX_HEAD_BYTES - len(BLANK_LINE):
                return self._wait_for_head(data)
            try:
                length, keeps_alive, expects = self._reader.read(data, head, len(body))
            except RefusedError as error:
                return self._refuse(error)
            if expects and not self._continued:
                self._continued = True
                self._transport.write(CONTINUE)
            if len(body) < length:
                self._needed = len(data) - len(body) + length
                return data
            data = body[length:]
            if not self._answer(body if not data else body[:length], keeps_alive and not self._retired):
                return b""
        return data if REQUEST_LINE.startswith(data) else self._give_away(data)

    def _answer(self, body: bytes, keeps_alive: bool) -> bool:  # noqa: FBT001 - of the message being answered
        """Answers one check; says whether the connection goes on."""
        rules, transport = self._rules, self._transport
        self._needed, self._continued = 0, False
        self.deadline = self._connections.idle_deadline
        try:
            answer = rules.check(body, rules.now)
        except RefusedError as error:
            rules.counters.refused += 1
            transport.write(self._writer.write_refusal(error, keeps_alive))
        else:
            transport.write(self._writer.write_ok(answer, keeps_alive))
        if not keeps_alive:
            transport.close()
        return keeps_alive

    def _refuse(self, error: RefusedError) -> bytes:
        """Refuses a message after which nothing on the connection can be trusted."""
        self._rules.counters.refused += 1
        self._transport.write(self._writer.write_refusal(error, keeps_alive=False))
        self._transport.close()
        return b""

    def _wait_for_head(self, data: bytes) -> bytes:
        """Holds a head that has not ended, unless it is one that no more bytes can mend."""
        if len(data) >= MAX_HEAD_BYTES:
            message = f"expected a head of at most {MAX_HEAD_BYTES} bytes, got more"
            return self._refuse(RefusedError("malformed_request", message, closes=True))
        if data.count(b"\n") != data.count(b"\r\n"):
            message = "expected each line to end with CR and LF, got one with LF alone"
            return self._refuse(RefusedError("malformed_request", message, closes=True))
        return data

    def _give_away(self, data: bytes) -> bytes:
        """Hands the connection to aiohttp, with the bytes of the message that is not the lane's."""
        self._rules.counters.handed_over += 1
        successor = self._hand_over()
        self._connections.replace(self, successor)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        successor.data_received(data)
        return b""


class Writer:
    """Writes whole responses, head and body; those of the current second are remembered, since most are alike."""

    def __init__(self) -> None:
        self._ok: dict[bytes, bytes] = {}
        self._fields = b""
        self.tick(0)

    def tick(self, now: int) -> None:
        """Once a second: the Date of the responses from now on."""
        date, json = formatdate(now, usegmt=True).encode(), JSON.encode()
        self._fields = b"\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: " % (date, json)
        self._ok = {}

    def write_ok(self, body: bytes, keeps_alive: bool) -> bytes:  # noqa: FBT001 - of the message being answered
        """Returns the response with an answer."""
        if not keeps_alive:
            return b"HTTP/1.1 200 OK%b%d\r\nConnection: close\r\n\r\n%b" % (self._fields, len(body), body)
        return self._ok.get(body) or self._remember(body)

    def _remember(self, body: bytes) -> bytes:
        if len(self._ok) >= MAX_REMEMBERED:
            self._ok.clear()
        response = self._ok[body] = b"HTTP/1.1 200 OK%b%d\r\n\r\n%b" % (self._fields, len(body), body)
        return response

    def write_refusal(self, error: RefusedError, keeps_alive: bool) -> bytes:  # noqa: FBT001 - as above
        """Returns the response with a refusal."""
        status, body = error.status, error.body
        retry = b"\r\nRetry-After: %d" % RETRY_AFTER_S if status == status.SERVICE_UNAVAILABLE else b""
        close = b"" if keeps_alive else b"\r\nConnection: close"
        line = b"HTTP/1.1 %d %b%b%b" % (status.value, status.phrase.encode(), retry, close)
        return b"%b%b%d\r\n\r\n%b" % (line, self._fields, len(body), body)
