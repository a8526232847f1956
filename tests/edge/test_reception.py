"""Tests of edge/reception.py."""

from edge.place import Locator, read_network
from edge.reception import AUTHORIZATION, Reception
from edge.sender import NOBODY, Sender
from ruleset import Device
from tests.edge.passport import NOW, USER, BackEnd

BACK_END = BackEnd()
DEVICE = Device(id="d1", platform="ios", user=USER)
LOCATOR = Locator([read_network("10.0.0.1")], {"city": b"x-city"}, None)


def make_sender() -> Sender:
    """A trusted proxy, before a device with a token."""
    return Sender({AUTHORIZATION: [b"Bearer " + BACK_END.sign()], b"x-city": [b"Bonn"]}, "10.0.0.1")


def test_user_and_place() -> None:
    """A device's user is proven where its workspace wants that, and its place is filled in everywhere."""
    reception = Reception({"demo": BACK_END.make_prover()}, LOCATOR)
    device, is_proven = reception.receive("demo", DEVICE, make_sender(), NOW)
    assert (device.user, device.city, is_proven) == (USER, "Bonn", True)
    device, is_proven = reception.receive("shop", DEVICE, make_sender(), NOW)
    assert (device.user, device.city, is_proven) == (USER, "Bonn", False)
    device, is_proven = reception.receive("demo", DEVICE, NOBODY, NOW)
    assert (device.user, device.city, is_proven) == (None, None, False)


def test_what_is_wanted() -> None:
    """Heads are looked into for what decides something, and for nothing else."""
    prover = BACK_END.make_prover()
    assert Reception({"demo": prover}).wanted == (AUTHORIZATION,)
    assert Reception({}, LOCATOR).wanted == (b"x-city",)
    assert Reception({"demo": prover}, LOCATOR).wanted == (AUTHORIZATION, b"x-city")


def test_without_a_locator() -> None:
    """Where nobody knows of places a device without a user stays as it is."""
    device = Device(id="d1", platform="ios")
    assert Reception({}).receive("demo", device, make_sender(), NOW) == (device, False)
