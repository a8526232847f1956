"""The error of `custody`: one, for whoever holds the key."""

import custody


def test_custody_has_one_error() -> None:
    """Whoever catches CustodyError catches whatever the package raises."""
    assert [name for name in custody.__all__ if name.endswith("Error")] == ["CustodyError"]
    assert issubclass(custody.CustodyError, Exception)
