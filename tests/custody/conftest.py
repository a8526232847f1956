"""What the tests of custody share: a token, and files with keys."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.custody.softhsm import SoftToken, start_token

WriteSecret = Callable[..., Path]


@pytest.fixture
def token() -> SoftToken:
    """A SoftHSM token with a key of each kind."""
    return start_token()


@pytest.fixture
def write_secret(tmp_path: Path) -> WriteSecret:
    """Writes a file that its owner alone can read, or with another mode."""

    def write(data: bytes, name: str = "some.key", mode: int = 0o600) -> Path:
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return path

    return write
