"""Who falls into a percentage, and how far polling is spread: hashes in integers, never floats.

A hash is 32 bits; `parts` of a million become one limit at compile time, so that a device is inside when its hash is
below it. Raising the parts raises the limit, hence never drops a device (why integers: docs/adr/0003).
"""

from xxhash import xxh32_intdigest

# A percentage is given in parts of a million.
WHOLE = 1_000_000
SECONDS_AN_HOUR = 3600
# Polling is spread by -10 % to +10 %, in steps of one.
SPREAD_STEPS = 21
SPREAD_MIDDLE = 10


def compute_limit(parts: int) -> int:
    """Returns the hash below which an id is inside: `hash < limit` exactly where `(hash * WHOLE) >> 32 < parts`."""
    return -(-(parts << 32) // WHOLE)


def compute_hash(salt: str, identity: str) -> int:
    """Returns an id's 32-bit hash under a release's salt: xxh32 of salt, NUL, id in UTF-8."""
    return xxh32_intdigest(f"{salt}\0{identity}".encode())


def find_bucket(hash_: int) -> int:
    """Returns the bucket of a hash, 0 to 999,999: an id is inside where it is below the parts."""
    return (hash_ * WHOLE) >> 32


def spread_poll(base_s: int, device: str, now: int) -> int:
    """Returns a device's poll interval in seconds: the base, moved by -10 % to +10 %, the same for a whole hour."""
    step = xxh32_intdigest(f"{device}\0{now // SECONDS_AN_HOUR}".encode()) % SPREAD_STEPS - SPREAD_MIDDLE
    return base_s + base_s * step // 100
