"""A package on the disk: a transfer unpacked into a folder, and a folder as the tar that it came of; no state is known.

Memory is flat, except for deltas: those need the old tar, the decoder's copy of it after that one is let go, and a
window of at most the new tar's size.
"""

import mmap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bundle import (
    BundleError,
    Entry,
    SealError,
    StoreError,
    TransferError,
    apply_delta,
    decompress,
    extract,
    measure_archive,
    open_source,
    read_base,
    read_chunks,
    unseal,
    verify_bytes,
    write_archive,
)
from container.errors import VerificationError
from trust import PackageClaim

# The largest tar that a delta may start from: the largest window that zstd's deltas have (RFC 9842). A larger one would
# have a device hold more than three times as much.
MAX_BASE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Base:
    """An unpacked package that a delta starts from, and the digest that its tar should have."""

    folder: Path
    sha256: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A transfer that has arrived, the base if it is a delta, and the key if it is sealed, which shows nowhere."""

    path: Path
    base: Base | None = None
    key: str = ""

    def __repr__(self) -> str:
        return f"Arrival(path={self.path!r}, base={self.base!r})"


def unpack(arrival: Arrival, claim: PackageClaim, tree: Path, clear: Path) -> None:
    """Unpacks what has arrived to the folder `tree`, which is made: all of it on disk, and verified byte by byte.

    Args:
        arrival: what has arrived.
        claim: what it should be.
        tree: as far as it came when this raises.
        clear: where a sealed transfer is for as long as this takes.

    Raises:
        VerificationError: "transfer_refused", "seal_refused": it is not the package that was claimed.
        StoreError, OSError: the disk is full or broken.
    """
    with _verified(claim.program), _opened(arrival, clear) as path:
        chunks = read_chunks(path)
        if arrival.base:
            _check_base(path, arrival.base)
            tar = apply_delta(_read_tar(arrival.base.folder), chunks, claim.size)
        else:
            tar = decompress(chunks, claim.size)
        extract(verify_bytes(tar, claim.sha256, claim.size, "the package"), tree)


def is_whole(folder: Path, claim: PackageClaim) -> bool:
    """Says whether a folder is the package: packed again, it has the claimed digest. Reads all of it."""
    try:
        with open_source(folder, folder) as plan:
            for _ in verify_bytes(write_archive(plan), claim.sha256, claim.size, "the package"):
                pass
    except (BundleError, OSError):
        return False
    return True


@contextmanager
def _opened(arrival: Arrival, clear: Path) -> Iterator[Path]:
    """The transfer as it was before it was sealed."""
    if not arrival.key:
        yield arrival.path
        return
    try:
        unseal(arrival.path, clear, arrival.key)
        yield clear
    finally:
        clear.unlink(missing_ok=True)


def _check_base(path: Path, base: Base) -> None:
    """That the tar has this digest, who applies the delta checks: each byte is hashed once."""
    if (named := read_base(read_chunks(path))) != base.sha256:
        raise TransferError(f"expected a delta from the tar with sha256 {base.sha256}, got one from {named}")


def _read_tar(folder: Path) -> mmap.mmap:
    """The tar of an unpacked package, in memory that is given back as soon as it is let go."""
    with open_source(folder, folder) as plan:
        tar = _allocate(plan)
        for chunk in write_archive(plan):
            tar.write(chunk)
    return tar


def _allocate(plan: Sequence[Entry]) -> mmap.mmap:
    size = measure_archive(plan)
    if size > MAX_BASE_BYTES:
        raise TransferError(f"expected a delta from at most {MAX_BASE_BYTES} bytes, got one from {size}")
    tar = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        tar.madvise(mmap.MADV_HUGEPAGE)  # a fault for 2 MiB and not for 4 KiB
    return tar


@contextmanager
def _verified(program: str) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except SealError as error:
        raise VerificationError(f"{program}: seal: {error}", "seal_refused") from error
    except BundleError as error:
        raise VerificationError(f"{program}: transfer: {error}", "transfer_refused") from error
