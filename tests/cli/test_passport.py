"""Tests of cli/passport.py."""

from pathlib import Path

import pytest

from cli.exit import CommandError
from cli.passport import FilePassport


def test_tokens_of_files(tmp_path: Path) -> None:
    """Each file holds a token in a line; they are read when they are asked for."""
    for name in ("proof", "t1", "t2"):
        (tmp_path / name).write_text(f"{name}.of.somebody\n", "ascii")
    passport = FilePassport(tmp_path / "proof", (tmp_path / "t1", tmp_path / "t2"))
    assert (passport.proof(), passport.trials()) == ("proof.of.somebody", ["t1.of.somebody", "t2.of.somebody"])


def test_no_files() -> None:
    """Without files there is nothing."""
    assert (FilePassport(None, ()).proof(), FilePassport(None, ()).trials()) == ("", [])


@pytest.mark.parametrize(
    ("content", "message"), [(b"\xff", "cannot read the token: "), (b"a\nb", "expected one line in ")]
)
def test_file_that_holds_none(tmp_path: Path, content: bytes, message: str) -> None:
    """What is no token in a line is refused."""
    (tmp_path / "proof").write_bytes(content)
    with pytest.raises(CommandError, match=message):
        FilePassport(tmp_path / "proof", ()).proof()
