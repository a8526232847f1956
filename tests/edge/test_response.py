"""Tests of edge/response.py: every byte of a response, and how many are remembered."""

import pytest

from edge.errors import STATUSES, FloodError, RefusedError
from edge.ofrep import Reply
from edge.response import MAX_REMEMBERED, MAX_REMEMBERED_BODY, Writer

NOW = 1_800_000_000
DATE = b"Fri, 15 Jan 2027 08:00:00 GMT"
NEXT_DATE = b"Fri, 15 Jan 2027 08:00:01 GMT"
BODY = b'{"updates":[]}'


@pytest.fixture
def writer() -> Writer:
    """A writer at a known second."""
    writer = Writer()
    writer.tick(NOW)
    return writer


def make_ok(body: bytes = BODY, date: bytes = DATE, close: bytes = b"") -> bytes:
    """The response with an answer, as a client gets it."""
    return (
        b"HTTP/1.1 200 OK\r\nDate: %b\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n%b\r\n%b" % (date, len(body), close, body)
    )  # fmt: skip


@pytest.mark.parametrize("body", [BODY, b"", b"x" * MAX_REMEMBERED_BODY, b"x" * 100_000])
def test_answer(writer: Writer, body: bytes) -> None:
    """An answer has its length and type, and the same bytes when it is written again."""
    assert [writer.write_ok(body, keeps_alive=True) for _ in range(2)] == [make_ok(body)] * 2


@pytest.mark.parametrize("body", [BODY, b"", b"x" * 100_000])
def test_last_answer(writer: Writer, body: bytes) -> None:
    """The last answer says that it is; the same body before and behind it does not."""
    before = writer.write_ok(body, keeps_alive=True)
    assert writer.write_ok(body, keeps_alive=False) == make_ok(body, close=b"Connection: close\r\n")
    assert writer.write_ok(body, keeps_alive=True) == before == make_ok(body)


def test_answers_are_told_apart(writer: Writer) -> None:
    """Two bodies of one length are two answers."""
    assert writer.write_ok(b"[1]", keeps_alive=True) == make_ok(b"[1]")
    assert writer.write_ok(b"[2]", keeps_alive=True) == make_ok(b"[2]")


def test_date_follows_the_tick(writer: Writer) -> None:
    """Each second has its Date, also where the answer was remembered in the one before."""
    error = RefusedError("bad_field", "no")
    writer.write_ok(BODY, keeps_alive=True)
    writer.tick(NOW + 1)
    assert writer.write_ok(BODY, keeps_alive=True) == make_ok(date=NEXT_DATE)
    assert writer.write_ok(BODY, keeps_alive=False) == make_ok(date=NEXT_DATE, close=b"Connection: close\r\n")
    assert b"\r\nDate: " + NEXT_DATE + b"\r\n" in writer.write_refusal(error, keeps_alive=True)


def test_before_the_first_tick() -> None:
    """A writer that nobody has told the time writes whole responses nevertheless."""
    assert Writer().write_ok(BODY, keeps_alive=True) == make_ok(date=b"Thu, 01 Jan 1970 00:00:00 GMT")


def test_refusal(writer: Writer) -> None:
    """A refusal has its code's status and body; the connection goes on."""
    assert writer.write_refusal(RefusedError("unknown_workspace", "no 'a'"), keeps_alive=True) == (
        b"HTTP/1.1 404 Not Found\r\nDate: %b\r\nContent-Type: application/json\r\nContent-Length: 57\r\n\r\n"
        b'{"error":{"code":"unknown_workspace","message":"no \'a\'"}}' % DATE
    )


def test_last_refusal(writer: Writer) -> None:
    """A refusal behind which nothing can be trusted says that the connection ends."""
    assert writer.write_refusal(RefusedError("malformed_request", "no", closes=True), keeps_alive=False) == (
        b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nDate: %b\r\nContent-Type: application/json\r\n"
        b'Content-Length: 53\r\n\r\n{"error":{"code":"malformed_request","message":"no"}}' % DATE
    )


@pytest.mark.parametrize("keeps_alive", [True, False])
@pytest.mark.parametrize("code", STATUSES)
def test_when_to_come_again(writer: Writer, code: str, *, keeps_alive: bool) -> None:
    """A refusal that is the edge's own state says when to ask again, and no other does."""
    error = RefusedError(code, "no")
    head, _, body = writer.write_refusal(error, keeps_alive).partition(b"\r\n\r\n")
    line, *fields = head.split(b"\r\n")
    assert line.startswith(b"HTTP/1.1 %d " % error.status)
    assert (b"Retry-After: 5" in fields) == (error.status == 503)
    assert (b"Connection: close" in fields) != keeps_alive
    assert (b"Content-Length: %d" % len(body) in fields, body) == (True, error.body)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (RefusedError("overloaded", "no", retry_after_s=17), b"Retry-After: 17"),
        (FloodError("overloaded", "no"), b"Retry-After: 5"),
    ],
)
def test_refusal_says_its_own_time(writer: Writer, error: RefusedError, line: bytes) -> None:
    """A time of its own goes before the usual one, and a flood is told one, too; a reply has the same."""
    assert line in writer.write_refusal(error, keeps_alive=True).split(b"\r\n")
    reply = Reply(error.status, b"{}", retry_after_s=error.retry_after_s)
    assert line in writer.write_reply(reply, keeps_alive=True).split(b"\r\n")


def test_memory_is_bounded_by_number(writer: Writer) -> None:
    """One answer more than the bound begins the memory anew; what is written does not change."""
    for number in range(MAX_REMEMBERED):
        writer.write_ok(b"%d" % number, keeps_alive=True)
    assert len(writer._ok) == MAX_REMEMBERED
    writer.write_ok(b"0", keeps_alive=True)
    assert len(writer._ok) == MAX_REMEMBERED  # that one was remembered
    assert writer.write_ok(b"more", keeps_alive=True) == make_ok(b"more")
    assert writer.write_ok(b"0", keeps_alive=True) == make_ok(b"0")
    assert list(writer._ok) == [b"more", b"0"]


def test_memory_is_bounded_by_length(writer: Writer) -> None:
    """A longer body is not remembered, nor is a last answer or a refusal."""
    writer.write_ok(b"x" * MAX_REMEMBERED_BODY, keeps_alive=True)
    writer.write_ok(b"x" * (MAX_REMEMBERED_BODY + 1), keeps_alive=True)
    writer.write_ok(BODY, keeps_alive=False)
    writer.write_refusal(RefusedError("bad_field", "no"), keeps_alive=True)
    assert list(writer._ok) == [b"x" * MAX_REMEMBERED_BODY]


def test_memory_is_of_one_second(writer: Writer) -> None:
    """A tick forgets what was remembered."""
    first = writer.write_ok(BODY, keeps_alive=True)
    assert writer.write_ok(BODY, keeps_alive=True) is first
    writer.tick(NOW + 1)
    assert not writer._ok
