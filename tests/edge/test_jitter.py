"""Tests of edge/jitter.py."""

from edge.jitter import vary


def test_stays_within_its_share_and_is_not_always_the_same() -> None:
    """Never more than so much longer or shorter, and all over that."""
    drawn = [vary(10.0, 0.3) for _ in range(2_000)]
    assert min(drawn) >= 7.0
    assert max(drawn) <= 13.0
    assert min(drawn) < 7.5
    assert max(drawn) > 12.5
    assert vary(10.0, 0.0) == 10.0
