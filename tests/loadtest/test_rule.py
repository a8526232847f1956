"""The bench's own reading of the rules is held to the oracle's."""

from random import Random
from typing import Any

import pytest

from contract import oracle
from loadtest.market import draw_profile
from loadtest.program import BROAD, GRAYS, pool_conditions
from loadtest.rule import compile_condition, compile_program, decide, is_inside, read_ends, read_version, spread_poll

DEVICE = {
    "id": "d1",
    "platform": "android",
    "os": "12.1",
    "app": "10.2.0",
    "model": "Redmi Note 12",
    "network": "5g",
    "region": "CN-GD",
    "tags": {"tier": "Gold"},
}


def make_one(condition: dict[str, Any]) -> dict[str, Any]:
    """A document of one release with one condition."""
    package = {"sha256": "0" * 64, "size": 1, "signature": "s", "transfers": []}
    release = {"id": "r", "package": "2.0", "when": [condition]}
    return {"program": "10000001", "packages": {"2.0": package}, "releases": [release]}


CONDITIONS = [
    ("model", "in", ["redmi note 12 "]),
    ("model", "not_in", ["Redmi Note 12"]),
    ("model", "contains", ["NOTE", "x"]),
    ("model", "prefix", ["redmi"]),
    ("model", "prefix", ["note"]),
    ("network", "in", ["cellular"]),
    ("network", "not_in", ["cellular"]),
    ("region", "prefix", ["cn-g"]),
    ("os", "between", ["12", "12.*"]),
    ("os", "between", ["12", "12"]),
    ("os", "outside", ["12", "12.1"]),
    ("os", "in", ["12.*", "14"]),
    ("os", "not_in", ["12.1.0.0"]),
    ("app", "outside", ["10.3", "11"]),
    ("city", "not_in", ["Beijing"]),
    ("tags.tier", "in", ["GOLD"]),
    ("tags.tier", "not_in", ["gold"]),
    ("tags.age", "not_in", ["old"]),
]


@pytest.mark.parametrize(("attribute", "op", "values"), CONDITIONS)
@pytest.mark.parametrize("device", [DEVICE, {"id": "d2", "platform": "ios"}], ids=["full", "bare"])
def test_each_operator_is_the_oracles(attribute: str, op: str, values: list[str], device: dict[str, Any]) -> None:
    """A condition of each kind holds for a device where the oracle says so, and for one that says nothing of it."""
    document = make_one({"attribute": attribute, "op": op, "values": values})
    question = {"device": device, "programs": {"10000001": ""}}
    release = decide(compile_program(document), device, None)
    assert (release.id if release else None) == oracle.decide(document, question, "10000001", 0)["release"]


def test_every_condition_of_the_pools_is_the_oracles() -> None:
    """The very conditions of the bench hold for the very devices of its market as the oracle says."""
    random = Random(3)
    devices = [draw_profile(random) | {"id": "d"} for _ in range(20)]
    bands = [BROAD, *{gray.last for gray in GRAYS}]
    conditions = [one for band in bands for pool in pool_conditions(band).values() for one in pool]
    for condition in conditions:
        document, holds = make_one(condition), compile_condition(condition)
        for device in devices:
            question = {"device": device, "programs": {"10000001": ""}}
            assert holds(device) is (oracle.decide(document, question, "10000001", 0)["release"] is not None)


def test_a_release_that_is_not_live_is_left_out() -> None:
    """Paused and ended releases decide nothing."""
    document = make_one({"attribute": "platform", "op": "in", "values": ["android"]})
    document["releases"].insert(0, {**document["releases"][0], "id": "paused", "state": "paused"})
    release = decide(compile_program(document), DEVICE, None)
    assert release is not None
    assert release.id == "r"


def test_a_lower_release_is_passed_over() -> None:
    """A device above a release's version is not taken back."""
    document = make_one({"attribute": "platform", "op": "in", "values": ["android"]})
    assert decide(compile_program(document), DEVICE, read_version("2.1")) is None


@pytest.mark.parametrize("device", ["d0", "d1", "d2", "d3", "d4"])
def test_percentages_are_the_oracles_buckets(device: str) -> None:
    """A device is inside from the first part above its bucket on."""
    bucket = oracle.bucket("salt", device)
    assert is_inside(("salt", bucket + 1), device)
    assert not is_inside(("salt", bucket), device)
    assert is_inside(None, device)


@pytest.mark.parametrize("hour", [0, 3_599, 3_600, 1_795_000_000])
def test_polling_is_spread_as_the_oracle_does(hour: int) -> None:
    """The interval of a device in an hour is the oracle's, to the second."""
    for device in ("d0", "d1", "d2"):
        assert spread_poll(1_800, device, hour) == oracle.spread(1_800, device, hour)


@pytest.mark.parametrize("text", ["", "1.", "a", "1.2.3.4.5", "65536", "-1", "\u0661"])
def test_what_is_no_version_is_none(text: str) -> None:
    """A text that is no version is read as none."""
    assert read_version(text) is None


def test_a_wildcard_has_two_ends() -> None:
    """`14.*` is all of 14, `14` one version; anything else is refused."""
    assert read_ends("14.*") == ((14, 0, 0, 0), (14, 65_535, 65_535, 65_535))
    assert read_ends("14") == ((14, 0, 0, 0), (14, 0, 0, 0))
    with pytest.raises(ValueError, match=r"expected a version or a wildcard, got '\*'"):
        read_ends("*")
