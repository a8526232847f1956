"""Where a device is, by the headers of its request and the address it comes from: the same on both lanes."""

from collections.abc import Iterator
from ipaddress import ip_address

import orjson
import pytest

from edge.place import NOWHERE, Address, Locator, Place, read_network
from edge.reception import Reception
from tests.edge.passport import NOW
from tests.wire.client import ask, make_check
from tests.wire.conftest import make_packages, publish_usual
from tests.wire.server import WireServer

PROGRAM = "2021000000000099"
PHONE = "203.0.113.7"
HERE = ip_address("127.0.0.1")


class Book:
    """Knows where two addresses are."""

    def find(self, address: Address) -> Place:
        return {ip_address(PHONE): Place(city="Bonn"), HERE: Place(city="Hangzhou")}.get(address, NOWHERE)


@pytest.fixture
def bonn(server: WireServer) -> Iterator[WireServer]:
    """A server whose one release is for Bonn."""
    document = make_packages()
    document["releases"][0]["when"] = [{"attribute": "city", "op": "in", "values": ["bonn"]}]
    server.publish([document], 1, 1, NOW)
    yield server
    server.call(server.rules.attend)
    publish_usual(server)


def receive_by(server: WireServer, proxy: str, *, has_book: bool = False) -> None:
    """Lets the server believe this proxy."""
    locator = Locator([read_network(proxy)], {"city": b"x-city"}, Book() if has_book else None)
    server.call(lambda: server.rules.attend(Reception({}, locator)))


def is_in_bonn(server: WireServer, fields: bytes = b"", **members: str) -> bool:
    """Whether a check with these fields, by a device that says this, is decided as one of Bonn."""
    device = {"id": "d1", "platform": "android", **members}
    body = orjson.dumps({"workspace": "demo", "device": device, "programs": {PROGRAM: ""}})
    (answer,) = ask(server, make_check(body, fields))
    assert answer.status == 200
    return bool(orjson.loads(answer.body)["updates"])


def test_header_of_the_proxy(bonn: WireServer) -> None:
    """A trusted proxy's header tells where a device is that does not say so."""
    receive_by(bonn, "127.0.0.0/8")
    assert is_in_bonn(bonn, b"X-City: Bonn\r\n")
    assert is_in_bonn(bonn, b"x-city:%42onn \r\n")
    assert not is_in_bonn(bonn, b"X-City: Bonn\r\n", city="Hangzhou")
    assert not is_in_bonn(bonn, b"X-City: Bonn\r\nX-City: Bonn\r\n")
    assert not is_in_bonn(bonn)


def test_header_of_a_stranger(bonn: WireServer) -> None:
    """Nobody else's is believed, nor anybody's where nothing is set."""
    receive_by(bonn, "10.0.0.0/8")
    assert not is_in_bonn(bonn, b"X-City: Bonn\r\n")
    bonn.call(lambda: setattr(bonn.rules, "reception", None))
    assert not is_in_bonn(bonn, b"X-City: Bonn\r\n")
    assert is_in_bonn(bonn, city="Bonn")


def test_address(bonn: WireServer) -> None:
    """Behind a trusted proxy the address is the forwarded one; else it is the peer's, whatever is forwarded."""
    forwarded = b"X-Forwarded-For: 198.51.100.9\r\nx-forwarded-for: %b , 127.0.0.9\r\n" % PHONE.encode()
    receive_by(bonn, "127.0.0.0/8", has_book=True)
    assert is_in_bonn(bonn, forwarded)
    assert not is_in_bonn(bonn, forwarded, city="Hangzhou")
    receive_by(bonn, "10.0.0.0/8", has_book=True)
    assert not is_in_bonn(bonn, forwarded)
