"""The plan of a soak: counts scale with the minutes, nothing is left out, and a seed says it all."""

import pytest

from tests.faults.plan import COUNTS, FULL_MINUTES, make_plan


@pytest.mark.parametrize("seed", range(5))
def test_full_plan(seed: int) -> None:
    """Twenty minutes have every fault as often as it is promised, some of them together."""
    plan = make_plan(FULL_MINUTES, seed)
    assert plan.count() == dict(COUNTS)
    assert (plan.publishes, plan.bad) == (500, 50)
    assert [step.lasts_s for step in plan.steps if step.faults[0] == "black hole"] == [60.0] * 5
    assert [step.lasts_s for step in plan.steps if step.faults[0] == "publisher away"] == [300.0]
    assert sum(len(step.faults) > 1 for step in plan.steps) >= 10


@pytest.mark.parametrize("minutes", [0.1, 1, 7])
def test_short_plan_has_one_of_each(minutes: float) -> None:
    """However short, each fault comes once at least, and each kind of bad publication."""
    plan = make_plan(minutes, 0)
    assert min(plan.count().values()) >= 1
    assert sum(plan.count().values()) < sum(COUNTS.values())
    assert plan.bad >= 6


def test_longer_plan_has_more() -> None:
    """Counts scale upwards, too; the absences stay as long as they are."""
    plan = make_plan(2 * FULL_MINUTES, 0)
    assert plan.count() == {fault: 2 * count for fault, count in COUNTS.items()}
    assert max(step.lasts_s for step in plan.steps) == 300.0


def test_seed_says_it_all() -> None:
    """The same seed gives the same plan, another one another."""
    assert make_plan(5, 1) == make_plan(5, 1)
    assert make_plan(5, 1) != make_plan(5, 2)
