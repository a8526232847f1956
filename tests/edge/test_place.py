"""Tests of edge/place.py."""

from ipaddress import ip_address
from typing import Any

import pytest

from edge.place import FORWARDED, MAX_HOPS, MAX_JUDGED, NOWHERE, Address, Locator, Place, read_address, read_network
from edge.sender import Sender
from ruleset import Device

PROXY, OTHER_PROXY, STRANGER, PHONE = "10.0.0.1", "fd00::1", "192.0.2.1", "203.0.113.7"
PROXIES = [read_network(text) for text in ("10.0.0.0/8", "fd00::/8")]
HEADERS = {"country": b"x-country", "region": b"x-region", "city": b"x-city"}
BONN = Place("DE", "DE-NW", "Bonn")


class Book:
    """Knows where some addresses are, and which were asked for."""

    def __init__(self, **places: Place) -> None:
        self.asked: list[str] = []
        self._places = {PHONE: BONN, **places}

    def find(self, address: Address) -> Place:
        self.asked.append(str(address))
        return self._places.get(str(address), NOWHERE)


def make_device(**members: str) -> Device:
    """A device that says this of its place."""
    return Device(id="d1", platform="ios", **members)


def send(peer: str, *forwarded: bytes, **headers: bytes) -> Sender:
    """The sender of a request with these headers."""
    fields: dict[bytes, list[bytes]] = {f"x-{name}".encode(): [value] for name, value in headers.items()}
    return Sender({**fields, FORWARDED: list(forwarded)} if forwarded else fields, peer)


def read_place(device: Device) -> tuple[str | None, str | None, str | None]:
    """What a device's check is decided by."""
    return device.country, device.region, device.city


@pytest.mark.parametrize("peer", [PROXY, OTHER_PROXY, "::ffff:10.0.0.1"])
def test_header_of_a_trusted_proxy(peer: str) -> None:
    """What a device does not say is taken from the headers of a proxy that is trusted."""
    located = Locator(PROXIES, HEADERS, None).locate(
        make_device(), send(peer, country=b"CN", region=b"CN-ZJ", city=b"Hangzhou")
    )
    assert read_place(located) == ("CN", "CN-ZJ", "Hangzhou")
    assert located.id == "d1"


@pytest.mark.parametrize("peer", [STRANGER, "11.0.0.1", "fe80::1", "", "unix"])
def test_header_of_a_stranger(peer: str) -> None:
    """Whoever is no trusted proxy may write into headers what it wants."""
    device = make_device()
    assert Locator(PROXIES, HEADERS, None).locate(device, send(peer, country=b"CN")) is device


def test_what_a_device_says_stays() -> None:
    """Header and database fill in what is absent, each member on its own; an empty text is absent."""
    locator = Locator(PROXIES, HEADERS, Book())
    said = make_device(country="FR", city="")
    sender = send(PROXY, PHONE.encode(), country=b"CN", city=b"Hangzhou")
    assert read_place(locator.locate(said, sender)) == ("FR", "DE-NW", "Hangzhou")
    whole = make_device(country="FR", region="FR-IDF", city="Paris")
    assert locator.locate(whole, sender) is whole


def test_nothing_is_looked_up_without_need() -> None:
    """Where device and proxy say all, the database is not asked."""
    book = Book()
    sender = send(PROXY, PHONE.encode(), country=b"DE", region=b"DE-NW")
    assert read_place(Locator(PROXIES, HEADERS, book).locate(make_device(city="Bonn"), sender)) == (
        "DE",
        "DE-NW",
        "Bonn",
    )
    assert book.asked == []


@pytest.mark.parametrize(
    ("value", "city"),
    [
        (b"S%C3%A3o%20Paulo", "São Paulo"),
        ("São Paulo".encode(), "São Paulo"),
        (b"100% Bonn", "100% Bonn"),
        ("杭州市".encode(), "杭州市"),
        (b"S\xe3o", None),
        (b"%FF", None),
        (b"", None),
        (b"x" * 256, "x" * 256),
        (b"x" * 257, None),
    ],
)
def test_how_a_header_is_written(value: bytes, city: str | None) -> None:
    """Percent-encoded or UTF-8; anything else, and what is too long for a text of a check, counts as absent."""
    assert Locator(PROXIES, HEADERS, None).locate(make_device(), send(PROXY, city=value)).city == city


def test_header_that_stands_twice() -> None:
    """A header that says two things says nothing."""
    sender = Sender({b"x-city": [b"Bonn", b"Hangzhou"]}, PROXY)
    assert Locator(PROXIES, HEADERS, None).locate(make_device(), sender).city is None


def test_address_of_the_peer() -> None:
    """Without a proxy the device is where its connection comes from; what it claims to forward is not looked at."""
    book = Book()
    locator = Locator([], {}, book)
    assert read_place(locator.locate(make_device(), send(PHONE, STRANGER.encode()))) == ("DE", "DE-NW", "Bonn")
    assert read_place(locator.locate(make_device(), send(STRANGER, PHONE.encode()))) == (None, None, None)
    assert book.asked == [PHONE, STRANGER]


@pytest.mark.parametrize(
    ("forwarded", "asked"),
    [
        ([b"203.0.113.7"], [PHONE]),
        ([b"198.51.100.9, 203.0.113.7"], [PHONE]),
        ([b"198.51.100.9", b"203.0.113.7"], [PHONE]),
        ([b"203.0.113.7, 10.1.1.1 ,fd00::9"], [PHONE]),
        ([b"203.0.113.7:4711,10.1.1.1"], [PHONE]),
        ([b"[2001:db8::7]:4711"], ["2001:db8::7"]),
        ([b"2001:db8::7"], ["2001:db8::7"]),
        ([b"::ffff:203.0.113.7"], [PHONE]),
        ([b"203.0.113.7, unknown"], []),
        ([b"203.0.113.7,"], []),
        ([b"203.0.113.7, \xff"], []),
        ([b"10.1.1.1, 10.1.1.2"], []),
        ([b""], []),
        ([], []),
    ],
)
def test_address_behind_proxies(forwarded: list[bytes], asked: list[str]) -> None:
    """Of a trusted proxy's chain the last address that is no proxy's counts; what cannot be read ends the search."""
    book = Book()
    Locator(PROXIES, {}, book).locate(make_device(), send(PROXY, *forwarded))
    assert book.asked == asked


def test_chain_of_proxies_is_walked_so_far() -> None:
    """As many proxies are passed as are allowed, and no more."""
    for hops, asked in ((MAX_HOPS - 1, [PHONE]), (MAX_HOPS, [])):
        book = Book()
        chain = b",".join([PHONE.encode(), *[b"10.0.0.1"] * hops])
        Locator(PROXIES, {}, book).locate(make_device(), send(PROXY, chain))
        assert book.asked == asked


def test_trust_is_remembered_within_bounds() -> None:
    """However many peers there are, only so many verdicts are kept."""
    locator = Locator(PROXIES, HEADERS, None)
    for n in range(MAX_JUDGED + 10):
        locator.locate(make_device(), send(str(ip_address(n))))
    assert len(locator._judged) == MAX_JUDGED
    assert locator.locate(make_device(), send(PROXY, city=b"Bonn")).city == "Bonn"


def test_what_is_wanted() -> None:
    """Only the fields that decide something are looked for in heads."""
    assert Locator(PROXIES, {"city": b"x-city"}, None).wanted == (b"x-city",)
    assert Locator(PROXIES, {}, Book()).wanted == (FORWARDED,)


@pytest.mark.parametrize("text", ["10.0.0.1", "10.0.0.0/8", "::/0", "fd00::/8"])
def test_network(text: str) -> None:
    """A network is a CIDR, or one address."""
    network: Any = read_network(text)
    assert str(network).startswith(text)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "10.0.0.0/33", "proxy", ""])
def test_network_that_is_none(text: str) -> None:
    """Anything else is refused, and shown."""
    with pytest.raises(ValueError, match=f"expected a network like 10.0.0.0/8, got {text!r}: "):
        read_network(text)


@pytest.mark.parametrize("text", ["", "unknown", "_hidden", "1.2.3", "[::1", "1:2", "::1::"])
def test_address_that_is_none(text: str) -> None:
    """What is no address is none."""
    assert read_address(text) is None or text == "[::1"
