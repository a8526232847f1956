"""Tests of edge/lane.py behind a transport that notes what it is told; what clients see is in tests/wire/."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, Self

import orjson
import pytest

from channel import Position
from edge.answer import Workspace
from edge.budget import COSTLY_BYTES, Purpose
from edge.connection import IDLE_DEADLINE_S, QUIET_S, REQUEST_DEADLINE_S, Connections
from edge.exchange import CONTINUE, MAX_HEAD_BYTES, Rules
from edge.head import HeadReader
from edge.lane import PIPELINED, REPORT_START, REQUEST_LINE, TURN_BYTES, Lane
from edge.metrics import Counters
from edge.quota import Quota
from edge.response import Writer
from tests.edge.press import NOW, PROGRAM, ROOT_BYTES, WORKSPACE, eventually, make_entry, make_question

START = 1_000.0
QUESTION = orjson.dumps(make_question())
OTHER_QUESTION = orjson.dumps(make_question(workspace="shop"))
GET = b"GET /v1/root/3 HTTP/1.1\r\nHost: edge\r\n\r\n"


def make_check(body: bytes = QUESTION, *more: bytes) -> bytes:
    """A check with these lines more in its head."""
    lines = [b"Host: edge", b"Content-Type: application/json", b"Content-Length: %d" % len(body), *more]
    return REQUEST_LINE + b"\r\n".join(lines) + b"\r\n\r\n" + body


CHECK = make_check()
OTHER_CHECK = make_check(OTHER_QUESTION)
HEAD_SIZE = len(CHECK) - len(QUESTION)


class Transport(asyncio.Transport):
    """A connection's other side: what was written to it, and what else it was told, in order."""

    def __init__(self) -> None:
        super().__init__({"peername": ("192.0.2.1", 5), "socket": self})
        self.written = b""
        self.told: list[str] = []
        self.protocol: asyncio.BaseProtocol | None = None
        self.descriptor, self.unwritten = 77, 0

    def fileno(self) -> int:
        return self.descriptor

    def get_write_buffer_size(self) -> int:
        return self.unwritten

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing()
        self.written += data

    def close(self) -> None:
        self.told.append("close")

    def abort(self) -> None:
        self.told.append("abort")

    def is_closing(self) -> bool:
        return bool({"close", "abort"} & set(self.told))

    def pause_reading(self) -> None:
        self.told.append("pause")

    def resume_reading(self) -> None:
        self.told.append("resume")

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol


class Successor(asyncio.Protocol):
    """Who takes a connection over; it notes what it is told where the transport does."""

    def __init__(self) -> None:
        self.deadline = self.life_end = 0.0
        self.received = b""
        self.told: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, Transport)
        assert transport.protocol is self
        self.told = transport.told
        self.told.append("made")

    def pause_writing(self) -> None:
        self.told.append("pause writing")

    def data_received(self, data: bytes) -> None:
        self.told.append("data")
        self.received += data

    def expire(self) -> None:
        self.told.append("expire")

    def retire(self) -> None:
        self.told.append("retire")

    def end_idle(self) -> None:
        self.told.append("end idle")

    def find_descriptor(self) -> int:
        return -1


class NotingReader(HeadReader):
    """Notes how many bytes were said to stand behind each head that it was asked about."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def read(self, data: bytes, head: bytes, available: int) -> tuple[int, bool, bool]:
        self.asked.append(available)
        return super().read(data, head, available)


@dataclass
class Line:
    """A lane, and everything around it."""

    connections: Connections
    lane: Lane = field(init=False)
    transport: Transport = field(default_factory=Transport)
    rules: Rules = field(init=False)
    reader: NotingReader = field(default_factory=NotingReader)
    successors: list[Successor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rules = Rules({WORKSPACE: Workspace(WORKSPACE, {3: ROOT_BYTES})}, Counters())
        self.rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry()}, Position(1, 5))
        self.rules.now = NOW
        self.connections.tick(START)
        self.lane = Lane(self.rules, self.connections, Writer(), self.reader, self._hand_over)
        self.lane.connection_made(self.transport)
        self.lane.life_end = START + 1_000_000  # it ends when a test says so

    def _hand_over(self) -> Successor:
        self.successors.append(Successor())
        return self.successors[-1]

    def feed(self, *parts: bytes) -> None:
        """Parts come from the network, as long as the connection is open; an asyncio transport does the same."""
        for part in parts:
            if not self.transport.is_closing():
                self.lane.data_received(part)

    def take_answers(self) -> list[int]:
        """The statuses of what was written; each body is told by its head's length."""
        statuses, rest = [], self.transport.written
        while rest:
            head, _, rest = rest.partition(b"\r\n\r\n")
            statuses.append(int(head.split(b" ")[1]))
            rest = rest[int(head.rpartition(b"Content-Length: ")[2].split(b"\r\n")[0]) if b"Date" in head else 0 :]
        self.transport.written = b""
        return statuses


@pytest.fixture
def line() -> Line:
    """A lane on a new connection."""
    return Line(Connections(9))


def write_answer(line: Line, *, keeps_alive: bool = True) -> bytes:
    """The answer to a check, byte for byte."""
    return Writer().write_ok(line.rules.check(QUESTION, NOW), keeps_alive)


def test_check_is_answered(line: Line) -> None:
    """A check gets its answer in one write's bytes, and the connection stays."""
    line.feed(CHECK, CHECK)
    assert line.transport.written == write_answer(line) * 2
    assert line.transport.told == []
    assert line.lane._held == b""


@pytest.mark.parametrize("at", range(1, len(CHECK + OTHER_CHECK)))
def test_split_once(line: Line, at: int) -> None:
    """Wherever the network cuts two checks, both are answered, in order, and nothing is held behind them."""
    sent = CHECK + OTHER_CHECK
    line.feed(sent[:at])
    assert line.take_answers() == [200] * (at >= len(CHECK))
    line.feed(sent[at:])
    assert line.take_answers() == [200, 404][at >= len(CHECK) :]
    assert (line.transport.told, line.lane._held, line.successors) == ([], b"", [])


def test_single_bytes(line: Line) -> None:
    """A check that comes byte by byte has its head judged when it is whole and with the last byte, not in between."""
    sent = CHECK * 2
    line.feed(*(sent[at : at + 1] for at in range(len(sent))))
    assert line.take_answers() == [200, 200]
    assert line.reader.asked == [0, len(QUESTION)] * 2


def test_head_behind_another_is_judged_alone(line: Line) -> None:
    """A head is told how much stands behind it only where it begins what was read."""
    line.feed(CHECK, CHECK * 3, CHECK[:5], CHECK[5:])
    size = len(QUESTION)
    assert line.reader.asked == [size, size + 2 * len(CHECK), PIPELINED, PIPELINED, size]


class Counted(bytes):
    """Bytes that tell how many of them, and of their pieces, are copied."""

    copied: list[int]

    def __new__(cls, data: bytes, copied: list[int]) -> Self:
        counted = super().__new__(cls, data)
        counted.copied = copied
        return counted

    def __getitem__(self, key: Any) -> Any:
        piece = Counted(super().__getitem__(key), self.copied)
        self.copied.append(len(piece))
        return piece


def test_pipelined_checks_are_copied_once(line: Line) -> None:
    """Of many checks in one read each byte is copied at most once: their work grows with their number, no faster."""
    copied: list[int] = []
    count = TURN_BYTES // len(CHECK)
    line.feed(Counted(CHECK * count, copied))
    assert line.take_answers() == [200] * count
    assert 0 < sum(copied) <= len(CHECK) * count


def test_first_deadline_is_that_of_a_request(line: Line) -> None:
    """A new connection has so long until its first check is whole."""
    assert line.lane.deadline == START + REQUEST_DEADLINE_S


@pytest.mark.parametrize("at", [1, len(REQUEST_LINE) + 5, HEAD_SIZE - 1, HEAD_SIZE, HEAD_SIZE + 1, len(CHECK) - 1])
def test_message_keeps_its_deadline(line: Line, at: int) -> None:
    """More bytes of a message that has begun do not give it more time, in its head or in its body."""
    line.feed(CHECK)
    line.connections.tick(START + 10)
    line.feed(CHECK[:at])
    assert line.lane.deadline == START + 10 + REQUEST_DEADLINE_S
    line.connections.tick(START + 20)
    for byte in CHECK[at:-1]:
        line.feed(bytes([byte]))
        assert line.lane.deadline == START + 10 + REQUEST_DEADLINE_S
    line.feed(CHECK[-1:])
    assert line.lane.deadline == START + 20 + IDLE_DEADLINE_S


@pytest.mark.parametrize("held", [1, HEAD_SIZE + 3, len(CHECK) - 1])
def test_message_behind_another_has_its_own_deadline(line: Line, held: int) -> None:
    """A message that begins in the read that ends another begins its time then."""
    line.feed(CHECK[:held])
    line.connections.tick(START + 10)
    line.feed(CHECK[held:] + CHECK[:7])
    assert line.lane.deadline == START + 10 + REQUEST_DEADLINE_S
    line.connections.tick(START + 20)
    line.feed(CHECK[7:9])
    assert line.lane.deadline == START + 10 + REQUEST_DEADLINE_S


def test_refused_body_waits_like_an_answer(line: Line) -> None:
    """A connection whose check was refused for its body is idle like any other."""
    line.connections.tick(START + 10)
    line.feed(make_check(b"{"))
    assert line.take_answers() == [400]
    assert (line.transport.told, line.lane.deadline) == ([], START + 10 + IDLE_DEADLINE_S)


def test_connection_beyond_its_deadline(line: Line) -> None:
    """A message that does not come to its end in time ends without an answer, at once."""
    line.feed(CHECK[:-1])
    line.connections.tick(START + REQUEST_DEADLINE_S)
    assert line.transport.told == []
    line.connections.tick(START + REQUEST_DEADLINE_S + 1)
    assert line.transport.told == ["abort"]
    assert line.transport.written == b""


def test_idle_connection_retires_with_its_next_answer(line: Line) -> None:
    """A client that is just asking is not cut off: its answer says that it is the last."""
    line.feed(CHECK)
    line.transport.written = b""
    line.connections.drain()
    assert line.transport.told == []
    line.feed(CHECK)
    assert line.transport.written == write_answer(line, keeps_alive=False)
    assert line.transport.told == ["close"]


def test_quiet_connection_of_a_draining_worker_ends(line: Line) -> None:
    """Where nobody has asked for QUIET_S the connection ends; one with half a message does not."""
    line.feed(CHECK)
    line.connections.drain()
    line.connections.tick(START + QUIET_S / 2)
    assert line.transport.told == []
    line.connections.tick(START + QUIET_S)
    assert line.transport.told == ["close"]


def test_half_a_message_is_not_quiet(line: Line) -> None:
    """A message that has begun is waited for until its deadline, and so is one whose answer takes long."""
    line.feed(CHECK[:9])
    line.connections.drain()
    line.connections.tick(START + QUIET_S)
    assert line.transport.told == []
    line.lane._held, line.lane._is_waiting = b"", True
    line.connections.tick(START + QUIET_S)
    assert line.transport.told == []


def test_connection_that_another_process_can_go_on_with(line: Line) -> None:
    """Between two messages a connection may move; within one, with answers unwritten, or at its end it stays."""
    line.feed(CHECK)
    assert line.lane.find_descriptor() == line.transport.descriptor
    line.transport.unwritten = 1
    assert line.lane.find_descriptor() == -1
    line.transport.unwritten = 0
    line.lane._is_waiting = True
    assert line.lane.find_descriptor() == -1
    line.lane._is_waiting = False
    line.feed(CHECK[:9])
    assert line.lane.find_descriptor() == -1
    line.feed(CHECK[9:])
    line.lane.retire()
    assert line.lane.find_descriptor() == -1


def test_connection_under_tls_stays(line: Line) -> None:
    """The state of its encryption is in this process alone."""
    line.transport._extra["sslcontext"] = object()
    assert line.lane.find_descriptor() == -1


def test_connection_that_is_closing_stays(line: Line) -> None:
    """Nobody can go on with what has been closed."""
    line.transport.close()
    assert line.lane.find_descriptor() == -1


@pytest.mark.parametrize("at", [1, HEAD_SIZE, len(CHECK) - 1])
def test_busy_connection_retires_with_its_answer(line: Line, at: int) -> None:
    """A message that has begun gets its answer, which says that it is the last; what stands behind it gets none."""
    line.feed(CHECK[:at])
    line.connections.drain()
    assert line.transport.told == []
    line.feed(CHECK[at:] + CHECK)
    assert line.transport.written == write_answer(line, keeps_alive=False)
    assert (line.transport.told, line.lane._held) == (["close"], b"")


def test_end_of_life(line: Line) -> None:
    """A connection at the end of its life ends as one that is drained."""
    line.feed(CHECK[:9])
    line.lane.life_end = START
    line.connections.tick(START + 1)
    line.connections.tick(START + 2)
    assert line.transport.told == []
    line.feed(CHECK[9:])
    assert line.transport.written == write_answer(line, keeps_alive=False)
    assert line.transport.told == ["close"]


def test_connection_of_a_draining_worker() -> None:
    """A connection that comes while the worker drains ends with its first answer."""
    connections = Connections(9)
    connections.drain()
    line = Line(connections)
    assert line.transport.told == []
    line.feed(CHECK)
    assert line.transport.written == write_answer(line, keeps_alive=False)
    assert line.transport.told == ["close"]


def test_refusal_ends_a_drained_connection(line: Line) -> None:
    """The last answer may be a refusal."""
    line.feed(OTHER_CHECK[:-1])
    line.connections.drain()
    line.feed(OTHER_CHECK[-1:])
    assert line.transport.written.startswith(b"HTTP/1.1 404 Not Found\r\nConnection: close\r\n")
    assert line.transport.told == ["close"]


def test_client_asks_for_the_end(line: Line) -> None:
    """Behind a check with Connection: close nothing is answered."""
    line.feed(make_check(QUESTION, b"Connection: close") + CHECK)
    assert line.transport.written == write_answer(line, keeps_alive=False)
    assert (line.transport.told, line.lane._held) == (["close"], b"")


def test_one_connection_too_many() -> None:
    """A connection beyond the limit is aborted, and its end changes nothing for the others."""
    connections = Connections(1)
    first, second = Line(connections), Line(connections)
    assert (first.transport.told, second.transport.told) == ([], ["abort"])
    second.lane.connection_lost(None)
    assert len(connections) == 1
    first.lane.connection_lost(ConnectionResetError())
    assert len(connections) == 0


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (make_check(QUESTION, b"X-A : a"), 400),
        (make_check(QUESTION, b"Expect: x"), 417),
        (REQUEST_LINE + b"Host: edge\n", 400),
        (REQUEST_LINE + b"X: " + b"x" * MAX_HEAD_BYTES, 400),
        (make_check(b"x" * 65_537), 413),
    ],
)
def test_refused_head_ends_the_connection(line: Line, data: bytes, status: int) -> None:
    """Behind a head that is refused nothing can be trusted; what stood before it was answered."""
    line.feed(CHECK + data + CHECK)
    assert line.take_answers() == [200, status]
    assert (line.transport.told, line.lane._held, line.rules.counters.refused) == (["close"], b"", 1)


@pytest.mark.parametrize("size", [MAX_HEAD_BYTES, MAX_HEAD_BYTES + 1, None])
def test_longest_head(line: Line, size: int | None) -> None:
    """A head may have 8,192 bytes wherever it begins, and not one more, whether it has ended or not."""
    longest = make_check(QUESTION, b"X-A: " + b"x" * (MAX_HEAD_BYTES - HEAD_SIZE - len(b"X-A: \r\n")))
    assert longest.index(b"\r\n\r\n") + 4 == MAX_HEAD_BYTES
    line.feed(CHECK + longest, longest[: MAX_HEAD_BYTES - 1], longest[MAX_HEAD_BYTES - 1 :])
    assert line.take_answers() == [200] * 3
    line.feed(longest.replace(b"X-A: ", b"X-A: x")[:size])
    assert b"expected a head of at most 8192 bytes, got more" in line.transport.written
    assert line.transport.told == ["close"]


def test_refusals_are_counted(line: Line) -> None:
    """Each refusal counts once, for its head or for its body."""
    line.feed(OTHER_CHECK, make_check(b"{"), make_check(QUESTION, b"X-A : a"))
    assert line.take_answers() == [404, 400, 400]
    assert (line.rules.counters.refused, line.rules.counters.checks) == (3, 0)


def test_body_is_asked_for_once_a_message(line: Line) -> None:
    """A client that waits is asked for its body once, however it comes; so is the next one."""
    check = make_check(QUESTION, b"Expect: 100-continue")
    head, body = check[: -len(QUESTION)], QUESTION
    for _ in range(2):
        line.feed(head)
        assert line.transport.written == CONTINUE
        line.feed(body[:5], body[5:-1], body[-1:])
        assert line.take_answers() == [100, 200]


def test_client_that_does_not_read(line: Line) -> None:
    """A client that does not read its answers is not read from until it has."""
    line.lane.pause_writing()
    assert line.transport.told == ["pause"]
    line.lane.resume_writing()
    assert line.transport.told == ["pause", "resume"]


def test_held_check_is_listened_behind(line: Line) -> None:
    """Behind a held check the lane reads until something comes, so that its client's end is seen; then no more."""
    line.rules.held.limit = 1
    line.feed(make_check(orjson.dumps(make_question(programs={PROGRAM: "1.0.0.0"})), b"Prefer: wait=9"))
    assert (len(line.rules.held), line.transport.written, line.transport.told) == (1, b"", [])
    line.lane.pause_writing()
    line.lane.resume_writing()
    assert line.transport.told == ["pause", "resume"]
    line.feed(CHECK)
    assert (line.transport.written, line.transport.told) == (b"", ["pause", "resume", "pause"])
    line.lane.pause_writing()
    line.lane.resume_writing()
    assert line.transport.told == ["pause", "resume", "pause", "pause"]
    line.lane.connection_lost(None)
    assert len(line.rules.held) == 0


@pytest.mark.parametrize("size", range(1, len(REQUEST_LINE)))
def test_message_that_may_become_a_check_is_held(line: Line, size: int) -> None:
    """As long as the first line may be a check's, the lane keeps it; with the first other byte it is aiohttp's."""
    line.feed(REQUEST_LINE[:size])
    assert line.successors == []
    line.feed(b"~")
    assert [successor.received for successor in line.successors] == [REQUEST_LINE[:size] + b"~"]


@pytest.mark.parametrize("at", range(1, len(CHECK + GET)))
def test_hand_over(line: Line, at: int) -> None:
    """Whoever takes over gets what was held since that message began, and is registered in the lane's stead."""
    sent = CHECK + GET
    line.feed(sent[:at])
    (line.successors[0] if line.successors else line.lane).data_received(sent[at:])
    (successor,) = line.successors
    assert (successor.received, line.take_answers()) == (GET, [200])
    assert line.transport.protocol is successor
    assert (line.lane._held, line.rules.counters.handed_over) == (b"", 1)
    assert [*line.connections._open] == [successor]


def test_lane_that_was_replaced_is_forgotten(line: Line) -> None:
    """The lane's own end does not end the successor's registration, which has the lane's end of life."""
    line.connections.tick(START + 10)
    line.feed(GET)
    (successor,) = line.successors
    assert (successor.life_end, successor.deadline) == (line.lane.life_end, START + 10 + REQUEST_DEADLINE_S)
    line.lane.connection_lost(None)
    line.connections.drain()
    assert line.transport.told == ["made", "data", "retire"]


def test_hand_over_of_a_paused_connection(line: Line) -> None:
    """A successor is told before its first bytes that the client does not read; it is read from again."""
    line.lane.pause_writing()
    line.feed(GET)
    assert line.transport.told == ["pause", "made", "pause writing", "resume", "data"]


def test_hand_over_after_a_pause(line: Line) -> None:
    """A pause that is over is not handed over."""
    line.lane.pause_writing()
    line.lane.resume_writing()
    line.feed(GET)
    assert line.transport.told == ["pause", "resume", "made", "data"]


def test_check_behind_another_message_is_not_the_lanes(line: Line) -> None:
    """What follows the first message that is not the lane's goes with it."""
    line.feed(CHECK + GET + CHECK)
    assert line.successors[0].received == GET + CHECK
    assert line.take_answers() == [200]


def test_last_answer_hands_nothing_over(line: Line) -> None:
    """Behind an answer that ended the connection there is nobody to hand anything to."""
    line.feed(make_check(QUESTION, b"Connection: close") + GET)
    assert line.take_answers() == [200]
    assert line.successors == []


MANY = TURN_BYTES // len(CHECK) + 1


async def pass_turn() -> None:
    """Lets the loop go round, and whatever was due in this turn."""
    for _ in range(3):
        await asyncio.sleep(0)


def test_others_get_their_turn(line: Line) -> None:
    """Of a read with many checks so many are answered before the loop goes on to other connections, all in the end."""

    async def run() -> list[int]:
        line.feed(CHECK * (MANY * 2) + CHECK[:7])
        counts = [len(line.take_answers())]
        assert line.transport.told == ["pause"]
        assert line.lane.find_descriptor() == -1
        line.lane.end_idle()
        while counts[-1]:
            await pass_turn()
            counts.append(len(line.take_answers()))
        return counts

    counts = asyncio.run(run())
    assert (sum(counts), max(counts)) == (MANY * 2, MANY)
    assert line.transport.told == ["pause", "resume"] * 2
    assert line.lane._held == CHECK[:7]
    line.feed(CHECK[7:])
    assert line.take_answers() == [200]


def test_nothing_more_is_answered_to_who_does_not_read(line: Line) -> None:
    """A client that does not read its answers gets no more of them made, and all once it reads."""

    async def run() -> None:
        write = line.transport.write

        def fill(data: bytes | bytearray | memoryview) -> None:
            write(data)
            line.lane.pause_writing()

        line.transport.write = fill
        line.feed(CHECK * 3)
        for _ in range(3):
            await pass_turn()
            assert line.take_answers() == [200]
            await pass_turn()
            assert line.take_answers() == []
            line.lane.resume_writing()

    asyncio.run(run())
    assert (line.lane._held, line.transport.told[-1]) == (b"", "resume")


def test_costly_check_is_shed(line: Line) -> None:
    """A long check is refused where there is no time for it, whatever it says, and the connection goes on."""
    costly = make_check(QUESTION[:-1] + b" " * COSTLY_BYTES + b"}", b"X-Graywave-Interactive: 1")
    line.feed(costly)
    assert line.take_answers() == [200]
    use_up(line.rules)
    line.feed(costly + CHECK)
    assert line.take_answers() == [503, 200]
    assert (line.rules.counters.shed_interactive, line.rules.counters.refused) == (1, 1)
    line.feed(make_check(QUESTION[:-1] + b" " * COSTLY_BYTES + b"}"))
    assert b"Retry-After: " in line.transport.written
    assert (line.rules.counters.shed_background, line.transport.told) == (1, [])


def test_length_of_a_costly_check(line: Line) -> None:
    """So many bytes are cheap, one more is not."""
    use_up(line.rules)
    for length, status in ((COSTLY_BYTES, 200), (COSTLY_BYTES + 1, 503)):
        line.feed(make_check(QUESTION[:-1] + b" " * (length - len(QUESTION)) + b"}"))
        assert line.take_answers() == [status]


def test_report_is_shed_before_anybody_takes_it_over(line: Line) -> None:
    """Where there is no time for reports one is refused at its first line, and costs no more."""
    report = REPORT_START + b" HTTP/1.1\r\nHost: edge\r\n"
    use_up(line.rules)
    line.feed(report)
    assert line.take_answers() == [503]
    assert (line.transport.told, line.successors, line.rules.counters.shed_reports) == (["close"], [], 1)


def test_flood_rests(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection with a request too many is told so, and not served for a while; what came behind it waits."""
    monkeypatch.setattr("edge.lane.REST_S", 0.05)
    line.rules.attend(quota=Quota({WORKSPACE: 1}, {}))

    async def run() -> list[int]:
        line.feed(CHECK * 3)
        answers = line.take_answers()
        assert line.lane._held == CHECK
        await pass_turn()
        assert line.take_answers() == []
        line.rules.now += 1
        await eventually(lambda: line.transport.written)
        return [*answers, *line.take_answers()]

    assert asyncio.run(run()) == [200, 429, 200]
    assert line.transport.told == ["pause", "resume"]


def test_connection_too_many_of_a_workspace_ends(line: Line) -> None:
    """It is told why."""
    quota = Quota({}, {WORKSPACE: 1})
    quota.admit(WORKSPACE, object(), NOW)
    line.rules.attend(quota=quota)
    line.feed(CHECK * 2)
    assert line.take_answers() == [429]
    assert line.transport.told == ["close"]


def use_up(rules: Rules) -> None:
    """Leaves no time for costly work, now and in the next seconds."""
    rules.budget.admits(Purpose.INTERACTIVE, time.monotonic())
    rules.budget.spend(1_000.0)
