"""How much costly work a worker may do: what cheap work leaves of its time, background before interactive. PURE.

Cheap work is never refused. It knows no clock, loop or request: how busy the worker was, and what time it is, come in.
"""

from enum import Enum
from typing import Final

from edge.errors import RefusedError

# A check with a longer body is costly. Two hundred programs take 5.6 KB and 0.6 ms, thirty take this much; a body is
# judged by its length so that what is refused is not parsed first.
COSTLY_BYTES: Final = 2_048
# What costly work gets in any case: some of it is somebody's first start.
LEAST: Final = 0.05
# Costly work that may be done at once after a quiet time, in seconds of the processor.
STOCK_S: Final = 0.25
# A worker that is so busy has a queue before it.
SATURATED: Final = 0.97
# So many seconds a second are no bound: no thread has them.
UNBOUNDED: Final = 10.0


class Purpose(Enum):
    """For whom costly work is done: what has to be left in stock for others, in seconds, and when to come again.

    `first_s` is the soonest that is told in Retry-After, `spread_s` by how much later the latest comes, in whole
    seconds: those that were refused together do not come again together.
    """

    INTERACTIVE = (0.0, 1, 4)
    BACKGROUND = (0.08, 5, 15)
    REPORT = (0.16, 10, 30)

    def __init__(self, reserve_s: float, first_s: int, spread_s: int) -> None:
        self.reserve_s, self.first_s, self.spread_s = reserve_s, first_s, spread_s


class Budget:
    """The time that costly work may take; before the first pulse there is no bound.

    Args:
        target: how much of a worker's time cheap and costly work together may take: above it, whoever comes waits for
            all others. 1 is no bound.
    """

    def __init__(self, target: float = 1.0) -> None:
        self._target = target
        self._share = UNBOUNDED
        self._stock_s = STOCK_S
        self._filled_at = 0.0
        self._spent_s = 0.0
        self._refused = 0
        self.busy = 0.0

    def pulse(self, elapsed_s: float, wanted_s: float) -> None:
        """Several times a second: says how much of the time since the last one the worker wanted its processor."""
        self.busy = min(wanted_s / elapsed_s, 1.0)
        if self._target < 1:
            self._share = max(self._choose_share(self._spent_s / elapsed_s), LEAST)
        self._spent_s = 0.0

    def _choose_share(self, spent: float) -> float:
        """Where the worker is saturated, what cheap work got says nothing of what it wanted: half of before."""
        if self.busy >= SATURATED:
            return min(self._share, self._target) / 2
        return min(self._target - (self.busy - spent), self._target)

    def admits(self, purpose: Purpose, now: float) -> bool:
        """Says whether costly work may begin at a time in seconds, of a clock that only goes forward."""
        self._stock_s = min(self._stock_s + self._share * (now - self._filled_at), STOCK_S)
        self._filled_at = now
        return self._stock_s > purpose.reserve_s

    def refuse(self, purpose: Purpose) -> RefusedError:
        """Returns the refusal, each with another time to come again."""
        self._refused += 1
        wait_s = purpose.first_s + self._refused % (purpose.spread_s + 1)
        message = f"expected a request that costs little while the edge is busy, got one for later ({wait_s} s)"
        return RefusedError("overloaded", message, retry_after_s=wait_s)

    def spend(self, seconds: float) -> None:
        """Says what costly work took, in seconds of the processor."""
        self._stock_s -= seconds
        self._spent_s += seconds
