"""The bench's rule set: programs of five releases with four conditions each, that admit what they should."""

from random import Random
from typing import Any

from loadtest.market import MILLION, draw_profile
from loadtest.program import BROAD, CONDITIONS, GRAYS, OFFICIAL, RELEASES, make_document, pool_conditions
from loadtest.rule import compile_condition, read_version


def test_a_program_has_five_releases_of_four_conditions(documents: list[dict[str, Any]]) -> None:
    """Every release has four conditions over different attributes; all but the last one have a percentage."""
    for document in documents:
        assert len(document["releases"]) == RELEASES == 5
        for release in document["releases"]:
            assert len(release["when"]) == CONDITIONS == 4
            assert len({one["attribute"] for one in release["when"]}) == 4
        assert ["who" in release for release in document["releases"]] == [True, True, True, True, False]


def test_versions_fall_from_top_to_bottom(documents: list[dict[str, Any]]) -> None:
    """Each release has a package of its own, newer than that of the release below it."""
    for document in documents:
        versions = [read_version(release["package"]) or (0,) for release in document["releases"]]
        assert versions == sorted(versions, reverse=True)
        assert len(set(versions)) == RELEASES


def test_the_same_number_gives_the_same_document() -> None:
    """A program depends on its number and the seed alone."""
    assert make_document(3, 7) == make_document(3, 7)
    assert make_document(3, 7) != make_document(3, 8)
    assert make_document(3, 7)["program"] == "2021000000000004"


def test_conditions_admit_what_their_band_says() -> None:
    """Among 4,000 devices a condition admits a share of its band, a few percent for chance allowed."""
    random = Random(5)
    devices = [draw_profile(random) for _ in range(4_000)]
    for band in (BROAD, *(gray.last for gray in GRAYS)):
        pools = pool_conditions(band)
        assert len(pools) >= 6
        for condition in (one for pool in pools.values() for one in pool[:5]):
            share = MILLION * sum(map(compile_condition(condition), devices)) / len(devices)
            assert band.low - 35_000 <= share <= band.high + 35_000, condition


def test_the_official_release_holds_for_everybody() -> None:
    """Whatever device the market has, the conditions at the bottom hold for it."""
    random = Random(6)
    official = [compile_condition(condition) for condition in OFFICIAL]
    for _ in range(2_000):
        device = draw_profile(random)
        assert all(holds(device) for holds in official)
