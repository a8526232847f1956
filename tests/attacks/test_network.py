"""Attackers on the wire, in real connections: they cut, stretch, slow down and misname what an honest edge says.

TUF's names: endless data, slow retrieval; and what a hostile cache or CDN does to a download that goes on.
"""

import itertools
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import pytest

from container import ContainerError, OverloadedError
from tests.attacks.harness import (
    HostileServer,
    Package,
    Reply,
    Request,
    Speak,
    Town,
    Victim,
    answer_with,
    change,
    has_hung_up,
    replace_file,
    say,
    send_until_gone,
    write_head,
)

# More than a device may read of anything, and less than a test has no time for.
FLOOD_BYTES = 64 * 1024 * 1024
# Longer than any answer or package may take, in seconds.
TOO_LONG_S = 5_000.0


def flood(piece: bytes) -> Iterator[bytes]:
    """Yields a piece again and again."""
    return itertools.repeat(piece, FLOOD_BYTES // len(piece))


def only(path: str, speak: Speak) -> Speak:
    """A server that is hostile at addresses that begin so, and proper elsewhere."""

    def choose(connection: socket.socket, request: Request, reply: Reply) -> None:
        (speak if request.path.startswith(path) else say)(connection, request, reply)

    return choose


class Flood:
    """A server that sends without end, and notes whether the device hung up."""

    def __init__(self, head: bytes, piece: bytes) -> None:
        self._head, self._piece = head, piece
        self.sent = 0
        self.ended: list[bool] = []

    def __call__(self, connection: socket.socket, _: Request, __: Reply) -> None:
        connection.sendall(self._head)
        self.ended.append(send_until_gone(connection, self._count()))

    def _count(self) -> Iterator[bytes]:
        for piece in flood(self._piece):
            self.sent += len(piece)
            yield piece


def make_floods() -> dict[str, Flood]:
    """Returns ways to send without end, by name."""
    ok = write_head(200, {})
    chunked = write_head(200, {"Transfer-Encoding": "chunked"})
    return {
        "body": Flood(ok, b" " * 65_536),
        "body of a length": Flood(write_head(200, {"Content-Length": str(2**62)}), b" " * 65_536),
        "chunks": Flood(chunked, b"10000\r\n" + b" " * 65_536 + b"\r\n"),
        "small chunks": Flood(chunked, (b"20\r\n" + b" " * 32 + b"\r\n") * 1_000),
        "chunk of a long length": Flood(chunked, b"0" * 65_536),
        "extension of a chunk": Flood(chunked + b"1;", b"a" * 65_536),
        "trailer": Flood(chunked + b"0\r\n", b"A: a\r\n" * 10_000),
        "status line": Flood(b"HTTP/1.1 200 ", b"a" * 65_536),
        "one field": Flood(b"HTTP/1.1 200 OK\r\nA: ", b"a" * 65_536),
        "fields": Flood(b"HTTP/1.1 200 OK\r\n", b"A: a\r\n" * 10_000),
        "interim answers": Flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1_000),
        "refusal": Flood(write_head(404, {}), b" " * 65_536),
        "overload": Flood(write_head(503, {}), b" " * 65_536),
    }


FLOODS = tuple(make_floods())
# Each of these is read and thrown away as fast as it comes, until the time for one part of an answer is over.
TIMED = ("interim answers", "trailer")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Devices that wait for a part of an answer no longer than a test may take."""
    monkeypatch.setattr("container.courier.TIMEOUT_S", 1.0)


def begin_flood(server: HostileServer, path: str, name: str) -> Flood:
    """Lets the server send without end at some addresses."""
    attack = make_floods()[name]
    server.speak = only(path, attack)
    return attack


def end_flood(server: HostileServer, attack: Flood) -> None:
    """Sees that the device, and not the server, has ended it; the server is a good one again."""
    server.rest()
    assert attack.ended
    assert all(attack.ended)
    server.speak = say


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", FLOODS)
def test_endless_answer(server: HostileServer, online: Victim, name: str) -> None:
    """An answer without an end is cut off by the device, whatever part of it has none."""
    attack = begin_flood(server, "/v1/check", name)
    online.refuses("edge", "network")
    end_flood(server, attack)
    online.recovers()


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("name", FLOODS)
def test_endless_package(town: Town, server: HostileServer, online: Victim, name: str) -> None:
    """A package without an end is read no further than was offered, and leaves nothing on the disk."""
    attack = begin_flood(server, "/v1/files/", name)
    town.publish(town.pack())
    online.refuses("edge", "network", "transfer_refused")
    end_flood(server, attack)
    online.recovers()


@pytest.mark.parametrize("name", sorted(set(FLOODS) - set(TIMED)))
def test_endless_root(town: Town, server: HostileServer, online: Victim, name: str) -> None:
    """A root document without an end is cut off."""
    attack = begin_flood(server, "/v1/root/", name)
    town.tamper = answer_with(town.tell(town.pack()), root=2)
    with suppress(ContainerError):
        online.update()
    end_flood(server, attack)
    online.opens()
    online.recovers()


@pytest.mark.parametrize("name", sorted(set(FLOODS) - set(TIMED)))
def test_endless_word_of_thanks(town: Town, server: HostileServer, online: Victim, name: str) -> None:
    """A report's answer without an end takes nothing back of the update that is reported."""
    attack = begin_flood(server, "/v1/report", name)
    online.takes(town.pack())
    end_flood(server, attack)
    online.recovers()


class Drip:
    """A server that sends a byte after more than an hour, and then waits for the device to hang up."""

    def __init__(self, town: Town, before: Callable[[Reply], bytes]) -> None:
        self._town, self._before = town, before
        self.ended: list[bool] = []

    def __call__(self, connection: socket.socket, _: Request, reply: Reply) -> None:
        self._town.time += TOO_LONG_S
        connection.sendall(self._before(reply))
        self.ended.append(has_hung_up(connection))


def begin(reply: Reply, size: int) -> bytes:
    """Returns an honest answer's head, and the beginning of its body."""
    body = reply.content
    return write_head(reply.status, {"Content-Length": str(len(body)), **reply.headers}) + body[:size]


@pytest.mark.parametrize("path", ["/v1/check", "/v1/files/"])
@pytest.mark.parametrize("size", [1, 100])
def test_slow_retrieval(town: Town, server: HostileServer, online: Victim, path: str, size: int) -> None:
    """Who gets a byte an hour gives up, and does not wait for as many as would be worth looking at."""
    drip = Drip(town, partial(begin, size=size))
    server.speak = only(path, drip)
    town.publish(town.pack())
    online.refuses("network")
    server.rest()
    assert drip.ended
    assert all(drip.ended)
    server.speak = say
    online.recovers()


class Cut:
    """A server that ends the connection within a file's first answers, and then is a good one."""

    def __init__(self, times: int, share: float = 0.5) -> None:
        self._left, self._share = times, share
        self.ranges: list[str] = []

    def __call__(self, connection: socket.socket, request: Request, reply: Reply) -> None:
        self.ranges.append(request.headers.get("range", ""))
        if self._left == 0:
            say(connection, request, reply)
            return
        self._left -= 1
        connection.sendall(begin(reply, int(len(reply.content) * self._share)))


def test_cut_connections(town: Town, server: HostileServer, online: Victim) -> None:
    """A download that is cut again and again goes on where it was, over as many updates as it takes."""
    package = pack_large(town)
    town.publish(package)
    cut = Cut(5)
    server.speak = only("/v1/files/", cut)
    for _ in range(3):
        outcome = online.update()
        assert outcome
        if outcome.status == "activated":
            break
        assert outcome.error
        assert outcome.error.reason == "network"
        assert online.opens() == "1.0"
        online.check_room()
    assert online.opens() == package.claim.version
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-") or "0") for wanted in cut.ranges]
    assert starts == sorted(set(starts)), "each goes on behind the one before"
    online.recovers()


def pack_large(town: Town, size: int = 300_000) -> Package:
    """Returns a package whose transfer is some hundred kilobytes: it can not be compressed."""
    noise = bytes((value * value >> 7) & 255 for value in range(256))
    body = b"".join(noise[shift:] + noise[:shift] + shift.to_bytes(2) for shift in range(size // 258))
    return town.pack(files={"data.bin": body, "app.js": b"App()"})


def resume_with(lie: Callable[[Request, Reply], Reply]) -> Speak:
    """A server that cuts the first answer of a file short, and answers the rest of it with a lie, for ever."""

    def speak(connection: socket.socket, request: Request, reply: Reply) -> None:
        if "range" in request.headers:
            told = lie(request, reply)
            say(connection, request, told)
        else:
            connection.sendall(begin(reply, len(reply.content) // 2))

    return speak


def relabel(**headers: str) -> Callable[[Request, Reply], Reply]:
    """A lie in an answer's fields alone."""
    changed = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda _, reply: Reply(reply.status, reply.body, {**reply.headers, **changed})


LIES: dict[str, Callable[[Request, Reply], Reply]] = {
    "another beginning": relabel(content_range="bytes 0-9/300000"),
    "a range beyond the end": relabel(content_range="bytes 900000-900009/900010"),
    "a range backwards": relabel(content_range="bytes 9-0/10"),
    "no range at all": relabel(content_range=""),
    "a range of something": relabel(content_range="bytes x-y/z"),
    "an unknown size": relabel(content_range="bytes 1000-/*"),
    "another tag": relabel(etag='"other"'),
    "a weak tag": relabel(etag='W/"weak"'),
    "other bytes": lambda _, reply: Reply(206, bytes(len(reply.content)), reply.headers),
    "too few bytes": lambda _, reply: Reply(206, reply.content[:-1], reply.headers),
    "too many bytes": lambda _, reply: Reply(206, reply.content + b"x", reply.headers),
    "no bytes": lambda _, reply: Reply(206, b"", reply.headers),
    "everything as a part": lambda _, reply: Reply(206, reply.content * 2, reply.headers),
    "a part as everything": lambda _, reply: Reply(200, reply.content, reply.headers),
    "nothing more": lambda _, __: Reply(416),
    "not modified": lambda _, __: Reply(304),
    "no content": lambda _, __: Reply(204),
    "gone": lambda _, __: Reply(410),
    "elsewhere": lambda _, __: Reply(302, b"", {"Location": "http://evil.test/"}),
}


@pytest.mark.parametrize("name", LIES)
def test_lie_about_the_rest(town: Town, server: HostileServer, online: Victim, name: str) -> None:
    """Whatever is said when a download goes on, it ends in signed bytes or in an error, and poisons no later one."""
    package = pack_large(town)
    town.publish(package)
    server.speak = only("/v1/files/", resume_with(LIES[name]))
    for _ in range(3):
        outcome = online.update()
        assert outcome
        assert outcome.status == "failed"
        assert outcome.error
        assert outcome.error.reason in ("network", "edge", "transfer_refused")
        assert online.opens() == "1.0"
        online.check_room()
    server.speak = say
    assert online.update()
    assert online.opens() == package.claim.version
    online.recovers()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_poisoned_part(town: Town, server: HostileServer, online: Victim, share: float) -> None:
    """A first part of other bytes spoils one update at most: what is wrong at the end is not kept to go on with."""
    package = pack_large(town)
    town.publish(package)
    town.tamper = replace_file(package.full, bytes(len(package.full.content)))
    server.speak = only("/v1/files/", Cut(1_000, share))
    online.refuses("network", "transfer_refused")
    town.tamper = lambda _, reply: reply
    server.speak = say
    versions = []
    for _ in range(2):
        online.update()
        versions.append(online.opens())
    assert versions[-1] == package.claim.version
    online.recovers()


@pytest.mark.parametrize("length", ["0", "1", "10", "999999999", str(2**70), "-1", "+5", "0x10", "abc", ""], ids=repr)
def test_lie_about_the_length(town: Town, server: HostileServer, online: Victim, length: str) -> None:
    """A Content-Length that is not the body's installs nothing but the signed bytes."""
    package = pack_large(town)
    town.publish(package)

    def speak(connection: socket.socket, _: Request, reply: Reply) -> None:
        head = write_head(reply.status, {"Content-Length": length, **reply.headers})
        connection.sendall(head + reply.content)

    server.speak = only("/v1/files/", speak)
    outcome = online.update()
    assert outcome
    if outcome.status != "activated":
        assert outcome.error
        assert outcome.error.reason in ("network", "edge", "transfer_refused")
        assert online.opens() == "1.0"
    online.check_room()
    server.speak = say
    online.recovers()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "dcz", "aes128gcm"])
def test_lie_about_the_encoding(town: Town, server: HostileServer, online: Victim, encoding: str) -> None:
    """A body is taken as it comes: what a middle box calls it unpacks nothing, and here it is the signed bytes."""
    package = town.pack()
    town.publish(package)

    def speak(connection: socket.socket, request: Request, reply: Reply) -> None:
        say(connection, request, Reply(reply.status, reply.body, {**reply.headers, "Content-Encoding": encoding}))

    server.speak = only("/v1/files/", speak)
    online.takes(package)
    server.speak = say
    online.recovers()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("path", ["/v1/check", "/v1/files/"])
def test_led_elsewhere(town: Town, server: HostileServer, online: Victim, status: int, path: str) -> None:
    """A redirect leads nowhere."""
    town.publish(town.pack())
    places = {"Location": f"{server.base}/elsewhere"}
    server.speak = only(path, lambda connection, request, _: say(connection, request, Reply(status, b"", places)))
    online.refuses("edge")
    assert not any(request.path == "/elsewhere" for request in town.requests)
    server.speak = say
    online.recovers()


NOISE = (
    b"", b"\r\n\r\n", b"HTTP/1.1\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n", b"\x16\x03\x01\x02\x00",
    b"HTTP/1.1 999999999999999999999 OK\r\n\r\n", b"HTTP/1.1 -200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{",
    b"HTTP/1.1 200 OK\r\n\xff\xfe: \xff\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/0.9 200",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"HTTP/1.1 204 No Content\r\n\r\n", bytes(range(256)),
)  # fmt: skip


@pytest.mark.parametrize("noise", NOISE, ids=range(len(NOISE)))
@pytest.mark.parametrize("path", ["/v1/check", "/v1/files/"])
def test_no_http_at_all(town: Town, server: HostileServer, online: Victim, noise: bytes, path: str) -> None:
    """Whatever is spoken instead of HTTP is an error of ours."""
    town.publish(town.pack())
    server.speak = only(path, lambda connection, _, __: connection.sendall(noise))
    online.refuses("network", "edge", "transfer_refused")
    server.speak = say
    online.recovers()


def test_overload_of_a_file(town: Town, server: HostileServer, online: Victim) -> None:
    """A store that is too busy for ever fails an update, and is asked no oftener than twice for it."""
    package = town.pack()
    town.tamper = answer_with(change(town.tell(package)))
    server.speak = only("/v1/files/", lambda connection, request, _: say(connection, request, Reply(503)))
    assert isinstance(online.refuses("edge"), OverloadedError)
    assert sum(request.method == "GET" for request in town.requests) <= 2
    server.speak = say
    online.recovers()
