"""Files of secret keys: how one is read, and that nothing of a bad one is shown."""

import re
from pathlib import Path

import pytest

from settings.key import read_key, read_keys

DIGITS = "0123456789abcdef" * 4


def write(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("text", [DIGITS, f"{DIGITS}\n", f"  {DIGITS.upper()}\r\n"])
@pytest.mark.parametrize("mode", [0o600, 0o400, 0o440])
def test_a_key_is_read(tmp_path: Path, text: str, mode: int) -> None:
    """Of either case, with blanks around it, and where a group may read it, as containers have their secrets."""
    assert read_key(write(tmp_path / "key", text, mode)) == bytes.fromhex(DIGITS)


@pytest.mark.parametrize("text", ["", DIGITS[1:], DIGITS + "0", "g" + DIGITS[1:], DIGITS[:32] + " " + DIGITS[32:]])
def test_what_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    """The message names the file and what belongs there, and shows nothing of what is there."""
    path = write(tmp_path / "key", text)
    expected = f"{path}: expected a key of 64 hexadecimal digits, got something else"
    with pytest.raises(ValueError, match=f"^{re.escape(expected)}$"):
        read_key(path)


@pytest.mark.parametrize("mode", [0o604, 0o620, 0o602, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    """Others may do nothing with it, and its group no more than read it."""
    path = write(tmp_path / "key", DIGITS, mode)
    with pytest.raises(ValueError, match=re.escape(f"{path}: expected a key that others cannot read, mode 0600, got")):
        read_key(path)


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The message has the path and the system's reason."""
    with pytest.raises(ValueError, match=r"nowhere: expected a key of 64 hexadecimal digits: No such file"):
        read_key(tmp_path / "nowhere")


def test_keys_are_read_by_their_ids(tmp_path: Path) -> None:
    """Each from its file."""
    first, second = write(tmp_path / "1", DIGITS), write(tmp_path / "2", "00" * 32)
    assert read_keys({"k1": first, "k2": second}) == {"k1": bytes.fromhex(DIGITS), "k2": bytes(32)}
