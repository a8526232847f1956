"""A transfer on its way, as far as it has come: a file that outlives broken connections, updates and kill -9.

```
<sha256>.part   the bytes so far
<sha256>.tag    the strong entity tag under which they came, by which the rest is asked for (RFC 9110, section 13.1.5)
```

A part whose tag is not known is begun anew: without it, the rest might be that of another file.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from bundle import read_chunks

# Visible ASCII between quotation marks. A tag goes back into a header: whatever else is in it could add one.
_STRONG_TAG = re.compile(r'"[!#-~]{1,200}"')
_MAX_TAG_BYTES = 202
_PART, _TAG = ENDS = (".part", ".tag")


class Part:
    """The part of one transfer in `folder`, by the transfer's SHA-256; OSError if the disk does not bear it."""

    def __init__(self, folder: Path, sha256: str) -> None:
        self.path = folder / f"{sha256}{_PART}"
        self._tag = folder / f"{sha256}{_TAG}"
        self._sha256 = sha256

    @property
    def size(self) -> int:
        """How many bytes are there, of whatever worth."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0

    @property
    def tag(self) -> str:
        """The tag under which the bytes came; empty if there was none to go on by."""
        try:
            with self._tag.open("rb") as file:
                return keep_strong(file.read(_MAX_TAG_BYTES + 1).decode("latin-1"))
        except FileNotFoundError:
            return ""

    def begin(self, tag: str) -> None:
        """Starts anew, for bytes that come under this tag; one that is not strong is none."""
        self.discard()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if strong := keep_strong(tag):
            self._tag.write_bytes(strong.encode("latin-1"))

    def append(self, chunks: Iterable[bytes]) -> Iterator[int]:
        """Writes chunks behind what is there, and yields how many bytes are there after each."""
        size = self.size
        with self.path.open("ab") as file:
            for chunk in chunks:
                file.write(chunk)
                size += len(chunk)
                yield size

    def is_whole(self) -> bool:
        """Says whether the bytes are the transfer's: read from the disk, which is what will be unpacked."""
        digest = hashlib.sha256()
        for chunk in read_chunks(self.path):
            digest.update(chunk)
        return digest.hexdigest() == self._sha256

    def discard(self) -> None:
        """Forgets the bytes."""
        self.path.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)


def keep_strong(tag: str) -> str:
    """Returns an entity tag if it is strong, and proper, else an empty text."""
    return tag if _STRONG_TAG.fullmatch(tag) else ""
