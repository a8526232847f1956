"""`GET /v1/files/<sha256>`: whole, in parts, cached for ever, and nothing but what the store holds by its name."""

import os
import socket
from pathlib import Path

import pytest

from edge.file import Store
from tests.wire.client import GOOD, Client, ask, make_check
from tests.wire.conftest import FILE
from tests.wire.server import WireServer

IMMUTABLE = b"\r\nCache-Control: public, max-age=31536000, immutable\r\n"


def tell_tag(digest: str) -> bytes:
    """The line with a file's entity tag, which no host's clock or disk has a part in."""
    return b'\r\nETag: "%b"\r\n' % digest.encode()


def make_get(digest: str, fields: bytes = b"", method: bytes = b"GET") -> bytes:
    """Returns a request for a file."""
    return b"%b /v1/files/%b HTTP/1.1\r\nHost: edge\r\n%b\r\n" % (method, digest.encode(), fields)


def test_sends_a_file(server: WireServer, digest: str) -> None:
    """The bytes, cached for ever; the connection stays for the next file, and for a check."""
    with Client(server) as client:
        for _ in range(3):
            client.send(make_get(digest))
            answer = client.read()
            assert answer is not None
            assert (answer.status, answer.type, answer.body) == (200, "application/octet-stream", FILE)
            assert IMMUTABLE in client.heads[-1]
            assert tell_tag(digest) in client.heads[-1]
            assert b"Last-Modified" not in client.heads[-1]
        client.send(make_check())
        assert client.read() == GOOD


@pytest.mark.parametrize(
    ("range_", "body", "told"),
    [
        (b"bytes=0-3", FILE[:4], b"bytes 0-3/262144"),
        (b"bytes=262140-", FILE[-4:], b"bytes 262140-262143/262144"),
        (b"bytes=-4", FILE[-4:], b"bytes 262140-262143/262144"),
        (b"bytes=262140-9999999", FILE[-4:], b"bytes 262140-262143/262144"),
        (b"bytes=0-", FILE, b"bytes 0-262143/262144"),
    ],
)
def test_sends_a_part(server: WireServer, digest: str, range_: bytes, body: bytes, told: bytes) -> None:
    """206 with what was asked for, either end open."""
    with Client(server) as client:
        client.send(make_get(digest, b"Range: " + range_ + b"\r\n"))
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.body) == (206, body)
        assert b"\r\nContent-Range: " + told + b"\r\n" in client.heads[0]
        assert IMMUTABLE in client.heads[0]
        assert tell_tag(digest) in client.heads[0]


@pytest.mark.parametrize(
    "range_", [b"bytes=0-3,8-11", b"bytes=0-0,0-0,0-0", b"bytes=3-0", b"bytes=x", b"lines=0-3", b""]
)
def test_passes_over_another_range(server: WireServer, digest: str, range_: bytes) -> None:
    """Several ranges, and what is none, are answered with the whole file."""
    (answer,) = ask(server, make_get(digest, b"Range: " + range_ + b"\r\n"))
    assert (answer.status, answer.body) == (200, FILE)


def test_passes_over_two_ranges(server: WireServer, digest: str) -> None:
    """Two fields are as good as a list."""
    (answer,) = ask(server, make_get(digest, b"Range: bytes=0-3\r\nRange: bytes=8-11\r\n"))
    assert (answer.status, answer.body) == (200, FILE)


def test_refuses_a_part_that_is_not_there(server: WireServer, digest: str) -> None:
    """416 where no byte lies in the range."""
    with Client(server) as client:
        client.send(make_get(digest, b"Range: bytes=262144-\r\n"))
        client.end()
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.body) == (416, b"")
        assert b"\r\nContent-Range: bytes */262144\r\n" in client.heads[0]


def test_a_part_of_a_head(server: WireServer, digest: str) -> None:
    """A HEAD tells of the whole file, that parts may be had, and the tag that makes sure of them."""
    with Client(server) as client:
        client.send(make_get(digest, b"Range: bytes=0-3\r\n", b"HEAD"))
        answer = client.read(is_head=True)
        assert answer is not None
        assert answer.status == 200
        assert b"\r\nAccept-Ranges: bytes\r\n" in client.heads[0]
        assert tell_tag(digest) in client.heads[0]
        client.send(make_get(digest))
        answer = client.read()
        assert answer is None or answer.body == FILE


def test_head_has_no_body(server: WireServer, digest: str) -> None:
    """Length and caching without the bytes."""
    with Client(server) as client:
        client.send(make_get(digest, method=b"HEAD"))
        answer = client.read(is_head=True)
        assert answer is not None
        assert answer.status == 200
        assert b"\r\nContent-Length: 262144\r\n" in client.heads[0]


@pytest.mark.parametrize(
    ("value", "status"),
    [
        (b'"%b"', 206),
        (b'W/"%b"', 200),
        (b"%b", 200),
        (b'"another"', 200),
        (b"Thu, 01 Jan 1970 00:00:01 GMT", 200),
        (b"Fri, 01 Jan 2100 00:00:00 GMT", 200),
    ],
)
def test_a_part_of_the_same_file_only(server: WireServer, digest: str, value: bytes, status: int) -> None:
    """If-Range with the tag that was sent before gives the part, with anything else the whole file."""
    tag = value % digest.encode() if b"%b" in value else value
    (answer,) = ask(server, make_get(digest, b"Range: bytes=0-3\r\nIf-Range: " + tag + b"\r\n"))
    assert (answer.status, answer.body) == (status, FILE[:4] if status == 206 else FILE)


def test_a_download_goes_on_at_another_host(both: dict[str, WireServer], digest: str) -> None:
    """What broke off at one host is finished at another, whose disk has the file since another time."""
    with Client(both["lane"]) as client:
        client.send(make_get(digest, b"Range: bytes=0-99\r\n"))
        first = client.read()
        (tag,) = [line for line in client.heads[0].split(b"\r\n") if line.startswith(b"ETag: ")]
    path = both["plain"].store / digest[:2] / digest
    os.utime(path, (1_000_000_000, 1_000_000_000))
    (rest,) = ask(both["plain"], make_get(digest, b"Range: bytes=100-\r\nIf-Range: " + tag[6:] + b"\r\n"))
    assert first is not None
    assert (rest.status, first.body + rest.body) == (206, FILE)


@pytest.mark.parametrize("value", [b'"%b"', b'W/"%b"', b'"x", "%b"', b"*"])
def test_not_modified(server: WireServer, digest: str, value: bytes) -> None:
    """Who has it is told so, without the bytes; the connection stays."""
    tag = value % digest.encode() if b"%b" in value else value
    with Client(server) as client:
        for _ in range(2):
            client.send(make_get(digest, b"If-None-Match: " + tag + b"\r\n"))
            answer = client.read()
            assert answer is not None
            assert (answer.status, answer.body) == (304, b"")
            assert tell_tag(digest) in client.heads[-1]
            assert IMMUTABLE in client.heads[-1]
            assert b"Content-Length" not in client.heads[-1]


def test_dates_say_nothing(server: WireServer, digest: str) -> None:
    """A file that never changes has no date: conditions on one are passed over."""
    (answer,) = ask(server, make_get(digest, b"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"))
    assert (answer.status, answer.body) == (200, FILE)
    (answer,) = ask(server, make_get(digest, b"If-Unmodified-Since: Thu, 01 Jan 1970 00:00:01 GMT\r\n"))
    assert (answer.status, answer.body) == (200, FILE)


def test_another_file_than_wanted(server: WireServer, digest: str) -> None:
    """412 without a body, where the client wants a file of another tag."""
    (answer,) = ask(server, make_get(digest, b'If-Match: "another"\r\n'))
    assert (answer.status, answer.body) == (412, b"")
    (answer,) = ask(server, make_get(digest, b'If-Match: "%b"\r\n' % digest.encode()))
    assert (answer.status, answer.body) == (200, FILE)


def test_a_file_that_is_cut_short_is_not_passed_for_whole(server: WireServer) -> None:
    """Where the disk has fewer bytes than the head has promised, the connection ends within the body."""
    digest = "c" * 64
    path = server.store / digest[:2] / digest
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.truncate(path, 1 << 26)  # more than the sockets between hold
    with Client(server) as client:
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        client.send(make_get(digest))
        assert client.socket.recv(1) == b"H"
        os.truncate(path, 100)
        with pytest.raises(AssertionError, match="ended within a body"):
            client.read()
    path.unlink()


def test_a_file_that_is_removed_meanwhile(server: WireServer, digest: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that goes between being found and being opened is not found, in JSON, and nothing is cached."""
    monkeypatch.setattr(Store, "find", lambda *_: server.store / "gone")
    with Client(server) as client:
        for method in (b"GET", b"HEAD"):
            client.send(make_get(digest, method=method))
            answer = client.read(is_head=method == b"HEAD")
            assert answer is not None
            assert (answer.status, answer.type) == (404, "application/json")
            assert (answer.code == "not_found") is (method == b"GET")
            assert b"Cache-Control" not in client.heads[-1]


def test_a_client_that_goes_away_leaves_nothing_open(server: WireServer, digest: str) -> None:
    """Downloads that are broken off close their files."""
    path = server.store / digest[:2] / digest
    for _ in range(20):
        with Client(server) as client:
            client.send(make_get(digest) * 40)
            client.socket.recv(1)

    def is_open() -> bool:
        return any(os.path.realpath(each) == str(path) for each in Path("/proc/self/fd").iterdir())

    for _ in range(10_000):
        if not server.call(is_open):
            return
    pytest.fail("a file stays open")


@pytest.mark.parametrize(
    "name",
    [
        "..%2fsecret",
        "../secret",
        "%2e%2e/secret",
        "..%2f..%2f..%2fetc%2fpasswd",
        "..\\secret",
        "%00",
        "",
        ".",
        "a" * 64,
        "a" * 63,
        "a" * 65,
        "A" * 64,
        "a" * 64 + "%0a",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "a" * 62 + "%2f..",
        "aa/" + "a" * 64,
    ],
)
def test_nothing_else(server: WireServer, name: str) -> None:
    """Whatever is no name of a file in the store is not found, however it is written."""
    (answer,) = ask(server, make_get(name))
    assert (answer.status, answer.code) == (404, "not_found")
    assert b"nobody may read this" not in answer.body


def test_a_name_in_other_case(server: WireServer, digest: str) -> None:
    """A file has one name, in small letters."""
    (answer,) = ask(server, make_get(digest.upper()))
    assert answer.code == "not_found"


def test_a_refusal_ends_the_connection_after_hand_over(both: dict[str, WireServer], digest: str) -> None:
    """Files keep a connection, everything else that aiohttp answers ends it on the lane."""
    sent = make_get(digest) + make_get("a" * 64) + make_get(digest)
    lane, plain = (ask(both[name], sent) for name in ("lane", "plain"))
    assert [answer.status for answer in lane] == [200, 404]
    assert [answer.status for answer in plain] == [200, 404, 200]
