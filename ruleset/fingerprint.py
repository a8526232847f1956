"""Fingerprints of user ids, and the file of an audience: how it lies in memory, and how an id is looked up in it. PURE.

The file is mapped and asked as it lies; where it comes from, and which key made it, is for its callers. All integers
are little-endian:

    header   32 bytes: magic `gwprints`, format (4 bytes), index bits (4), count (8), key mark (8)
    index    (2^bits + 1) x 4 bytes, with zeros to a multiple of 8: entry i is how many fingerprints are below
             i << (64 - bits); the last one is the count
    prints   count x 8 bytes, ascending, each once
"""

import operator
import struct
import sys
from bisect import bisect_left
from collections.abc import Callable
from hashlib import blake2b
from itertools import islice
from typing import Final

from ruleset.errors import FingerprintError

KEY_BYTES: Final = 32
FINGERPRINT_BYTES: Final = 8
FINGERPRINT_BITS: Final = 64
MAGIC: Final = b"gwprints"
FORMAT: Final = 1
HEADER: Final = struct.Struct("<8sIIQQ")
INDEX_BYTES: Final = 4
# 800 MB: a larger list would take a host's memory from all others, and a builder's.
MAX_FINGERPRINTS: Final = 100_000_000
MAX_FILE_BYTES: Final = 1 << 30
# So many fingerprints at least lie behind an entry of the index, and less than twice as many: 8.4 bytes an id in all.
MIN_BEHIND_ENTRY: Final = 8
# Fingerprints that are compared at a stretch while a file is checked, about a millisecond: other threads wait so long.
STRETCH: Final = 16_384
_read_big: Final[Callable[[bytes], tuple[int]]] = struct.Struct(">Q").unpack
# No user has this id, so that its fingerprint marks the key.
_NOBODY: Final = ""


def compute_fingerprint(key: bytes, identity: str) -> int:
    """Returns the 64-bit fingerprint of an id under a key of KEY_BYTES: keyed BLAKE2b of 8 bytes, read big-endian."""
    return int.from_bytes(blake2b(identity.encode(), key=key, digest_size=FINGERPRINT_BYTES).digest(), "big")


def compute_mark(key: bytes) -> int:
    """Returns by what a file says which key made it: the fingerprint of the empty id."""
    return compute_fingerprint(key, _NOBODY)


def compute_odds(count: int) -> float:
    """Returns how likely one id that is not on a list of `count` fingerprints is taken for one that is."""
    return count / (1 << FINGERPRINT_BITS)


def choose_index_bits(count: int) -> int:
    """Returns by how many first bits a file of so many fingerprints is indexed."""
    return max(0, (count // MIN_BEHIND_ENTRY).bit_length() - 1)


def measure_index(bits: int) -> int:
    """Returns the bytes of an index over so many bits, filled up to a multiple of 8."""
    size = ((1 << bits) + 1) * INDEX_BYTES
    return size + -size % FINGERPRINT_BYTES


def measure_file(count: int) -> int:
    """Returns the bytes of a file of so many fingerprints."""
    return HEADER.size + measure_index(choose_index_bits(count)) + count * FINGERPRINT_BYTES


class Fingerprinter:
    """Makes fingerprints under one key. The last id is remembered: a check asks one user of several audiences.

    `start` is a keyed hash of nothing yet, `last` the last id and `fingerprint` its own; see `Fingerprints.make_look`.

    Args:
        key: KEY_BYTES.
    """

    __slots__ = ("fingerprint", "last", "mark", "start")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise FingerprintError(f"expected a fingerprint key of {KEY_BYTES} bytes, got {len(key)}")
        # A copy of a keyed hash costs two thirds of making one.
        self.start = blake2b(key=key, digest_size=FINGERPRINT_BYTES)
        self.mark = self.fingerprint = compute_mark(key)
        self.last = _NOBODY

    def compute(self, identity: str) -> int:
        """Returns what `compute_fingerprint` returns."""
        # The very object: it is held here, so that no other can be at its place.
        if identity is self.last:
            return self.fingerprint
        made = self.start.copy()
        made.update(identity.encode())
        (fingerprint,) = _read_big(made.digest())  # 0.1 µs less than int.from_bytes
        self.last, self.fingerprint = identity, fingerprint
        return fingerprint


class Fingerprints:
    """The fingerprints in a file's bytes, which are not copied; a size or a header that cannot be is refused.

    Args:
        data: the whole file, most likely a memory map.

    Raises:
        FingerprintError: it is no such file.
    """

    __slots__ = ("_index", "_shift", "_values", "count", "mark")

    def __init__(self, data: "bytes | memoryview") -> None:
        if sys.byteorder != "little":
            raise FingerprintError(
                f"expected a little-endian machine, as the file is, got a {sys.byteorder}-endian one"
            )
        view = memoryview(data)
        bits, self.count, self.mark = _read_header(view)
        start = HEADER.size + measure_index(bits)
        expected = measure_file(self.count)
        if len(view) != expected:
            raise FingerprintError(f"expected {expected} bytes for {self.count} fingerprints, got {len(view)}")
        self._shift = FINGERPRINT_BITS - bits
        self._index = view[HEADER.size : HEADER.size + ((1 << bits) + 1) * INDEX_BYTES].cast("I")
        self._values = view[start:].cast("Q")

    @property
    def values(self) -> memoryview:
        """The fingerprints, ascending."""
        return self._values

    def holds(self, fingerprint: int) -> bool:
        """Says whether a fingerprint is among them."""
        index = self._index
        place = fingerprint >> self._shift
        high = index[place + 1]
        try:
            at = bisect_left(self._values, fingerprint, index[place], high)
        except IndexError:  # the disk has changed the index since it was checked: it says nothing of this id
            return False
        return at < high and self._values[at] == fingerprint

    def make_look(self, fingerprinter: Fingerprinter) -> Callable[[str], bool]:
        """Returns what says whether a user is among them: `compute` and `holds`, in one call at a check."""
        copy, index, values, shift = fingerprinter.start.copy, self._index, self._values, self._shift

        def look(user: str) -> bool:
            if user is fingerprinter.last:
                fingerprint = fingerprinter.fingerprint
            else:
                made = copy()
                made.update(user.encode())
                (fingerprint,) = _read_big(made.digest())
                fingerprinter.last, fingerprinter.fingerprint = user, fingerprint
            place = fingerprint >> shift
            high = index[place + 1]
            try:
                at = bisect_left(values, fingerprint, index[place], high)
            except IndexError:  # see holds
                return False
            return at < high and values[at] == fingerprint

        return look

    def check(self) -> None:
        """Returns if every id would be found that is there; takes 0.1 µs a fingerprint, and lets other threads work.

        Raises:
            FingerprintError: the fingerprints do not ascend, or the index does not fit them.
        """
        values = self._values
        for start in range(0, self.count, STRETCH):
            stretch = values[max(0, start - 1) : start + STRETCH]
            if not all(map(operator.lt, stretch, islice(stretch, 1, None))):
                raise FingerprintError(f"expected fingerprints that ascend, got others from number {start} on")
        for start in range(0, len(self._index), STRETCH):
            self._check_index(start, min(start + STRETCH, len(self._index)))

    def _check_index(self, start: int, stop: int) -> None:
        """Each entry is the place of the first fingerprint that is not below its bound."""
        entries, values = self._index[start:stop], self._values
        bounds = range(start << self._shift, stop << self._shift, 1 << self._shift)
        if all(map(operator.le, entries, islice(entries, 1, None))) and entries[-1] <= self.count:
            # At the end there is no fingerprint to compare with, and before the start neither.
            begun, ended = bisect_left(entries, 1), bisect_left(entries, self.count)
            has_first = all(map(operator.le, islice(bounds, ended), map(values.__getitem__, entries[:ended])))
            last = (values[entry - 1] for entry in entries[begun:])
            if has_first and all(map(operator.gt, islice(bounds, begun, None), last)):
                return
        raise FingerprintError(f"expected an index that fits the fingerprints, got another from entry {start} on")


def _read_header(view: memoryview) -> tuple[int, int, int]:
    """The index bits, the count and the key's mark."""
    if len(view) < HEADER.size:
        raise FingerprintError(f"expected a header of {HEADER.size} bytes, got {len(view)}")
    magic, version, bits, count, mark = HEADER.unpack_from(view)
    if magic != MAGIC:
        raise FingerprintError(f"expected a file of fingerprints, which begins with {MAGIC!r}, got {magic!r}")
    if version != FORMAT:
        raise FingerprintError(f"expected format {FORMAT}, got {version}: a newer graywave made it")
    if not 0 < count <= MAX_FINGERPRINTS:
        raise FingerprintError(f"expected 1 to {MAX_FINGERPRINTS} fingerprints, got {count}")
    if bits != choose_index_bits(count):
        raise FingerprintError(f"expected an index over {choose_index_bits(count)} bits, got {bits}")
    return bits, count, mark
