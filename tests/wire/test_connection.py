"""Connections: bounded in number, time and bytes, and forgotten however they end."""

import copy
import socket
import struct
import time

import pytest

from edge.connection import DOWNLOAD_DEADLINE_S, IDLE_DEADLINE_S, LIFE_S, LIFE_SPREAD, REQUEST_DEADLINE_S
from tests.wire.client import GOOD, REPORT, USUAL, Client, ask, make_check
from tests.wire.conftest import publish_usual, wait_until_empty
from tests.wire.server import MAX_CONNECTIONS, PATIENCE_S, WireServer

GET = b"GET /v1/root/3?workspace=demo HTTP/1.1\r\nHost: edge\r\n\r\n"


def pass_time(server: WireServer, seconds: float) -> None:
    """Lets the server sweep its connections as if that much time had passed."""

    def sweep() -> None:
        now = time.monotonic()
        server.connections.tick(now + seconds)
        server.connections.tick(now)

    server.call(sweep)


def settle(client: Client) -> None:
    """Lets the server notice a new connection, by having it answer a check there."""
    client.send(make_check())
    assert client.read() == GOOD


def wait_until_registered(server: WireServer) -> None:
    """Waits until the server has accepted a connection that sent nothing it would answer."""
    for _ in range(10_000):
        if server.call(lambda: len(server.connections)):
            return
    pytest.fail("the connection was not registered")


@pytest.mark.parametrize(
    "sent",
    [b"", b"P", make_check()[:40], make_check()[:-3], b"GET / HTTP/1.1\r\nHost", make_check(REPORT)[:-3], b"\r\n\r\n"],
)
def test_slow_requests_end(server: WireServer, sent: bytes) -> None:
    """Neither a byte at a time nor none at all holds a connection longer than its deadline."""
    with Client(server) as client:
        client.send(sent)
        wait_until_registered(server)
        pass_time(server, REQUEST_DEADLINE_S - 5)
        client.send(sent[:1] and b"\r")
        server.call(lambda: None)
        pass_time(server, REQUEST_DEADLINE_S + 1)
        assert client.read() is None


@pytest.mark.parametrize("rest", [b"", make_check()[:30]])
def test_idle_connections_end(server: WireServer, rest: bytes) -> None:
    """An idle client is let go after a while; one that has begun a request has no longer than any other."""
    with Client(server) as client:
        settle(client)
        client.send(rest)
        server.call(lambda: None)
        pass_time(server, (REQUEST_DEADLINE_S if rest else IDLE_DEADLINE_S) + 1)
        assert client.read() is None


def test_a_request_behind_another_has_its_own_deadline(server: WireServer) -> None:
    """One that begins with the end of the one before has no longer than any other."""
    check = make_check()
    with Client(server) as client:
        client.send(check[:-5])
        server.call(lambda: None)
        client.send(check[-5:] + check[:30])
        assert client.read() == GOOD
        pass_time(server, REQUEST_DEADLINE_S + 1)
        assert client.read() is None


def test_idle_connections_stay_until_then(server: WireServer) -> None:
    """A device that polls may use its connection again."""
    with Client(server) as client:
        settle(client)
        pass_time(server, IDLE_DEADLINE_S - 10)
        settle(client)


def test_old_connections_end_with_an_answer(server: WireServer) -> None:
    """At the end of its life a connection ends with its next answer, whether it was asked for before or after."""
    with Client(server) as idle, Client(server) as busy:
        settle(idle)
        settle(busy)
        check = make_check()
        busy.send(check[:-9])
        server.call(lambda: None)
        retire = time.monotonic() + LIFE_S * (1 + LIFE_SPREAD) + 1

        def sweep() -> None:
            for served in list(server.connections._open):
                served.deadline = retire + 1
            server.connections.tick(retire)
            server.connections.tick(time.monotonic())

        server.call(sweep)
        for client, rest in ((idle, check), (busy, check[-9:])):
            client.send(rest)
            assert [client.read(), client.read()] == [GOOD, None]


def test_connections_are_limited(server: WireServer) -> None:
    """One more than the limit is closed without an answer; as soon as one ends, the next is served."""
    wait_until_empty(server)
    clients = [Client(server) for _ in range(MAX_CONNECTIONS)]
    for client in clients:
        settle(client)
    with Client(server) as another:
        another.send(make_check())
        assert another.read() is None
    for client in clients:
        client.socket.close()
    wait_until_empty(server)
    assert ask(server, make_check()) == [GOOD]


@pytest.mark.parametrize("sent", [b"", make_check()[:50], make_check()[:-3], make_check() * 20, GET, GET[:20]])
def test_forgets_a_connection_that_is_reset(server: WireServer, sent: bytes) -> None:
    """A client that vanishes within a message leaves nothing behind."""
    client = Client(server)
    client.send(sent)
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.socket.close()
    wait_until_empty(server)


@pytest.mark.parametrize("sent", [make_check(), GET, make_check() + GET])
def test_answers_a_client_that_has_ended_its_side(server: WireServer, sent: bytes) -> None:
    """Half of a connection is enough for an answer."""
    with Client(server) as client:
        client.send(sent)
        client.end()
        assert [answer.status for answer in client.read_all()] == [200] * sent.count(b" HTTP/1.1")


def fill(client: Client, sent: bytes) -> int:
    """Sends until nothing more is taken; returns how many bytes were."""
    client.socket.settimeout(0.2)
    count = 0
    try:
        while count < 1 << 28:
            count += client.socket.send(sent)
    except TimeoutError:
        return count
    finally:
        client.socket.settimeout(PATIENCE_S)
    pytest.fail("the server takes in whatever is sent, and its answers are not read")


def test_a_client_that_does_not_read_is_not_read_from(server: WireServer) -> None:
    """Its answers do not pile up in memory; when it reads, it gets all of them."""
    with Client(server) as client:
        check = make_check()
        count = fill(client, check * 100)
        sizes = server.call(
            lambda: [find_transport(protocol).get_write_buffer_size() for protocol in server.protocols[-1:]]
        )
        assert max(sizes) < 1 << 20
        assert all(client.read() == GOOD for _ in range(count // len(check)))


def test_a_client_that_never_reads_is_ended(server: WireServer) -> None:
    """Its deadline ends it, whatever it is still owed."""
    with Client(server) as client:
        fill(client, make_check() * 100)
        pass_time(server, IDLE_DEADLINE_S + REQUEST_DEADLINE_S)
        wait_until_empty(server)


def test_a_download_that_is_never_read_is_ended(server: WireServer, digest: str) -> None:
    """A file that nobody reads goes away with its deadline."""
    with Client(server) as client:
        fill(client, b"GET /v1/files/%b HTTP/1.1\r\nHost: edge\r\n\r\n" % digest.encode() * 50)
        pass_time(server, DOWNLOAD_DEADLINE_S + 1)
        wait_until_empty(server)


def test_reads_on_after_hand_over_while_paused(server: WireServer, digest: str) -> None:
    """A connection that is handed over while its client does not read goes on when it does."""
    get = b"GET /v1/files/%b HTTP/1.1\r\nHost: edge\r\nRange: bytes=0-3\r\n\r\n" % digest.encode()
    documents = copy.deepcopy(USUAL.documents)
    documents[0]["packages"]["2.3.0"]["extra"] = {"x": "x" * 100_000}
    server.publish(documents, USUAL.revision, USUAL.root, USUAL.now)
    try:
        with Client(server) as client:
            client.send(make_check() * 200 + get)
            server.call(lambda: None)
            assert [read_status(client) for _ in range(201)] == [200] * 200 + [206]
            client.send(get)
            assert read_status(client) == 206
    finally:
        publish_usual(server)


def read_status(client: Client) -> int:
    """Returns the status of the next answer."""
    answer = client.read()
    assert answer is not None
    return answer.status


def find_transport(protocol: object) -> socket.socket:
    """Returns the transport of a lane's or aiohttp's protocol."""
    found = getattr(protocol, "_transport", None) or getattr(protocol, "transport", None)
    assert found is not None
    return found
