"""Buckets: integers, right at both ends, sticky when a percentage is raised; and how polling is spread."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ruleset.bucket import SECONDS_AN_HOUR, WHOLE, compute_hash, compute_limit, spread_poll

HASHES = 1 << 32

all_parts = st.integers(0, WHOLE)
identities = st.text(min_size=1, max_size=20)


def is_inside(hashed: int, parts: int) -> bool:
    """The rule as `contract/document.md` has it."""
    return (hashed * 1_000_000) >> 32 < parts


@pytest.mark.parametrize(
    ("parts", "limit"), [(0, 0), (1, 4_295), (500_000, 1 << 31), (999_999, HASHES - 4_294), (1_000_000, HASHES)]
)
def test_limits_of_some_percentages(parts: int, limit: int) -> None:
    """Nothing admits no hash, half admits the lower half, the whole admits the highest hash too."""
    assert compute_limit(parts) == limit


@given(all_parts)
@example(0)
@example(1)
@example(999_999)
@example(1_000_000)
def test_a_limit_is_the_rule_at_every_hash_around_it(parts: int) -> None:
    """Just below the limit and just above it, comparing with it says what the rule says."""
    limit = compute_limit(parts)
    for hashed in range(max(limit - 3, 0), min(limit + 4, HASHES)):
        assert (hashed < limit) == is_inside(hashed, parts)


@given(all_parts, st.integers(0, HASHES - 1))
@example(0, 0)
@example(1, 0)
@example(1_000_000, HASHES - 1)
@example(999_999, HASHES - 1)
def test_a_limit_is_the_rule_at_any_hash(parts: int, hashed: int) -> None:
    """Comparing with the limit says what the rule says, far from it as well."""
    assert (hashed < compute_limit(parts)) == is_inside(hashed, parts)


@given(all_parts, all_parts)
def test_raising_a_percentage_raises_its_limit(one: int, other: int) -> None:
    """A higher percentage never has a lower limit, so that it never drops a device."""
    assert compute_limit(min(one, other)) <= compute_limit(max(one, other))


@pytest.mark.parametrize(
    ("salt", "identity", "hashed"),
    [("s", "d-1", 0x5937BEF9), ("", "d-1", 0x5AF5EEA3), ("s", "", 0x9E362BB5), ("s\u00e9", "\u674e", 0x1A52C61E)],
)
def test_hashes_of_some_ids(salt: str, identity: str, hashed: int) -> None:
    """An id's hash is xxh32 of salt, NUL and id in UTF-8; an app's back end must compute the same."""
    assert compute_hash(salt, identity) == hashed


def test_salt_and_id_do_not_run_into_each_other() -> None:
    """The NUL keeps two pairs of the same letters apart."""
    assert compute_hash("a", "bc") != compute_hash("ab", "c")


@given(identities, identities)
def test_a_hash_has_32_bits(salt: str, identity: str) -> None:
    """No hash reaches the limit of the whole, so that a million parts admit everybody."""
    assert 0 <= compute_hash(salt, identity) < compute_limit(WHOLE)


@pytest.mark.parametrize(
    ("base_s", "device", "now", "poll_s"),
    [
        (1_800, "d-1", 0, 1_764),
        (1_800, "d-1", 3_599, 1_764),
        (1_800, "d-1", 3_600, 1_890),
        (1_800, "d-2", 0, 1_710),
        (5, "d-1", 0, 4),
        (86_400, "d-1", 1_900_000_000, 93_312),
    ],
)
def test_poll_intervals_of_some_devices(base_s: int, device: str, now: int, poll_s: int) -> None:
    """A device's interval is fixed by its id and the hour, and rounded down to whole seconds."""
    assert spread_poll(base_s, device, now) == poll_s


@given(st.integers(0, 86_400), identities, st.integers(0, 1 << 40))
@example(0, "d-1", 0)
def test_an_interval_is_within_a_tenth_of_its_base(base_s: int, device: str, now: int) -> None:
    """Polling is spread by at most 10 % to either side and is never negative."""
    poll_s = spread_poll(base_s, device, now)
    assert poll_s >= 0
    assert abs(poll_s - base_s) * 10 <= base_s + 9
    assert poll_s <= base_s + base_s // 10


@given(identities, st.integers(0, 1 << 28), st.integers(0, SECONDS_AN_HOUR - 1))
def test_an_interval_stays_for_a_whole_hour(device: str, hour: int, second: int) -> None:
    """Two checks of one hour are told the same interval."""
    start = hour * SECONDS_AN_HOUR
    assert spread_poll(86_400, device, start + second) == spread_poll(86_400, device, start)


def test_all_steps_are_taken() -> None:
    """Many devices take every interval from -10 % to +10 %, in steps of one percent, both ends included."""
    taken = {spread_poll(100, f"d-{i}", 0) for i in range(1_000)}
    assert taken == set(range(90, 111))
