"""Tests of edge/slot.py."""

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.slot import SLACK, TOLERATED, Share, choose_slots, plan_moves

PROMISED = 1.5
_shares = st.lists(st.builds(Share, st.booleans(), st.integers(0, 200)), min_size=1, max_size=9)


@pytest.mark.parametrize(
    ("own", "slots", "serves", "expected"),
    [
        (0, 4, "1111", {0}),
        (3, 4, "1111", {3}),
        (1, 2, "01", {0, 1}),
        (2, 4, "1011", {1, 2}),
        (3, 4, "1011", {3}),
        (0, 4, "1001", {0}),
        (3, 4, "1001", {1, 2, 3}),
        (1, 4, "1011", {1}),
        (0, 1, "0", {0}),
        (1, 5, "11", {1, 3}),
        (0, 5, "10", {0, 1, 2, 3, 4}),
    ],
    ids=["own", "own, last", "help", "the next one helps", "and nobody else", "not needed", "two in a row",
         "not yet serving", "alone", "more slots than workers", "all"],
)  # fmt: skip
def test_slots_of_a_worker(own: int, slots: int, serves: str, expected: set[int]) -> None:
    """A worker serves its own slots always, and those of others that do not serve where it is the next that does."""
    assert choose_slots(own, slots, [Share(flag == "1", 0) for flag in serves]) == expected


@given(_shares, st.integers(0, 20))
def test_every_slot_is_served(shares: list[Share], more: int) -> None:
    """As long as one worker serves, none of the slots is without one, and none has two that serve."""
    slots = len(shares) + more
    servers = [own for own, share in enumerate(shares) if share.serves]
    chosen = [slot for own in servers for slot in choose_slots(own, slots, shares)]
    assert sorted(chosen) == (list(range(slots)) if servers else [])


@pytest.mark.parametrize(
    ("own", "counts", "expected"),
    [
        (0, [20, 12], {}),
        (0, [22, 10], {1: 6}),
        (2, [22, 22, 20, 0], {}),
        (0, [24, 20, 16, 4], {3: 8}),
        (1, [24, 20, 16, 4], {}),
        (0, [64, 0, 0, 0], {1: 16, 2: 16, 3: 16}),
        (0, [32, 32, 0, 0], {2: 8, 3: 8}),
        (0, [3, 0, 0, 0], {}),
        (0, [9], {}),
    ],
)
def test_connections_that_move(own: int, counts: list[int], expected: dict[int, int]) -> None:
    """A worker with clearly more than its share fills the gaps of the others, together with others that have more."""
    assert plan_moves(own, [Share(serves=True, connections=count) for count in counts]) == expected


@given(_shares)
def test_shares_become_fair(shares: list[Share]) -> None:
    """After one round of moves nobody who serves has much more than the mean, and nobody else has got anything."""
    counts = [share.connections for share in shares]
    for own in range(len(shares)):
        for worker, count in plan_moves(own, shares).items():
            assert shares[own].serves
            assert shares[worker].serves
            counts[own] -= count
            counts[worker] += count
    serving = [count for count, share in zip(counts, shares, strict=True) if share.serves]
    mean = sum(serving) / max(1, len(serving))
    # Each worker that gives rounds what it gives up.
    assert max(serving, default=0) <= max(mean * TOLERATED + SLACK, ceil(mean) + len(shares))
    assert sum(counts) == sum(share.connections for share in shares)


@pytest.mark.parametrize("workers", [2, 3, 4, 8])
def test_promised_share(workers: int) -> None:
    """With 64 connections whoever has 1.5 times the mean has more than is tolerated."""
    assert 64 / workers * TOLERATED + SLACK < 64 / workers * PROMISED
