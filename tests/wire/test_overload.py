"""What an edge with too much to do tells: the same with the lane and without."""

import time
from collections.abc import Iterator

import pytest

from edge import app, lane
from edge.budget import COSTLY_BYTES, Purpose
from edge.quota import Quota
from tests.wire.client import GOOD, QUESTION, REPORT, Client, ask, make_check
from tests.wire.server import WireServer

COSTLY = QUESTION[:-1] + b" " * COSTLY_BYTES + b"}"
FLAGS = b"POST /ofrep/v1/evaluate/flags HTTP/1.1"
DEMO = b"X-Graywave-Workspace: demo\r\n"
# So long a flood rests, in seconds.
REST_S = 0.05
INTERACTIVE = b"X-Graywave-Interactive: 1\r\n"


@pytest.fixture
def busy(server: WireServer) -> Iterator[WireServer]:
    """A server that has no time for costly work."""
    budget = server.rules.budget
    server.call(lambda: (budget.admits(Purpose.INTERACTIVE, time.monotonic()), budget.spend(1_000.0)))
    yield server
    server.call(lambda: budget.spend(-1_000.0))


@pytest.fixture
def limited(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[WireServer]:
    """A server where a workspace has one request a second and one connection, and whose floods rest for a moment."""
    for module in (app, lane):
        monkeypatch.setattr(module, "REST_S", REST_S)
    quota = Quota({"demo": 1}, {"demo": 1})
    server.call(lambda: server.rules.attend(quota=quota))
    server.connections._quota = quota
    yield server
    server.connections._quota = None
    server.call(server.rules.attend)


def read_wait(client: Client) -> int:
    """The Retry-After of the newest answer."""
    return int(client.heads[-1].lower().partition(b"\r\nretry-after: ")[2].partition(b"\r\n")[0])


@pytest.mark.parametrize(("fields", "wait_s"), [(INTERACTIVE, range(1, 6)), (b"", range(5, 21))])
def test_costly_check_is_shed(busy: WireServer, fields: bytes, wait_s: range) -> None:
    """It is told when to come again, sooner where somebody waits; other checks on the connection are answered."""
    with Client(busy) as client:
        client.send(make_check(COSTLY, fields) + make_check())
        shed = client.read()
        assert shed is not None
        assert (shed.status, shed.code) == (503, "overloaded")
        assert read_wait(client) in wait_s
        assert client.read() == GOOD


def test_costly_check_is_answered_where_there_is_time(server: WireServer) -> None:
    """A long check is a check."""
    assert ask(server, make_check(COSTLY, INTERACTIVE)) == [GOOD]


def test_all_switches_are_shed(busy: WireServer) -> None:
    """In OFREP's words; one switch is answered."""
    with Client(busy) as client:
        client.send(
            make_check(b"{}", DEMO, line=FLAGS) + make_check(b"{}", DEMO, line=FLAGS.replace(b"flags", b"flags/x"))
        )
        shed, one = client.read(), client.read()
        assert shed is not None
        assert one is not None
        assert (shed.status, b'"errorCode":"GENERAL"' in shed.body, one.status) == (503, True, 404)


def test_report_is_shed(busy: WireServer) -> None:
    """A report is refused, and counted by nobody."""
    before = busy.counters.reports
    shed = ask(busy, make_check(REPORT % b"shed", line=b"POST /v1/report HTTP/1.1"))
    assert [(one.status, one.code) for one in shed] == [(503, "overloaded")]
    assert (busy.counters.reports, busy.counters.shed_reports > 0) == (before, True)


def test_flood_of_a_workspace(limited: WireServer) -> None:
    """Of requests in one second one is answered, the next is told 429, and what comes behind it waits a moment."""
    with Client(limited) as client:
        began = time.monotonic()
        client.send(make_check() * 3)
        first, second = client.read(), client.read()
        assert first == GOOD
        assert second is not None
        assert (second.status, second.code, read_wait(client)) == (429, "overloaded", 5)
        assert client.read() is not None
        assert time.monotonic() - began >= REST_S
        assert limited.counters.limited > 0


def test_flood_of_questions_for_switches(limited: WireServer) -> None:
    """They are counted together with checks, and told the same status."""
    with Client(limited) as client:
        client.send(make_check() + make_check(b"{}", DEMO, line=FLAGS))
        assert client.read() == GOOD
        flood = client.read()
        assert flood is not None
        assert (flood.status, read_wait(client)) == (429, 5)


def test_connections_of_a_workspace(limited: WireServer) -> None:
    """One connection more than a workspace may have is told so and ends; the first one's end makes room."""
    with Client(limited) as first, Client(limited) as second:
        first.send(make_check())
        assert first.read() == GOOD
        second.send(make_check())
        told = second.read_all()
        assert [(one.status, one.code) for one in told] == [(429, "overloaded")]
    limited.call(lambda: setattr(limited.rules, "now", limited.rules.now + 1))
