"""The errors of `container`: one base, a class for each who must act, and a reason of the closed list."""

from typing import get_args

import pytest

import container
from container.errors import Reason


@pytest.mark.parametrize("name", [name for name in container.__all__ if name.endswith("Error")])
def test_every_error_has_the_one_base_and_a_reason(name: str) -> None:
    """Whoever catches ContainerError catches whatever the package raises; each has a reason to report."""
    error = getattr(container, name)
    assert issubclass(error, container.ContainerError)
    assert error.reason in get_args(Reason)
