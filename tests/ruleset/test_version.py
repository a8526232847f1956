"""Versions: the texts that are one, the texts that are none, and the order of their keys."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ruleset.errors import RulesetError, VersionError
from ruleset.version import (
    MAX_PART,
    MAX_REMEMBERED,
    MAX_VERSION_CHARS,
    NOT_INSTALLED,
    format_version,
    parse_version,
    parse_version_range,
)

parts = st.integers(0, MAX_PART)
whole_versions = st.tuples(parts, parts, parts, parts)
some_parts = st.lists(parts, min_size=1, max_size=4)


def write(numbers: tuple[int, ...] | list[int]) -> str:
    return ".".join(str(number) for number in numbers)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("0", 0),
        ("1", 1 << 48),
        ("1.2", 1 << 48 | 2 << 32),
        ("1.2.3", 1 << 48 | 2 << 32 | 3 << 16),
        ("1.2.3.4", 1 << 48 | 2 << 32 | 3 << 16 | 4),
        ("65535.65535.65535.65535", (1 << 64) - 1),
    ],
)
def test_a_version_is_four_parts_of_16_bits(text: str, key: int) -> None:
    """Each part takes 16 bits of the key, the first the highest, missing ones zero."""
    assert parse_version(text) == key


@pytest.mark.parametrize("text", ["2.3.1", "2.3.1.0", "02.3.1", "2.0003.1.00"])
def test_missing_parts_and_leading_zeros_make_no_other_version(text: str) -> None:
    """A version may be written in several ways and has one key."""
    assert parse_version(text) == parse_version("2.3.1.0")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "1.",
        ".1",
        "1..2",
        "1.2.3.4.5",
        "a",
        "1a",
        "1.*",
        "*",
        " 1",
        "1 ",
        "1\n",
        "-1",
        "+1",
        "1_0",
        "0x1",
        "1e1",
        "\u0661",
        "\u00b2",
        "1\x00",
    ],
)
def test_a_text_that_is_no_version_is_refused(text: str) -> None:
    """Anything but 1 to 4 parts of ASCII digits is refused, and shown as Python would write it."""
    with pytest.raises(VersionError) as caught:
        parse_version(text)
    assert str(caught.value) == f"expected a version of 1 to 4 numeric parts, got {text!r}"


def test_a_refused_version_is_shown_escaped() -> None:
    """Control characters of a remote text do not reach a terminal."""
    with pytest.raises(VersionError, match=r"^expected a version of 1 to 4 numeric parts, got '\\x1b\[31m'$"):
        parse_version("\x1b[31m")


@pytest.mark.parametrize("place", range(4))
def test_a_part_is_at_most_65535(place: int) -> None:
    """65535 is the last number of every part; 65536 would run into the part before it."""
    numbers = [0, 0, 0, 0]
    numbers[place] = MAX_PART
    assert parse_version(write(numbers)) == MAX_PART << 16 * (3 - place)
    numbers[place] = MAX_PART + 1
    with pytest.raises(VersionError) as caught:
        parse_version(write(numbers))
    assert str(caught.value) == f"expected version parts from 0 to 65535, got {write(numbers)!r}"


def test_a_version_has_at_most_23_characters() -> None:
    """The longest text is four parts of five digits; one digit more is refused although it is a zero."""
    longest = "1".rjust(MAX_VERSION_CHARS, "0")
    assert len(longest) == 23
    assert parse_version(longest) == parse_version("1")
    with pytest.raises(VersionError) as caught:
        parse_version("0" + longest)
    assert str(caught.value) == f"expected a version of 1 to 4 numeric parts, got '0{longest}'"


@pytest.mark.parametrize(
    ("text", "low", "high"),
    [
        ("14", "14.0.0.0", "14.0.0.0"),
        ("14.*", "14.0.0.0", "14.65535.65535.65535"),
        ("14.1.*", "14.1.0.0", "14.1.65535.65535"),
        ("14.1.2.*", "14.1.2.0", "14.1.2.65535"),
        ("0.*", "0", "0.65535.65535.65535"),
        ("65535.65535.65535.*", "65535.65535.65535.0", "65535.65535.65535.65535"),
    ],
)
def test_a_star_stands_for_all_that_begins_so(text: str, low: str, high: str) -> None:
    """A version is a range of one; 1 to 3 parts and a star are all versions that begin with these parts."""
    assert parse_version_range(text) == (parse_version(low), parse_version(high))


def test_a_star_after_four_parts_is_refused() -> None:
    """A fifth part does not exist, not even as a star."""
    with pytest.raises(VersionError) as caught:
        parse_version_range("1.2.3.4.*")
    assert str(caught.value) == "expected at most 3 parts before .*, got '1.2.3.4.*'"


@pytest.mark.parametrize("text", ["", "*", ".*", "1.*.*", "*.1", "1*", "1.2.3.4.5.*", "a.*", "1. *"])
def test_a_text_that_is_no_range_is_refused_whole(text: str) -> None:
    """The message shows what was given, the star included."""
    with pytest.raises(VersionError) as caught:
        parse_version_range(text)
    assert str(caught.value) == f"expected a version of 1 to 4 numeric parts, got {text!r}"


def test_a_range_with_too_high_a_part_is_refused_whole() -> None:
    """The bound of a part holds before a star too."""
    with pytest.raises(VersionError) as caught:
        parse_version_range("65536.*")
    assert str(caught.value) == "expected version parts from 0 to 65535, got '65536.*'"


def test_a_version_error_is_an_error_of_the_ruleset() -> None:
    """Who catches the base error catches a bad version."""
    assert issubclass(VersionError, RulesetError)


@given(whole_versions, whole_versions)
@example((1, 9, 0, 0), (1, 10, 0, 0))
@example((1, 0, 0, 65535), (1, 0, 1, 0))
def test_keys_are_ordered_as_versions_are(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    """The order of keys is the order of the four numbers, 1.9 below 1.10."""
    keys = parse_version(write(one)), parse_version(write(other))
    assert (keys[0] < keys[1]) == (one < other)
    assert (keys[0] == keys[1]) == (one == other)


@given(some_parts)
def test_a_version_is_shown_in_four_parts(numbers: list[int]) -> None:
    """The text of a key has the parts that were read, and zeros for the missing ones."""
    assert format_version(parse_version(write(numbers))) == write([*numbers, 0, 0, 0][:4])


@given(st.integers(0, (1 << 64) - 1))
@example(0)
@example((1 << 64) - 1)
def test_every_key_can_be_shown_and_read_again(key: int) -> None:
    """Showing and reading a key are each other's inverse."""
    assert parse_version(format_version(key)) == key


@given(st.lists(parts, min_size=1, max_size=3), whole_versions)
def test_a_star_covers_exactly_what_begins_so(stem: list[int], numbers: tuple[int, ...]) -> None:
    """A version is in the range of a star exactly where its first parts are those before the star."""
    low, high = parse_version_range(write(stem) + ".*")
    for version in (numbers, (*stem, *numbers)[:4]):
        is_inside = low <= parse_version(write(version)) <= high
        assert is_inside == (list(version[: len(stem)]) == stem)


@given(st.text(max_size=30) | st.text("0123456789.*", max_size=30))
def test_any_text_is_a_version_or_a_version_error(text: str) -> None:
    """Whatever a device sends, it is read as a range of keys or refused in the one documented way."""
    try:
        low, high = parse_version_range(text)
    except VersionError as error:
        assert str(error).endswith(f"got {text!r}")  # noqa: PT017 - both outcomes are right
    else:
        assert 0 <= low <= high < 1 << 64


def test_what_is_not_installed_is_below_every_version() -> None:
    """Nothing installed has the key -1: below version 0, so that every version is higher."""
    assert NOT_INSTALLED == -1
    assert parse_version("0") > NOT_INSTALLED


@pytest.mark.parametrize("function", [parse_version, parse_version_range], ids=["version", "range"])
def test_what_is_remembered_is_bounded(function: Any) -> None:
    """A client that makes up versions fills a memo of a fixed size, and refused texts are not kept in it."""
    assert function.cache_info().maxsize == MAX_REMEMBERED
    before = function.cache_info().currsize
    with pytest.raises(VersionError):
        function("no version at all")
    assert function.cache_info().currsize == before
