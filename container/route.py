"""Which edge to ask next: bounded retries, with jitter, elsewhere if there is an elsewhere; what is asked is not known.

An edge that asks to be left alone (Retry-After) is left alone for as long, by this container. One that refuses or lies
is asked last from then on: a hostile one keeps no device from an honest one.
"""

import math
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from container.errors import EdgeError, NetworkError, OverloadedError, VerificationError

# The spread of the first retry, in seconds; it doubles with each. Without it, all devices that an edge dropped would
# come back at once.
JITTER_S = 2.0
# How often an edge is asked that cannot answer now: more would keep it from recovering.
MAX_TRIES = 2
# The longest that a call waits for the only edges there are; beyond that the caller is told when to come again.
MAX_WAIT_S = 10.0

_Result = TypeVar("_Result")


class Random(Protocol):
    """What is needed of randomness."""

    def uniform(self, a: float, b: float) -> float:
        """Returns a number from a to b."""

    def getrandbits(self, k: int) -> int:
        """Returns k random bits."""


class Route:
    """The edges of a workspace, in the configured order until one fails; `now` and `sleep` are in seconds."""

    def __init__(
        self, edges: Sequence[str], now: Callable[[], float], sleep: Callable[[float], None], random: Random
    ) -> None:
        self._order = list(edges)
        self._now = now
        self._sleep = sleep
        self._random = random
        # By edge: from when on it may be asked again, and how long a wait that was.
        self._rests: dict[str, tuple[float, float]] = {}

    @property
    def has_another(self) -> bool:
        """Whether there is anybody else to ask."""
        return len(self._order) > 1

    def run(self, ask: Callable[[str], _Result], tries: int = MAX_TRIES, until: float = math.inf) -> _Result:
        """Returns what an edge answers; any other error than these two passes at once.

        Args:
            ask: asks one edge, by its address.
            tries: how often to ask where connections break, at the most.
            until: the second from which on nothing is tried again.

        Raises:
            NetworkError: all attempts failed, or all edges want to be left alone for longer than MAX_WAIT_S.
            OverloadedError: MAX_TRIES attempts met edges that cannot answer now.
        """
        failed = overloaded = 0
        while True:
            edge = self._pick()
            try:
                return self._ask(edge, ask)
            except (NetworkError, OverloadedError) as error:
                failed += 1
                overloaded += isinstance(error, OverloadedError)
                pause_s = self._random.uniform(0, JITTER_S * 2 ** (failed - 1))
                if failed >= tries or overloaded >= MAX_TRIES or self._now() + pause_s >= until:
                    raise
            self._sleep(pause_s)

    def put_last(self, edge: str) -> None:
        """Asks an edge behind all others from now on; any other address says nothing."""
        if edge in self._order:
            self._order.remove(edge)
            self._order.append(edge)

    def _ask(self, edge: str, ask: Callable[[str], _Result]) -> _Result:
        try:
            return ask(edge)
        except OverloadedError as error:
            self._rests[edge] = (self._now() + error.retry_after_s, error.retry_after_s)
            self.put_last(edge)
            raise
        except (NetworkError, EdgeError, VerificationError):
            self.put_last(edge)
            raise

    def _pick(self) -> str:
        edge = min(self._order, key=self._wait_s)  # the first of those that may be asked soonest
        wait_s = self._wait_s(edge)
        if wait_s > MAX_WAIT_S:
            raise NetworkError(f"every edge asks to be left alone, try again in {wait_s:.0f} s")
        if wait_s:
            self._sleep(wait_s)
        return edge

    def _wait_s(self, edge: str) -> float:
        until, asked_for_s = self._rests.get(edge, (0.0, 0.0))
        left_s = until - self._now()
        # More than was asked for: the clock was set back, and nobody knows how long it has been.
        return left_s if 0 < left_s <= asked_for_s else 0.0
