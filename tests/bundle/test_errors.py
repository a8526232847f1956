"""The errors of `bundle`: one base, and a class for each who must act."""

import pytest

import bundle


@pytest.mark.parametrize("name", [name for name in bundle.__all__ if name.endswith("Error")])
def test_every_error_has_the_one_base(name: str) -> None:
    """Whoever catches BundleError catches whatever the package raises about bytes."""
    assert issubclass(getattr(bundle, name), bundle.BundleError)
