"""The seam to the network: the fake world and the real HTTP client are told apart by nothing that a container sees."""

import asyncio
import gzip
import itertools
import json
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Self

import pytest
from aiohttp import web

from container import Fetcher, HttpFetcher, NetworkError
from tests.container.world import EDGE, PROGRAM, Reply, World, refuse

HEADERS = {"Accept-Encoding": "identity"}
GZIPPED = gzip.compress(b"hello", mtime=0)


@dataclass(frozen=True)
class Side:
    """One of the two: how to ask, and where."""

    fetcher: Fetcher
    base: str


class Server:
    """A real HTTP server on loopback that answers as the world does."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._loop = asyncio.new_event_loop()
        self._runner: web.ServerRunner | None = None
        self._thread = threading.Thread(target=self._loop.run_forever)

    def start(self) -> str:
        self._thread.start()
        return asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(10)

    def stop(self) -> None:
        if self._runner:
            asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _listen(self) -> str:
        self._runner = web.ServerRunner(web.Server(self._handle))
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        return f"http://{host}:{port}"

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = self._reply(request, await request.read())
        if reply.status == 0:
            assert request.transport
            request.transport.abort()
        cut_at = self._world.cut_at if request.path.startswith("/v1/files/") else 0
        if cut_at:
            self._world.cut_at = 0
            return await self._cut(request, Reply(reply.status, reply.body[:cut_at], reply.headers), len(reply.body))
        if request.path == "/cut":
            return await self._cut(request, reply, 1000)
        return web.Response(status=reply.status, body=reply.body, headers=dict(reply.headers))

    async def _cut(self, request: web.BaseRequest, reply: Reply, length: int) -> web.StreamResponse:
        """Announces so many bytes, sends those of the reply, and is gone."""
        response = web.StreamResponse(headers={**reply.headers, "Content-Length": str(length)})
        await response.prepare(request)
        await response.write(reply.body)
        assert request.transport
        request.transport.close()
        return response

    def _reply(self, request: web.BaseRequest, body: bytes) -> Reply:
        if request.path == "/abort":
            return Reply(0, b"")
        return special(request.path) or self._world.answer(request.method, request.path_qs, body, request.headers)


def special(path: str) -> Reply | None:
    """Answers that an edge gives under circumstances that a path stands for here."""
    return {
        "/busy": refuse(503, "overloaded", Retry_After="7"),
        "/moved": Reply(302, b"", {"Location": "/v1/files/x"}),
        "/cut": Reply(200, b"half"),
        "/gzip": Reply(200, GZIPPED, {"Content-Encoding": "gzip"}),
    }.get(path)


class FakeSide:
    """The world, with what the paths of `special` stand for."""

    def __init__(self, world: World) -> None:
        self._world = world

    def fetch(self, method: str, url: str, headers: object, body: object, timeout: float) -> Any:
        path = url.removeprefix(EDGE)
        reply = NetworkError("reset") if path == "/abort" else special(path)
        lowered = reply
        if isinstance(reply, Reply):
            names = {name.lower(): value for name, value in reply.headers.items()}
            lowered = Reply(reply.status, reply.body, names)
        self._world.faults = {EDGE: [lowered]} if lowered else {}
        self._world.stream = self._break if path == "/cut" else lambda body: iter([body])
        return self._world.fetch(method, url, headers, body, timeout)

    @staticmethod
    def _break(body: bytes) -> Iterator[bytes]:
        yield body
        raise NetworkError("cut")


@pytest.fixture(params=["fake", "http"])
def side(request: pytest.FixtureRequest, world: World) -> Iterator[Side]:
    """The fake world, and the same world behind a real server on loopback."""
    if request.param == "fake":
        yield Side(FakeSide(world), EDGE)
        return
    server = Server(world)
    base = server.start()
    yield Side(HttpFetcher(), base)
    server.stop()


def ask(side: Side, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes, str]:
    response = side.fetcher.fetch(method, side.base + path, HEADERS, body, 5.0)
    content = b"".join(response.stream)
    response.close()
    return response.status, content, response.headers.get("retry-after", "")


def test_file_comes_as_it_is(side: Side, world: World) -> None:
    """A file is answered with its bytes, also such as a middle box would unpack."""
    world.files["a"] = b"\x1f\x8b" + bytes(range(256)) * 1000
    assert ask(side, "GET", "/v1/files/a") == (200, world.files["a"], "")


def test_encoding_that_was_not_asked_for_is_left(side: Side) -> None:
    """A body is never unpacked on the way: only its digest says what it is."""
    assert ask(side, "GET", "/gzip")[1] == GZIPPED


def test_refusal_has_status_and_body(side: Side) -> None:
    """An error is an answer and no exception."""
    status, body, _ = ask(side, "GET", "/v1/files/none")
    assert (status, json.loads(body)["error"]["code"]) == (404, "not_found")


def test_question_arrives(side: Side, world: World) -> None:
    """The body of a request arrives byte for byte."""
    question = {"workspace": "demo", "device": {"id": "\u00e9"}, "programs": {PROGRAM: ""}}
    status, body, _ = ask(side, "POST", "/v1/check", json.dumps(question).encode())
    assert (status, json.loads(body)["poll_after"]) == (200, 300)
    assert world.questions == [question]


def test_headers_have_lower_case_names(side: Side) -> None:
    """Retry-After is found whatever its case."""
    assert ask(side, "GET", "/busy")[::2] == (503, "7")


def test_redirect_is_not_followed(side: Side) -> None:
    """An edge sends nobody elsewhere."""
    assert ask(side, "GET", "/moved")[0] == 302


@pytest.mark.parametrize("path", ["/abort", "/cut"])
def test_broken_connection_is_a_network_error(side: Side, path: str) -> None:
    """A connection that breaks before or within an answer is one kind of error."""
    with pytest.raises(NetworkError):
        ask(side, "GET", path)


def test_nobody_there_is_a_network_error() -> None:
    """An address where nobody listens, or that is none, is a network error that says what to do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for base in (f"http://127.0.0.1:{port}", "http://[bad", "http://"):
        with pytest.raises(NetworkError) as caught:
            ask(Side(HttpFetcher(), base), "GET", "/x")
        assert str(caught.value).startswith(f"{base}/x: expected an answer, try again later: ")


def test_silent_server_is_given_up() -> None:
    """A server that accepts and says nothing is a network error once the timeout is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NetworkError, match="expected an answer, try again later: "):
            HttpFetcher().fetch("GET", base + "/", HEADERS, None, 0.05)


class Dripping:
    """A server that sends its bytes one by one, each well within the time that a socket waits for one, without end."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(10)
        self._thread = threading.Thread(target=self._serve)
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()
        assert not self._thread.is_alive()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(self._pieces[0])
            with suppress(OSError):
                for piece in itertools.cycle(self._pieces[1:]):
                    connection.sendall(piece)
                    self.sent += 1
                    # Nothing comes but the end: of the connection, or of this pause.
                    connection.settimeout(0.02)
                    with suppress(TimeoutError):
                        if not connection.recv(1):
                            return


def drain(base: str) -> None:
    """Reads an answer to its end."""
    response = HttpFetcher().fetch("GET", base + "/", HEADERS, None, 0.3)
    with closing(response):
        list(response.stream)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (b"HTTP/1.1 200 ", b"O"),
        (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        (b"HTTP/1.1 200 OK\r\nA: ", b"b"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (CHUNKED, b"0"),
        (CHUNKED + b"1;", b"a"),
        (CHUNKED + b"0\r\n", b"A: b\r\n"),
    ],
    ids=["status", "fields", "field", "interim", "chunk's length", "chunk's extension", "trailer"],
)
def test_drip_is_given_up(pieces: tuple[bytes, ...]) -> None:
    """A head, or a part of a body, that comes byte by byte is waited for no longer than one that does not come."""
    with Dripping(*pieces) as server, pytest.raises(NetworkError, match="try again later"):
        drain(server.base)
    assert 1 <= server.sent < 1000


def test_long_body_may_take_long(side: Side, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each part has its own time: a body of many parts may take longer than any of them."""
    clock = itertools.count(1.0, 0.5)
    monkeypatch.setattr("container.fetcher.time", SimpleNamespace(monotonic=lambda: next(clock)))
    world.files["long"] = bytes(2_000_000)
    assert len(ask(side, "GET", "/v1/files/long")[1]) == 2_000_000


def test_byte_is_handed_on_as_it_comes() -> None:
    """A body that comes byte by byte is handed on byte by byte: whoever reads it can see how slow it is."""
    with Dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b"x") as server:
        response = HttpFetcher().fetch("GET", server.base + "/", HEADERS, None, 5.0)
        first = [next(response.stream) for _ in range(3)]
        response.close()
    assert b"".join(first).strip(b"x") == b""
    assert len(b"".join(first)) < 100


def test_container_updates_over_http(world: World) -> None:
    """The whole way over a real connection: check, download, activate, report."""
    server = Server(world)
    base = server.start()
    try:
        world.publish(world.pack("1.0"))
        container = world.container_at(base, HttpFetcher())
        assert [outcome.status for outcome in container.update([PROGRAM])] == ["activated"]
        assert [event["outcome"] for event in world.reports[0]["events"]] == ["activated"]
    finally:
        server.stop()


def test_broken_download_goes_on_over_http(world: World) -> None:
    """A real connection that breaks within a file is taken up by its range, and a new root by its address."""
    server = Server(world)
    base = server.start()
    try:
        world.rotate("offer")
        packed = world.pack("1.0", {"data.bin": random.Random(1).randbytes(50_000)})
        world.publish(packed)
        world.cut_at = 20_000
        container = world.container_at(base, HttpFetcher())
        (outcome,) = container.update([PROGRAM])
        assert (outcome.status, outcome.bytes) == ("activated", packed.transfer_size)
        assert world.ranges == ["", "bytes=20000-"]
    finally:
        server.stop()
