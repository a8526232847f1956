"""Targets, methods and content types: what is no check is refused in JSON, and a check has no second spelling."""

import pytest

from tests.wire.client import GOOD, QUESTION, Answer, Client, ask, make_check
from tests.wire.server import WireServer

ROOT = b"GET /v1/root/3?workspace=demo HTTP/1.1\r\nHost: edge\r\n\r\n"


def make_request(line: bytes) -> bytes:
    """Returns a request without a body."""
    return line + b" HTTP/1.1\r\nHost: edge\r\n\r\n"


@pytest.mark.parametrize("method", [b"GET", b"PUT", b"OPTIONS", b"DELETE", b"PATCH", b"TRACE"])
def test_refuses_other_methods(server: WireServer, method: bytes) -> None:
    """405 in JSON, and Allow names what there is."""
    with Client(server) as client:
        client.send(make_request(method + b" /v1/check"))
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.type, answer.code) == (405, "application/json", "method_not_allowed")
        assert b"\r\nAllow: POST\r\n" in client.heads[0]


def test_answers_head_without_a_body(server: WireServer) -> None:
    """HEAD is refused as GET is, without the JSON."""
    with Client(server) as client:
        client.send(make_request(b"HEAD /v1/check"))
        client.end()
        assert client.read(is_head=True) == Answer(405, "application/json", b"")
        assert client.read() is None


@pytest.mark.parametrize(
    "target",
    [
        b"/nowhere",
        b"/",
        b"/v1/check/",
        b"//v1/check",
        b"/v1/%ff%e9",
        b"/v1/check/../check",
        b"/v1/root/4",
    ],
)
def test_refuses_unknown_targets(server: WireServer, target: bytes) -> None:
    """404 in JSON."""
    (answer,) = ask(server, make_request(b"GET " + target))
    assert (answer.status, answer.type, answer.code) == (404, "application/json", "not_found")


@pytest.mark.parametrize(
    "line",
    [
        b"POST /v1/check?x=1 HTTP/1.1",
        b"POST /v1/check? HTTP/1.1",
        b"POST http://edge/v1/check HTTP/1.1",
        b"POST /v1/%63heck HTTP/1.1",
    ],
)
def test_answers_a_check_in_another_spelling(server: WireServer, line: bytes) -> None:
    """What the lane does not know by its bytes aiohttp answers, in the same words."""
    assert ask(server, make_check(line=line)) == [GOOD]


@pytest.mark.parametrize(
    "value",
    [
        b"application/json; charset=utf-8",
        b"APPLICATION/JSON",
        b"application/json;x",
        b"application/json ; charset=\xff",
    ],
)
def test_takes_json(server: WireServer, value: bytes) -> None:
    """The type is compared without case and parameters."""
    assert ask(server, make_check(content_type=b"Content-Type: " + value + b"\r\n")) == [GOOD]


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Content-Type:\r\n",
        b"Content-Type: text/plain\r\n",
        b"Content-Type: Text/Plain \r\n",
        b"Content-Type: application/jsonx\r\n",
        b"Content-Type: application/x-www-form-urlencoded\r\n",
        b"Content-Type: \xff\xfe\r\n",
        b"Content-Type: it's\\\r\n",
    ],
)
def test_refuses_other_types(both: dict[str, WireServer], field: bytes) -> None:
    """415, in the same words with the lane and without."""
    (lane,), (plain,) = (ask(both[name], make_check(content_type=field)) for name in ("lane", "plain"))
    assert lane == plain
    assert (lane.status, lane.type, lane.code) == (415, "application/json", "unsupported_media_type")


def test_does_not_decompress(server: WireServer) -> None:
    """A body is what it is; a coding that a client names changes nothing, so that there is no bomb to unpack."""
    assert ask(server, make_check(fields=b"Content-Encoding: gzip\r\n")) == [GOOD]


def test_check_and_get_in_one_packet(server: WireServer) -> None:
    """Both are answered."""
    check, root = ask(server, make_check() + ROOT)
    assert (check, root.status, root.type) == (GOOD, 200, "application/json")


def test_get_and_check_in_one_packet(both: dict[str, WireServer]) -> None:
    """On the lane the connection ends with what aiohttp answers, and the client asks again; without it, it stays."""
    lane, plain = (ask(both[name], ROOT + make_check()) for name in ("lane", "plain"))
    assert plain == [lane[0], GOOD]
    assert len(lane) == 1


def test_says_that_the_connection_ends_after_hand_over(both: dict[str, WireServer]) -> None:
    """The client is told with the answer."""
    with Client(both["lane"]) as client:
        client.send(make_check(), ROOT)
        assert [client.read(), client.read()][0] == GOOD
        assert b"\r\nConnection: close\r\n" in client.heads[1]
        assert client.read() is None


def test_root(server: WireServer) -> None:
    """The newest root document, where its number and workspace fit."""
    (answer,) = ask(server, ROOT)
    assert (answer.status, answer.type) == (200, "application/json")
    assert b'"payload"' in answer.body


@pytest.mark.parametrize("target", [b"/v1/root/3", b"/v1/root/2?workspace=demo", b"/v1/root/3?workspace=nope"])
def test_root_that_is_not_here(server: WireServer, target: bytes) -> None:
    """Which of several workspaces is meant has to be said."""
    (answer,) = ask(server, make_request(b"GET " + target))
    assert (answer.status, answer.code) == (404, "not_found")


def test_every_root_that_is_known(server: WireServer) -> None:
    """Roots are served by their numbers from the pinned one on, a change at once; no number has a second name."""
    workspace = server.rules.workspaces["empty"]
    before = workspace.roots

    def get(number: bytes) -> tuple[int, bytes]:
        (answer,) = ask(server, make_request(b"GET /v1/root/%b?workspace=empty" % number))
        return answer.status, answer.body if answer.status == 200 else answer.code.encode()

    server.call(lambda: workspace.follow_roots({3: before[3], 4: b'{"four":4}', 5: b'{"five":5}'}))
    assert [get(number) for number in (b"3", b"4", b"5")] == [
        (200, before[3]),
        (200, b'{"four":4}'),
        (200, b'{"five":5}'),
    ]
    for number in (b"2", b"6", b"0", b"-3", b"03", b"+3", b"3.0", b"%20" + b"3", b"%d9%a3", b"9" * 5_000, b"x", b""):
        assert get(number) == (404, b"not_found")
    server.call(lambda: workspace.follow_roots(before))
    assert get(b"4") == (404, b"not_found")


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket", b"tcp", b"foo", b"TLS/1.0, HTTP/1.1"])
@pytest.mark.parametrize(
    "field", [b"Connection: Upgrade", b"Connection: keep-alive, upgrade", b"Proxy-Connection: Upgrade"]
)
def test_answers_a_check_that_offers_an_upgrade(server: WireServer, protocol: bytes, field: bytes) -> None:
    """The offer is ignored, the check answered, also where the same head came before, and so is the one behind it."""
    check = make_check(fields=field + b"\r\nUpgrade: " + protocol + b"\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n")
    assert ask(server, check) == [GOOD]
    assert ask(server, check) == [GOOD]
    assert ask(server, make_check() + check + make_check()) == [GOOD] * 3


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket"])
def test_answers_a_get_that_offers_an_upgrade(server: WireServer, protocol: bytes) -> None:
    """A GET is answered as if it had offered nothing."""
    upgrade = b"Connection: Upgrade\r\nUpgrade: %b\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n\r\n"
    (answer,) = ask(server, ROOT[:-2] + upgrade % protocol)
    assert answer.status == 200


def test_refuses_connect(server: WireServer) -> None:
    """This is no proxy."""
    (answer,) = ask(server, make_request(b"CONNECT edge:80"))
    assert (answer.type, answer.status // 100) == ("application/json", 4)


def test_question_is_what_the_vector_says() -> None:
    """The check of these tests is a vector of the contract."""
    assert b"device-1" in QUESTION
