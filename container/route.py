"""Which edge to ask next: one retry, with jitter, elsewhere if there is an elsewhere; what is asked is not known here.

An edge that asks to be left alone (Retry-After) is left alone for as long, by this container.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from container.errors import NetworkError, OverloadedError

# The spread of a retry, in seconds: without it, all devices that an edge dropped would come back at once.
JITTER_S = 2.0
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
        self._not_before: dict[str, float] = {}

    def run(self, ask: Callable[[str], _Result]) -> _Result:
        """Returns what an edge answers, asking at most twice; any other error than these two passes at once.

        Raises:
            NetworkError: both attempts failed, or all edges want to be left alone for longer than MAX_WAIT_S.
            OverloadedError: the second edge cannot answer either.
        """
        try:
            return self._try(ask)
        except (NetworkError, OverloadedError):
            self._sleep(self._random.uniform(0, JITTER_S))
        return self._try(ask)

    def _try(self, ask: Callable[[str], _Result]) -> _Result:
        edge = self._pick()
        try:
            return ask(edge)
        except OverloadedError as error:
            self._not_before[edge] = self._now() + error.retry_after_s
            self._put_last(edge)
            raise
        except NetworkError:
            self._put_last(edge)
            raise

    def _put_last(self, edge: str) -> None:
        self._order.remove(edge)
        self._order.append(edge)

    def _pick(self) -> str:
        edge = min(self._order, key=self._wait_s)  # the first of those that may be asked soonest
        wait_s = self._wait_s(edge)
        if wait_s > MAX_WAIT_S:
            raise NetworkError(f"every edge asks to be left alone, try again in {wait_s:.0f} s")
        if wait_s:
            self._sleep(wait_s)
        return edge

    def _wait_s(self, edge: str) -> float:
        return max(0.0, self._not_before.get(edge, 0.0) - self._now())
