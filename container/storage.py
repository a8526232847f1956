"""A container's folder: what is active, what is unpacked, and that only one process updates it; no network, no trust.

```
active.json                     the State; replaced in one step, which is what activates a version
roots.json                      the root documents that followed those of the configuration
lock                            held while updating
marks/                          what happened to versions meanwhile
programs/<program>/<place>/     an unpacked package, by the digest of its tar; a place that no state names is swept
staging/<sha256>.part, .tag     a transfer on its way, for as long as a state wants it
staging/                        whatever else is not finished; emptied at every start
```

Who holds the lock writes; everybody else reads, and leaves marks (`container.mark`). Whatever is killed, and wherever:
`active.json` is the old or the new one, the folders that it names were whole on disk before it was, and what it does
not name is removed by the next who holds the lock. A package that is there and damaged is not touched: the new copy
has a place of its own, and the state changes from the one to the other.
"""

import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import msgspec

from bundle import StoreError, replace_file, sync
from container.errors import StorageError
from container.mark import Marks
from container.package import Arrival, is_whole, unpack
from container.part import ENDS, Part
from container.state import Installed, Mark, Record, State
from container.wire import Happening
from trust import PackageClaim

# What a device's own files may hold, read whole: beyond these they are somebody else's.
_MAX_STATE_BYTES = 64 * 1024 * 1024
_MAX_ROOTS_BYTES = 8 * 1024 * 1024

_Version = tuple[int, int, int]


class Storage:
    """The folder of a container, made when first written to."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._active = folder / "active.json"
        self._roots = folder / "roots.json"
        self._programs = folder / "programs"
        self._staging = folder / "staging"
        self._marks = Marks(folder / "marks")
        self._version: _Version | None = None
        self._written = State()
        self._is_settled = True

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keeps other processes from updating; what a killed one has left unfinished is cleared away first.

        Raises:
            StorageError: another process is updating, or the folder cannot be written.
        """
        with explained(self._folder):
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
        """Returns the state, marks taken into account: one look at the file's status where nothing has changed.

        Raises:
            StorageError: the file is there and cannot be read, or is not of this version.
        """
        return self.settle()[0]

    def settle(self, *more: Mark) -> tuple[State, tuple[Happening, ...]]:
        """Returns the state, and what happened that it does not know yet; as if there were `more` marks. As `load`."""
        self._refresh()
        if self._is_settled:
            return self._written, ()
        return self._written.settle(self.read_marks() | {*more})

    def _refresh(self) -> None:
        try:
            status = self._active.stat()
        except FileNotFoundError:
            self._take(State(), None)
            return
        except OSError as error:
            raise StorageError(f"{self._active}: expected a file that can be read: {error.strerror}") from error
        version = (status.st_ino, status.st_mtime_ns, status.st_size)
        if version != self._version:
            self._take(self._read(), version)

    def _take(self, state: State, version: _Version | None) -> None:
        self._written, self._version = state, version
        self._is_settled = all(record.is_settled for record in state.programs.values())

    def _read(self) -> State:
        try:
            return msgspec.json.decode(_read_bounded(self._active, _MAX_STATE_BYTES), type=State)
        except OSError as error:
            raise StorageError(f"{self._active}: expected a file that can be read: {error.strerror}") from error
        except (ValueError, RecursionError) as error:
            message = f"{self._active}: expected the state of a container, remove it to install all anew: {error}"
            raise StorageError(message) from error

    def save(self, state: State) -> None:
        """Replaces the state in one step: before it the old versions are active, after it the new ones."""
        self._refresh()
        if state != self._written:
            with explained(self._active):
                replace_file(self._active, [msgspec.json.encode(state, order="deterministic")])

    def read_marks(self) -> frozenset[Mark]:
        """Returns all marks."""
        with explained(self._folder):
            return self._marks.read()

    def mark(self, mark: Mark) -> None:
        """Leaves a mark; needs no lock.

        Raises:
            StorageError: the folder cannot be written.
        """
        with explained(self._folder):
            self._marks.add(mark)

    def load_roots(self) -> list[bytes]:
        """Returns the root documents that were kept; none where they cannot be read, since they can be had again."""
        try:
            documents = msgspec.json.decode(_read_bounded(self._roots, _MAX_ROOTS_BYTES), type=list[str])
        except (OSError, ValueError, RecursionError):
            return []
        return [document.encode() for document in documents]

    def save_roots(self, documents: Iterable[bytes]) -> None:
        """Keeps root documents, in one step."""
        with explained(self._roots):
            replace_file(self._roots, [msgspec.json.encode([document.decode() for document in documents])])

    def path(self, program: str, place: str) -> Path:
        """Returns where a package is unpacked, or would be."""
        return self._programs / program / place

    def part(self, sha256: str) -> Part:
        """Returns a transfer as far as it has come."""
        return Part(self._staging, sha256)

    def find(self, claim: PackageClaim, record: Record) -> Installed | None:
        """Returns where a package is already, and whole; reads all of it."""
        known = [other for other in (record, record.back, record.ready) if other is not None]
        places = [(other.sha256, other.copy) for other in known]
        sha256, _, copy = record.former.partition(".")
        for named, number in dict.fromkeys([*places, (sha256, int(copy or 0))]):
            found = Installed(version=claim.version, sha256=claim.sha256, copy=number)
            path = self.path(claim.program, found.place)
            if named == claim.sha256 and path.is_dir() and is_whole(path, claim):
                return found
        return None

    def has(self, program: str, installed: Installed) -> bool:
        """Says whether there is a folder of a version, whatever it is worth."""
        return bool(installed.place) and self.path(program, installed.place).is_dir()

    def unpack(self, arrival: Arrival, claim: PackageClaim) -> Installed:
        """Unpacks what has arrived beside everything else, and puts it in a place of its own.

        Raises:
            VerificationError: "transfer_refused", "seal_refused": it is not the package that was claimed.
            StorageError: the disk is full or broken.
        """
        tree = self._staging / "tree"
        with explained(tree):
            self._staging.mkdir(parents=True, exist_ok=True)
            _remove(tree)
            unpack(arrival, claim, tree, self._staging / "clear")
            installed = self._find_room(claim)
            place = self.path(claim.program, installed.place)
            place.parent.mkdir(parents=True, exist_ok=True)
            tree.rename(place)
            sync(place.parent)
            sync(place.parent.parent)
        return installed

    def _find_room(self, claim: PackageClaim) -> Installed:
        copies = (Installed(version=claim.version, sha256=claim.sha256, copy=number) for number in count())
        return next(copy for copy in copies if not self.path(claim.program, copy.place).exists())

    def sweep(self) -> None:
        """Removes what nobody needs: what is not finished nor wanted, versions and marks that the state does not name.

        That is the state as it is written: what marks say of it may be forgotten only once that is.
        """
        self._refresh()
        records = self._written.programs.items()
        with explained(self._folder):
            self._sweep_staging({f"{sha256}{end}" for _, record in records for sha256 in record.wanted for end in ENDS})
            self._sweep_programs()
            self._marks.sweep((program, number) for program, record in records for number in record.numbers)
            for leftover in self._folder.glob(".part-*"):  # of a file that was being replaced
                leftover.unlink()

    def _sweep_staging(self, wanted: set[str]) -> None:
        for path in self._staging.glob("*"):
            if path.name not in wanted:
                _remove(path)
        if self._staging.is_dir() and not any(self._staging.iterdir()):
            self._staging.rmdir()

    def _sweep_programs(self) -> None:
        for folder in self._programs.glob("*"):
            places = self._written.record(folder.name).places
            if not places:
                _remove(folder)
                continue
            for place in folder.glob("*"):
                if place.name not in places:
                    _remove(place)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _read_bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise ValueError(f"more than {limit} bytes")
    return data


@contextmanager
def explained(place: Path) -> Iterator[None]:
    """Turns what the disk does not bear into a StorageError that names the place."""
    try:
        yield
    except (OSError, StoreError) as error:
        message = f"{place}: expected a folder that can be written, make room or permit it: {error}"
        raise StorageError(message) from error
