"""The naive oracle itself, against values worked out by hand: who judges the others must be judged first."""

import pytest

from contract.oracle import answer, bucket, decide, fold, read_ends, read_version, spread

QUESTION = {"workspace": "demo", "device": {"id": "d", "platform": "ios"}, "programs": {"p": "1.0"}}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.3.1", (2, 3, 1, 0)),
        ("002.3", (2, 3, 0, 0)),
        ("65535.65535.65535.65535", (65535, 65535, 65535, 65535)),
        *[(text, None) for text in (None, "", "65536", "1.2.3.4.5", "1.", "1..2", " 1", "٣", "1.*", "0" * 24)],
    ],
)
def test_reads_versions(text: str | None, version: tuple[int, ...] | None) -> None:
    """Four numbers, or nothing."""
    assert read_version(text) == version


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("14", (14, 0, 0, 0), (14, 0, 0, 0)),
        ("14.*", (14, 0, 0, 0), (14, 65535, 65535, 65535)),
        ("1.2.3.*", (1, 2, 3, 0), (1, 2, 3, 65535)),
    ],
)
def test_reads_both_ends(value: str, low: tuple[int, ...], high: tuple[int, ...]) -> None:
    """A wildcard stands for all that begins with it."""
    assert read_ends(value) == (low, high)


def test_a_value_that_is_no_version_is_named() -> None:
    """The oracle trusts documents, and says so when it should not have."""
    with pytest.raises(ValueError, match=r"^expected a version or a wildcard, got 'x\.\*'$"):
        read_ends("x.*")


def test_a_package_that_is_no_version_is_named() -> None:
    """The same for the version of a release."""
    with pytest.raises(ValueError, match=r"^expected a version, got 'latest'$"):
        decide({"releases": [{"id": "r", "package": "latest"}]}, QUESTION, "p", 0)


def test_folds_in_order() -> None:
    """Trimmed, then NFKC, then case-folded: a blank that NFKC makes is not trimmed any more."""
    assert fold(" \uff2d\uff29\u300010\t") == "mi 10"
    assert fold("\u00a8") == " \u0308"
    assert fold("Straße") == "strasse"


def test_buckets_are_those_of_xxh32() -> None:
    """Worked out by another xxh32, written from its specification and not kept here."""
    assert bucket("salt-of-gray", "device-409794") == 0
    assert bucket("salt-of-gray", "device-431917") == 299_999
    assert bucket("salt-of-gray", "device-876469") == 999_999


def test_spreads_by_whole_percents_rounded_down() -> None:
    """The same for a whole hour, in a tenth of the base on both sides."""
    assert spread(0, "d", 0) == 0
    assert {spread(100, f"device-{i}", 7200) for i in range(1000)} == set(range(90, 111))
    assert spread(1800, "d", 7200) == spread(1800, "d", 10799)


def test_answers_from_documents_by_program_too() -> None:
    """A caller with many documents may hand them over by program."""
    document = {"program": "p", "poll_after": 0, "releases": []}
    assert answer({"p": document}, 7, 1, QUESTION, 0) == answer([document], 7, 1, QUESTION, 0)
    assert answer([document], 7, 1, QUESTION, 0) == {"revision": 7, "root": 1, "poll_after": 0, "updates": []}


def test_without_an_offer_there_is_no_update() -> None:
    """An author's document, which nobody has signed, brings nobody anything."""
    document = {"program": "p", "taken_down": True, "releases": []}
    assert decide(document, QUESTION, "p", 0) == {"release": None, "reason": "remove"}
    assert answer([document], 7, 1, QUESTION, 0)["updates"] == []
    assert answer([{**document, "offers": {"expires": 1}}], 7, 1, QUESTION, 0)["updates"] == []
    offered = answer([{**document, "offers": {"expires": 1, "remove": "o"}}], 7, 1, QUESTION, 0)
    assert offered["updates"] == [{"program": "p", "action": "remove", "offer": "o"}]
