"""Transfers on a local disk, each in a file named by its SHA-256; who asks for them is not known here.

A file lies at `<root>/<first two hex digits>/<sha256>`; once there it never changes.
"""

import re
from pathlib import Path

from bundle.errors import StoreError
from bundle.file import read_chunks, replace_file
from bundle.transfer import Digest, verify_bytes

# \Z and not $, which lets a newline follow; a name that is no digest could lead out of the folder.
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")


class LocalStore:
    """A store in the folder `root`, which is made at the first `put`."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, sha256: str) -> Path:
        """Returns where the file with this digest lies, or would lie; StoreError for what is no digest."""
        if not _SHA256.match(sha256):
            raise StoreError(f"expected a sha256 of 64 lower-case hex digits, got {sha256!r}")
        return self._root / sha256[:2] / sha256

    def has(self, sha256: str) -> bool:
        """Returns whether the file with this digest is there."""
        return self.path(sha256).is_file()

    def put(self, file: Path) -> str:
        """Copies a file into the store, wholly or not at all, and returns its SHA-256.

        Raises:
            StoreError: the file cannot be read, or the store not written.
            TransferError: the file has changed while it was copied.
        """
        try:
            digest = Digest()
            for _ in digest.watch(read_chunks(file)):
                pass
            self._take(file, digest)
        except OSError as error:
            raise StoreError(f"{error.filename}: expected to copy {file} to {self._root}: {error.strerror}") from error
        return digest.sha256

    def _take(self, file: Path, digest: Digest) -> None:
        place = self.path(digest.sha256)
        if not place.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            replace_file(place, verify_bytes(read_chunks(file), digest.sha256, digest.size, str(file)))
