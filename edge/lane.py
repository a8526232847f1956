"""The hot lane: an asyncio Protocol that answers checks and OFREP itself and hands every other connection to aiohttp.

A message is told apart by its first line alone: exactly REQUEST_LINE, or a line that `find_flags` finds, is the lane's,
anything else is aiohttp's, which takes the connection over with the bytes held since that message began. The lane finds
where each head ends, and so knows where each message begins; what a head says is `edge.head`'s to judge.
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any, Final, NamedTuple, cast

from edge.answer import Unanswered
from edge.budget import COSTLY_BYTES, Purpose
from edge.connection import Connections, FullError, name_peer
from edge.cors import ORIGIN
from edge.errors import FloodError, RefusedError
from edge.exchange import CONTINUE, MAX_HEAD_BYTES, Rules
from edge.frame import BLANK_LINE, find_head_end
from edge.head import HeadReader, find_fields
from edge.held import HeldCheck, Outcome
from edge.ofrep import WANTED, answer_flags
from edge.quota import REST_S
from edge.response import Writer, add_lines, write_applied
from edge.sender import NOBODY, Sender

# Where a message does not begin the read, its head is judged alone.
PIPELINED: Final = -1
REQUEST_LINE: Final = b"POST /v1/check HTTP/1.1\r\n"
FLAGS_START: Final = b"POST /ofrep/v1/evaluate/flags"
REPORT_START: Final = b"POST /v1/report"
# Bytes of messages served before others get their turn: a read of 256 KB holds six hundred checks, for which all other
# connections would wait 12 ms.
TURN_BYTES: Final = 16_384
# A question for all switches, or for the one that the last segment names.
find_flags: Final = re.compile(rb"POST /ofrep/v1/evaluate/flags(?:/([^\s/?#]*))? HTTP/1\.1\r\n").match


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
        "_check",
        "_connections",
        "_continued",
        "_hand_over",
        "_held",
        "_is_paused",
        "_is_waiting",
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
        self._check: HeldCheck | None = None
        self._continued = self._is_paused = self._is_waiting = False
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
        if self._check is not None:
            self._rules.held.forget(self._check)
            self._check = None

    def eof_received(self) -> bool:
        """A client that sends no more gets what it is held for at once, and then the end; nobody else waits."""
        if self._check is None:
            return False
        self._retired = True
        self._rules.held.end(self._check)
        return True

    def pause_writing(self) -> None:
        """A client that does not read its answers is not read from either."""
        self._is_paused = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        """The client has read its answers."""
        self._is_paused = False
        if self._check is not None:
            self._listen()
        elif not self._is_waiting:
            self._go_on()

    def _listen(self) -> None:
        """Reads behind a held check, until something comes, so that its client's end is noticed."""
        if not (self._held or self._is_paused):
            self._transport.resume_reading()

    def expire(self) -> None:
        """Ends a connection that took too long; a check that was held long enough is answered."""
        if self._check is None:
            self._transport.abort()
            return
        self.deadline = self._connections.request_deadline
        self._rules.held.end(self._check)

    def retire(self) -> None:
        """Ends the connection with its next answer."""
        self._retired = True

    def end_idle(self) -> None:
        """Ends the connection where no message has begun and none waits for its answer."""
        if not (self._held or self._is_waiting):
            self._transport.close()

    def find_descriptor(self) -> int:
        """Returns the connection's descriptor where no message has begun and all answers are written, else -1.

        Nobody else can go on under TLS: its state is in this process.
        """
        transport = self._transport
        has_begun = bool(self._held) or self._is_waiting
        if has_begun or self._retired or transport.is_closing() or transport.get_write_buffer_size():
            return -1
        return -1 if transport.get_extra_info("sslcontext") else int(transport.get_extra_info("socket").fileno())

    def data_received(self, data: bytes) -> None:
        """Answers each whole check in the bytes so far, and holds what is not whole."""
        size = len(data)
        if self._held:
            data = self._held + data
            if len(data) < self._needed:
                self._held = data
                return
        if self._is_waiting:
            self._transport.pause_reading()
            self._held = data
            return
        rest = self._serve(data)
        if rest and len(rest) <= size:
            self._begin()
        self._held = rest

    def _begin(self) -> None:
        """A message has begun in this read: its time begins, or behind a held check that is all that is read."""
        if self._check is None:
            self.deadline = self._connections.request_deadline
        else:
            self._transport.pause_reading()

    def _serve(self, data: bytes) -> bytes:
        """Serves the messages in `data`; returns the bytes of one that is not yet whole."""
        begin, size = 0, len(data)
        while begin < size:
            if begin and (self._is_paused or begin > TURN_BYTES):
                self._pause(0.0)
                break
            if not data.startswith(REQUEST_LINE, begin):
                served = self._serve_other(data, begin)
                if isinstance(served, bytes):
                    return served
                begin = served
                continue
            end = data.find(BLANK_LINE, begin, begin + MAX_HEAD_BYTES)
            if end < 0:
                return self._wait_for_head(data[begin:])
            start = end + len(BLANK_LINE)
            try:
                length, keeps_alive, expects, wait_s = self._reader.read(
                    data, data[begin:end], PIPELINED if begin else size - start
                )
            except RefusedError as error:
                return self._refuse(error)
            if expects:
                self._ask_for_body()
            stop = start + length
            if size < stop:
                self._needed = stop - begin
                return data[begin:]
            wanted = self._rules.wanted if length <= COSTLY_BYTES else self._rules.wanted_of_costly
            sender = NOBODY if wanted is None else self._describe(data[begin:end], wanted)
            if not self._answer(data[start:stop], sender, keeps_alive and not self._retired, wait_s):
                return data[stop:] if self._is_waiting else b""
            begin = stop
        return data[begin:]

    def _serve_other(self, data: bytes, begin: int) -> int | bytes:
        """Serves one message that is no check; returns where the next begins, or what `_serve` is to return."""
        if not data.startswith(FLAGS_START, begin):
            return self._leave(data[begin:])
        end = data.find(BLANK_LINE, begin, begin + MAX_HEAD_BYTES)
        if end < 0:
            return self._wait_for_head(data[begin:])
        flags, start = find_flags(data, begin), end + len(BLANK_LINE)
        if flags is None:
            return self._give_away(data[begin:])
        head = data[begin:end]
        try:
            length, keeps_alive, expects, _ = self._reader.read(data, head, PIPELINED if begin else len(data) - start)
        except RefusedError as error:
            return self._refuse(error)
        if expects:
            self._ask_for_body()
        stop = start + length
        if len(data) < stop:
            self._needed = stop - begin
            return data[begin:]
        keeps_alive = keeps_alive and not self._retired
        goes_on = self._answer_flags(flags[1] or b"", head, data[start:stop], keeps_alive)
        return stop if goes_on else data[stop:] if self._is_waiting else b""

    def _leave(self, rest: bytes) -> bytes:
        """Holds what may still become the lane's; all else is aiohttp's, reports where there is time for them."""
        if REQUEST_LINE.startswith(rest) or FLAGS_START.startswith(rest):
            return rest
        if rest.startswith(REPORT_START):
            try:
                self._rules.afford(Purpose.REPORT)
            except RefusedError as error:
                return self._refuse(error)
        return self._give_away(rest)

    def _ask_for_body(self) -> None:
        """Answers an Expect, once a message however often its head is looked at."""
        if not self._continued:
            self._continued = True
            self._transport.write(CONTINUE)

    def _describe(self, head: bytes, wanted: tuple[bytes, ...]) -> Sender:
        """What is wanted to know of a message's sender."""
        if self._peer is None:
            self._peer = name_peer(self._transport)
        return Sender(find_fields(head, wanted), self._peer, self)

    def _answer(self, body: bytes, sender: Sender, keeps_alive: bool, wait_s: int) -> bool:  # noqa: FBT001 - of the message being answered
        """Answers one check; says whether the next one can be answered now."""
        rules = self._rules
        self._needed, self._continued = 0, False
        self.deadline = self._connections.idle_deadline
        try:
            if len(body) > COSTLY_BYTES:
                answer = rules.check_costly(body, rules.now, sender)
            else:
                answer = rules.check(body, rules.now, sender)
            if isinstance(answer, Unanswered):
                told = rules.ask(answer, partial(self._tell, _Asked(body, sender, keeps_alive, wait_s, rules.now)))
                if told is None:
                    self._is_waiting = True
                    self._transport.pause_reading()
                    return False
                answer = told
            if wait_s and self._hold(_Asked(body, sender, keeps_alive, wait_s, rules.now), answer):
                return False
            response = self._writer.write_ok(answer, keeps_alive)
        except RefusedError as error:
            rules.counters.refused += 1
            keeps_alive = keeps_alive and not error.closes
            if keeps_alive and isinstance(error, FloodError):
                self._pause(REST_S)
            response = self._writer.write_refusal(error, keeps_alive)
        if sender is not NOBODY:
            response = self._open(response, sender)
        self._transport.write(response)
        if not keeps_alive:
            self._transport.close()
        return keeps_alive and not self._is_waiting

    def _hold(self, asked: "_Asked", answer: bytes) -> bool:
        """Holds a check for which there is nothing to do, where there is room; says whether."""
        self._check = self._rules.hold(answer, asked.now, asked.body, asked.sender, partial(self._let_go, asked))
        if self._check is None:
            return False
        self._is_waiting = True
        self.deadline = self._connections.find_end(asked.wait_s)
        return True

    def _answer_flags(self, segment: bytes, head: bytes, body: bytes, keeps_alive: bool) -> bool:  # noqa: FBT001 - as above
        """Answers one question for switches; says whether the next message can be answered now."""
        self._needed, self._continued = 0, False
        self.deadline = self._connections.idle_deadline
        sender = self._describe(head, (*(self._rules.wanted or ()), *WANTED))
        reply = answer_flags(self._rules, sender, segment, body)
        if keeps_alive and reply.status is HTTPStatus.TOO_MANY_REQUESTS:
            self._pause(REST_S)
        self._transport.write(self._open(self._writer.write_reply(reply, keeps_alive), sender))
        if not keeps_alive:
            self._transport.close()
        return keeps_alive and not self._is_waiting

    def _open(self, response: bytes, sender: Sender) -> bytes:
        """The response as a web page may see it, where its origin may."""
        cors = self._rules.cors
        return add_lines(response, cors.find_lines(sender.find_one(ORIGIN))) if cors else response

    def _tell(self, asked: "_Asked", answer: bytes) -> None:
        """Answers the check that has waited for a window, or goes on to hold it."""
        if self._transport.is_closing():  # nobody is there any more
            return
        if asked.wait_s and self._hold(asked, answer):
            self._listen()
            return
        keeps_alive = asked.keeps_alive and not self._retired
        self._finish(asked.sender, self._writer.write_ok(answer, keeps_alive), keeps_alive)

    def _let_go(self, asked: "_Asked", outcome: Outcome) -> None:
        """Answers the check that was held, and says that it was."""
        self._check = None
        if self._transport.is_closing():  # as above
            return
        keeps_alive = asked.keeps_alive and not self._retired
        if isinstance(outcome, RefusedError):
            self._rules.counters.refused += 1
            response = self._writer.write_refusal(outcome, keeps_alive)
        else:
            response = add_lines(self._writer.write_ok(outcome, keeps_alive), write_applied(asked.wait_s))
        self._finish(asked.sender, response, keeps_alive)

    def _finish(self, sender: Sender, response: bytes, keeps_alive: bool) -> None:  # noqa: FBT001 - of the message that has waited
        """Writes an answer that was waited for, and goes on with what has come behind it."""
        self.deadline = self._connections.idle_deadline
        self._transport.write(response if sender is NOBODY else self._open(response, sender))
        if not keeps_alive:
            self._transport.close()
            return
        self._go_on()

    def _pause(self, seconds: float) -> None:
        """Lets others go first: answers and reads nothing more here for so long, with 0 for one turn of the loop."""
        self._is_waiting = True
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        """Serves what has come meanwhile, and reads on; where the client does not read its answers, once it does."""
        self._is_waiting = False
        if self._is_paused or self._transport.is_closing():
            return
        held, self._held = self._held, b""
        self._transport.resume_reading()
        if held:
            self.data_received(held)

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


class _Asked(NamedTuple):
    """A check that is not answered at once, and the time of its first judgement."""

    body: bytes
    sender: Sender
    keeps_alive: bool
    wait_s: int
    now: int
