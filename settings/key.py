"""Files of secret keys, 64 hexadecimal digits each; what a key is for is not known here, and no error shows one."""

import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

KEY_BYTES: Final = 32
# What others than the owner and the group that it is given to may do with a file: nothing, and the group no more than
# read. A container's secrets come as 0440, files of `graywave keys` as 0600.
FORBIDDEN_MODE: Final = 0o027
# The digits and a newline; more is not read, whatever the path leads to.
MAX_FILE_BYTES: Final = 1_024
_DIGITS = re.compile(rb"[0-9A-Fa-f]{64}")


def read_key(path: Path) -> bytes:
    """Returns the KEY_BYTES that a file of 64 hexadecimal digits, and blanks around them, holds.

    Raises:
        ValueError: it cannot be read, holds something else, or others may read it; says so without the key.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(path.stat().st_mode)
            digits = file.read(MAX_FILE_BYTES + 1).strip()
    except OSError as error:
        raise ValueError(f"{path}: expected a key of 64 hexadecimal digits: {error.strerror}") from error
    if mode & FORBIDDEN_MODE:
        raise ValueError(f"{path}: expected a key that others cannot read, mode 0600, got {mode:04o}")
    if not _DIGITS.fullmatch(digits):
        raise ValueError(f"{path}: expected a key of 64 hexadecimal digits, got something else")
    return bytes.fromhex(digits.decode())


def read_keys(paths: Mapping[str, Path]) -> dict[str, bytes]:
    """Returns keys by their ids, from their files by their ids; raises ValueError, as `read_key` does."""
    return {name: read_key(path) for name, path in paths.items()}
