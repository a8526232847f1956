"""Tests of edge/allowance.py."""

import pytest

from edge.allowance import Allowance
from edge.errors import FloodError, RefusedError


def test_so_many_a_second() -> None:
    """The limit is reached and not passed, and each second has its own."""
    allowance = Allowance(2, "things")
    for now in (1, 2):
        allowance.spend(now)
        allowance.spend(now)
        with pytest.raises(RefusedError, match="expected at most 2 things a second, got more") as caught:
            allowance.spend(now)
        assert caught.value.code == "overloaded"


def test_refusal_is_of_the_class_that_was_given() -> None:
    """Whoever counts says what it is called."""
    with pytest.raises(FloodError, match="at most 0 things"):
        Allowance(0, "things", FloodError).spend(1)
