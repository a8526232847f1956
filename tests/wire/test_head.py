"""Heads: what is no request of HTTP/1.1, or none of a check, is refused, and the connection ends."""

import pytest

from tests.wire.client import GOOD, QUESTION, Client, ask, make_check
from tests.wire.server import WireServer

LENGTH = b"Content-Length: %d\r\n" % len(QUESTION)
MAX_HEAD = 8_192
CHUNKED = b"Transfer-Encoding: chunked\r\n"
CHUNKS = b"%x\r\n%b\r\n0\r\n\r\n" % (len(QUESTION), QUESTION)


def make_head_of(size: int, fields: int = 1) -> bytes:
    """Returns a check whose head has that many bytes and about that many more fields than usual."""
    small = b"".join(b"A:%d\r\n" % (i % 10) for i in range(fields - 1))
    usual = len(make_check(b"", small, length=LENGTH))
    check = make_check(fields=small + b"X-Pad: " + b"p" * (size - usual - len(b"X-Pad: \r\n")) + b"\r\n")
    assert check.index(b"\r\n\r\n") + 4 == size
    return check


REFUSED = {
    "length and chunked": (make_check(fields=CHUNKED), 400),
    "chunked and length": (make_check(length=CHUNKED + LENGTH), 400),
    "length and an empty encoding": (make_check(fields=b"Transfer-Encoding:\r\n"), 400),
    "empty encoding in odd case and length": (make_check(length=b"tRANSFER-eNCODING: \r\n" + LENGTH), 400),
    "empty encoding alone": (make_check(b"", length=b"Transfer-Encoding:\r\n"), 400),
    "second length, the same": (make_check(fields=LENGTH), 400),
    "second length, another": (make_check(fields=b"content-length: 3\r\n"), 400),
    "length with a plus": (make_check(length=b"Content-Length: +5\r\n"), 400),
    "length with a minus": (make_check(length=b"Content-Length: -5\r\n"), 400),
    "length with a blank within": (make_check(length=b"Content-Length: 1 32\r\n"), 400),
    "length with a tab within": (make_check(length=b"Content-Length: 1\t32\r\n"), 400),
    "length in hex": (make_check(length=b"Content-Length: 0x84\r\n"), 400),
    "length twice in one": (make_check(length=b"Content-Length: 132, 132\r\n"), 400),
    "length with an underscore": (make_check(length=b"Content-Length: 1_32\r\n"), 400),
    "length in digits that are not ASCII": (make_check(length="Content-Length: ١٣\r\n".encode()), 400),
    "length over 64 bits": (make_check(length=b"Content-Length: 99999999999999999999999\r\n"), 400),
    "length that is empty": (make_check(length=b"Content-Length:\r\n"), 400),
    "length of a gigabyte": (make_check(b"", length=b"Content-Length: 1073741824\r\n"), 413),
    "length over 65,536": (make_check(b"", length=b"Content-Length: 65537\r\n"), 413),
    "no length": (make_check(b"", length=b""), 411),
    "no length and a body": (make_check(length=b""), 411),
    "chunked": (make_check(CHUNKS, length=CHUNKED), 411),
    "chunked without its end": (make_check(b"5\r\nhello", length=CHUNKED), 411),
    "encoding that is unknown": (make_check(length=b"Transfer-Encoding: identity\r\n"), 400),
    "encoding that ends in chunked": (make_check(CHUNKS, length=b"Transfer-Encoding: gzip, chunked\r\n"), 411),
    "encoding twice": (make_check(CHUNKS, length=CHUNKED * 2), 400),
    "no host": (make_check(host=b""), 400),
    "no host, but an expectation": (make_check(host=b"", fields=b"Expect: 100-continue\r\n"), 400),
    "two hosts": (make_check(fields=b"Host: other\r\n"), 400),
    "two hosts in different case": (make_check(fields=b"hOST: other\r\n"), 400),
    **{
        f"second {name.decode()}": (make_check(fields=name + b": a\r\nX-A: a\r\n" + name.lower() + b":b\r\n"), 400)
        for name in (b"Content-Location", b"Content-Range", b"ETag", b"Max-Forwards", b"Server", b"User-Agent")
    },
    "handshake of an old WebSocket": (make_check(fields=b"Sec-WebSocket-Key1: a\r\n"), 400),
    "bare LF after the request line": (make_check().replace(b"HTTP/1.1\r\n", b"HTTP/1.1\n"), 400),
    "bare LF after a field": (make_check().replace(b"edge\r\n", b"edge\n"), 400),
    "bare LF at the head's end": (make_check().replace(b"\r\n\r\n", b"\r\n\n"), 400),
    "bare LF before the head's end": (make_check().replace(b"\r\n\r\n", b"\n\r\n"), 400),
    "bare LF everywhere": (make_check().replace(b"\r\n", b"\n"), 400),
    "bare CR within a field": (make_check(fields=b"X-A: a\rb\r\n"), 400),
    "bare CR that hides a field": (make_check(fields=b"X-A: a\rTransfer-Encoding: chunked\r\n"), 400),
    "folded field": (make_check(fields=b"X-A: a\r\n b\r\n"), 400),
    "folded field with a tab": (make_check(fields=b"X-A: a\r\n\tb\r\n"), 400),
    "folded type": (make_check(content_type=b"Content-Type:\r\n application/json\r\n"), 400),
    "blank before a colon": (make_check(fields=b"X-A : a\r\n"), 400),
    "blank before the length's colon": (make_check(length=LENGTH.replace(b":", b" :")), 400),
    "field without a colon": (make_check(fields=b"X-A\r\n"), 400),
    "field without a name": (make_check(fields=b": a\r\n"), 400),
    "null byte in a value": (make_check(fields=b"X-A: a\0b\r\n"), 400),
    "null byte in a name": (make_check(fields=b"X\0A: ab\r\n"), 400),
    "null byte in the target": (make_check(line=b"POST /v1/check\0 HTTP/1.1"), 400),
    "high byte in the target": (b"GET /\xff\xfe HTTP/1.1\r\nHost: edge\r\n\r\n", 400),
    "null bytes before the request": (b"\0\0\0\0" + make_check(), 400),
    "control byte in a value": (make_check(fields=b"X-A: \x01\r\n"), 400),
    "high byte in a name": (make_check(fields=b"X-\xe9: a\r\n"), 400),
    "HTTP/2.0": (make_check(line=b"POST /v1/check HTTP/2.0"), 400),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "HTTP/0.9 with a version": (make_check(line=b"POST /v1/check HTTP/0.9"), 400),
    "HTTP/0.9 without one": (b"GET /v1/check\r\n\r\n", 400),
    "HTTP/1.2": (make_check(line=b"POST /v1/check HTTP/1.2"), 400),
    "HTTP/1.10": (make_check(line=b"POST /v1/check HTTP/1.10"), 400),
    "http/1.1 in small letters": (make_check(line=b"POST /v1/check http/1.1"), 400),
    "method in small letters": (make_check(line=b"post /v1/check HTTP/1.1"), 400),
    "method that is unknown": (make_check(line=b"CHECK /v1/check HTTP/1.1"), 400),
    "method that is very long": (make_check(line=b"P" * 7_000 + b" /v1/check HTTP/1.1"), 400),
    "method longer than a head": (make_check(line=b"P" * 9_000 + b" /v1/check HTTP/1.1"), 400),
    "blank after the version": (make_check(line=b"POST /v1/check HTTP/1.1 "), 400),
    "tab in the request line": (make_check(line=b"POST\t/v1/check HTTP/1.1"), 400),
    "blank before the request": (b" " + make_check(), 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "head of 8,193 bytes": (make_head_of(MAX_HEAD + 1), 400),
    "head of 70,000 bytes": (make_head_of(70_000), 400),
    "head of 8,193 bytes in many fields": (make_head_of(MAX_HEAD + 1, 1_000), 400),
    "head of blanks": (make_check(fields=b"X-A:" + b" " * MAX_HEAD + b"a\r\n"), 400),
    "head without an end": (make_check(b"", b"X-A: " + b"a" * 20_000)[:-4], 400),
    "head without an end in many fields": (make_check(b"", b"X-A: a\r\n" * 2_000)[:-2], 400),
    "GET with a head without an end": (b"GET /v1/root/3 HTTP/1.1\r\nHost: edge\r\n" + b"X-A: a\r\n" * 2_000, 400),
    "target longer than a head": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: edge\r\n\r\n", 400),
}
CODES = {400: "malformed_request", 411: "length_required", 413: "too_large"}

ANSWERED = {
    "as usual": make_check(),
    "HTTP/1.0": make_check(line=b"POST /v1/check HTTP/1.0"),
    "HTTP/1.0 without a host": make_check(line=b"POST /v1/check HTTP/1.0", host=b""),
    "empty host": make_check(host=b"Host:\r\n"),
    "fields in other case": make_check(host=b"HOST: e\r\n", length=LENGTH.upper()),
    "no blank after a colon": make_check(length=LENGTH.replace(b" ", b"")),
    "blanks and tabs around a length": make_check(length=b"Content-Length: \t %d \t\r\n" % len(QUESTION)),
    "blanks around a type": make_check(content_type=b"Content-Type: \t application/json \t\r\n"),
    "leading zeros": make_check(length=b"Content-Length: 000000%d\r\n" % len(QUESTION)),
    "high byte in a value": make_check(fields=b"X-A: \xe9\xff\r\n"),
    "head of 8,192 bytes": make_head_of(MAX_HEAD),
    "head of 8,192 bytes in many fields": make_head_of(MAX_HEAD, 1_000),
    "empty lines before the request": b"\r\n\r\n" + make_check(),
    "two blanks in the request line": make_check(line=b"POST  /v1/check HTTP/1.1"),
    "proxy's connection field": make_check(fields=b"Proxy-Connection: keep-alive\r\n"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refuses(server: WireServer, name: str) -> None:
    """The documented code; the next message is not looked for behind what cannot be trusted."""
    sent, status = REFUSED[name]
    with Client(server) as client:
        client.send(sent)
        answer = client.read()
        client.end()
        assert client.read_all() == []
    assert answer is not None
    assert (answer.status, answer.type, answer.code) == (status, "application/json", CODES[status])


@pytest.mark.parametrize("name", REFUSED)
def test_refuses_in_the_same_words(both: dict[str, WireServer], name: str) -> None:
    """Status, type and body are the same with the lane and without."""
    sent, _ = REFUSED[name]
    assert ask(both["lane"], sent) == ask(both["plain"], sent)


@pytest.mark.parametrize("name", REFUSED)
def test_answers_what_stood_before(server: WireServer, name: str) -> None:
    """A good check in the same packet before it is answered all the same."""
    sent, status = REFUSED[name]
    answers = ask(server, make_check() + sent)
    assert (answers[0], answers[1].status) == (GOOD, status)


@pytest.mark.parametrize("name", ANSWERED)
def test_answers(server: WireServer, name: str) -> None:
    """What HTTP allows is answered, however unusual."""
    assert ask(server, ANSWERED[name]) == [GOOD]


@pytest.mark.parametrize("name", ANSWERED)
def test_answers_twice(server: WireServer, name: str) -> None:
    """A head that was seen before is judged as the first time, on another connection, too."""
    assert [ask(server, ANSWERED[name]) for _ in range(3)] == [[GOOD]] * 3


def test_refuses_a_third_host(server: WireServer) -> None:
    """Two hosts too many are as bad as one."""
    (answer,) = ask(server, make_check(fields=b"Host: b\r\nHost: c\r\n"))
    assert (answer.status, answer.code) == (400, "malformed_request")


def test_refuses_a_second_type(server: WireServer) -> None:
    """Which of the two would count, nobody knows."""
    (answer,) = ask(server, make_check(fields=b"Content-Type: application/json\r\n"))
    assert (answer.status, answer.code) == (400, "malformed_request")


def test_ends_the_connection_without_an_answer_to_a_cut_off_request(server: WireServer) -> None:
    """A client that ends within its request has nobody waiting for an answer."""
    check = make_check()
    assert [ask(server, check[:size]) for size in (0, 5, 24, 60, len(check) - 1)] == [[]] * 5


@pytest.mark.parametrize("last", [b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n"])
def test_a_request_in_chunks_is_the_last_one(server: WireServer, last: bytes) -> None:
    """Where it ends need not be known, then, and nothing that it hides can be taken for a request."""
    chunked = b"POST /nowhere HTTP/1.1\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n" + last
    (answer,) = ask(server, chunked + b"GET /nowhere HTTP/1.1\r\nHost: edge\r\n\r\n")
    assert answer.code == "not_found"
