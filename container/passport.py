"""What a host app has of its user beside the device: a proof, and trials. A protocol, and one who has neither.

What they hold is not known here: the edge judges them.
"""

from collections.abc import Sequence
from typing import Protocol

# As many as an edge takes.
MAX_TRIALS = 4


class Passport(Protocol):
    """Asked anew for each check, since proofs do not last: whoever logs out has none any more."""

    def proof(self) -> str:
        """Returns the JWT by which the app's back end proves the user, empty where there is none."""

    def trials(self) -> Sequence[str]:
        """Returns the tokens of versions that the user may try, of which MAX_TRIALS are sent."""


class NoPassport:
    """Nobody is logged in."""

    def proof(self) -> str:
        """See `Passport`."""
        return ""

    def trials(self) -> Sequence[str]:
        """See `Passport`."""
        return ()
