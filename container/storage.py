"""A container's folder: what is active, what is unpacked, and that only one process changes it; no network, no trust.

```
active.json                     the State; replaced in one step, which is what activates a version
lock                            held while updating
programs/<program>/<sha256>/    an unpacked package, by the digest of its tar; the active one and the former one
staging/                        what is not finished; emptied at every start
```
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from bundle import (
    BundleError,
    StoreError,
    decompress,
    extract,
    open_source,
    read_chunks,
    replace_file,
    sync,
    verify_bytes,
    write_archive,
)
from container.errors import StorageError, VerificationError
from container.state import State
from trust import PackageClaim

_Mark = tuple[int, int, int]


class Storage:
    """The folder of a container, made when first written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._active = folder / "active.json"
        self._staging = folder / "staging"
        self._mark: _Mark | None = None
        self._state = State()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from updating; what a killed one has left unfinished is cleared away first.

        Raises:
            StorageError: another process is updating, or the folder cannot be written.
        """
        with _explained(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._claim(descriptor)
            self.sweep()
            yield
        finally:
            os.close(descriptor)

    def _claim(self, descriptor: int) -> None:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = f"{self._folder}: expected to be the only one to update, got another; try again when it is done"
            raise StorageError(message) from error

    def load(self) -> State:
        """Returns the state: one look at the file's status, and a reading of it only where another has replaced it.

        Raises:
            StorageError: the file is there and cannot be read, or is not of this version.
        """
        try:
            status = self._active.stat()
        except FileNotFoundError:
            return State()
        except OSError as error:
            raise StorageError(f"{self._active}: expected a file that can be read: {error.strerror}") from error
        mark = (status.st_ino, status.st_mtime_ns, status.st_size)
        if mark != self._mark:
            self._state, self._mark = self._read(), mark
        return self._state

    def _read(self) -> State:
        try:
            return msgspec.json.decode(self._active.read_bytes(), type=State)
        except OSError as error:
            raise StorageError(f"{self._active}: expected a file that can be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            message = f"{self._active}: expected the state of a container, remove it to install all anew: {error}"
            raise StorageError(message) from error

    def save(self, state: State) -> None:
        """Replaces the state in one step: before it the old versions are active, after it the new ones."""
        if state != self.load():
            with _explained(self._active):
                replace_file(self._active, [msgspec.json.encode(state, order="deterministic")])

    def path(self, program: str, sha256: str) -> Path:
        """Returns where a package is unpacked, or would be."""
        return self._folder / "programs" / program / sha256

    def receive(self, chunks: Iterable[bytes]) -> Path:
        """Writes a transfer to a fresh staging folder, and returns its path."""
        with _explained(self._staging):
            shutil.rmtree(self._staging, ignore_errors=True)
            self._staging.mkdir()
            transfer = self._staging / "transfer"
            with transfer.open("wb") as file:
                file.writelines(chunks)
            return transfer

    def unpack(self, transfer: Path, claim: PackageClaim) -> None:
        """Unpacks a transfer beside itself, verified byte by byte and on disk, and puts it in its place.

        Raises:
            VerificationError: "transfer_refused": it is not the package that was claimed.
            StorageError: the disk is full or broken.
        """
        tree, place = self._staging / "tree", self.path(claim.program, claim.sha256)
        with _explained(tree), _verified(claim):
            tar = decompress(read_chunks(transfer), claim.size)
            extract(verify_bytes(tar, claim.sha256, claim.size, "the package"), tree)
        with _explained(place):
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.exists():  # damaged: what is whole is not fetched again
                place.rename(self._staging / "damaged")
            tree.rename(place)
            sync(place.parent)
            sync(place.parent.parent)

    def has(self, claim: PackageClaim) -> bool:
        """Says whether a package is there already and whole: packed again, it has the claimed digest."""
        place = self.path(claim.program, claim.sha256)
        if not place.is_dir():
            return False
        try:
            with open_source(place, place) as plan:
                for _ in verify_bytes(write_archive(plan), claim.sha256, claim.size, "the package"):
                    pass
        except BundleError:
            return False
        return True

    def sweep(self) -> None:
        """Removes what is unfinished, and every version that is neither active nor the one before."""
        state = self.load()
        with _explained(self._folder):
            shutil.rmtree(self._staging, ignore_errors=True)
            for folder in (self._folder / "programs").glob("*/*"):
                record = state.record(folder.parent.name)
                if folder.name not in (record.sha256, record.former):
                    shutil.rmtree(folder)


@contextmanager
def _explained(place: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, StoreError) as error:
        message = f"{place}: expected a folder that can be written, make room or permit it: {error}"
        raise StorageError(message) from error


@contextmanager
def _verified(claim: PackageClaim) -> Iterator[None]:
    try:
        yield
    except StoreError:
        raise
    except BundleError as error:
        raise VerificationError(f"{claim.program}: transfer: {error}", "transfer_refused") from error
