"""Percentages in integers: the oracle's buckets, both ends of the scale, and no device ever dropped by a ramp."""

from hypothesis import given
from hypothesis import strategies as st

from contract.oracle import bucket, spread
from ruleset.bucket import WHOLE, compute_hash, compute_limit, spread_poll
from tests.properties.strategies import any_text, thorough

parts = st.sampled_from([0, 1, 2, WHOLE - 1, WHOLE]) | st.integers(0, WHOLE)
hashes = st.sampled_from([0, 1, 2**32 - 1]) | st.integers(0, 2**32 - 1)


@thorough
@given(any_text, any_text, parts)
def test_inside_equals_oracle(salt: str, identity: str, share: int) -> None:
    """An id is below the compiled limit exactly where its bucket is below the parts."""
    assert (compute_hash(salt, identity) < compute_limit(share)) == (bucket(salt, identity) < share)


@thorough
@given(any_text, any_text, st.sampled_from([0, 1]))
def test_both_sides_of_an_ids_own_boundary(salt: str, identity: str, more: int) -> None:
    """With as many parts as its bucket an id is outside, with one more inside."""
    share = bucket(salt, identity) + more
    assert (compute_hash(salt, identity) < compute_limit(share)) == bool(more)


@thorough
@given(hashes, parts)
def test_limit_is_the_shifted_product(value: int, share: int) -> None:
    """The limit holds for every hash, not only for those that an id is known for."""
    assert (value < compute_limit(share)) == ((value * WHOLE) >> 32 < share)


@thorough
@given(parts)
def test_limit_is_exact_at_its_own_value(share: int) -> None:
    """The last hash inside and the first outside are those of the shifted product."""
    limit = compute_limit(share)
    assert limit == 0 or ((limit - 1) * WHOLE) >> 32 < share
    assert limit == 2**32 or (limit * WHOLE) >> 32 >= share


@given(hashes)
def test_nobody_at_nothing_and_everybody_at_the_whole(value: int) -> None:
    """No hash is below the limit of 0 parts, and each is below that of a million."""
    assert not value < compute_limit(0)
    assert value < compute_limit(WHOLE)


@thorough
@given(hashes, parts, parts)
def test_raising_never_drops(value: int, one: int, two: int) -> None:
    """Whoever is inside at fewer parts is inside at more."""
    fewer, more = sorted([one, two])
    assert value >= compute_limit(fewer) or value < compute_limit(more)


@thorough
@given(st.integers(0, 86_400), any_text, st.integers(0, 2**40))
def test_spread_equals_oracle_and_stays_within_a_tenth(base: int, device: str, now: int) -> None:
    """A poll interval is the oracle's, a tenth away from the base at most, rounded down."""
    interval = spread_poll(base, device, now)
    assert interval == spread(base, device, now)
    assert base * 90 // 100 <= interval <= base * 110 // 100


@given(st.integers(0, 86_400), any_text, st.integers(0, 2**30), st.integers(0, 3599))
def test_spread_is_fixed_for_an_hour(base: int, device: str, hour: int, second: int) -> None:
    """The same device gets the same interval in every second of an hour."""
    assert spread_poll(base, device, hour * 3600) == spread_poll(base, device, hour * 3600 + second)
