"""Builds an audience's file of fingerprints from ids and from files that are there. PURE: it yields chunks.

Fingerprints lie in 256 heaps by their first byte until they are sorted, 8 to 9 bytes each: what is sorted at once is
small, and the same set makes the same bytes whatever the order in which it came.
"""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from itertools import chain
from typing import Final

from ruleset.errors import FingerprintError
from ruleset.fingerprint import (
    FINGERPRINT_BITS,
    FINGERPRINT_BYTES,
    FORMAT,
    HEADER,
    KEY_BYTES,
    MAGIC,
    MAX_FINGERPRINTS,
    Fingerprints,
    choose_index_bits,
    compute_mark,
    measure_file,
    measure_index,
)

HEAPS: Final = 256
HEAP_SHIFT: Final = FINGERPRINT_BITS - 8
# Sorted fingerprints handed out at once: 512 KiB.
CHUNK: Final = 65_536

# Told how many heaps are sorted, of how many.
Show = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Built:
    """A file that is ready to be written: its bytes in chunks, to be read once."""

    count: int
    size: int
    chunks: Iterator[bytes]


class Roster:
    """A set of users under one key, as fingerprints.

    Args:
        key: KEY_BYTES.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise FingerprintError(f"expected a fingerprint key of {KEY_BYTES} bytes, got {len(key)}")
        self._mark = compute_mark(key)
        self._start = blake2b(key=key, digest_size=FINGERPRINT_BYTES)
        self._heaps = [bytearray() for _ in range(HEAPS)]

    def add(self, identities: Iterable[str]) -> None:
        """Takes ids; one that is there already changes nothing."""
        copy = self._start.copy
        puts = [heap.extend for heap in self._heaps]
        for identity in identities:
            made = copy()
            made.update(identity.encode())
            digest = made.digest()
            puts[digest[0]](digest)

    def add_file(self, held: Fingerprints) -> None:
        """Takes all that a file holds.

        Raises:
            FingerprintError: another key made it, so that its fingerprints say nothing here.
        """
        if held.mark != self._mark:
            raise FingerprintError("expected a file that was made under the same key, got one of another")
        start = 0
        for number, put in enumerate([heap.extend for heap in self._heaps], 1):
            end = bisect_left(held.values, number << HEAP_SHIFT, start)
            prints = array("Q", held.values[start:end])
            prints.byteswap()
            put(prints.tobytes())
            start = end

    def build(self, without: "Roster | None" = None, show: Show | None = None) -> Built:
        """Returns the file of all that was added, but for what was added to `without`; both are empty afterwards.

        Raises:
            FingerprintError: nobody is left, or more than MAX_FINGERPRINTS are.
        """
        heaps = []
        for number in range(HEAPS):
            gone = without._sort(number) if without else ()  # noqa: SLF001 - its own kind
            heaps.append(self._sort(number, gone))
            if show:
                show(number + 1, HEAPS)
        count = sum(map(len, heaps))
        if not 0 < count <= MAX_FINGERPRINTS:
            raise FingerprintError(f"expected 1 to {MAX_FINGERPRINTS} users, got {count}")
        bits = choose_index_bits(count)
        header = HEADER.pack(MAGIC, FORMAT, bits, count, self._mark)
        return Built(count, measure_file(count), chain([header, _make_index(heaps, bits)], _cut(heaps)))

    def _sort(self, number: int, gone: Iterable[int] = ()) -> "array[int]":
        """A heap's fingerprints, ascending, each once; the heap itself is given up."""
        prints = array("Q", self._heaps[number])
        self._heaps[number] = bytearray()
        prints.byteswap()
        return array("Q", sorted(set(prints).difference(gone)))


def _make_index(heaps: "list[array[int]]", bits: int) -> bytes:
    """Entry by entry how many fingerprints are below its bound, filled up to whole words."""
    shift = FINGERPRINT_BITS - bits
    index = array("I")
    before = 0
    for number, heap in enumerate(heaps):
        # The entries whose bounds lie in this heap; with few bits in all, in many heaps there is none.
        first, end = -(-(number << HEAP_SHIFT) >> shift), -(-(number + 1 << HEAP_SHIFT) >> shift)
        index.extend([before + bisect_left(heap, entry << shift) for entry in range(first, end)])
        before += len(heap)
    index.append(before)
    return index.tobytes().ljust(measure_index(bits), b"\0")


def _cut(heaps: "list[array[int]]") -> Iterator[bytes]:
    for heap in heaps:
        for start in range(0, len(heap), CHUNK):
            yield heap[start : start + CHUNK].tobytes()
