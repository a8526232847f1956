"""Tests of edge/frame.py: bytes in, pieces of one message at a time out."""

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.body import MAX_BODY_BYTES
from edge.errors import RefusedError
from edge.exchange import MAX_HEAD_BYTES
from edge.frame import Frame, find_head_end

GET = b"GET /v1/root/3 HTTP/1.1\r\nHost: edge\r\n\r\n"
POST = b"POST /v1/report HTTP/1.1\r\nHost: edge\r\nContent-Length: 11\r\n\r\n"
BODY = b"hello\n\r\n\r\nx"
CHUNKED = b"POST /v1/report HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n"
CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
PIPELINE = [GET, POST, BODY, GET, POST, BODY]


def cut_all(frame: Frame) -> list[bytes]:
    """The pieces that can be cut now."""
    return list(iter(frame.cut, b""))


def feed(frame: Frame, *parts: bytes) -> list[bytes]:
    """The pieces that come out while parts come in."""
    pieces = []
    for part in parts:
        frame.add(part)
        pieces += cut_all(frame)
    return pieces


def make_post(length: bytes) -> bytes:
    """A head with a Content-Length that is written so."""
    return b"POST / HTTP/1.1\r\nHost: edge\r\n%b\r\n\r\n" % length


def make_head(size: int) -> bytes:
    """A head of that many bytes."""
    head = b"GET / HTTP/1.1\r\nHost: edge\r\nX-Pad: %b\r\n\r\n"
    return head % (b"p" * (size - len(head % b"")))


def refuse(data: bytes) -> RefusedError:
    """The refusal of what can become no head."""
    frame = Frame()
    frame.add(data)
    with pytest.raises(RefusedError) as caught:
        frame.cut()
    return caught.value


def test_nothing_has_come() -> None:
    """A new frame is empty and has nothing to cut."""
    frame = Frame()
    assert (frame.is_empty, frame.cut()) == (True, b"")


def test_pieces_of_a_pipeline() -> None:
    """Each head is a piece of its own, and each body; a blank line within a body ends nothing."""
    frame = Frame()
    assert feed(frame, b"".join(PIPELINE)) == PIPELINE
    assert frame.is_empty


@pytest.mark.parametrize("at", range(len(b"".join(PIPELINE)) + 1))
def test_split_once(at: int) -> None:
    """Wherever the network cuts, a head comes out whole, and a body as it comes."""
    sent, frame = b"".join(PIPELINE), Frame()
    early, late = feed(frame, sent[:at]), feed(frame, sent[at:])
    assert b"".join(early + late) == sent
    assert [piece for piece in early + late if piece.endswith(b"edge\r\n\r\n")] == [GET, GET]
    assert [piece for piece in early + late if b"Content-Length" in piece] == [POST, POST]
    assert len(b"".join(early)) <= at
    assert frame.is_empty


def test_single_bytes() -> None:
    """A head comes out with its last byte, a body byte by byte."""
    frame, sent = Frame(), POST + BODY + GET
    pieces = feed(frame, *(sent[at : at + 1] for at in range(len(sent))))
    assert pieces == [POST, *(bytes([byte]) for byte in BODY), GET]


def test_empty_only_between_messages() -> None:
    """A message has begun with its first byte and has ended with its last."""
    frame, sent = Frame(), POST + BODY
    for at in range(len(sent)):
        assert frame.is_empty == (at == 0)
        feed(frame, sent[at : at + 1])
    assert frame.is_empty


def test_head_waits_behind_a_body_that_is_not_cut() -> None:
    """What is whole is held until it is asked for, one piece a call."""
    frame = Frame()
    frame.add(POST + BODY + GET)
    assert [frame.cut() for _ in range(4)] == [POST, BODY, GET, b""]


def test_empty_lines_before_a_message() -> None:
    """Empty lines are a piece, for the parser to skip."""
    assert feed(Frame(), b"\r\n\r\n" + GET) == [b"\r\n\r\n", GET]


@pytest.mark.parametrize(
    "length",
    [
        b"Content-Length: 5",
        b"CONTENT-LENGTH:5",
        b"content-length: \t5 \t",
        b"Content-Length: 0005",
        b"Content-Length: 00000000000000000000000005",
    ],
)
def test_ways_to_write_a_length(length: bytes) -> None:
    """A length is found however the parser lets it be written."""
    assert feed(Frame(), make_post(length) + b"hello" + GET) == [make_post(length), b"hello", GET]


@pytest.mark.parametrize(
    "length", [b"X-Content-Length: 5", b"X-A: content-length: 5", b"X-A: transfer-encoding: x", b"Content-Length: 0"]
)
def test_no_body(length: bytes) -> None:
    """Where no length is said, or none, the next message begins behind the head."""
    assert feed(Frame(), make_post(length) + GET + GET) == [make_post(length), GET, GET]


@pytest.mark.parametrize("length", [2**64 - 1, 10**19, 10**18])
def test_long_length(length: int) -> None:
    """The longest lengths that the parser can count with are lengths, too."""
    frame, head = Frame(), make_post(b"Content-Length: %d" % length)
    assert feed(frame, head + GET, GET) == [head, GET, GET]
    assert not frame.is_empty


@settings(max_examples=300)
@given(st.text("0123456789 \t+-,x", max_size=30))
def test_length_is_the_parsers(text: str) -> None:
    """A head that the parser accepts has the length that the parser finds."""
    head, frame = make_post(b"Content-Length:" + text.encode()), Frame()
    ends: list[bool] = []
    parser = httptools.HttpRequestParser(type("Ends", (), {"on_message_complete": lambda _: ends.append(True)})())
    try:
        parser.feed_data(head)
    except httptools.HttpParserError:
        return  # nothing behind it is looked at
    frame.add(head)
    assert frame.cut() == head
    assert frame._body == int(text)
    assert ends == [True] * frame.is_empty


def test_message_in_chunks_is_the_last() -> None:
    """Behind a Transfer-Encoding everything is one body: where it ends, only the parser knows."""
    frame = Frame()
    assert feed(frame, CHUNKED + CHUNKS + GET, GET) == [CHUNKED, CHUNKS + GET, GET]
    assert not frame.is_empty


@pytest.mark.parametrize(
    "fields",
    [
        b"Transfer-Encoding: gzip, chunked",
        b"transfer-ENCODING:x",
        b"Content-Length: 3\r\nTransfer-Encoding: chunked",
        b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    ],
)
def test_encoding_decides(fields: bytes) -> None:
    """Whatever encoding it is, and whatever length stands beside it, the message is the last."""
    assert feed(Frame(), make_post(fields) + CHUNKS + GET) == [make_post(fields), CHUNKS + GET]


def test_budget_behind_an_encoding() -> None:
    """So many bytes pass behind a Transfer-Encoding; the rest is thrown away, and nothing of it is held."""
    frame = Frame()
    part = b"x" * 1_000
    assert sum(map(len, feed(frame, CHUNKED, *[part] * 65))) == len(CHUNKED) + 65_000
    assert feed(frame, part, part, GET) == [b"x" * (MAX_BODY_BYTES - 65_000)]
    assert frame.is_empty
    assert feed(frame, GET, POST) == []
    assert frame._held == b""


def test_budget_is_not_spent_by_a_message_before() -> None:
    """A message with a length leaves the next one its whole budget."""
    frame = Frame()
    pieces = feed(frame, POST + BODY + CHUNKED + b"x" * (MAX_BODY_BYTES + 1))
    assert pieces == [POST, BODY, CHUNKED, b"x" * MAX_BODY_BYTES]


def test_longest_head() -> None:
    """A head may have so many bytes, the blank line among them, and not one more, whether it has ended or not."""
    head, message = make_head(MAX_HEAD_BYTES), "expected a head of at most 8192 bytes, got more"
    assert feed(Frame(), head[:-1], head[-1:]) == [head]
    for data in (make_head(MAX_HEAD_BYTES + 1), make_head(MAX_HEAD_BYTES + 1)[:MAX_HEAD_BYTES], b"x" * 70_000):
        error = refuse(data)
        assert (error.code, error.message, error.closes) == ("malformed_request", message, True)


def test_head_behind_another_has_the_whole_length() -> None:
    """The limit is that of one head, wherever it stands in what was read."""
    head = make_head(MAX_HEAD_BYTES)
    assert feed(Frame(), head * 3) == [head] * 3


@pytest.mark.parametrize("data", [b"\n", b"GET / HTTP/1.1\n", GET[:-2] + b"\n", GET[:-4] + b"\nX-A: a\r\n"])
def test_line_that_ends_with_lf_alone(data: bytes) -> None:
    """A line that ends with LF alone is refused at once: nothing that may still come mends it."""
    error = refuse(data)
    message = "expected each line to end with CR and LF, got one with LF alone"
    assert (error.code, error.message, error.closes) == ("malformed_request", message, True)


def test_whole_head_with_lf_alone_is_the_parsers() -> None:
    """A head that has ended is a piece, whatever is wrong with it."""
    head = GET.replace(b"1.1\r\n", b"1.1\n")
    assert feed(Frame(), head) == [head]


def test_message_before_a_refused_one_comes_out() -> None:
    """What stood before a malformed head in the same read is not lost with it."""
    frame = Frame()
    frame.add(GET + b"GET /\n")
    assert frame.cut() == GET
    with pytest.raises(RefusedError):
        frame.cut()


@pytest.mark.parametrize("size", range(len(GET)))
def test_head_that_has_not_ended(size: int) -> None:
    """The beginning of a head has no end yet, a CR as the last byte included."""
    assert find_head_end(GET[:size]) == 0


def test_head_that_has_ended() -> None:
    """A head ends behind its blank line, whatever follows."""
    assert find_head_end(GET) == find_head_end(GET + GET) == find_head_end(GET + b"\n") == len(GET)
