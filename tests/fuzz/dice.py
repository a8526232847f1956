"""Chance that can be had again: everything that a fuzzer draws comes from here, by a seed."""

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Dice:
    """Draws, quickly: the distributions need not be exact, only the same again.

    Args:
        seed: the same seed, the same draws.
    """

    __slots__ = ("_next",)

    def __init__(self, seed: str) -> None:
        self._next = random.Random(seed).random

    def below(self, end: int) -> int:
        """Returns a number from 0 to below `end`."""
        return int(self._next() * end)

    def chance(self, share: float) -> bool:
        """Says yes in this share of all calls."""
        return self._next() < share

    def pick(self, choices: Sequence[T]) -> T:
        """Returns one of some choices, each as often as the others."""
        return choices[int(self._next() * len(choices))]

    def count(self, most: int) -> int:
        """Returns 1 to `most`; half of all times 1, then half of the rest, and so on."""
        found = 1
        while found < most and self._next() < 0.5:
            found += 1
        return found
