"""Held checks, as devices meet them: told when there is news, at the latest when their time is over, in their order."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from channel import Position
from edge.answer import compile_entry
from edge.app import Handler
from edge.held import SWITCH_TOPIC, Topic
from edge.preference import MAX_WAIT_S
from ruleset import parse_program
from tests.wire.client import GOOD, USUAL, Answer, Client, ask, make_check
from tests.wire.conftest import make_packages, publish_usual, wait_until_empty
from tests.wire.server import WireServer
from tests.wire.test_window import Doorman, OpenWindow

PROGRAM, UNKNOWN = "2021000000000099", "2021000000000404"
VERSION = "2.0"
GET = b"GET /v1/root/3?workspace=demo HTTP/1.1\r\nHost: edge\r\n\r\n"
PREFER = b"Prefer: wait=30\r\n"
APPLIED = b"\r\nPreference-Applied: wait=30\r\n"
ROOM = 40


@pytest.fixture(autouse=True)
def room(server: WireServer) -> Iterator[None]:
    """The server has room for so many; its clock goes on as a test says, and nobody is left held."""
    held = server.rules.held
    server.call(lambda: server.connections.tick(time.monotonic()))
    server.call(lambda: setattr(held, "limit", ROOM))
    yield
    assert server.call(lambda: len(held)) == 0
    server.call(lambda: setattr(held, "limit", 0))
    server.call(lambda: server.connections.tick(time.monotonic()))  # for whoever goes by the clock
    publish_usual(server)


def make_held_check(installed: str = VERSION, fields: bytes = PREFER, **members: Any) -> bytes:
    """A check of a device that would wait, by default one that has the newest version."""
    device = {"id": "d1", "platform": "android", "user": "u-1"}
    return make_check(
        orjson.dumps({"workspace": "demo", "device": device, "programs": {PROGRAM: installed}, **members}), fields
    )


def wait_for(server: WireServer, count: int = 1) -> None:
    """Returns once so many checks are held, and the loop has nothing else to do with them."""
    for _ in range(10_000):
        if server.call(lambda: len(server.rules.held)) == count:
            return
    pytest.fail(f"expected {count} held checks, got {len(server.rules.held)}")


def wake(server: WireServer, topic: Topic = PROGRAM) -> None:
    """Tells the held checks that something has changed."""
    server.call(lambda: server.rules.held.wake("demo", [topic]))


def publish(server: WireServer, document: dict[str, Any]) -> None:
    """Replaces a program as the worker does, and tells those that are held."""
    entry = compile_entry(parse_program(orjson.dumps(document)))

    def apply() -> None:
        server.rules.workspaces["demo"].apply({entry.id: entry}, Position(1, USUAL.revision + 1))
        server.rules.held.wake("demo", [entry.id])

    server.call(apply)


def make_news() -> dict[str, Any]:
    """The program with a newer version for everybody."""
    document = make_packages()
    document["packages"]["9.0"] = document["packages"][VERSION]
    document["releases"].insert(0, {"id": "r2", "package": "9.0"})
    document["offers"]["install"]["9.0"] = "an offer"
    return document


def list_updates(answer: Answer | None) -> list[str]:
    """The versions that an answer tells."""
    assert answer is not None
    assert answer.status == 200
    return [update["version"] for update in orjson.loads(answer.body)["updates"]]


def was_held(client: Client) -> bool:
    """Whether the last answer says that its check was held."""
    return APPLIED in client.heads[-1]


def test_told_of_news(server: WireServer) -> None:
    """A device for which there is nothing to do is answered when there is, and its answer says that it was held."""
    checks = server.counters.checks
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        publish(server, make_news())
        assert list_updates(client.read()) == ["9.0"]
        assert was_held(client)
    assert server.counters.checks == checks + 1


def test_goes_on_being_held(server: WireServer) -> None:
    """A change that brings a device nothing is not told; the next that does is."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        publish(server, make_packages())
        wait_for(server)
        publish(server, make_news())
        assert list_updates(client.read()) == ["9.0"]


def test_something_to_do_is_told_at_once(server: WireServer) -> None:
    """Where there is something to do already nobody waits, and the answer says of no preference."""
    with Client(server) as client:
        client.send(make_held_check("1.0"))
        assert list_updates(client.read()) == [VERSION]
        assert not was_held(client)


@pytest.mark.parametrize("fields", [b"", b"Prefer: wait=0\r\n", b"Prefer: wait=x\r\n", b"Prefer: respond-async\r\n"])
def test_nobody_is_held_who_does_not_say_so(server: WireServer, fields: bytes) -> None:
    """Without a wait that can be read the answer comes at once."""
    with Client(server) as client:
        client.send(make_held_check(fields=fields))
        assert list_updates(client.read()) == []
        assert b"preference-applied" not in client.heads[-1].lower()


@pytest.mark.parametrize(("wait_s", "applied"), [(1, 1), (30, 30), (10**9, MAX_WAIT_S)])
def test_time_is_over(server: WireServer, wait_s: int, applied: int) -> None:
    """A check is answered before its time is over, and told how long it might have been held."""
    now = server.call(lambda: server.connections.find_end(0))
    with Client(server) as client:
        client.send(make_held_check(fields=b"Prefer: wait=%d\r\n" % wait_s))
        wait_for(server)
        if applied > 1:
            server.call(lambda: server.connections.tick(now + applied - 2))
            wait_for(server)
        server.call(lambda: server.connections.tick(now + max(applied - 1, 1)))
        assert list_updates(client.read()) == []
        assert b"\r\nPreference-Applied: wait=%d\r\n" % applied in client.heads[-1]


def test_order_is_kept(server: WireServer) -> None:
    """What comes behind a held check is answered behind it, however it comes, and may be held in its turn."""
    whole = make_held_check() + make_check() + make_held_check() + make_check()
    with Client(server) as client:
        client.send(whole[:-20])
        wait_for(server)
        client.send(whole[-20:])
        end_one(server, client)
        assert client.read() == GOOD
        wait_for(server)
        end_one(server, client)
        assert client.read() == GOOD


def test_whole_check_behind_it_waits(server: WireServer) -> None:
    """A check that comes while another is held is answered behind it, and not before."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        client.send(make_check())
        for _ in range(20):
            server.call(lambda: None)
        end_one(server, client)
        assert client.read() == GOOD


def end_one(server: WireServer, client: Client) -> None:
    """Has the one held check answered by the clock: its time is over."""
    (check,) = server.call(lambda: list(server.rules.held._held))
    server.call(lambda: server.rules.held.end(check))
    assert list_updates(client.read()) == []
    assert was_held(client)


def test_bytes_behind_it_do_not_end_its_time(server: WireServer) -> None:
    """A message that has begun behind a held check has its own deadline, behind the answer."""
    now = server.call(lambda: server.connections.find_end(0))
    with Client(server) as client:
        client.send(make_held_check() + make_check()[:20])
        wait_for(server)
        server.call(lambda: server.connections.tick(now + 20))
        wait_for(server)
        end_one(server, client)
        client.send(make_check()[20:])
        assert client.read() == GOOD


def test_what_comes_behind_a_fault_is_not_kept(server: WireServer) -> None:
    """A client that goes on behind a head that is none, while an answer before it is owed, fills no memory."""
    with Client(server) as client:
        check = make_held_check().replace(b"/v1/check", b"/v1/check?x", 1)  # not the lane's: aiohttp serves it on both
        client.send(check)
        wait_for(server)
        client.send(b"x" * 9_000)
        for _ in range(64):
            client.send(b"y" * 65_536)
        (served,) = server.call(lambda: list(server.connections._open))
        assert isinstance(served, Handler)
        end_one(server, client)
        assert len(served._frame._held) < 300_000
        refused = client.read()  # what the lane hands over ends with its first answer
        assert refused is None or refused.code == "malformed_request"


def test_another_request_behind_it_is_answered(server: WireServer) -> None:
    """A connection goes over to other requests after the answer that is owed."""
    with Client(server) as client:
        client.send(make_held_check() + GET)
        wait_for(server)
        end_one(server, client)
        answer = client.read()
        assert answer is not None
        assert answer.status == 200


def test_device_that_goes_away_is_forgotten(server: WireServer) -> None:
    """A device that is gone is held no longer, and costs nothing at the next change."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        client.socket.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER of 0 s: a reset
    wait_for(server, 0)
    wait_until_empty(server)
    wake(server)


def test_device_that_sends_no_more_is_answered(server: WireServer) -> None:
    """A device that ends its side, and perhaps has gone, is answered at once; then the connection ends."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        client.end()
        (answer,) = client.read_all()
        assert list_updates(answer) == []


def test_last_check_ends_the_connection(server: WireServer) -> None:
    """A client that asks for the end is held, and the connection ends with the answer."""
    with Client(server) as client:
        client.send(make_held_check(fields=PREFER + b"Connection: close\r\n"))
        wait_for(server)
        publish(server, make_news())
        (answer,) = client.read_all()
        assert list_updates(answer) == ["9.0"]


def test_retired_connection_owes_its_answer(server: WireServer) -> None:
    """A connection that is to end, as all are when the server stops, ends with the answer that is owed."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        server.call(lambda: [served.retire() for served in list(server.connections._open)])
        server.call(server.rules.held.close)
        answers = [client.read()]
        assert list_updates(answers[0]) == []
        if server.protocols[-1].__class__.__name__ == "Lane":
            assert client.read() is None


def test_closing_answers_all_and_holds_nobody(server: WireServer) -> None:
    """A worker that is to end answers all whom it holds, and holds no other."""
    with Client(server) as first, Client(server) as second:
        for client in (first, second):
            client.send(make_held_check())
        wait_for(server, 2)
        server.call(server.rules.held.close)
        for client in (first, second):
            assert list_updates(client.read()) == []
            assert was_held(client)
        first.send(make_held_check())
        assert list_updates(first.read()) == []
        assert not was_held(first)


def test_no_room(server: WireServer) -> None:
    """One check more than may be held is answered at once, and so says nothing of its preference."""
    server.call(lambda: setattr(server.rules.held, "limit", 1))
    with Client(server) as first, Client(server) as second:
        first.send(make_held_check())
        wait_for(server)
        second.send(make_held_check())
        assert list_updates(second.read()) == []
        assert not was_held(second)
        end_one(server, first)


def test_unknown_program_is_waited_for(server: WireServer) -> None:
    """A program that is not published yet is no news; when it is, the device is told."""
    with Client(server) as client:
        client.send(make_held_check(programs={UNKNOWN: ""}))
        wait_for(server)
        publish(server, {**make_packages(), "program": UNKNOWN})
        assert list_updates(client.read()) == [VERSION]


def test_change_that_comes_by_the_clock(server: WireServer) -> None:
    """A release that opens is told in its second to those that it concerns."""
    document = make_news()
    document["releases"][0]["opens_at"] = USUAL.now + 5
    with Client(server) as client, Client(server) as other:
        publish(server, document)
        client.send(make_held_check())
        other.send(make_held_check(programs={UNKNOWN: ""}))
        wait_for(server, 2)
        server.call(lambda: server.rules.tick(USUAL.now + 4))
        assert not server.call(lambda: server.rules.held._due)
        server.call(lambda: server.rules.tick(USUAL.now + 5))
        assert list_updates(client.read()) == ["9.0"]
        wait_for(server, 1)
        end_one(server, other)
    server.call(lambda: server.rules.tick(USUAL.now))


class Everybody:
    """An audience of all users."""

    def holds(self, user: str) -> bool:
        """Returns True."""
        return True


def test_change_of_an_audience(server: WireServer) -> None:
    """Users who come into an audience are told of what it gives them; another audience is none of their concern."""
    document = make_news()
    document["releases"][0]["who"] = {"audiences": ["qa"]}
    with Client(server) as client:
        publish(server, document)
        client.send(make_held_check())
        wait_for(server)
        workspace = server.rules.workspaces["demo"]

        def change(name: str) -> int:
            workspace.surround(audiences={name: Everybody()}, mark=name.encode())
            server.rules.wake_by_audiences(workspace, [name])
            return len(server.rules.held._due)

        assert server.call(lambda: change("others")) == 0
        assert server.call(lambda: change("qa")) == 1
        assert list_updates(client.read()) == ["9.0"]


def test_change_of_switches(server: WireServer) -> None:
    """A device that has the switches' tag is held until they change; one without it is answered at once."""
    with Client(server) as client:
        client.send(make_held_check(switches=True))
        answer = client.read()
        assert answer is not None
        tag = orjson.loads(answer.body)["switches_etag"]
        assert not was_held(client)
        client.send(make_held_check(switches=True, switches_etag=tag))
        wait_for(server)
        wake(server, SWITCH_TOPIC)
        wait_for(server)
        workspace = server.rules.workspaces["demo"]

        def change() -> None:
            workspace.surround(audiences={}, mark=b"others")
            server.rules.wake_by_audiences(workspace, [])

        server.call(change)
        told = client.read()
        assert told is not None
        assert orjson.loads(told.body)["switches_etag"] != tag


def test_window_is_asked_before_and_again(server: WireServer) -> None:
    """Whether there is nothing to do is known when a window was asked; it is asked again with the next change."""
    doorman, before = Doorman(), server.rules.asker
    window = {"limit": 5, "closes_at": 1 << 39, "id": "00112233445566ff", "key": "k1"}
    document = make_news()
    document["releases"][0]["who"] = {"window": window}
    server.call(lambda: setattr(server.rules, "asker", doorman))
    server.call(lambda: server.rules.workspaces["demo"].surround(windows={window["id"]: OpenWindow()}))
    publish(server, document)
    with Client(server) as client:
        client.send(make_held_check())
        for _ in range(2):
            wait_until(server, lambda: len(doorman.waiting) == 1)
            server.call(doorman.answer)
            wait_for(server)
            wake(server)
        wait_until(server, lambda: len(doorman.waiting) == 1)
        server.call(doorman.answer)
        publish_window_end(server, doorman, client)
    server.call(lambda: setattr(server.rules, "asker", before))


def publish_window_end(server: WireServer, doorman: Doorman, client: Client) -> None:
    """Ends the one held check, which asks once more."""
    (check,) = server.call(lambda: list(server.rules.held._held))
    server.call(lambda: server.rules.held.end(check))
    wait_until(server, lambda: len(doorman.waiting) == 1)
    server.call(doorman.answer)
    assert list_updates(client.read()) == []
    assert was_held(client)


def wait_until(server: WireServer, is_true: Callable[[], bool]) -> None:
    """Returns once something is true in the server."""
    for _ in range(10_000):
        if server.call(is_true):
            return
    pytest.fail("it has not come about")


def test_workspace_that_is_gone(server: WireServer) -> None:
    """What would be refused now is refused, as soon as it is looked at."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        workspace = server.call(lambda: server.rules.workspaces.pop("demo"))
        wake(server)
        answer = client.read()
        server.call(lambda: server.rules.workspaces.update(demo=workspace))
        assert answer is not None
        assert (answer.status, answer.code) == (404, "unknown_workspace")


def test_others_are_answered_meanwhile(server: WireServer) -> None:
    """A held check holds up no other connection."""
    with Client(server) as client:
        client.send(make_held_check())
        wait_for(server)
        assert ask(server, make_check()) == [GOOD]
        end_one(server, client)
