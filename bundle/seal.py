"""Sealed files: age (version 1, X25519) around a transfer, file to file in flat memory; what is in them is not known.

A key is made for one package, and shows in no message, whatever goes wrong.
"""

from collections.abc import Callable
from pathlib import Path
from typing import IO, Final

import pyrage  # type: ignore[import-untyped]  # it comes without types
from pyrage import x25519

from bundle.errors import SealError
from bundle.file import open_replacement
from bundle.transfer import Digest, measure_file

# The header of a file for one recipient has some 400 bytes. Reading one takes time by the square of its length: 2 MB of
# recipients would keep a device busy for five minutes, and 20 MB for half a day.
MAX_HEADER_BYTES: Final = 4096
_HEADER_END: Final = b"\n--- "


def make_seal_key() -> str:
    """Returns a new key from the operating system's randomness, as age writes it: `AGE-SECRET-KEY-1…`."""
    return str(x25519.Identity.generate())


def seal(source: Path, target: Path, key: str) -> Digest:
    """Encrypts a file to `target`, wholly or not at all, and says what it has become: other bytes each time.

    Raises:
        SealError: the key is none.
        OSError: a file cannot be read or written.
    """
    recipient = _read_key(key).to_public()
    _convert(source, target, lambda reader, writer: pyrage.encrypt_io(reader, writer, [recipient]))
    return measure_file(target)


def unseal(source: Path, target: Path, key: str) -> None:
    """Decrypts a sealed file to `target`, wholly or not at all; what comes out is never more than what went in.

    Raises:
        SealError: the key is none, or not the one of this file; or the file is not sealed, was changed or cut, or has a
            header over MAX_HEADER_BYTES.
        OSError: a file cannot be read or written.
    """
    identity = _read_key(key)
    _check_header(source)
    _convert(source, target, lambda reader, writer: pyrage.decrypt_io(reader, writer, [identity]))


def _read_key(key: str) -> x25519.Identity:
    try:
        return x25519.Identity.from_str(key)
    except pyrage.IdentityError:
        # From None, and without what came: it may be a key with a slip.
        raise SealError("expected an age secret key (AGE-SECRET-KEY-1…), got something else") from None


def _check_header(source: Path) -> None:
    with source.open("rb") as file:
        head = file.read(MAX_HEADER_BYTES)
    if _HEADER_END not in head:
        wanted = f"expected a file that is sealed with this package's key: a header of at most {MAX_HEADER_BYTES} bytes"
        raise SealError(f"{source}: {wanted}")


def _convert(source: Path, target: Path, convert: Callable[[IO[bytes], IO[bytes]], None]) -> None:
    try:
        with source.open("rb") as reader, open_replacement(target) as writer:
            convert(reader, writer)
    except (pyrage.EncryptError, pyrage.DecryptError, OSError) as error:
        # A part of the content that does not open comes as an OSError too, but as one without a number.
        if isinstance(error, OSError) and error.errno is not None:
            raise
        said = str(error).partition("\n")[0]  # what follows is advice for users of age
        raise SealError(f"{source}: expected a file that is sealed with this package's key: {said}") from None
