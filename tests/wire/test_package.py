"""`GET /v1/packages/<sha256>`: a package by its tar, in the coding that the client takes, a difference where it can."""

import base64
import hashlib
from collections.abc import Iterator

import pytest
from backports import zstd

from tests.wire.client import GOOD, Answer, Client, ask, make_check
from tests.wire.conftest import DIFFERENCE, FILE, NEW_TAR, OLD_TAR, SEALED_TAR, WHOLE, name_bytes
from tests.wire.server import WireServer

TAR = name_bytes(NEW_TAR)
VARY = b"\r\nVary: Accept-Encoding, Available-Dictionary\r\n"
DICTIONARY = b"Available-Dictionary: :%b:\r\n" % base64.b64encode(hashlib.sha256(OLD_TAR).digest())
OTHER_DICTIONARY = b"Available-Dictionary: :%b:\r\n" % base64.b64encode(bytes(32))
BOTH = b"Accept-Encoding: gzip, zstd, dcz\r\n"


def make_get(fields: bytes = b"", tar: str = TAR, method: bytes = b"GET") -> bytes:
    """Returns a request for a package."""
    return b"%b /v1/packages/%b HTTP/1.1\r\nHost: edge\r\n%b\r\n" % (method, tar.encode(), fields)


def get(server: WireServer, request: bytes, *, is_head: bool = False) -> tuple[Answer, bytes]:
    """Returns the answer and its head."""
    with Client(server) as client:
        client.send(request)
        client.end()
        answer = client.read(is_head=is_head)
        assert answer is not None
        return answer, client.heads[0]


def find_coding(head: bytes) -> bytes:
    """The Content-Encoding in a head, empty where there is none."""
    lines = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return lines.get(b"Content-Encoding", b"")


def test_difference_from_what_the_client_has(server: WireServer) -> None:
    """Who has the old tar gets the stored difference, byte for byte, and makes the new tar of it."""
    answer, head = get(server, make_get(BOTH + DICTIONARY))
    assert (answer.status, answer.type, answer.body) == (200, "application/x-tar", DIFFERENCE)
    assert find_coding(head) == b"dcz"
    assert VARY in head
    assert b'\r\nETag: "%b"\r\n' % name_bytes(DIFFERENCE).encode() in head
    assert b"\r\nCache-Control: public, max-age=31536000, immutable\r\n" in head
    dictionary = zstd.ZstdDict(OLD_TAR, is_raw=True).as_prefix
    assert zstd.decompress(answer.body[40:], zstd_dict=dictionary) == NEW_TAR
    assert len(answer.body) < len(WHOLE) / 10


@pytest.mark.parametrize(
    "fields",
    [
        BOTH,
        b"Accept-Encoding: zstd\r\n",
        b"Accept-Encoding: zstd\r\n" + DICTIONARY,
        b"Accept-Encoding: zstd, dcz;q=0\r\n" + DICTIONARY,
        b"Accept-Encoding: zstd;q=0.9, dcz;q=0.8\r\n" + DICTIONARY,
        b"Accept-Encoding: *\r\n" + DICTIONARY,
        b"",
        DICTIONARY,
        BOTH + OTHER_DICTIONARY,
        BOTH + b"Available-Dictionary: \xff\r\n",
        BOTH + b"Available-Dictionary: junk\r\n",
        BOTH + DICTIONARY.replace(b":\r\n", b"\r\n"),
        BOTH + DICTIONARY + DICTIONARY,
        BOTH + DICTIONARY + OTHER_DICTIONARY,
    ],
)
def test_whole_package(server: WireServer, fields: bytes) -> None:
    """Without a dictionary that is known, or where the field is malformed, the client gets the whole package."""
    answer, head = get(server, make_get(fields))
    assert (answer.status, answer.body, find_coding(head)) == (200, WHOLE, b"zstd")
    assert VARY in head
    assert zstd.decompress(answer.body) == NEW_TAR


@pytest.mark.parametrize(
    "fields",
    [
        b"Accept-Encoding: gzip, br\r\n" + DICTIONARY,
        b"Accept-Encoding:\r\n" + DICTIONARY,
        b"Accept-Encoding: identity\r\n",
        b"Accept-Encoding: *;q=0, dcz;q=0\r\n" + DICTIONARY,
        b"Accept-Encoding: dcz\r\n" + OTHER_DICTIONARY,
        b"Accept-Encoding: dcz\r\nAvailable-Dictionary: junk\r\n",
    ],
)
def test_no_coding_that_the_client_takes(server: WireServer, fields: bytes) -> None:
    """406 in JSON: a package is never unpacked here."""
    answer, head = get(server, make_get(fields))
    assert (answer.status, answer.type, answer.code) == (406, "application/json", "not_acceptable")
    assert VARY in head
    assert find_coding(head) == b""
    assert b"Cache-Control" not in head


@pytest.mark.parametrize(
    "tar", ["a" * 64, SEALED_TAR, name_bytes(WHOLE), name_bytes(FILE), TAR.upper(), TAR[1:], "", "%00"]
)
def test_nothing_else(server: WireServer, tar: str) -> None:
    """What is no package of a document, and what is sealed, is not found; whatever the client takes."""
    for fields in (BOTH, b"Accept-Encoding: gzip\r\n"):
        answer, head = get(server, make_get(fields, tar))
        assert (answer.status, answer.code) == (404, "not_found")
        assert (VARY in head) is bool(tar)  # an empty name is another target


def test_before_all_programs_are_read(server: WireServer) -> None:
    """After a start a package that is not known yet may be one of a program that is not read: come again."""
    workspace = server.rules.workspaces["demo"]
    server.call(lambda: workspace.owe(["2021000000000098"], lambda _: None))
    try:
        assert [get(server, make_get(BOTH, tar))[0].status for tar in ("a" * 64, TAR)] == [503, 200]
    finally:
        server.call(lambda: workspace.owe([], lambda _: None))
    assert get(server, make_get(BOTH, "a" * 64))[0].status == 404


@pytest.mark.parametrize("moved", [DIFFERENCE, WHOLE], indirect=True)
def test_file_that_is_not_in_the_store(server: WireServer, moved: bytes) -> None:
    """A file that this host does not have is no way: the next best is taken, and without one nothing is found."""
    answer, head = get(server, make_get(BOTH + DICTIONARY))
    left = WHOLE if moved == DIFFERENCE else DIFFERENCE
    assert (answer.body, VARY in head) == (left, True)
    only = b"Accept-Encoding: dcz, *;q=0\r\n" if moved == DIFFERENCE else b"Accept-Encoding: zstd\r\n"
    answer, head = get(server, make_get(only + DICTIONARY))
    assert (answer.status, answer.code, VARY in head) == (404, "not_found", True)


@pytest.fixture
def moved(server: WireServer, request: pytest.FixtureRequest) -> Iterator[bytes]:
    """A file that is not in the store for the time of a test."""
    name = name_bytes(request.param)
    path = server.store / name[:2] / name
    path.rename(path.with_suffix(".away"))
    yield request.param
    path.with_suffix(".away").rename(path)


def test_parts_of_a_coding(server: WireServer) -> None:
    """Ranges are of the coded bytes, and the tag is the coding's: no part of one is taken for another's."""
    tag = b'If-Range: "%b"\r\n' % name_bytes(DIFFERENCE).encode()
    part, head = get(server, make_get(BOTH + DICTIONARY + b"Range: bytes=40-\r\n" + tag))
    assert (part.status, part.body, find_coding(head)) == (206, DIFFERENCE[40:], b"dcz")
    assert VARY in head
    whole, head = get(server, make_get(BOTH + b"Range: bytes=40-\r\n" + tag))
    assert (whole.status, whole.body, find_coding(head)) == (200, WHOLE, b"zstd")


@pytest.mark.parametrize(
    ("field", "status"),
    [(b'If-None-Match: "%b"\r\n', 304), (b'If-Match: "x%b"\r\n', 412), (b"Range: bytes=9999999-%b\r\n", 416)],
)
def test_answers_without_a_body_vary_too(server: WireServer, field: bytes, status: int) -> None:
    """A cache has to know of these as well what they depend on."""
    value = name_bytes(DIFFERENCE).encode() if b'"' in field else b""
    answer, head = get(server, make_get(BOTH + DICTIONARY + field % value))
    assert (answer.status, answer.body) == (status, b"")
    assert VARY in head


def test_head_has_no_body(server: WireServer) -> None:
    """Coding and length without the bytes."""
    answer, head = get(server, make_get(BOTH + DICTIONARY, method=b"HEAD"), is_head=True)
    assert (answer.status, find_coding(head)) == (200, b"dcz")
    assert b"\r\nContent-Length: %d\r\n" % len(DIFFERENCE) in head
    assert VARY in head


def test_connection_stays(server: WireServer) -> None:
    """Packages keep a connection as files do."""
    with Client(server) as client:
        for fields, body in ((BOTH, WHOLE), (BOTH + DICTIONARY, DIFFERENCE)):
            client.send(make_get(fields))
            answer = client.read()
            assert answer is not None
            assert answer.body == body
        client.send(make_check())
        assert client.read() == GOOD


def test_other_methods(server: WireServer) -> None:
    """405, and Allow names what there is."""
    (answer,) = ask(server, make_get(method=b"DELETE"))
    assert (answer.status, answer.code) == (405, "method_not_allowed")


def test_downloads_and_refusals_are_counted(server: WireServer) -> None:
    """A package that is sent is a file that is sent; a refusal is a refusal."""
    counters = server.counters
    before = server.call(lambda: (counters.files, counters.refused))
    for fields in (BOTH, BOTH + DICTIONARY, b"Accept-Encoding: gzip\r\n"):
        get(server, make_get(fields))
    after = server.call(lambda: (counters.files, counters.refused))
    assert (after[0] - before[0], after[1] - before[1]) == (2, 1)
