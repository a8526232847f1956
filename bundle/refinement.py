"""Smaller ways to move a package that is packed: deltas, and the full transfer pressed harder; each sealed as it is.

Files in, files out: which versions there are, and where their transfers are stored, is not known.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from bundle.delta import make_delta
from bundle.file import read_chunks, replace_file
from bundle.manifest import Package
from bundle.seal import seal, unseal
from bundle.transfer import STRONG_LEVEL, Digest, Progress, compress, decompress, measure_file, report, verify_bytes

# A delta is a transfer more in every device's offer, and a file more to keep: it has to save a fifth of the full one.
MAX_DELTA_SHARE: Final = 0.8
# Another full transfer is one that no cache has yet: it has to save a fiftieth.
MAX_FULL_SHARE: Final = 0.98
# So called until their digests are known.
_PLAIN: Final = ".plain"
_SEALED: Final = ".sealed"


def is_worth(size: int, full_size: int, share: float = MAX_DELTA_SHARE) -> bool:
    """Returns whether a transfer of `size` bytes is to be offered beside, or instead of, the full one."""
    return size <= full_size * share


def restore_tar(transfer: Path, tar: Path, package: Package) -> None:
    """Writes the tar that is in a package's full transfer, unsealed if it is sealed, once it is known to be that tar.

    Raises:
        SealError: the package's key does not open the file.
        TransferError: what is in the file is not this package.
        OSError: a file cannot be read or written.
    """
    with _open_plain(transfer, tar.parent, package.key) as plain:
        chunks = decompress(read_chunks(plain), package.size)
        replace_file(tar, verify_bytes(chunks, package.sha256, package.size, "the package's tar"))


def write_full(tar: Path, folder: Path, key: str = "", progress: Progress | None = None) -> Digest:
    """Writes the strong full transfer of a tar to `folder`, sealed if there is a key, and returns what names it."""
    plain, size = folder / _PLAIN, tar.stat().st_size
    replace_file(plain, compress(report(read_chunks(tar), size, progress), size, STRONG_LEVEL))
    return name_transfer(plain, folder, key)


def write_delta(old: Path, new: Path, folder: Path, key: str = "", progress: Progress | None = None) -> Digest:
    """Writes the delta between two tars to `folder`, sealed if there is a key, and returns what names it.

    Raises:
        TransferError: a file is empty, or changed while it was read.
    """
    plain = folder / _PLAIN
    make_delta(old, new, plain, progress)
    return name_transfer(plain, folder, key)


def reseal(transfer: Path, folder: Path, old_key: str, new_key: str) -> Digest:
    """Writes a sealed transfer, sealed with another key, to `folder`, and returns what names it.

    Raises:
        SealError: the old key does not open it.
    """
    plain = folder / _PLAIN
    unseal(transfer, plain, old_key)
    return name_transfer(plain, folder, new_key)


def name_transfer(plain: Path, folder: Path, key: str) -> Digest:
    """Seals a file if there is a key, and moves it into `folder` under its SHA-256; returns that and its size.

    A file that was to be sealed is gone in any case: it is not to be found where the sealed one should be.
    """
    made = plain
    if key:
        made = folder / _SEALED
        try:
            digest = seal(plain, made, key)
        finally:
            plain.unlink()
    else:
        digest = measure_file(plain)
    made.replace(folder / digest.sha256)
    return digest


@contextmanager
def _open_plain(transfer: Path, scratch: Path, key: str) -> Iterator[Path]:
    if not key:
        yield transfer
        return
    plain = scratch / _PLAIN
    try:
        unseal(transfer, plain, key)
        yield plain
    finally:
        plain.unlink(missing_ok=True)
