"""Files and variables that hold a secret: read with bounds, and only where nobody else can read them."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from custody.errors import CustodyError
from trust import KeyFormatError, PrivateKey
from trust.key import MAX_KEY_BYTES

_PEM_START = b"-----BEGIN"


def read_secret(path: Path) -> bytes:
    """Returns what a file holds that its owner alone can read; its group too, where it is root's.

    The exception is how a cluster mounts a secret for a process that is not root: root's, and readable by one group.

    Raises:
        CustodyError: it cannot be read, others can, it is no regular file, or larger than MAX_KEY_BYTES.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # without waiting: a pipe would, for ever
        try:
            _check_status(path, os.fstat(descriptor))
            data = os.read(descriptor, MAX_KEY_BYTES + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise CustodyError(f"{path}: expected a file that can be read: {error.strerror}") from None
    if len(data) > MAX_KEY_BYTES:
        raise CustodyError(f"{path}: expected at most {MAX_KEY_BYTES} bytes, got more")
    return data


def read_key_file(path: Path) -> PrivateKey:
    """Returns the private key in a file: a JWK, or PEM without a passphrase.

    Raises:
        CustodyError: as `read_secret`, or the file holds no such key.
    """
    data = read_secret(path).strip()
    return _read_key(str(path), data)


def read_key_variable(name: str, environment: Mapping[str, str]) -> PrivateKey:
    """Returns the private key in a variable of the environment: a JWK, or PEM without a passphrase.

    Raises:
        CustodyError: it is not set, or holds no such key.
    """
    if name not in environment:
        raise CustodyError(f"env:{name}: expected a variable that is set, got none")
    return _read_key(f"env:{name}", environment[name].encode("utf-8", "surrogateescape").strip())


def _check_status(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise CustodyError(f"{path}: expected a regular file, got something else")
    allowed = 0o740 if status.st_uid == 0 else 0o700
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o777 & ~allowed:
        raise CustodyError(f"{path}: expected a file that its owner alone can read, got mode {mode:04o} (chmod 600)")


def _read_key(place: str, data: bytes) -> PrivateKey:
    try:
        return PrivateKey.from_pem(data) if data.startswith(_PEM_START) else PrivateKey.from_json(data)
    except KeyFormatError as error:
        raise CustodyError(f"{place}: {error}") from None
