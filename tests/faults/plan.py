"""Which faults a soak has, how many of each, in which order and which together; drawn from a seed. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from random import Random

# What the promise is about, in so many minutes; a shorter or longer run has its part, and one of each at least.
FULL_MINUTES = 20
COUNTS: Mapping[str, int] = {
    "kill worker": 30,
    "stop worker": 5,
    "kill syncer": 10,
    "kill host": 5,
    "kill redis": 10,
    "empty redis": 5,
    "older redis": 5,
    "black hole": 5,
    "publisher away": 1,
    "reload": 5,
    "slow link": 2,
    "cut link": 5,
}
PUBLISHES, BAD = 500, 50
# How long the link is a black hole and the publisher away, in seconds of a full run and at least: an edge takes up to
# 10 s to find a link dead.
HOLE_S, LEAST_HOLE_S = 60.0, 8.0
AWAY_S, LEAST_AWAY_S = 300.0, 8.0
# What may happen meanwhile: there is no Redis to be seen behind a black hole.
IN_HOLE = ("kill worker", "kill syncer", "reload", "kill worker", "stop worker", "kill host")
IN_ABSENCE = (*IN_HOLE, "kill redis", "older redis", "empty redis", "kill worker")
# What may come together with another one: it is over at once, or heals by itself.
COMPANIONS = ("kill worker", "kill syncer", "cut link")
TOGETHER_EVERY = 3


@dataclass(frozen=True, slots=True)
class Step:
    """Faults that begin together; with `lasts_s` the first of them lasts, and the others come meanwhile, in turn."""

    faults: tuple[str, ...]
    lasts_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of some minutes has."""

    minutes: float
    steps: tuple[Step, ...]
    publishes: int
    bad: int

    def count(self) -> dict[str, int]:
        """Returns how often each fault is in it."""
        found = [fault for step in self.steps for fault in step.faults]
        return {fault: found.count(fault) for fault in COUNTS}


def make_plan(minutes: float, seed: int) -> Plan:
    """Returns the plan of a run."""
    random, part = Random(f"faults/{seed}"), minutes / FULL_MINUTES
    left = {fault: max(1, ceil(count * part - 1e-9)) for fault, count in COUNTS.items()}
    frames = [
        *_frame("black hole", left, IN_HOLE, max(LEAST_HOLE_S, HOLE_S * min(1.0, part)), random),
        *_frame("publisher away", left, IN_ABSENCE, max(LEAST_AWAY_S, AWAY_S * min(1.0, part)), random),
    ]
    singles = [fault for fault, count in left.items() for _ in range(count)]
    random.shuffle(singles)
    steps = [*_pair(singles), *frames]
    random.shuffle(steps)
    publishes = ceil(PUBLISHES * part)
    return Plan(minutes, tuple(steps), publishes, max(6, ceil(BAD * part)))


def _frame(first: str, left: dict[str, int], others: Sequence[str], lasts_s: float, random: Random) -> list[Step]:
    """Each time this one lasts, with others meanwhile, so that some of each are left to come by themselves."""
    steps = []
    for number in range(left.pop(first)):
        meanwhile: list[str] = []
        for fault in random.sample(others, len(others)):
            cost_s = 15.0 * (len(meanwhile) + 1)
            if left[fault] > max(1, COUNTS[fault] // 3 - number) and cost_s < lasts_s:
                left[fault] -= 1
                meanwhile.append(fault)
        steps.append(Step((first, *meanwhile), lasts_s))
    return steps


def _pair(singles: Sequence[str]) -> list[Step]:
    """Most come alone; every third takes a companion with it, where the next one is such."""
    steps: list[Step] = []
    waiting = list(singles)
    while waiting:
        faults = [waiting.pop()]
        if len(steps) % TOGETHER_EVERY == 0:
            companion = next((one for one in waiting if one in COMPANIONS and one != faults[0]), None)
            if companion is not None:
                waiting.remove(companion)
                faults.append(companion)
        steps.append(Step(tuple(faults)))
    return steps
