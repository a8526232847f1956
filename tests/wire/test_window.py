"""Checks that wait for a window: in their order, at nobody else's cost, and answered however a connection ends."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from edge.answer import Unanswered
from ruleset import Circumstances, Place
from tests.wire.client import GOOD, USUAL, Answer, Client, ask, make_check
from tests.wire.conftest import make_packages, publish_usual, wait_until_empty
from tests.wire.server import WireServer

PROGRAM = "2021000000000099"
WINDOW = "00112233445566ff"
GET = b"GET /v1/root/3?workspace=demo HTTP/1.1\r\nHost: edge\r\n\r\n"


class OpenWindow:
    """A window that nobody is known to be in."""

    def find(self, identity: str) -> Place:
        """Returns OPEN."""
        return Place.OPEN


class Doorman:
    """Asks nobody, and answers when the test says so; `is_quick` says that nobody waits."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Unanswered, Callable[[bytes], None]]] = []
        self.is_quick = False

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Lets the check wait."""
        if self.is_quick:
            return unanswered.give_up()
        self.waiting.append((unanswered, tell))
        return None

    def answer(self) -> None:
        """Answers the check that has waited longest: it has no place."""
        unanswered, tell = self.waiting.pop(0)
        tell(unanswered.give_up())


@pytest.fixture
def doorman(server: WireServer) -> Iterator[Doorman]:
    """The server has a release for a window, beside the usual rules."""
    doorman, before = Doorman(), server.rules.asker
    document = make_packages()
    window = {"limit": 5, "closes_at": 1 << 39, "id": WINDOW, "key": "k1"}
    document["releases"][0]["who"] = {"window": window}
    around = Circumstances({}, {WINDOW: OpenWindow()})
    server.publish([*USUAL.documents, document], USUAL.revision, USUAL.root, USUAL.now, around)
    server.call(lambda: setattr(server.rules, "asker", doorman))
    yield doorman
    server.call(lambda: setattr(server.rules, "asker", before))
    publish_usual(server)


def make_window_check(fields: bytes = b"") -> bytes:
    """A check that has to ask."""
    question = {"workspace": "demo", "device": {"id": "d1", "platform": "android"}, "programs": {PROGRAM: ""}}
    return make_check(orjson.dumps(question), fields)


def wait_for(server: WireServer, doorman: Doorman, count: int = 1) -> None:
    """Returns once so many checks wait."""
    for _ in range(10_000):
        if server.call(lambda: len(doorman.waiting)) == count:
            return
    pytest.fail(f"expected {count} checks that wait, got {len(doorman.waiting)}")


def is_without(answer: Answer | None) -> bool:
    """Whether this is an answer, without an update."""
    assert answer is not None
    told: Any = orjson.loads(answer.body)
    return answer.status == 200 and told["updates"] == []


def test_others_are_answered_meanwhile(server: WireServer, doorman: Doorman) -> None:
    """A check that waits holds up no other connection."""
    with Client(server) as client:
        client.send(make_window_check())
        wait_for(server, doorman)
        assert ask(server, make_check()) == [GOOD]
        server.call(doorman.answer)
        assert is_without(client.read())
        client.send(make_check())
        assert client.read() == GOOD


def test_order_is_kept(server: WireServer, doorman: Doorman) -> None:
    """What comes behind it on the same connection is answered behind it, a check in pieces and a further wait too."""
    with Client(server) as client:
        whole = make_window_check() + make_check() + make_window_check() + make_check()
        client.send(whole[:-20])
        wait_for(server, doorman)
        client.send(whole[-20:])
        server.call(doorman.answer)
        assert is_without(client.read())
        assert client.read() == GOOD
        wait_for(server, doorman)
        server.call(doorman.answer)
        assert is_without(client.read())
        assert client.read() == GOOD


def test_nothing_is_read_while_it_waits(server: WireServer, doorman: Doorman) -> None:
    """What a client sends behind it waits outside: it cannot fill the memory."""
    with Client(server) as client:
        client.send(make_window_check())
        wait_for(server, doorman)
        client.send(make_window_check())
        server.call(lambda: None)
        wait_for(server, doorman)
        server.call(doorman.answer)
        assert is_without(client.read())
        wait_for(server, doorman)
        server.call(doorman.answer)
        assert is_without(client.read())


def test_another_request_behind_it_is_answered(server: WireServer, doorman: Doorman) -> None:
    """A connection goes over to other requests after the answer that is owed."""
    with Client(server) as client:
        client.send(make_window_check() + GET)
        wait_for(server, doorman)
        server.call(doorman.answer)
        assert is_without(client.read())
        answer = client.read()
        assert answer is not None
        assert answer.status == 200


def test_client_that_ends_its_side_is_answered(server: WireServer, doorman: Doorman) -> None:
    """A client that sends no more gets the answer that is owed, and then the end."""
    with Client(server) as client:
        client.send(make_window_check())
        client.end()
        wait_for(server, doorman)
        server.call(doorman.answer)
        (answer,) = client.read_all()
        assert is_without(answer)


def test_last_check_ends_the_connection(server: WireServer, doorman: Doorman) -> None:
    """After an answer that has waited the connection ends where the client has said so; nothing behind it counts."""
    with Client(server) as client:
        client.send(make_window_check(b"Connection: close\r\n") + make_check())
        wait_for(server, doorman)
        server.call(doorman.answer)
        (answer,) = client.read_all()
        assert is_without(answer)


def test_retired_connection_owes_its_answer(server: WireServer, doorman: Doorman) -> None:
    """A connection that is to end, as all are when the server stops, ends with the answer that is owed."""
    with Client(server) as client:
        client.send(make_window_check())
        wait_for(server, doorman)
        server.call(lambda: [served.retire() for served in list(server.connections._open)])
        server.call(doorman.answer)
        (answer,) = client.read_all()
        assert is_without(answer)


def test_client_that_has_gone_is_no_fault(server: WireServer, doorman: Doorman) -> None:
    """The answer of a connection that is gone goes nowhere."""
    with Client(server) as client:
        client.send(make_window_check())
        wait_for(server, doorman)
        server.call(lambda: [served.expire() for served in list(server.connections._open)])
        wait_until_empty(server)
        server.call(doorman.answer)
        assert client.read() is None


def test_answer_that_need_not_wait(server: WireServer, doorman: Doorman) -> None:
    """Where too many wait already, the answer comes at once, and in order."""
    doorman.is_quick = True
    first, second = ask(server, make_window_check() + make_check())
    assert is_without(first)
    assert second == GOOD
