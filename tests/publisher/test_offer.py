"""Offers: signed for what a release may give, and for nothing else."""

from typing import Any

import orjson
import pytest
from msgspec.structs import replace

from channel import Position
from publisher.draft import read_author
from publisher.errors import BadDocumentError
from publisher.offer import Terms, check_offers, make_offers
from ruleset.model import Offers, Program
from trust import PrivateKey, Role, TrustError, verify_offer

PROGRAM = "2021000000000001"
TERMS = Terms("demo", PROGRAM, Position(1, 7), issued=1_000, expires=2_000)


def offer(workshop: Any, *releases: Any, **members: Any) -> Offers:
    """The offers of a document with these releases and packages 1 to 3."""
    document = workshop.document(*releases, versions=("1.0", "2.0", "3.0"), **members)
    return make_offers(read_author(orjson.dumps(document), PROGRAM), TERMS, [workshop.keys["offer"]])


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
        claim = verify_offer(token, workshop.root.role("offer"))
        assert (claim.workspace, claim.program, claim.action, claim.version) == ("demo", PROGRAM, action, "2.0")
        assert (claim.epoch, claim.revision, claim.issued, claim.expires) == (1, 7, 1_000, 2_000)
        assert claim.sha256 == package["sha256"]
        moved = [(one.format, one.size, one.sha256, one.from_sha256) for one in claim.transfers]
        assert moved == [("zstd", 190, "7f" * 32, ""), ("dcz", 9, "9b" * 32, "8a" * 32)]


def test_take_down_is_offered(workshop: Any) -> None:
    """A program that is taken down has a signed removal."""
    claim = verify_offer(offer(workshop, taken_down=True, releases=[]).remove, workshop.root.role("offer"))
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


def test_floor_is_in_every_offer(workshop: Any) -> None:
    """Devices take the floor from what is signed, also with a removal; without one it is empty."""
    release = {"id": "a", "package": "2.0", "rollback": {"from": ["3.0"]}}
    offers = offer(workshop, release, taken_down=True, floor="2.0")
    for token in (offers.install["2.0"], offers.rollback["2.0"], offers.remove):
        assert verify_offer(token, workshop.root.role("offer")).floor == "2.0"
    assert verify_offer(offer(workshop).install["1.0"], workshop.root.role("offer")).floor == ""


def test_offers_have_every_keys_signature(workshop: Any) -> None:
    """Where the root wants two keys, both have signed."""
    keys = [workshop.keys["offer"], PrivateKey.generate()]
    role = Role(2, {key.kid: key.public for key in keys})
    program = read_author(orjson.dumps(workshop.document()), PROGRAM)
    assert verify_offer(make_offers(program, TERMS, keys).install["1.0.0.0"], role).version == "1.0.0.0"
    with pytest.raises(TrustError):
        verify_offer(make_offers(program, TERMS, keys[:1]).install["1.0.0.0"], role)


def test_removal_that_cannot_be_signed_is_refused(workshop: Any) -> None:
    """A floor that no offer can carry is refused with the document, where there is no package to name."""
    with pytest.raises(BadDocumentError, match=r"^\$: it cannot be offered: "):
        offer(workshop, taken_down=True, releases=[], floor="000001")


def publish(workshop: Any, **members: Any) -> Program:
    """A published document with two releases, one of them a rollback, and its offers."""
    releases = [{"id": "a", "package": "2.0", "rollback": {"from": ["3.0"]}}, {"id": "b", "package": "1.0"}]
    document = workshop.document(*releases, versions=("1.0", "2.0", "3.0"), taken_down=True)
    author = read_author(orjson.dumps(document), PROGRAM)
    program = replace(author, workspace="demo", epoch=1, revision=7)
    offers = make_offers(program, TERMS, [workshop.keys["offer"]])
    return replace(program, **{"offers": offers, **members})


def test_own_offers_are_true(workshop: Any) -> None:
    """What was published as it stands is believed."""
    check_offers(publish(workshop), workshop.root.role("offer"))


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"offers": None}, "$.offers"),
        ({"workspace": "test"}, "$.offers.install['1.0']"),
        ({"program": "2021000000000002"}, "$.offers.install['1.0']"),
        ({"epoch": 2}, "$.offers.install['1.0']"),
        ({"revision": 8}, "$.offers.install['1.0']"),
        ({"floor": "1.0"}, "$.offers.install['1.0']"),
        ({"packages": {}}, "$.offers.install['1.0']"),
    ],
)
def test_offers_of_another_document_are_not_true(workshop: Any, members: Any, path: str) -> None:
    """Offers cannot be carried into a document that says something else."""
    with pytest.raises(BadDocumentError) as caught:
        check_offers(publish(workshop, **members), workshop.root.role("offer"))
    assert caught.value.path == path


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"expires": 3_000}, "$.offers.install['1.0']"),
        ({"install": {}}, "$.offers.install['1.0']"),
        ({"rollback": {}}, "$.offers.rollback['2.0']"),
        ({"remove": ""}, "$.offers.remove"),
    ],
)
def test_every_offer_is_wanted(workshop: Any, members: Any, path: str) -> None:
    """A document that lacks an offer, or has another life than its offers, is not one of ours."""
    program = publish(workshop)
    assert program.offers is not None
    with pytest.raises(BadDocumentError) as caught:
        check_offers(replace(program, offers=replace(program.offers, **members)), workshop.root.role("offer"))
    assert caught.value.path == path


def test_offers_of_a_stranger_are_not_true(workshop: Any) -> None:
    """Only the root's offer keys have offered anything."""
    stranger = PrivateKey.generate()
    with pytest.raises(BadDocumentError, match=r"^\$\.offers\.install\['1\.0'\]: expected an offer of just what "):
        check_offers(publish(workshop), Role(1, {stranger.kid: stranger.public}))


def test_transfers_are_part_of_the_offer(workshop: Any) -> None:
    """Other bytes than those that were offered are another document."""
    program = publish(workshop)
    (transfer,) = program.packages["1.0"].transfers
    package = replace(program.packages["1.0"], transfers=[replace(transfer, size=191)])
    with pytest.raises(BadDocumentError, match=r"expected an offer of just what the document says, got another$"):
        check_offers(replace(program, packages={**program.packages, "1.0": package}), workshop.root.role("offer"))
