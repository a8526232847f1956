"""Tests of edge/budget.py."""

import pytest

from edge.budget import LEAST, STOCK_S, Budget, Purpose

NOW = 1_000.0
TARGET = 0.9
ALWAYS, LATER, LAST = Purpose.INTERACTIVE, Purpose.BACKGROUND, Purpose.REPORT


def spend_all(budget: Budget, now: float) -> None:
    """Leaves nothing in stock."""
    assert budget.admits(ALWAYS, now)
    budget.spend(budget._stock_s)


def test_no_bound_before_the_first_pulse() -> None:
    """One thread can do no more in a second than a second's work: all of it is admitted."""
    budget = Budget(TARGET)
    for step in range(100):
        assert budget.admits(LAST, NOW + step)
        budget.spend(1.0 if step else 0.0)


def test_stock_is_used_up_in_order() -> None:
    """Reports find nothing left first, then what is done in the background, then what somebody waits for."""
    budget = Budget(TARGET)
    admitted = []
    for _ in range(26):
        admitted.append([budget.admits(purpose, NOW) for purpose in (ALWAYS, LATER, LAST)])
        budget.spend(0.01)
    assert [sum(column) for column in zip(*admitted, strict=True)] == [25, 17, 9]


@pytest.mark.parametrize(
    ("used", "spent", "share"),
    [
        (0.02, 0.0, 0.8),
        (0.18, 0.16, 0.8),
        (0.19, 0.0, LEAST),
        (0.18, 0.18, TARGET),
        (0.0, 0.0, TARGET),
        (0.1, 0.0, 0.4),
    ],
)
def test_costly_work_gets_what_cheap_work_leaves(used: float, spent: float, share: float) -> None:
    """Of each second so much is left as cheap work has not taken of the target, a little in any case."""
    budget = Budget(TARGET)
    spend_all(budget, NOW)
    budget.spend(spent - budget._spent_s)
    budget._stock_s = 0.0
    budget.pulse(0.2, used)
    assert not budget.admits(ALWAYS, NOW)
    assert budget.admits(ALWAYS, NOW + 0.1)
    assert budget._stock_s == pytest.approx(share * 0.1)


def test_saturated_worker_halves_its_share() -> None:
    """Each time, down to the least; a worker that is not saturated goes by what cheap work wants again."""
    budget = Budget(TARGET)
    for share in (TARGET / 2, TARGET / 4, TARGET / 8, TARGET / 16, LEAST, LEAST):
        budget.pulse(0.2, 0.2)
        assert budget._share == pytest.approx(share)
    budget.pulse(0.2, 0.04)
    assert budget._share == pytest.approx(0.7)


def test_no_bound_where_none_is_wanted() -> None:
    """With a target of 1 costly work is never refused, however busy the worker is."""
    budget = Budget(1.0)
    for step in range(100):
        budget.pulse(0.2, 0.2)
        assert budget.admits(LAST, NOW + step)
        budget.spend(1.0 if step else 0.0)
    assert budget.busy == 1.0


def test_stock_is_bounded() -> None:
    """A quiet day gives no more than the stock."""
    budget = Budget(TARGET)
    budget.pulse(0.2, 0.0)
    assert budget.admits(LAST, NOW)
    assert budget.admits(LAST, NOW + 86_400)
    assert budget._stock_s == STOCK_S


@pytest.mark.parametrize("purpose", Purpose)
def test_refused_are_told_different_times(purpose: Purpose) -> None:
    """Who was refused together comes again spread over the whole span, and not before its begin."""
    budget = Budget(TARGET)
    errors = [budget.refuse(purpose) for _ in range(purpose.spread_s + 1)]
    assert {error.retry_after_s for error in errors} == set(
        range(purpose.first_s, purpose.first_s + purpose.spread_s + 1)
    )
    assert {(error.code, error.status, error.closes) for error in errors} == {("overloaded", 503, False)}
    assert errors[0].message.startswith("expected a request that costs little while the edge is busy, got one")


def test_background_comes_later() -> None:
    """Who is refused first is told to stay away longest."""
    assert ALWAYS.reserve_s < LATER.reserve_s < LAST.reserve_s < STOCK_S
    assert ALWAYS.first_s < LATER.first_s < LAST.first_s
