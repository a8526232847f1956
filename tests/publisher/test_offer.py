"""Offers: signed for what a release may give, and for nothing else."""

from typing import Any

import orjson
import pytest

from channel import Position
from publisher.draft import read_author
from publisher.errors import BadDocumentError
from publisher.offer import Terms, make_offers
from ruleset.model import Offers
from trust import verify_offer

PROGRAM = "2021000000000001"
TERMS = Terms("demo", PROGRAM, Position(1, 7), issued=1_000, expires=2_000)


def offer(workshop: Any, *releases: Any, **members: Any) -> Offers:
    """The offers of a document with these releases and packages 1 to 3."""
    document = workshop.document(*releases, versions=("1.0", "2.0", "3.0"), **members)
    return make_offers(read_author(orjson.dumps(document), PROGRAM), TERMS, workshop.keys["offer"])


def test_packages_of_releases_are_offered(workshop: Any) -> None:
    """Live and paused releases have their packages offered, ended ones and loose packages do not."""
    releases = [
        {"id": "a", "package": "1.0"},
        {"id": "b", "package": "2.0", "state": "paused"},
        {"id": "c", "package": "3.0", "state": "ended"},
    ]
    offers = offer(workshop, *releases)
    assert set(offers.install) == {"1.0", "2.0"}
    assert offers.rollback == {}
    assert offers.remove == ""
    assert offers.expires == 2_000


def test_offer_says_everything(workshop: Any) -> None:
    """An offer names package, position, times and every transfer, under the offer key."""
    package = workshop.package("2.0")
    package["transfers"].append(
        {"format": "dcz", "from": "1.0", "from_sha256": "8a" * 32, "url": "/d", "size": 9, "sha256": "9b" * 32}
    )
    release = {"id": "a", "package": "2.0", "rollback": {"from": ["3.0"]}}
    offers = offer(workshop, release, packages={"2.0": package})
    for action, token in (("install", offers.install["2.0"]), ("rollback", offers.rollback["2.0"])):
        claim = verify_offer(token, workshop.root.keys("offer"))
        assert (claim.workspace, claim.program, claim.action, claim.version) == ("demo", PROGRAM, action, "2.0")
        assert (claim.epoch, claim.revision, claim.issued, claim.expires) == (1, 7, 1_000, 2_000)
        assert claim.sha256 == package["sha256"]
        moved = [(one.format, one.size, one.sha256, one.from_sha256) for one in claim.transfers]
        assert moved == [("zstd", 190, "7f" * 32, ""), ("dcz", 9, "9b" * 32, "8a" * 32)]


def test_take_down_is_offered(workshop: Any) -> None:
    """A program that is taken down has a signed removal."""
    claim = verify_offer(offer(workshop, taken_down=True, releases=[]).remove, workshop.root.keys("offer"))
    assert (claim.action, claim.version, claim.sha256, claim.transfers) == ("remove", "", "", ())


@pytest.mark.parametrize(
    ("transfer", "reason"),
    [
        ({"from_sha256": "8a" * 32}, "expected from_sha256 with dcz and only there"),
        ({"size": 0}, "Expected `int` >= 1"),
    ],
)
def test_package_that_cannot_be_offered_is_refused(workshop: Any, transfer: Any, reason: str) -> None:
    """What no device would accept is refused with the place."""
    package = workshop.package("1.0")
    package["transfers"][0].update(transfer)
    with pytest.raises(BadDocumentError) as caught:
        offer(workshop, {"id": "a", "package": "1.0"}, packages={"1.0": package})
    assert caught.value.path == "$.packages['1.0']"
    assert caught.value.message.startswith("it cannot be offered: ")
    assert reason in caught.value.message
