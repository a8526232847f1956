"""Times that many keep without keeping step: what would come at once is spread. No secret is drawn here."""

import random


def vary(time_s: float, share: float) -> float:
    """Returns a time that is by at most this share longer or shorter, in seconds."""
    return time_s * random.uniform(1 - share, 1 + share)  # noqa: S311 - guards nothing
