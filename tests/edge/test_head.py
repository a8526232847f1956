"""Tests of edge/head.py: what a head says, and that a remembered verdict is the one that would be found anew."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import edge.head
from edge.errors import RefusedError
from edge.frame import BLANK_LINE
from edge.head import HeadReader, find_fields, read_head

REQUEST_LINE = b"POST /v1/check HTTP/1.1\r\n"
HOST = b"Host: edge"
TYPE = b"Content-Type: application/json"
LENGTH = b"Content-Length: 3"
BODY = b"abc"
PIPELINED = -1

Verdict = tuple[int, bool, bool, int] | tuple[str, str]


def make_head(*more: bytes, host: bytes = HOST, content_type: bytes = TYPE, length: bytes = LENGTH) -> bytes:
    """A check's head as the lane cuts it: without the LF of its last line and the blank line."""
    lines = [line for line in (host, content_type, length, *more) if line]
    return REQUEST_LINE + b"\r\n".join(lines) + b"\r"


def judge(reader: HeadReader, head: bytes, body: bytes = BODY) -> Verdict:
    """What a reader says of a head that begins what was read."""
    try:
        return reader.read(head + BLANK_LINE + body, head, len(body))
    except RefusedError as error:
        return error.code, error.message


def judge_anew(head: bytes) -> Verdict:
    """What is said of a head by itself."""
    try:
        return read_head(head + BLANK_LINE)
    except RefusedError as error:
        return error.code, error.message


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The heads that were judged in full, in their order."""
    heads: list[bytes] = []

    def note(data: bytes) -> tuple[int, bool, bool, int]:
        heads.append(data.removesuffix(BLANK_LINE))
        return read_head(data)

    monkeypatch.setattr(edge.head, "read_head", note)
    return heads


# What most clients write.
USUAL = {
    "as few fields as there may be": make_head(),
    "keep-alive": make_head(b"Connection: keep-alive"),
    "keep-alive without a blank": make_head(b"connection:Keep-Alive"),
    "keep-alive twice": make_head(b"Connection: keep-alive", b"Connection: keep-alive"),
    "charset": make_head(content_type=TYPE + b"; charset=UTF-8"),
    "charset without a blank": make_head(content_type=b"content-type:application/JSON;charset=utf-8"),
    "other case": make_head(host=b"HOST:edge", length=b"CONTENT-LENGTH:3"),
    "leading zeros": make_head(length=b"Content-Length: 00003"),
    "empty host": make_head(host=b"Host:"),
    "other order": REQUEST_LINE + b"\r\n".join([LENGTH, TYPE, HOST]) + b"\r",
    "field called like Prefer": make_head(b"Preferred: wait=5"),
    "fields that decide nothing": make_head(b"User-Agent: okhttp/4.12", b"Accept: */*", b"X-A: \xe9"),
}
# What goes on too, but is looked at each time.
DOUBTFUL = {
    "keep-alive to a proxy": make_head(b"Proxy-Connection: keep-alive"),
    "many lines that say the same": make_head(*[b"Connection: keep-alive"] * 8),
    "parameter of the type": make_head(content_type=TYPE + b"; v=1"),
    "trailing blank of the type": make_head(content_type=TYPE + b" \t"),
    "tab before the type": make_head(content_type=b"Content-Type:\tapplication/json"),
    "trailing blank of the length": make_head(length=LENGTH + b" "),
    "tab before the length": make_head(length=b"Content-Length:\t3"),
    "length in six digits": make_head(length=b"Content-Length: 000003"),
    "trailing blank of keep-alive": make_head(b"Connection: keep-alive "),
    "unknown connection option": make_head(b"Connection: keep-alive, x"),
    "offer of another protocol": make_head(b"Connection: Upgrade", b"Upgrade: h2c"),
    "field called like one that decides": make_head(b"Content-Language: de"),
    "field called like Transfer-Encoding": make_head(b"Transfer-Encodings: x"),
    "field called like Expect": make_head(b"Expectation: x"),
    "empty expectation": make_head(b"Expect:"),
    "other preference": make_head(b"Prefer: respond-async"),
    "wait of no seconds": make_head(b"Prefer: wait=x"),
}
# What is told the lane with the length: not keeping alive, expecting 100.
TOLD = {
    "close to a proxy": (make_head(b"Proxy-Connection: close"), (3, False, False, 0)),
    "close": (make_head(b"Connection: close"), (3, False, False, 0)),
    "close in other case": (make_head(b"CONNECTION:Close"), (3, False, False, 0)),
    "close and keep-alive": (make_head(b"Connection: close", b"Connection: keep-alive"), (3, False, False, 0)),
    "close in a list": (make_head(b"Connection: keep-alive, close"), (3, False, False, 0)),
    "expectation": (make_head(b"Expect: 100-continue"), (3, True, True, 0)),
    "expectation in other case": (make_head(b"expect:100-Continue \t"), (3, True, True, 0)),
    "expectation twice": (make_head(b"Expect: 100-continue", b"Expect: 100-continue"), (3, True, True, 0)),
    "close and an expectation": (make_head(b"Connection: close", b"Expect: 100-continue"), (3, False, True, 0)),
}
# Heads of clients that would wait, and for how long; those of the first kind are usual.
WAITING = {
    "wait": (make_head(b"Prefer: wait=30"), 30),
    "wait without a blank, in other case": (make_head(b"PREFER:Wait=30"), 30),
    "no wait": (make_head(b"Prefer: wait=0"), 0),
    "longest wait": (make_head(b"Prefer: wait=9999"), 50),
    "several": (make_head(b"Prefer: wait=7", b"Prefer: wait=30"), 7),
}
WAITING_SELDOM = {
    "wait among others": (make_head(b"Prefer: respond-async, wait=30"), 30),
    "wait in another field": (make_head(b"Prefer: handling=lenient", b"Prefer: wait=30"), 30),
    "quoted wait": (make_head(b'Prefer: wait="30"'), 30),
    "longer than any": (make_head(b"Prefer: wait=99999"), 50),
}
# Other fields that a head has once at most.
ONCE = [b"Content-Location", b"Content-Range", b"ETag", b"Max-Forwards", b"Server", b"User-Agent"]
# Malformed, though each line that decides is a usual one.
MALFORMED = {
    "bare LF": (make_head(b"X-A: a\nX-B: b"), "Missing expected CR after header value"),
    "bare CR": (make_head(b"X-A: a\rX-B: b"), "Missing expected LF after header value"),
    "bare CR that hides a field": (
        make_head(b"X-A: a\rTransfer-Encoding: chunked"),
        "Missing expected LF after header value",
    ),
    "folded field": (make_head(b"X-A: a", b" b"), "Unexpected whitespace after header value"),
    "blank before a colon": (make_head(b"Expect : 100-continue"), "Invalid header token"),
    "folded field that is called like one that decides": (
        make_head(b"X-A: a", b" Transfer-Encoding: chunked"),
        "Unexpected whitespace after header value",
    ),
    "null byte": (make_head(b"X-A: \0"), "Invalid header value char"),
    "null byte in a name": (make_head(b"X\0: a"), "Invalid header token"),
    "field without a colon": (make_head(b"X-A"), "Invalid header token"),
    "field without a name": (make_head(b": a"), "Invalid header token"),
}


@pytest.mark.parametrize("name", [*USUAL, *DOUBTFUL])
def test_head_that_goes_on(name: str) -> None:
    """A head of a check says how long its body is, and no more where the connection goes on as usual."""
    assert judge_anew({**USUAL, **DOUBTFUL}[name]) == (3, True, False, 0)


@pytest.mark.parametrize("name", TOLD)
def test_head_that_tells_more(name: str) -> None:
    """A head says where the connection ends and where its client waits to be asked for the body."""
    head, verdict = TOLD[name]
    assert judge_anew(head) == verdict


@pytest.mark.parametrize("name", [*WAITING, *WAITING_SELDOM])
def test_head_of_a_client_that_would_wait(judged: list[bytes], name: str) -> None:
    """How long a client would wait is remembered with the other lines where it is written as most would write it."""
    head, wait_s = {**WAITING, **WAITING_SELDOM}[name]
    reader = HeadReader()
    assert [judge(reader, each) for each in (head, make_head(), head)] == [
        (3, True, False, wait_s), (3, True, False, 0), (3, True, False, wait_s),
    ]  # fmt: skip
    assert judged == ([head, make_head()] if name in WAITING else [head, make_head(), head])


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_head(name: str) -> None:
    """What httptools refuses is refused with its reason, and the connection ends."""
    head, reason = MALFORMED[name]
    with pytest.raises(RefusedError) as caught:
        read_head(head + BLANK_LINE)
    assert (caught.value.code, caught.value.closes) == ("malformed_request", True)
    assert caught.value.message == f"expected a request of HTTP/1.1 ({reason})"


@pytest.mark.parametrize(
    ("head", "code", "message"),
    [
        (make_head(b"Host: b"), "malformed_request", "expected one Host field, got more"),
        (make_head(b"hOST:"), "malformed_request", "expected one Host field, got more"),
        (make_head(TYPE), "malformed_request", "expected one Content-Type field, got more"),
        (make_head(*[b"User-Agent: a"] * 2), "malformed_request", "expected one User-Agent field, got more"),
        (make_head(b"ETag:", b"eTAG:"), "malformed_request", "expected one Etag field, got more"),
        (
            make_head(b"sec-websocket-key1: a"),
            "malformed_request",
            "expected a request of HTTP/1.1 (Invalid HTTP header: 'Sec-WebSocket-Key1')",
        ),
        (make_head(LENGTH), "malformed_request", "expected a request of HTTP/1.1 (Duplicate Content-Length)"),
        (make_head(host=b""), "malformed_request", "expected one Host field, got none"),
        (make_head(host=b"X-Host: a"), "malformed_request", "expected one Host field, got none"),
        (make_head(length=b""), "length_required", "expected a Content-Length and no Transfer-Encoding"),
        (
            make_head(length=b"Transfer-Encoding: chunked"),
            "length_required",
            "expected a Content-Length and no Transfer-Encoding",
        ),
        (
            make_head(length=b"Content-Length: 65537"),
            "too_large",
            "expected a body of at most 65536 bytes, got 65537",
        ),
        (
            make_head(content_type=b"Content-Type: text/plain "),
            "unsupported_media_type",
            "expected Content-Type application/json, got 'text/plain'",
        ),
        (make_head(b"Expect: 200-ok"), "expectation_failed", "expected no Expect but 100-continue"),
    ],
)
def test_head_that_is_none_of_a_check(head: bytes, code: str, message: str) -> None:
    """A head of HTTP/1.1 that is none of a check is refused in the contract's words; so is each double."""
    with pytest.raises(RefusedError) as caught:
        read_head(head + BLANK_LINE)
    assert (caught.value.code, caught.value.message, caught.value.closes) == (code, message, True)


@pytest.mark.parametrize("name", USUAL)
def test_usual_head_is_judged_once(judged: list[bytes], name: str) -> None:
    """A usual head is judged in full the first time alone."""
    reader = HeadReader()
    assert [judge(reader, USUAL[name]) for _ in range(3)] == [(3, True, False, 0)] * 3
    assert judged == [USUAL[name]]


def test_verdict_is_that_of_the_lines(judged: list[bytes]) -> None:
    """Another host, and other fields that decide nothing, are the same usual head; another length is not."""
    reader = HeadReader()
    one, other = make_head(b"X-A: 1"), make_head(b"X-B: 2", b"Cookie: c", host=b"Host: other:8080")
    longer = make_head(length=b"Content-Length: 4")
    assert judge(reader, one) == judge(reader, other) == (3, True, False, 0)
    assert judge(reader, longer, b"abcd") == (4, True, False, 0)
    assert judged == [one, longer]


@pytest.mark.parametrize("head", [*DOUBTFUL.values(), *(head for head, _ in TOLD.values())])
def test_doubtful_head_is_never_remembered(judged: list[bytes], head: bytes) -> None:
    """What says not enough, or more than a length, is judged in full each time, also among usual heads."""
    reader = HeadReader()
    judge(reader, make_head())
    verdict = judge_anew(head)
    assert [judge(reader, head) for _ in range(2)] == [verdict] * 2
    assert judge(reader, make_head()) == (3, True, False, 0)
    assert judged == [make_head(), head, head]


@pytest.mark.parametrize(
    "head",
    [
        make_head(b"Host: b"),
        make_head(TYPE),
        make_head(LENGTH),
        make_head(host=b""),
        *(make_head(*[name + b": a"] * 2) for name in ONCE),
        make_head(b"Sec-WebSocket-Key1: a"),
    ],
)
def test_refusal_is_not_remembered(judged: list[bytes], head: bytes) -> None:
    """A head that is refused is so each time, by the one judge."""
    reader = HeadReader()
    judge(reader, make_head())
    first = judge(reader, head)
    assert len(first) == 2
    assert judge(reader, head) == first
    assert judged == [make_head(), head, head]


@pytest.mark.parametrize("name", MALFORMED)
def test_remembered_lines_do_not_excuse_a_malformed_head(judged: list[bytes], name: str) -> None:
    """Lines that are remembered stand in a malformed head: refused all the same, and the next usual head is not."""
    reader, head = HeadReader(), MALFORMED[name][0]
    judge(reader, make_head())
    assert judge(reader, head) == judge_anew(head)
    assert judge(reader, make_head()) == (3, True, False, 0)
    assert judged == [make_head(), head]  # the parser that saw it is not used again


@pytest.mark.parametrize("behind", [b"", b"ab", b"abcP", BODY + make_head() + BLANK_LINE + BODY])
def test_message_that_is_not_alone_is_judged_in_full(judged: list[bytes], behind: bytes) -> None:
    """A remembered verdict is for a message that is all of what was read, so that one pass sees its end."""
    reader, head = HeadReader(), make_head()
    judge(reader, head)
    assert judge(reader, head, behind) == (3, True, False, 0)
    assert judged == [head, head]


def test_pipelined_head_is_remembered(judged: list[bytes]) -> None:
    """A verdict is found behind another message as well."""
    reader, head = HeadReader(), make_head()
    assert reader.read(b"", head, PIPELINED) == (3, True, False, 0)
    assert judge(reader, head) == (3, True, False, 0)
    assert judged == [head]


def test_parser_is_renewed_after_an_offer_of_another_protocol(judged: list[bytes]) -> None:
    """An upgrade ends a parser's life, not the memory; a server may ignore the offer."""
    reader = HeadReader()
    judge(reader, make_head())
    offer = make_head(b"Proxy-Connection: Upgrade", b"Upgrade: h2c")
    assert judge(reader, offer) == (3, True, False, 0)
    assert judge(reader, make_head()) == (3, True, False, 0)
    assert judged == [make_head(), offer]


def test_parser_is_renewed_after_an_unfinished_message(judged: list[bytes]) -> None:
    """Where httptools does not find the end that the lane has found, the head is judged anew, alone."""
    reader, head = HeadReader(), make_head()
    judge(reader, head)
    assert reader.read(head + BLANK_LINE + b"ab", head, 3) == (3, True, False, 0)
    assert judged == [head, head]
    assert judge(reader, head) == (3, True, False, 0)
    assert judged == [head, head]


@pytest.mark.parametrize("field", [b"Connection: close", b"Connection: Upgrade, close", b"Proxy-Connection: close"])
def test_end_behind_an_empty_body(field: bytes) -> None:
    """A client that wants the connection to end gets that without a body, too."""
    assert judge_anew(make_head(field, length=b"Content-Length: 0"))[:3] == (0, False, False)


def test_empty_body(judged: list[bytes]) -> None:
    """A length of 0 is remembered like any other."""
    reader, head = HeadReader(), make_head(length=b"Content-Length: 0")
    assert [judge(reader, head, b"") for _ in range(2)] == [(0, True, False, 0)] * 2
    assert judged == [head]


def test_memory_is_bounded(judged: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """One combination of lines more than the bound begins the memory anew."""
    monkeypatch.setattr(edge.head, "MAX_REMEMBERED", 3)
    reader = HeadReader()
    heads = [make_head(length=b"Content-Length: %d" % length) for length in range(4)]
    for length in (0, 1, 2, 0, 1, 2):
        judge(reader, heads[length], b"x" * length)
    assert judged == heads[:3]
    judge(reader, heads[3], b"xxx")
    assert len(reader._verdicts) == 1
    judge(reader, heads[3], b"xxx")
    judge(reader, heads[0], b"")
    assert judged == [*heads, heads[0]]
    assert len(reader._verdicts) == 2


# What heads are changed with.
BITS = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"\n\r\n", b"\0", b" ", b"\t", b":", b",", b"\xff", b"\x0b", b"0", b"3", b"chunked"),
        *(b"\r\nHost: b", b"\r\nContent-Length: 3", b"\r\nContent-Length: 4", b"\r\n" + TYPE),
        *(b"\r\nConnection: close", b"\r\nConnection: keep-alive", b"\r\nConnection: Upgrade\r\nUpgrade: h2c"),
        *(b"\r\nTransfer-Encoding: chunked", b"\r\nExpect: 100-continue", b"\r\n folded", b"\r\nX-A : a"),
        *(b"\r\nPrefer: wait=9", b"\r\nPrefer: x, wait=30", b'\r\nPrefer: "', b"\r\nPrefer : wait=3"),
    ]
)
SEEDS = [*USUAL.values(), *DOUBTFUL.values(), *(head for head, _ in (*TOLD.values(), *WAITING.values()))]


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Draws a check whose head is changed in up to three places behind the request line."""
    head = draw(st.sampled_from(SEEDS))
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(len(REQUEST_LINE), len(head)))
        cut = draw(st.sampled_from([0, 0, 1, 2, 10]))
        head = head[:at] + draw(BITS | st.binary(max_size=2)) + head[at + cut :]
    return head + BLANK_LINE + draw(st.sampled_from([BODY, BODY, BODY, b"", b"GET", BODY + b"\r\n", BODY + BODY]))


@settings(max_examples=500)
@given(st.lists(messages(), min_size=1, max_size=4))
def test_memory_never_changes_a_verdict(drawn: list[bytes]) -> None:
    """A reader that has seen usual heads, and whatever else, says of each head what is said of it by itself."""
    reader = HeadReader()
    for head in USUAL.values():
        judge(reader, head)
    for data in drawn:
        head, _, body = data.partition(BLANK_LINE)  # the lane, too, takes the first blank line
        assert judge(reader, head, body) == judge_anew(head)


@pytest.mark.parametrize(
    ("head", "found"),
    [
        (b"POST / HTTP/1.1\r\nX-A: 1\r\nx-a:2 \r\nX-B:\t3\r", {b"x-a": [b"1", b"2"], b"x-b": [b"3"]}),
        (b"POST / HTTP/1.1\r\nX-B: Bearer AbC", {b"x-b": [b"Bearer AbC"]}),
        (b"POST /x-a: HTTP/1.1\r\nY: x-a: 1\r\nProxy-X-A: 1\r\nX-AA: 1\r", {}),
        (b"POST / HTTP/1.1\r\nX-A:\r\nHost: x-a\r", {b"x-a": [b""]}),
        (b"POST / HTTP/1.1\r", {}),
    ],
)
def test_fields_that_are_wanted(head: bytes, found: dict[bytes, list[bytes]]) -> None:
    """Fields are found by their whole names in any case, with all their values in their own case."""
    assert find_fields(head, (b"x-a", b"x-b")) == found
    assert find_fields(head, ()) == {}
