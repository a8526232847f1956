"""Where transfers are kept, each under its SHA-256, on a local disk or elsewhere; who asks for them is not known here.

A file lies at `<root>/<first two hex digits>/<sha256>` in any store; once there its content never changes.
"""

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bundle.errors import StoreError
from bundle.file import read_chunks, replace_file
from bundle.transfer import Digest, measure_file, verify_bytes

# \Z and not $, which lets a newline follow; a name that is no digest could lead out of the folder.
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_S3 = "s3://"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store.

    Args:
        sha256: its name, and what its content should have.
        size: in bytes.
        stored_at: when it was last put, in seconds since 1970.
    """

    sha256: str
    size: int
    stored_at: int


class Store(Protocol):
    """Files under their digests; any method raises StoreError for what is no digest, or if the store cannot be used."""

    def find(self, sha256: str) -> StoredFile | None:
        """Returns the file with this digest; None where it is not there."""

    def has(self, sha256: str) -> bool:
        """Returns whether the file with this digest is there."""

    def put(self, file: Path) -> str:
        """Copies a file into the store, wholly or not at all, and returns its SHA-256.

        One that is there with this size is only marked as put now: what is about to be released must not look old.

        Raises:
            StoreError: the file cannot be read, or the store not written.
            TransferError: the file has changed while it was copied, or other bytes arrived.
        """

    def read(self, sha256: str) -> Iterator[bytes]:
        """Yields a file's content; whoever uses it must be able to forget it when this raises at the end.

        Raises:
            StoreError: it is not there, or cannot be read.
            TransferError: its content is not what its name says.
        """

    def url(self, sha256: str) -> str:
        """Returns where devices fetch the file; relative to the edge's address where it starts with a slash."""

    def remove(self, sha256: str) -> None:
        """Removes a file; one that is not there is none to remove."""

    def files(self) -> Iterator[StoredFile]:
        """Yields all files whose names are digests in their place."""

    def strangers(self) -> Iterator[str]:
        """Yields the names, below the root, of all else that lies in the store."""


def open_store(address: str) -> Store:
    """Returns the store at an address: a folder, or `s3://bucket/prefix?endpoint=URL&region=NAME&public=URL`.

    Nothing is asked of it yet. Credentials of S3 are those that boto3 finds; an address has none.

    Raises:
        StoreError: it is no address of a store, or boto3 is wanted and not installed.
    """
    if address.startswith(_S3):
        return _open_s3(address)
    if not address or "://" in address:
        scheme = address.partition("://")[0]
        raise StoreError(f"expected a folder or s3://bucket as the address of a store, got {scheme[:20]!r}")
    return LocalStore(Path(address))


def _open_s3(address: str) -> Store:
    try:
        from bundle.s3 import open_s3  # noqa: PLC0415, boto3 is an extra, and takes its time to import
    except ModuleNotFoundError as error:
        raise StoreError(f"expected graywave[s3] to be installed for a store at s3://, got no {error.name}") from None
    return open_s3(address)


def check_digest(sha256: str) -> str:
    """Returns the digest that is given; StoreError for what is none, which could lead anywhere."""
    if not _SHA256.match(sha256):
        raise StoreError(f"expected a sha256 of 64 lower-case hex digits, got {sha256!r}")
    return sha256


def place_file(sha256: str) -> str:
    """Returns where below its root a store has a file; StoreError for what is no digest."""
    return f"{check_digest(sha256)[:2]}/{sha256}"


def is_placed(place: str) -> bool:
    """Returns whether a path below the root is where a store would have put a file."""
    sha256 = place.rpartition("/")[2]
    return bool(_SHA256.match(sha256)) and place == place_file(sha256)


class LocalStore:
    """A store in the folder `root`, which is made at the first `put`; an edge serves it, or a web server."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """Returns where the file with this digest lies, or would lie; StoreError for what is no digest."""
        return self._root / place_file(sha256)

    def find(self, sha256: str) -> StoredFile | None:
        """See `Store.find`."""
        path = self.path(sha256)
        try:
            status = path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._explain(f"look at {sha256} in {self._root}", error) from error
        return _describe(sha256, status) if stat.S_ISREG(status.st_mode) else None

    def has(self, sha256: str) -> bool:
        """See `Store.has`."""
        return self.find(sha256) is not None

    def put(self, file: Path) -> str:
        """See `Store.put`."""
        try:
            digest = measure_file(file)
            self._take(file, digest)
        except OSError as error:
            raise self._explain(f"copy {file} to {self._root}", error) from error
        return digest.sha256

    def _take(self, file: Path, digest: Digest) -> None:
        place = self.path(digest.sha256)
        found = self.find(digest.sha256)
        if found is not None and found.size == digest.size:
            os.utime(place)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        replace_file(place, verify_bytes(read_chunks(file), digest.sha256, digest.size, str(file)))

    def read(self, sha256: str) -> Iterator[bytes]:
        """See `Store.read`."""
        found = self.find(sha256)
        if found is None:
            raise StoreError(f"{self._root}: expected the file {sha256}, got none")
        try:
            yield from verify_bytes(read_chunks(self.path(sha256)), sha256, found.size, f"{sha256} in {self._root}")
        except OSError as error:
            raise self._explain(f"read {sha256} in {self._root}", error) from error

    def url(self, sha256: str) -> str:
        """Returns the path where an edge with this store serves the file."""
        return f"/v1/files/{check_digest(sha256)}"

    def remove(self, sha256: str) -> None:
        """See `Store.remove`."""
        try:
            self.path(sha256).unlink(missing_ok=True)
        except OSError as error:
            raise self._explain(f"remove {sha256} from {self._root}", error) from error

    def files(self) -> Iterator[StoredFile]:
        """See `Store.files`."""
        for place in self._walk():
            if is_placed(place) and (found := self.find(Path(place).name)) is not None:
                yield found

    def strangers(self) -> Iterator[str]:
        """See `Store.strangers`."""
        yield from (place for place in self._walk() if not is_placed(place))

    def _walk(self) -> Iterator[str]:
        """Yields what lies below the root, in order; folders as such are nothing."""
        for folder, folders, names in os.walk(self._root, onerror=self._refuse):
            folders.sort()
            below = Path(folder).relative_to(self._root)
            yield from (str(below / name) for name in sorted(names))

    def _refuse(self, error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):  # a store that was never put into, or a file that has just gone
            raise self._explain(f"list the files of {self._root}", error) from error

    def _explain(self, what: str, error: OSError) -> StoreError:
        place = error.filename or self._root
        return StoreError(f"{place}: expected to {what}: {error.strerror}")


def _describe(sha256: str, status: os.stat_result) -> StoredFile:
    return StoredFile(sha256, status.st_size, int(status.st_mtime))
