"""Versions as one integer compare as tuples of four numbers do, and read what the oracle reads and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.oracle import read_ends, read_version
from ruleset import VersionError, format_version, parse_version, parse_version_range
from tests.properties.strategies import UNREADABLE, any_text, thorough, version_values

part = st.sampled_from([0, 1, 65_534, 65_535]) | st.integers(0, 65_535)
numbers = st.lists(part, min_size=1, max_size=4)
readable = numbers.map(lambda parts: ".".join(map(str, parts)))
nearly = st.text("0123456789.*+-_ １²٣", max_size=25) | st.sampled_from(UNREADABLE) | any_text | readable


def read_compiled(text: str) -> int | None:
    """The key of a text, None where there is none."""
    try:
        return parse_version(text)
    except VersionError:
        return None


@thorough
@given(readable, readable)
def test_keys_order_as_tuples(one: str, two: str) -> None:
    """Less, equal and greater are the same for keys as for tuples of four."""
    low, high = read_version(one), read_version(two)
    assert low is not None
    assert high is not None
    assert (parse_version(one) < parse_version(two)) == (low < high)
    assert (parse_version(one) == parse_version(two)) == (low == high)


@thorough
@given(nearly)
def test_reads_what_the_oracle_reads(text: str) -> None:
    """A text has a key exactly where the oracle finds four numbers in it, and they are the same four."""
    four, key = read_version(text), read_compiled(text)
    assert (None if key is None else format_version(key)) == (None if four is None else ".".join(map(str, four)))


@thorough
@given(st.integers(0, 2**64 - 1))
def test_a_key_survives_its_text(key: int) -> None:
    """Reading the text of a key gives the key."""
    assert parse_version(format_version(key)) == key


@given(numbers.filter(lambda parts: len(parts) < 4))
def test_missing_parts_are_zero(parts: list[int]) -> None:
    """A part more, zero, changes nothing."""
    text = ".".join(map(str, parts))
    assert parse_version(text) == parse_version(f"{text}.0")


@thorough
@given(version_values | readable)
def test_ranges_have_the_oracles_ends(value: str) -> None:
    """Both ends of a value, wildcard or not, are the oracle's."""
    low, high = read_ends(value)
    expected = tuple(parse_version(".".join(map(str, end))) for end in (low, high))
    assert parse_version_range(value) == expected


@pytest.mark.parametrize("value", ["*", ".*", "1.2.3.4.*", "1.*.*", "1.*.2", "1*", "14.* "])
def test_no_other_wildcards(value: str) -> None:
    """A wildcard is one to three parts and `.*`, and nothing else."""
    with pytest.raises(VersionError):
        parse_version_range(value)
