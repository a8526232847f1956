"""The errors of `trust`: one base, and a class for each who must act."""

import pytest

import trust


@pytest.mark.parametrize("name", [name for name in trust.__all__ if name.endswith("Error")])
def test_every_error_has_the_one_base(name: str) -> None:
    """Whoever catches TrustError catches whatever the package raises."""
    assert issubclass(getattr(trust, name), trust.TrustError)


def test_unknown_key_is_a_signature_error() -> None:
    """Whoever does not fetch newer roots need not know of unknown keys."""
    assert issubclass(trust.UnknownKeyError, trust.SignatureError)
