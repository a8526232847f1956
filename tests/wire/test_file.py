"""`GET /v1/files/<sha256>`: whole, in parts, cached for ever, and nothing but what the store holds by its name."""

import pytest

from tests.wire.client import GOOD, Client, ask, make_check
from tests.wire.conftest import FILE
from tests.wire.server import WireServer

IMMUTABLE = b"\r\nCache-Control: public, max-age=31536000, immutable\r\n"


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
        client.send(make_check())
        assert client.read() == GOOD


@pytest.mark.parametrize(
    ("range_", "body", "told"),
    [
        (b"bytes=0-3", FILE[:4], b"bytes 0-3/262144"),
        (b"bytes=262140-", FILE[-4:], b"bytes 262140-262143/262144"),
        (b"bytes=-4", FILE[-4:], b"bytes 262140-262143/262144"),
        (b"bytes=262140-9999999", FILE[-4:], b"bytes 262140-262143/262144"),
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


def test_refuses_a_part_that_is_not_there(server: WireServer, digest: str) -> None:
    """416 where no byte lies in the range."""
    with Client(server) as client:
        client.send(make_get(digest, b"Range: bytes=262144-\r\n"))
        client.end()
        answer = client.read()
        assert answer is not None
        assert (answer.status, answer.body) == (416, b"")
        assert b"\r\nContent-Range: bytes */262144\r\n" in client.heads[0]


def test_head_has_no_body(server: WireServer, digest: str) -> None:
    """Length and caching without the bytes."""
    with Client(server) as client:
        client.send(make_get(digest, method=b"HEAD"))
        answer = client.read(is_head=True)
        assert answer is not None
        assert answer.status == 200
        assert b"\r\nContent-Length: 262144\r\n" in client.heads[0]


@pytest.mark.parametrize("name", ["etag", "last-modified"])
def test_a_part_of_the_same_file_only(server: WireServer, digest: str, name: str) -> None:
    """If-Range with what was sent before gives the part, with anything older the whole file."""
    with Client(server) as client:
        client.send(make_get(digest))
        client.read()
        fields = dict(line.split(": ", 1) for line in client.heads[0].decode().lower().split("\r\n")[1:] if line)
        same = fields["last-modified"].title().replace("Gmt", "GMT").encode()
        older = b"Thu, 01 Jan 1970 00:00:01 GMT"
        statuses = []
        for value in (same, older):
            client.send(make_get(digest, b"Range: bytes=0-3\r\nIf-Range: " + value + b"\r\n"))
            answer = client.read()
            assert answer is not None
            statuses.append(answer.status)
        assert statuses == [206, 200]
        assert fields[name]


def test_not_modified(server: WireServer, digest: str) -> None:
    """Who has it is told so, without the bytes."""
    (answer,) = ask(server, make_get(digest, b"If-Modified-Since: Fri, 01 Jan 2100 00:00:00 GMT\r\n"))
    assert (answer.status, answer.body) == (304, b"")


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
