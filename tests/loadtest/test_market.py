"""The made-up market: devices that could exist, and shares that add up."""

from random import Random

from loadtest.market import MILLION, count_shares, draw_profile


def test_shares_add_up() -> None:
    """The values of each attribute that all devices send make up a million, up to rounding; cities and regions 96 %."""
    for attribute, shares in count_shares().items():
        whole = 960_000 if attribute in ("city", "region") else MILLION
        assert whole - len(shares) - 10 <= sum(shares.values()) <= whole


def test_drawn_devices_follow_the_shares() -> None:
    """Among 20,000 devices each value is about as common as its share says."""
    random = Random(1)
    drawn = [draw_profile(random) for _ in range(20_000)]
    for attribute, shares in count_shares().items():
        for value, share in shares.items():
            if attribute == "tags.tier":
                seen = sum(one["tags"] == {"tier": value} for one in drawn)
            else:
                seen = sum(one.get(attribute) == value for one in drawn)
            assert abs(seen / 20_000 - share / MILLION) < 0.015


def test_a_device_hangs_together() -> None:
    """A phone has a system of its platform, and a city of its region."""
    random = Random(2)
    for _ in range(500):
        device = draw_profile(random)
        if device["manufacturer"] == "Apple":
            assert device["platform"] == "ios"
            assert int(str(device["os"]).split(".")[0]) >= 15
        assert (device.get("city") == "Shenzhen") <= (device.get("region") == "CN-GD")
