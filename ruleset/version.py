"""Versions as integers: 1 to 4 numeric parts of 16 bits each, so that comparing them is comparing two numbers.

It knows numbers and dots; which package or app a version belongs to is for its callers.
"""

from functools import lru_cache

from ruleset.errors import VersionError

PARTS = 4
# The version key of a program that is not installed.
NOT_INSTALLED = -1
PART_BITS = 16
MAX_PART = (1 << PART_BITS) - 1
# 4 parts of 5 digits and 3 dots; longer texts are refused before they are split.
MAX_VERSION_CHARS = 23
# Documents and devices name the same few versions again and again.
MAX_REMEMBERED = 16_384


@lru_cache(MAX_REMEMBERED)
def parse_version(text: str) -> int:
    """Returns a version's key: four 16-bit parts, missing ones zero, so that `2.3.1` equals `2.3.1.0`.

    Raises:
        VersionError: not 1 to 4 parts of ASCII digits, each from 0 to 65535.
    """
    parts = _parse_parts(text, text)
    return _pack(parts + [0] * (PARTS - len(parts)))


@lru_cache(MAX_REMEMBERED)
def parse_version_range(text: str) -> tuple[int, int]:
    """Returns the lowest and the highest key that a text stands for: `14` is one version, `14.*` is all of 14.

    Raises:
        VersionError: neither a version nor 1 to 3 parts followed by `.*`.
    """
    if not text.endswith(".*"):
        key = parse_version(text)
        return key, key
    parts = _parse_parts(text[:-2], text)
    missing = PARTS - len(parts)
    if not missing:
        raise VersionError(f"expected at most {PARTS - 1} parts before .*, got {text!r}")
    return _pack(parts + [0] * missing), _pack(parts + [MAX_PART] * missing)


def format_version(key: int) -> str:
    """Returns the four-part text of a key, for people to read."""
    return ".".join(str(key >> PART_BITS * place & MAX_PART) for place in (3, 2, 1, 0))


def _parse_parts(text: str, whole: str) -> list[int]:
    parts = text.split(".") if len(text) <= MAX_VERSION_CHARS else []
    if not 1 <= len(parts) <= PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        raise VersionError(f"expected a version of 1 to {PARTS} numeric parts, got {whole!r}")
    numbers = [int(part) for part in parts]
    if max(numbers) > MAX_PART:
        raise VersionError(f"expected version parts from 0 to {MAX_PART}, got {whole!r}")
    return numbers


def _pack(parts: list[int]) -> int:
    key = 0
    for part in parts:
        key = key << PART_BITS | part
    return key
