"""Which worker serves which socket, and which connections should move where, as far as all workers' pages tell.

Pure: it knows no socket, page or clock. Every worker decides for itself by the same figures, so that nobody has to be
told; where two see different ones for a moment, a socket is served by both, which harms nothing.
"""

from collections.abc import Sequence
from math import ceil
from typing import Final, NamedTuple

# A worker gives connections away when it has more than so much of the mean, and then comes down to the mean: a smaller
# difference is not worth the moves, and 1.5 is what is promised.
TOLERATED: Final = 1.25
# With few connections, one more is a large share and no burden.
SLACK: Final = 1


class Share(NamedTuple):
    """One worker, as the others see it: whether it serves at this moment, and how many connections it has."""

    serves: bool
    connections: int


def choose_slots(own: int, slots: int, shares: Sequence[Share]) -> frozenset[int]:
    """Returns the slots that worker `own` serves: its own ones, and those of others while they do not serve.

    Slot i is worker i's; with more slots than workers they go round. A slot whose worker does not serve is the next
    worker's that does.
    """
    return frozenset(slot for slot in range(slots) if own in (slot % len(shares), _find_server(slot, shares)))


def _find_server(slot: int, shares: Sequence[Share]) -> int | None:
    workers = [(slot + step) % len(shares) for step in range(len(shares))]
    return next((worker for worker in workers if shares[worker].serves), None)


def plan_moves(own: int, shares: Sequence[Share]) -> dict[int, int]:
    """Returns how many connections worker `own` should give to which others; nothing where its share is fair."""
    serving = {worker: share.connections for worker, share in enumerate(shares) if share.serves}
    if own not in serving:
        return {}
    mean = sum(serving.values()) / len(serving)
    if serving[own] <= mean * TOLERATED + SLACK:
        return {}
    surplus = serving[own] - ceil(mean)
    lacking = {worker: int(mean) - count for worker, count in serving.items() if count < int(mean)}
    # Each that has too much fills the same part of every gap, so that together they fill none twice.
    part = min(1.0, surplus / max(1, sum(lacking.values())))
    return {worker: ceil(count * part) for worker, count in lacking.items()}
