"""However the network cuts the bytes, the answers are the same."""

import pytest

from tests.wire.client import GOOD, QUESTION, Client, ask, make_check
from tests.wire.server import WireServer

SMALL = b'{"workspace":"nope","device":{"id":"d","platform":"ios"},"programs":{"1":""}}'
TWO = make_check() + make_check(SMALL)
BAD = make_check(fields=b"X-A : a\r\n")
GET = b"GET /nowhere HTTP/1.1\r\nHost: edge\r\n\r\n"


def split_once(server: WireServer, sent: bytes, at: int) -> list[tuple[int, str]]:
    """Sends the first part, lets the server take it in, sends the rest; returns statuses and codes."""
    with Client(server) as client:
        client.send(sent[:at])
        server.call(lambda: None)
        client.send(sent[at:])
        client.end()
        return [(answer.status, answer.code) for answer in client.read_all()]


@pytest.mark.parametrize("at", range(1, len(make_check())))
def test_a_check_split_at_every_byte(server: WireServer, at: int) -> None:
    """One check in two parts."""
    assert split_once(server, make_check(), at) == [(200, "")]


@pytest.mark.parametrize("at", range(1, len(TWO), 3))
def test_two_checks_split(server: WireServer, at: int) -> None:
    """Two pipelined checks, the second refused, in two parts."""
    assert split_once(server, TWO, at) == [(200, ""), (404, "unknown_workspace")]


@pytest.mark.parametrize("at", range(1, len(BAD), 3))
def test_a_malformed_head_split(server: WireServer, at: int) -> None:
    """What is malformed in one part is so in two."""
    assert split_once(server, BAD, at) == [(400, "malformed_request")]


@pytest.mark.parametrize("at", range(1, len(GET)))
def test_a_request_that_is_no_check_split_at_every_byte(server: WireServer, at: int) -> None:
    """The lane hands over what it has held."""
    assert split_once(server, GET, at) == [(404, "not_found")]


@pytest.mark.parametrize("at", range(1, len(make_check()), 5))
def test_a_request_cut_off_at_every_byte(server: WireServer, at: int) -> None:
    """A client that goes away within its request gets nothing and leaves nothing."""
    assert ask(server, make_check()[:at]) == []


def test_single_bytes(server: WireServer) -> None:
    """A check in as many parts as it has bytes, three times on one connection."""
    check = make_check(SMALL)
    with Client(server) as client:
        for _ in range(3):
            client.send(*(check[i : i + 1] for i in range(len(check))))
            answer = client.read()
            assert answer is not None
            assert answer.code == "unknown_workspace"


def test_three_pipelined_checks(server: WireServer) -> None:
    """Answers come in the order of the questions."""
    other = make_check(QUESTION.replace(b"2.3.1", b"2.3.0"))
    first, second, third = ask(server, make_check() + other + make_check())
    assert (first, third) == (GOOD, GOOD)
    assert b'"updates":[]' in second.body


def test_pipelined_checks_after_close(server: WireServer) -> None:
    """Behind a request that asked for the end nothing is answered."""
    assert ask(server, make_check(fields=b"Connection: close\r\n") + make_check()) == [GOOD]


def test_keeps_alive(server: WireServer) -> None:
    """One connection serves many checks, one after the other."""
    with Client(server) as client:
        for _ in range(50):
            client.send(make_check())
            assert client.read() == GOOD
