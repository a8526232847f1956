"""How often something costly may be done in a second. PURE: which second it is comes in."""

from edge.errors import RefusedError


class Allowance:
    """So many a second, and no more.

    Args:
        limit: how many.
        what: is done, in the plural, for the message.
        error: the class of the refusal.
    """

    def __init__(self, limit: int, what: str, error: type[RefusedError] = RefusedError) -> None:
        self._limit, self._what, self._error = limit, what, error
        self._second, self._spent = 0, 0

    def spend(self, now: int) -> None:
        """Takes one of those that the second `now` has.

        Raises:
            RefusedError: `overloaded`, there is none left.
        """
        if now != self._second:
            self._second, self._spent = now, 0
        if self._spent >= self._limit:
            raise self._error("overloaded", f"expected at most {self._limit} {self._what} a second, got more")
        self._spent += 1
