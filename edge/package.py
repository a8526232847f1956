"""A package by the digest of its tar: which of the host's files hold it, and in which coding a client gets it. Pure.

Negotiated as RFC 9110 (section 12) and RFC 9842 say: a client that has an older tar names it, and gets the difference.
"""

import base64
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from ruleset import Program, Transfer

# What a client's answer depends on: a cache in between must not give one's difference to another.
VARY: Final = "Accept-Encoding, Available-Dictionary"
_FILES: Final = "/v1/files/"
_WHOLE, _DIFFERENCE = "zstd", "dcz"
_match_weight: Final = re.compile(
    r"[ \t]*([!#$%&'*+.^_`|~0-9a-z-]+)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*)?", re.IGNORECASE
).fullmatch
# A byte sequence of 32 bytes (RFC 8941, section 3.3.5); the padding may be missing.
_match_dictionary: Final = re.compile(r" *:([A-Za-z0-9+/]{43})=?: *").fullmatch


class Packed(Struct, frozen=True, gc=False):
    """The files that hold one package, by their SHA-256 in hex.

    `whole` is empty where that is kept elsewhere; `differences` are by the SHA-256 of the tar from which each starts.
    """

    whole: str
    differences: dict[str, str]


class Coded(Struct, frozen=True):
    """One way to send a package: the content coding, and the file that has it."""

    coding: str
    digest: str


def find_packages(document: Program) -> dict[str, Packed]:
    """Returns the packages of a document that this host may have files of, by the SHA-256 of their tars in hex.

    Sealed ones are left out, since no client could open them, and so is all of a program that was taken down.
    """
    if document.taken_down:
        return {}
    found = {}
    for package in document.packages.values():
        local = [transfer for transfer in package.transfers if transfer.url == _FILES + transfer.sha256]
        if local and not package.key:
            found[package.sha256] = _pack(local)
    return found


def _pack(local: Sequence[Transfer]) -> Packed:
    whole = [transfer.sha256 for transfer in local if transfer.format == _WHOLE]
    differences = {transfer.from_sha256: transfer.sha256 for transfer in local if transfer.format == _DIFFERENCE}
    return Packed(whole[0] if whole else "", differences)


class Shelf:
    """The packages of a workspace by the SHA-256 of their tars; two programs may have the same one."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: dict[str, tuple[Packed, ...]] = {}

    def replace(self, before: Mapping[str, Packed], after: Mapping[str, Packed]) -> None:
        """Puts a program's packages in the place of those that were put here for it before."""
        for digest, packed in before.items():
            rest = tuple([one for one in self._held[digest] if one is not packed])
            if rest:
                self._held[digest] = rest
            else:
                del self._held[digest]
        for digest, packed in after.items():
            self._held[digest] = (*self._held.get(digest, ()), packed)

    def find(self, digest: str) -> tuple[Packed, ...]:
        """Returns what holds the package whose tar has this SHA-256; empty where there is none."""
        return self._held.get(digest, ())


def choose_coded(packed: Iterable[Packed], accepted: str | None, dictionary: str | None) -> list[Coded]:
    """Returns the ways to send a package that a client takes, the best first.

    Args:
        packed: what holds it.
        accepted: the client's Accept-Encoding, None where there is none, which takes any.
        dictionary: its Available-Dictionary.
    """
    weights = {"*": 1_000} if accepted is None else _read_weights(accepted)
    base = _read_dictionary(dictionary or "")
    found: list[tuple[int, Coded]] = []
    for one in packed:
        if base in one.differences:
            # Named only: a client that knows nothing of dictionaries takes `*`, too.
            found.append((weights.get(_DIFFERENCE, 0), Coded(_DIFFERENCE, one.differences[base])))
        if one.whole:
            found.append((weights.get(_WHOLE, weights.get("*", 0)), Coded(_WHOLE, one.whole)))
    # Of equal weight the smaller one, hence the difference.
    found.sort(key=lambda each: (-each[0], each[1].coding != _DIFFERENCE))
    return [coded for weight, coded in found if weight]


def _read_weights(field: str) -> dict[str, int]:
    """The weights of the codings that a field names, in thousandths; what is malformed names none."""
    matches = [_match_weight(element) for element in field.split(",")]
    return {match[1].lower(): round(float(match[2] or 1) * 1_000) for match in matches if match}


def _read_dictionary(field: str) -> str:
    """The SHA-256, in hex, of the tar that a client has; empty where the field is malformed."""
    found = _match_dictionary(field)
    return base64.b64decode(found[1] + "=").hex() if found else ""
