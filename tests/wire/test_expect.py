"""`Expect: 100-continue`: the body is asked for where it will be read, and refused unread where not."""

import pytest

from tests.wire.client import GOOD, QUESTION, Client, ask, make_check
from tests.wire.server import WireServer

EXPECT = b"Expect: 100-continue\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(QUESTION)


def test_asks_for_the_body(server: WireServer) -> None:
    """A client that waits for 100 before its body gets it, then its answer, and may go on."""
    with Client(server) as client:
        for _ in range(2):
            client.send(make_check(b"", EXPECT, length=LENGTH))
            answer = client.read()
            assert answer is not None
            assert answer.status == 100
            client.send(QUESTION)
            assert client.read() == GOOD


@pytest.mark.parametrize("value", [b"100-continue", b"100-CONTINUE", b"100-continue \t"])
def test_answers_a_client_that_does_not_wait(server: WireServer, value: bytes) -> None:
    """Head and body in one packet: 100 or not, the answer comes."""
    *_, answer = ask(server, make_check(fields=b"Expect: " + value + b"\r\n"))
    assert answer == GOOD


@pytest.mark.parametrize("value", [b"200-ok", b"100-continue, x", b"\xff"])
def test_refuses_another_expectation(server: WireServer, value: bytes) -> None:
    """417, and the body is not waited for."""
    with Client(server) as client:
        client.send(make_check(b"", b"Expect: " + value + b"\r\n", length=LENGTH))
        answer = client.read()
    assert answer is not None
    assert (answer.status, answer.code) == (417, "expectation_failed")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (make_check(b"", EXPECT, length=b"Content-Length: 99999\r\n"), 413),
        (make_check(b"", EXPECT, length=b""), 411),
        (make_check(b"", EXPECT, length=LENGTH, content_type=b""), 415),
        (make_check(b"", EXPECT, length=LENGTH, host=b""), 400),
        (make_check(b"", b"Expect: x\r\n", length=LENGTH, host=b""), 400),
    ],
)
def test_refuses_at_once_what_will_not_be_read(server: WireServer, sent: bytes, status: int) -> None:
    """No 100 is sent where the head alone is refused."""
    with Client(server) as client:
        client.send(sent)
        answer = client.read()
    assert answer is not None
    assert answer.status == status


@pytest.mark.parametrize("target", [b"/nowhere", b"/v1/root/9", b"/v1/check"])
def test_refuses_another_expectation_elsewhere(server: WireServer, target: bytes) -> None:
    """Other targets refuse in JSON, too."""
    (answer,) = ask(server, b"GET " + target + b" HTTP/1.1\r\nHost: edge\r\nExpect: x\r\n\r\n")
    assert (answer.type, answer.code) == ("application/json", "expectation_failed")
