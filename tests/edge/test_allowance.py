"""Tests of edge/allowance.py."""

import pytest

from edge.allowance import Allowance
from edge.errors import RefusedError


def test_so_many_a_second() -> None:
    """The limit is reached and not passed, and each second has its own."""
    allowance = Allowance(2, "things")
    for now in (1, 2):
        allowance.spend(now)
        allowance.spend(now)
        with pytest.raises(RefusedError, match="expected at most 2 things a second, got more") as caught:
            allowance.spend(now)
        assert caught.value.code == "overloaded"
