"""The hot lane: an asyncio Protocol that answers `POST /v1/check` itself and hands every other connection to aiohttp.

A message is told apart by its first line alone: exactly REQUEST_LINE is the lane's, anything else is aiohttp's, which
takes the connection over with the bytes held since that message began. The lane finds where each head ends, and so
knows where each message begins; what a head says is `edge.head`'s to judge.
"""

import asyncio
from collections.abc import Callable
from typing import Any, Final, cast

from edge.connection import Connections, FullError, name_peer
from edge.errors import RefusedError
from edge.exchange import CONTINUE, MAX_HEAD_BYTES, Rules
from edge.frame import BLANK_LINE, find_head_end
from edge.head import HeadReader, find_fields
from edge.response import Writer
from edge.sender import NOBODY, Sender

# Where a message does not begin the read, its head is judged alone.
PIPELINED: Final = -1
REQUEST_LINE: Final = b"POST /v1/check HTTP/1.1\r\n"


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
        "_is_paused",
        "_needed",
        "_peer",
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
        writer: Writer,
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
        self._peer: str | None = None
        self._continued = self._is_paused = False
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
        self._is_paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has read its answers."""
        self._is_paused = False
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
        size = len(data)
        if self._held:
            data = self._held + data
            if len(data) < self._needed:
                self._held = data
                return
        rest = self._serve(data)
        if rest and len(rest) <= size:  # a message that has begun in this read
            self.deadline = self._connections.request_deadline
        self._held = rest

    def _serve(self, data: bytes) -> bytes:
        """Serves the messages in `data`; returns the bytes of one that is not yet whole."""
        begin = 0
        while data.startswith(REQUEST_LINE, begin):
            end = data.find(BLANK_LINE, begin, begin + MAX_HEAD_BYTES)
            if end < 0:
                return self._wait_for_head(data[begin:])
            start = end + len(BLANK_LINE)
            try:
                length, keeps_alive, expects = self._reader.read(
                    data, data[begin:end], PIPELINED if begin else len(data) - start
                )
            except RefusedError as error:
                return self._refuse(error)
            if expects and not self._continued:
                self._continued = True
                self._transport.write(CONTINUE)
            stop = start + length
            if len(data) < stop:
                self._needed = stop - begin
                return data[begin:]
            sender = NOBODY if self._rules.reception is None else self._describe(data[begin:end])
            if not self._answer(data[start:stop], sender, keeps_alive and not self._retired):
                return b""
            begin = stop
        rest = data[begin:]
        return rest if REQUEST_LINE.startswith(rest) else self._give_away(rest)

    def _describe(self, head: bytes) -> Sender:
        """What the reception wants to know of a message's sender."""
        reception = self._rules.reception
        if self._peer is None:
            self._peer = name_peer(self._transport)
        return Sender(find_fields(head, reception.wanted if reception else ()), self._peer)

    def _answer(self, body: bytes, sender: Sender, keeps_alive: bool) -> bool:  # noqa: FBT001 - of the message being answered
        """Answers one check; says whether the connection goes on."""
        rules, transport = self._rules, self._transport
        self._needed, self._continued = 0, False
        self.deadline = self._connections.idle_deadline
        try:
            answer = rules.check(body, rules.now, sender)
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
        try:
            find_head_end(data)
        except RefusedError as error:
            return self._refuse(error)
        return data

    def _give_away(self, data: bytes) -> bytes:
        """Hands the connection to aiohttp, with the bytes of the message that is not the lane's."""
        self._rules.counters.handed_over += 1
        successor = self._hand_over()
        self._connections.replace(self, successor)
        self._transport.set_protocol(successor)
        successor.connection_made(self._transport)
        if self._is_paused:
            successor.pause_writing()
            self._transport.resume_reading()
        successor.data_received(data)
        return b""
