"""Tests of edge/sender.py."""

import pytest

from edge.sender import NOBODY, Sender


@pytest.mark.parametrize(
    ("values", "found"), [([b"a"], b"a"), ([], b""), ([b"a", b"a"], b""), ([b"", b"a"], b""), ([b""], b"")]
)
def test_one_field(values: list[bytes], found: bytes) -> None:
    """A field that stands twice contradicts itself, whatever it says."""
    assert Sender({b"x": values}, "").find_one(b"x") == found


def test_nobody() -> None:
    """Of nobody nothing is known."""
    assert (NOBODY.find_one(b"x"), NOBODY.peer) == (b"", "")
