"""The lane under made-up bytes: each input is one connection's, cut into reads, and judged by what is made of it.

aiohttp's own parser, bounded as the edge bounds it, is asked about each message that the lane has answered: it has to
find the same one, whole. Of every so many inputs the whole aiohttp side is asked, too, and has to say the same.
"""

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from http import HTTPStatus
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import orjson
from aiohttp import web
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.http_parser import HttpRequestParser

from channel import Position
from contract.vector import load_switch_vectors, load_vectors
from edge.answer import Unanswered, Workspace, compile_entry
from edge.app import MAX_FIELDS, Handler, make_app
from edge.body import MAX_BODY_BYTES
from edge.budget import Budget, Purpose
from edge.connection import Connections
from edge.cors import Cors
from edge.errors import RETRIED, STATUSES, RefusedError
from edge.exchange import CONTINUE, MAX_HEAD_BYTES, Rules, refuse_head
from edge.frame import BLANK_LINE
from edge.head import HeadReader, Verdict
from edge.lane import FLAGS_START, REQUEST_LINE, Lane
from edge.metrics import Counters
from edge.place import Locator, read_network
from edge.reception import Reception
from edge.response import Writer
from edge.settings import EdgeSettings
from edge.switch import compile_set
from edge.tally import Outbox
from ruleset import Place, parse_program, parse_switches
from tests.contract.lists import ListedAudience
from tests.edge.press import NOW, ROOT_BYTES
from tests.fuzz.campaign import WAYS
from tests.fuzz.dice import Dice
from tests.fuzz.finding import BrokenError
from tests.fuzz.mutation import change_bytes, change_json, cut, splice

WORKSPACE = "demo"
# Of so many inputs one is given to the whole aiohttp side, too.
APP_EVERY = 200
# Of the inputs that are cut, one in so many is given in one piece, too, to another connection.
WHOLE_SHARE = 0.3
# One in so many messages has another behind it.
MORE_SHARE = 0.25
# Most responses are alike: so many are judged once.
MAX_JUDGED = 8_192
PEER = ("192.0.2.1", 5)
CORS = Cors(["https://a.example", "*"])
ORIGINS = [b"https://a.example", b"null", b"*"]

NAMES = [
    b"Host", b"Content-Length", b"Content-Type", b"Transfer-Encoding", b"Connection", b"Expect", b"Upgrade",
    b"Keep-Alive", b"Proxy-Connection", b"Content-Encoding", b"Content-Location", b"Content-Range", b"ETag",
    b"Max-Forwards", b"Server", b"User-Agent", b"Sec-WebSocket-Key1", b"Sec-WebSocket-Version", b"Trailer", b"TE",
    b"Cookie", b"Accept", b"Origin", b"If-None-Match", b"X-Country", b"X-Graywave-Workspace", b"Authorization",
    b"X-A", b"host", b"CONTENT-LENGTH", b"content-length", b"content-type", b"tRANSFER-eNCODING", b"", b" Host",
    b"Host ", b"Host\t", b"Content-Length ", b"Ho\x00st", b"X\xff", b"X(", b"X\x7f", b"Content_Length",
    b"Content-Lengt", b"Content-Lengthh",
]  # fmt: skip
VALUES = [
    b"", b"edge", b"0", b"1", b"3", b"90", b"-1", b"+5", b"0x5", b"5, 5", b"5 5", b"00000000000000000005", b"65536",
    b"65537", b"4294967296", b"18446744073709551615", b"18446744073709551616", b"18446744073709551621", b"9" * 40,
    b"1e2", b"\xd9\xa1", b"application/json", b"application/json; charset=utf-8", b"APPLICATION/JSON;x",
    b"application/json,text/html", b"text/plain", b"application/jsonx", b"chunked", b"gzip, chunked",
    b"chunked, chunked", b"identity", b"xchunked", b"\x0bchunked", b"close", b"keep-alive", b"close, keep-alive",
    b"Keep-Alive, Upgrade", b"upgrade", b"Upgrade, close", b"h2c", b"websocket", b"TLS/1.0", b"100-continue",
    b"100-Continue", b"101-continue", b"100-continue, x", b"demo", b"nope", b"*", b'W/"x"', b"\xff\xfe", b"a\x00b",
    b"a\rb", b"a\x0bb", b"a\x7fb", b" x ", b"\tx\t", b"a" * 300, b"CN", b"%E6%9D%AD", b"%ff",
]  # fmt: skip
ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\r\n ", b"\r\n\t", b"\n\r\n", b"\r\n\r\n", b" \r\n", b"\x00\r\n", b""]
COLONS = [b": ", b":", b" : ", b" :", b":\t", b":  ", b"::", b"", b":\r\n ", b":\n"]
LINES = [
    b"POST /v1/check HTTP/1.1", b"POST /v1/check HTTP/1.1", b"POST /v1/check HTTP/1.0", b"POST /v1/check HTTP/2.0",
    b"POST /v1/check  HTTP/1.1", b"POST /v1/check\tHTTP/1.1", b"post /v1/check HTTP/1.1",
    b"POST /v1/check?a=b HTTP/1.1", b"POST /v1/check/ HTTP/1.1", b"POST http://edge/v1/check HTTP/1.1",
    b"POST //v1/check HTTP/1.1", b"\r\nPOST /v1/check HTTP/1.1", b"GET /v1/check HTTP/1.1",
    b"GET /v1/root/3 HTTP/1.1", b"PRI * HTTP/2.0", b"POST /v1/report HTTP/1.1", b"CONNECT edge:1 HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flags HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/ HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flags/a HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/a/b HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flags/%61 HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/%ff%00 HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flags/\xe4 HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/%2f?x HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flagsx HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/{a} HTTP/1.1",
    b"POST /ofrep/v1/evaluate/flags/.. HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/a HTTP/1.0",
    b"POST /ofrep/v1/evaluate/flags/a\x01b HTTP/1.1", b"POST /ofrep/v1/evaluate/flags/a;b HTTP/1.1",
]  # fmt: skip
CHECK, FLAGS = LINES[0], b"POST /ofrep/v1/evaluate/flags HTTP/1.1"
CHUNKED = b'5\r\n{"a":\r\n2\r\n1}\r\n0\r\n\r\n'
BITS = [
    *ENDS, *COLONS[:5], b"Host: b\r\n", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"HTTP/1.0", b"GET / HTTP/1.1\r\n\r\n", b"0\r\n\r\n",
    REQUEST_LINE, FLAGS_START, b"{", b"}", b'"', b"\\", b"\\u", b",", b"0", b"\x00", b"\xff", b"\xed\xa0\x80", b" ",
    b"\t", b"User-Agent: a\r\n", b"Content-",
]  # fmt: skip
INTERESTING = [
    "demo",
    "shop",
    "",
    "2021000000000001",
    "2021000000000003",
    "1.0",
    "2.3.1",
    "2.3.0",
    "u-1",
    "d-1",
    "zh-CN",
    "Xiaomi",
    ["a", "old"],
    ["a", 1],
]

# What may stand in a head of the lane's, line by line.
_is_head: Final = re.compile(
    rb"HTTP/1\.1 [2345][0-9]{2} [A-Z][A-Za-z ']+"
    rb"(?:\r\n(?:Connection: close|Retry-After: [0-9]+|ETag: \"[!-~]+\"|Date: [A-Za-z0-9 ,:]+"
    rb"|Content-Type: application/json"
    rb"|Content-Length: [0-9]+|Access-Control-[A-Za-z-]+: [!-~ ]+|Vary: Origin))+"
).fullmatch
_find_seconds: Final = re.compile(rb" \([0-9]+ s\)")
_find_length: Final = re.compile(rb"\r\nContent-Length: ([0-9]+)").search
_find_code: Final = re.compile(rb'\{"error":\{"code":"([a-z_]+)","message":"').match
# OFREP's errors, and with which status each may come.
_FLAG_ERRORS: Final = {"PARSE_ERROR", "INVALID_CONTEXT", "FLAG_NOT_FOUND", "GENERAL", "TARGETING_KEY_MISSING"}
_FLAG_STATUSES: Final = {400, 404, 503}


class _Update(msgspec.Struct):
    program: str
    action: str
    offer: str


class _Answer(msgspec.Struct):
    """The members of an answer to a check that are always there."""

    revision: int
    root: int
    poll_after: int
    updates: list[_Update]
    unknown: list[str] = []


class _Flag(msgspec.Struct):
    key: str
    reason: str
    variant: str


class _Flags(msgspec.Struct):
    flags: list[dict[str, Any]]
    metadata: dict[str, str]


_answers = msgspec.json.Decoder(_Answer)
_flag = msgspec.json.Decoder(_Flag)
_flags = msgspec.json.Decoder(_Flags)


# What a client is told, as far as it has to be the same: a status and a body.
Told = tuple[int, bytes]


class Response(NamedTuple):
    """One response; `closes` where it says that it is the last."""

    status: int
    body: bytes
    closes: bool
    is_refusal: bool

    @property
    def label(self) -> str:
        """Its status, and the code of a refusal."""
        found = _find_code(self.body)
        return f"{self.status} {found[1].decode()}" if found else str(self.status)


class Outcome(NamedTuple):
    """What became of a connection: what was written, whether it was ended, which bytes were handed over and held."""

    written: bytes
    is_closed: bool
    handed: bytes | None
    held: bytes


class Reader(HeadReader):
    """Notes the length that was found for each head."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[bytes, int] = {}

    def read(self, data: bytes, head: bytes, available: int) -> Verdict:
        """As every reader, and notes it."""
        read = super().read(data, head, available)
        self.found[head] = read[0]
        return read


class Transport(asyncio.Transport):
    """A connection's other side; whatever is written behind its end breaks a promise."""

    def __init__(self) -> None:
        super().__init__({"peername": PEER})
        self.written: list[bytes] = []
        self.is_closed = self.is_paused = False
        self.protocol: asyncio.BaseProtocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self.is_closed:
            raise BrokenError("written behind the end of the connection")
        self.written.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Successor(asyncio.Protocol):
    """Who takes a connection over."""

    deadline = life_end = 0.0

    def __init__(self) -> None:
        self.received = b""

    def data_received(self, data: bytes) -> None:
        self.received += data

    def expire(self) -> None:
        """Nothing is ended."""

    def retire(self) -> None:
        """Nothing ends."""

    def end_idle(self) -> None:
        """Nothing is idle."""

    def find_descriptor(self) -> int:
        return -1


class LateAsker:
    """Asks for windows later: when the connection is read from no more, and everything has come."""

    def __init__(self) -> None:
        self._waiting: list[tuple[Unanswered, Callable[[bytes], None]]] = []

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Keeps it."""
        self._waiting.append((unanswered, tell))
        return None

    def answer(self) -> bool:
        """Tells all who wait; says whether there was anybody."""
        waiting, self._waiting = self._waiting, []
        for unanswered, tell in waiting:
            tell(unanswered.give_up())
        return bool(waiting)


class Fixed(Budget):
    """Costly work is always done, or never, whatever else the machine does.

    Args:
        is_idle: whether there is time for it.
    """

    def __init__(self, *, is_idle: bool) -> None:
        super().__init__()
        self._is_idle = is_idle

    def admits(self, purpose: Purpose, now: float) -> bool:
        """Says whether it may begin."""
        del purpose, now
        return self._is_idle


class Turns:
    """The loop that a lane is told of: what is to be done later is done when everything has come."""

    def __init__(self) -> None:
        self._later: list[Callable[[], object]] = []

    def call_later(self, delay: float, callback: Callable[[], object]) -> None:
        """Keeps it; there is no time here."""
        del delay
        self._later.append(callback)

    def take_turn(self) -> bool:
        """Does what was to be done later; says whether there was anything."""
        later, self._later = self._later, []
        for callback in later:
            callback()
        return bool(later)


class OpenWindow:
    """A window that has places."""

    def find(self, identity: str) -> Place:
        """Members begin with m."""
        return Place.MEMBER if identity.startswith("m") else Place.OPEN


class LaneTarget:
    """Makes inputs, and judges what the lane does with each; `begin` makes everything anew that inputs share.

    Args:
        folder: for settings; nothing is written there.
    """

    name = "lane"

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._questions = [
            vector.body for vector in load_vectors() if len(vector.body) < 4_000 and _is_json(vector.body)
        ]
        self._contexts = [orjson.dumps({"context": one.context}) for one in load_switch_vectors()]
        self._workspace = _make_workspace()
        self._asker, self._turns = LateAsker(), Turns()
        root = folder / "root.json"
        root.write_bytes(ROOT_BYTES)
        self._settings = EdgeSettings(redis="unix:///nowhere.sock", workspaces={WORKSPACE: root}, data=folder)
        self._rules = self._make_rules(0)
        self._reader = Reader()
        self._parser: Any = None
        self._app: AppSide | None = None
        self._count = 0

    def close(self) -> None:
        """Ends the aiohttp side."""
        if self._app is not None:
            self._app.close()
        self._loop.close()

    def begin(self, block: int) -> None:
        """What inputs share is new with each block: what is remembered, and what else a worker is set to."""
        self._rules = self._make_rules(block)
        self._reader = Reader()
        self._connections = Connections(1_000)
        self._writer = Writer()
        self._parser = None
        self._count = 0
        if self._app is not None:
            self._app.close()
        self._app = AppSide(self._loop, self._rules, self._settings, self._asker)

    def _make_rules(self, block: int) -> Rules:
        """Half of the workers want to know of senders, a third wait for windows, a sixth have no time to spare."""
        reception = None
        if block % 2:
            headers = {"country": b"x-country"}
            reception = Reception({}, Locator([read_network("192.0.2.0/24")], headers, None))
        rules = Rules({WORKSPACE: self._workspace}, Counters(), reception, CORS if block % 2 else None)
        if block % 3 == 2:
            rules.asker = self._asker
        rules.budget = Fixed(is_idle=block % WAYS != WAYS - 1)
        rules.tick(NOW)
        rules.sample_at = 1 << 62  # samples take time, and tell the device nothing
        return rules

    def make(self, dice: Dice) -> list[bytes]:
        """Returns the reads of one connection."""
        data = self._make_message(dice)
        while dice.chance(MORE_SHARE):
            data += self._make_message(dice)
        if dice.chance(0.25):
            data = change_bytes(dice, data, BITS)
        if dice.chance(0.03):
            data = splice(dice, data, self._make_message(dice))
        if dice.chance(0.05):
            data = data[: dice.below(len(data) + 1)]
        return cut(dice, data, 6) if dice.chance(0.4) else [data]

    def _make_message(self, dice: Dice) -> bytes:
        is_check = dice.chance(0.7)
        body = dice.pick(self._questions if is_check else self._contexts)
        if dice.chance(0.5):
            body = change_json(dice, body, INTERESTING)
        if dice.chance(0.1):
            body = change_bytes(dice, body, BITS)
        line = CHECK if is_check else FLAGS
        fields = [(b"Host", b"edge"), (b"Content-Type", b"application/json"), (b"Content-Length", b"%d" % len(body))]
        if not is_check and dice.chance(0.5):
            fields.append((b"X-Graywave-Workspace", b"demo"))
        if dice.chance(0.1):
            fields.append((b"Origin", dice.pick(ORIGINS)))
        if dice.chance(0.6):
            return _write(line, fields, body)
        return _write_changed(dice, line, fields, body)

    def judge(self, parts: Sequence[bytes], dice: Dice) -> str:
        """Returns what became of an input, in a word or two.

        Raises:
            BrokenError: a promise was broken.
        """
        self._count += 1
        outcome, fed = self._run(parts)
        responses = list(read_responses(outcome.written))
        self._judge_messages(fed, outcome, responses)
        if len(parts) > 1 and dice.chance(WHOLE_SHARE):
            whole, _ = self._run([b"".join(parts)])
            if whole != outcome and not self._is_same(whole, outcome):
                raise BrokenError(f"in pieces {outcome}, in one piece {whole}")
        if self._app is not None and self._count % APP_EVERY == 1:
            self._judge_app(b"".join(parts), responses, outcome)
        if responses:
            return responses[0].label
        return "handed over" if outcome.handed is not None else "unfinished"

    def _run(self, parts: Sequence[bytes]) -> tuple[Outcome, bytes]:
        """Gives reads to a lane as its loop does; returns what became of them, and what was given."""
        asyncio._set_running_loop(cast("Any", self._turns))
        try:
            return self._feed(parts)
        finally:
            asyncio._set_running_loop(None)

    def _feed(self, parts: Sequence[bytes]) -> tuple[Outcome, bytes]:
        transport, successors = Transport(), list[Successor]()

        def hand_over() -> Successor:
            successors.append(Successor())
            return successors[-1]

        lane = Lane(self._rules, self._connections, self._writer, self._reader, hand_over)
        lane.connection_made(transport)
        given = []
        for part in parts:
            if transport.is_closed:
                break
            given.append(part)
            receiver = successors[0] if successors else lane
            receiver.data_received(part)
            while transport.is_paused and (self._turns.take_turn() or self._asker.answer()):
                pass
        if transport.is_paused and not transport.is_closed:
            raise BrokenError("reading is paused, and nobody will go on")
        self._turns.take_turn()
        held = lane._held
        if len(held) > MAX_HEAD_BYTES + MAX_BODY_BYTES and len(held) > len(given[-1]):
            raise BrokenError(f"{len(held)} bytes are held")
        lane.connection_lost(None)
        for successor in successors:
            self._connections.remove(cast("Any", successor))
        handed = successors[0].received if successors else None
        return Outcome(b"".join(transport.written), transport.is_closed, handed, held), b"".join(given)

    def _judge_messages(self, fed: bytes, outcome: Outcome, responses: Sequence[Response]) -> None:
        """Each response is to a message that aiohttp finds, too, in the place where the lane has found it."""
        begin = 0
        last = len(responses) - 1
        for i, response in enumerate(responses):
            end = fed.find(BLANK_LINE, begin)
            length = self._reader.found.get(fed[begin:end]) if end >= 0 else None
            if response.closes is not (outcome.is_closed and i == last):
                raise BrokenError(f"response {i} of {last + 1} says closes={response.closes}: {outcome}")
            if length is None or (response.is_refusal and response.closes and _is_of_head(response)):
                if not (response.is_refusal and response.closes and i == last):
                    raise BrokenError(f"answered what is no head: {response}, {fed[begin : begin + 300]!r}")
                return
            stop = end + len(BLANK_LINE) + length
            self._ask_parser(fed[begin:stop], fed[end + len(BLANK_LINE) : stop], closes=response.closes)
            begin = stop
        rest = outcome.handed if outcome.handed is not None else outcome.held
        if not outcome.is_closed and rest != fed[begin:]:
            raise BrokenError(f"expected {fed[begin:][:200]!r} to be held or handed over, got {rest[:200]!r}")

    def _ask_parser(self, message: bytes, body: bytes, *, closes: bool) -> None:
        """Aiohttp's parser has to find just this message; one that has come to its end is not asked again."""
        parser = self._parser
        if parser is None:
            parser = HttpRequestParser(
                BaseProtocol(self._loop),
                self._loop,
                MAX_BODY_BYTES,
                max_line_size=MAX_HEAD_BYTES,
                max_field_size=MAX_HEAD_BYTES,
                max_headers=MAX_FIELDS,
                auto_decompress=False,
            )
        self._parser = None
        try:
            messages, is_upgraded, tail = parser.feed_data(message)
        except HttpProcessingError as error:
            raise BrokenError(f"aiohttp refuses what the lane has answered: {error}") from None
        if len(messages) != 1 or tail:
            raise BrokenError(f"aiohttp finds {len(messages)} messages and {tail!r} behind, the lane one")
        head, payload = messages[0]
        found = b"".join(payload._buffer) if body else b""
        if not payload.is_eof() or found != body:
            raise BrokenError(f"aiohttp finds another body: {found!r}")
        if head.should_close and not closes:
            raise BrokenError("aiohttp finds that the connection ends with this message, the lane does not")
        self._judge_head(head)
        if not (is_upgraded or head.should_close):
            self._parser = parser

    def _judge_head(self, head: Any) -> None:
        """The law that both sides know, asked as the aiohttp side asks it."""
        fields = {name.lower(): value.lower() for name, value in head.raw_headers}
        names = (b"content-length", b"content-type", b"transfer-encoding", b"expect")
        try:
            refuse_head(*(fields.get(name, b"") for name in names), has_host=b"host" in fields)
        except RefusedError as error:
            raise BrokenError(f"the aiohttp side refuses what the lane has answered: {error}") from None

    def _judge_app(self, data: bytes, responses: Sequence[Response], outcome: Outcome) -> None:
        """Status and body are the same on both sides, as far as the lane's connection lasts."""
        assert self._app is not None
        lane, plain = list(_cut_unread(responses)), list(read_any_responses(self._app.ask(data)))
        is_same = len(lane) <= len(plain) and all(map(_agree, lane, plain))
        if not is_same or (bool(plain) and not responses and outcome.handed is None):
            raise BrokenError(f"the lane says {lane}, the aiohttp side {plain}")

    def _is_same(self, one: Outcome, other: Outcome) -> bool:
        """Whether two clients are told the same, as far as none of them is refused a report unread."""
        told, told_other = self._tell_all(one), self._tell_all(other)
        if told is None or told_other is None:
            pairs = zip(
                _cut_unread(read_responses(one.written)), _cut_unread(read_responses(other.written)), strict=False
            )
            return all(_compare(response) == _compare(response_other) for response, response_other in pairs)
        return told == told_other

    def _tell_all(self, outcome: Outcome) -> tuple[list[Told], bytes] | None:
        """What a client is told in the end, also by whom its connection is handed to, and what is waited for.

        None where a report is refused unread.
        """
        responses = list(read_responses(outcome.written))
        if len(list(_cut_unread(responses))) < len(responses):
            return None
        told = [_compare(response) for response in responses]
        if outcome.handed and self._app is not None:
            told += [_compare(response) for response in read_any_responses(self._app.ask(outcome.handed))]
        return told, outcome.held


class AppSide:
    """The whole aiohttp side, without a socket.

    Args:
        loop: nobody else's.
        rules: the lane's.
        settings: of an edge.
        asker: whom checks may wait for.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, rules: Rules, settings: EdgeSettings, asker: LateAsker) -> None:
        self._loop, self._asker = loop, asker
        self._runner = web.AppRunner(make_app(rules, settings, Outbox()), handler_cancellation=True, access_log=None)
        loop.run_until_complete(self._runner.setup())

    def close(self) -> None:
        """Ends it."""
        self._loop.run_until_complete(self._runner.cleanup())

    def ask(self, data: bytes) -> bytes:
        """Returns what is written to a client that sends this, and then no more."""
        return self._loop.run_until_complete(self._ask(data))

    async def _ask(self, data: bytes) -> bytes:
        transport = Transport()
        server = self._runner.server
        assert server is not None
        handler = Handler(server, Connections(9), ends=False, loop=self._loop)
        handler._lingering_time = 0.0  # which is for clients that go on sending: here all has come
        handler.connection_made(transport)
        try:
            handler.data_received(data)
            handler.eof_received()
            for _ in range(2_000):
                if transport.is_closed:
                    break
                await asyncio.sleep(0)
                self._asker.answer()
            else:
                raise BrokenError("the aiohttp side does not come to an end")
        finally:
            handler.connection_lost(None)
        return b"".join(transport.written)


def _write(line: bytes, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    lines = b"".join([b"%b: %b\r\n" % field for field in fields])
    return b"%b\r\n%b\r\n%b" % (line, lines, body)


def _write_changed(dice: Dice, line: bytes, fields: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """A message with a head that is wrong, or only odd, in some places."""
    if dice.chance(0.2):
        line = dice.pick(LINES)
    written = [[name, b": ", value, b"\r\n"] for name, value in fields]
    for _ in range(dice.count(4)):
        if dice.chance(0.4):
            _add_or_drop(dice, written)
        elif written:
            _change_field(dice, dice.pick(written))
    if dice.chance(0.01):
        written.append([b"X-Long", b": ", b"x" * (MAX_HEAD_BYTES - 300 + dice.below(400)), b"\r\n"])
    if dice.chance(0.01):
        written += [[b"Content-Type", b": ", b"application/json", b"\r\n"]] * 200
    if dice.chance(0.02):
        body = dice.pick([b" " * MAX_BODY_BYTES, CHUNKED, CHUNKED + CHECK, b""])
    end = b"\r\n" if dice.chance(0.98) else dice.pick(ENDS)
    return b"%b%b%b\r\n%b" % (line, end, b"".join([b"".join(one) for one in written]), body)


def _add_or_drop(dice: Dice, written: list[list[bytes]]) -> None:
    """A field less, twice, or more."""
    how, at = dice.below(6), dice.below(len(written) + 1)
    if how == 0 and written:
        written.remove(dice.pick(written))
    elif how == 1 and written:
        written.insert(at, list(dice.pick(written)))
    else:
        written.insert(at, [dice.pick(NAMES), b": ", dice.pick(VALUES), b"\r\n"])


def _change_field(dice: Dice, one: list[bytes]) -> None:
    """A field's name, colon, value or end: other ones."""
    how = dice.below(6)
    if how == 0:
        one[0] = dice.pick([one[0].lower(), one[0].upper(), one[0].swapcase(), dice.pick(NAMES)])
    elif how == 1:
        one[1] = dice.pick(COLONS)
    elif how in {2, 3}:
        one[2] = dice.pick(VALUES)
    elif how == 4:
        one[2] = change_bytes(dice, one[2], VALUES, 1)
    else:
        one[3] = dice.pick(ENDS)


def read_responses(written: bytes) -> Iterator[Response]:
    """Yields the responses that the lane has written, each judged.

    Raises:
        BrokenError: one is none, or not one that is documented.
    """
    for head, body in _split(written):
        yield _judge_response(head, body)


@lru_cache(MAX_JUDGED)
def _judge_response(head: bytes, body: bytes) -> Response:
    if not _is_head(head):
        raise BrokenError(f"an undocumented head: {head!r}")
    status, closes = int(head[9:12]), b"\r\nConnection: close" in head
    is_refusal = body.startswith(b'{"error":')
    if is_refusal:
        _judge_refusal(status, body)
    else:
        _judge_body(status, body)
    if (b"\r\nRetry-After: " in head) is not (status in RETRIED):
        raise BrokenError(f"Retry-After where it should not be, or none: {head!r}")
    return Response(status, body, closes, is_refusal)


def _judge_refusal(status: int, body: bytes) -> None:
    found = _find_code(body)
    is_known = found is not None and STATUSES.get(found[1].decode()) == status
    if not is_known or orjson.loads(body)["error"].keys() != {"code", "message"}:
        raise BrokenError(f"an undocumented refusal: {status} {body!r}")


def read_any_responses(written: bytes) -> Iterator[Response]:
    """Yields the responses that were written, whatever they are."""
    for head, body in _split(written):
        closes = b"\r\nConnection: close" in head
        yield Response(int(head[9:12]), body, closes, body.startswith(b'{"error":'))


def _split(written: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The head and the body of each response; interim ones are left out."""
    at, size = 0, len(written)
    while at < size:
        if written.startswith(CONTINUE, at):
            at += len(CONTINUE)
            continue
        end = written.find(b"\r\n\r\n", at)
        head = written[at:end]
        found = _find_length(head)
        at = end + 4
        stop = at + (int(found[1]) if found else 0)
        if end < 0 or stop > size:
            raise BrokenError(f"a response that is not whole: {written[at:]!r}")
        yield head, written[at:stop]
        at = stop


def _judge_body(status: int, body: bytes) -> None:
    """An answer to a check, or OFREP's."""
    try:
        if status == HTTPStatus.NOT_MODIFIED:
            is_right = not body
        elif body.startswith(b'{"revision":'):
            is_right = status == HTTPStatus.OK and bool(_answers.decode(body))
        elif body.startswith(b'{"flags":'):
            is_right = status == HTTPStatus.OK and bool(_flags.decode(body))
        elif status == HTTPStatus.OK:
            is_right = bool(_flag.decode(body))
        else:
            is_right = status in _FLAG_STATUSES and orjson.loads(body)["errorCode"] in _FLAG_ERRORS
    except (ValueError, KeyError) as error:
        raise BrokenError(f"an undocumented answer: {status} {body!r}: {error}") from None
    if not is_right:
        raise BrokenError(f"an undocumented answer: {status} {body!r}")


def _is_of_head(response: Response) -> bool:
    """Whether a refusal is of the kind that says nothing of a body."""
    return response.label.partition(" ")[2] in {
        "malformed_request", "length_required", "unsupported_media_type", "expectation_failed", "too_large",
    }  # fmt: skip


def _cut_unread(responses: Iterable[Response]) -> Iterator[Response]:
    """The lane's responses before a report's refusal by its first line: who reads it may find another fault."""
    return takewhile(lambda response: not (response.closes and response.label == "503 overloaded"), responses)


def _agree(lane: Response, plain: Response) -> bool:
    """Whether both sides say the same; of several faults in one head, each may name another."""
    names = {lane.label, plain.label}
    if any(name.endswith("malformed_request") for name in names):
        return _is_of_head(lane) and _is_of_head(plain)
    return _compare(lane) == _compare(plain)


def _compare(response: Response) -> Told:
    """What a client is to be told however its bytes are cut."""
    if response.label.endswith("malformed_request"):
        return response.status, b"malformed_request"
    # Whoever is refused is told another time each.
    return response.status, _find_seconds.sub(b"", response.body)


def _is_json(body: bytes) -> bool:
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def _make_workspace() -> Workspace:
    """A workspace with a program for each kind of rule, an audience, a window and switches."""
    workspace = Workspace(WORKSPACE, {3: ROOT_BYTES})
    documents = {}
    for vector in load_vectors():
        for document in vector.documents:
            documents.setdefault(vector.rule, document)
    names = [f"20210000000000{i:02}" for i in range(1, len(documents) + 1)]
    entries = {
        name: compile_entry(parse_program(orjson.dumps({**document, "program": name})))
        for name, document in zip(names, documents.values(), strict=True)
    }
    workspace.apply(entries, Position(1, 5))
    windows = {window.id: OpenWindow() for entry in entries.values() for window in entry.windows}
    workspace.surround(audiences={"beta": ListedAudience(["u-1"])}, windows=windows, mark=b"m")
    sets = [
        compile_set(parse_switches(orjson.dumps(one.documents[0]))) for one in load_switch_vectors() if one.documents
    ]
    workspace.hang({one.id: one for one in sets[:3]})
    return workspace
