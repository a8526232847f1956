"""The rules as an application developer would write them: a document in, closures out, nothing clever. PURE.

It serves two masters: the plain aiohttp application that the bench compares the edge with, and the population, which
must know what the rules give to each device that it makes up. It shares no module with `ruleset/`; the oracle in
`contract/` holds it to the truth. It reads what the bench's own rule set uses, which is every operator, and percentages
by device: no client ranges, times, inline users or rollbacks.
"""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from xxhash import xxh32_intdigest

Json = dict[str, Any]
Version = tuple[int, ...]
# Does a condition hold for this device (the `device` member of a question, parsed)?
Holds = Callable[[Mapping[str, Any]], bool]

VERSION_ATTRIBUTES = ("os", "app")
CELLULAR = frozenset({"cellular", "2g", "3g", "4g", "5g"})
VERSION_PARTS = 4
MAX_PART = 65_535
# Devices send the same few thousand models, cities and versions; what is remembered is bounded all the same.
MAX_REMEMBERED = 65_536
DEFAULT_POLL_AFTER_S = 1_800


@dataclass(frozen=True, slots=True)
class PlainRelease:
    """A release, ready to ask: its conditions in order, and the percentage as a limit (None: everybody)."""

    id: str
    version: Version
    package: str
    conditions: tuple[Holds, ...]
    percent: tuple[str, int] | None
    update: Json


@dataclass(frozen=True, slots=True)
class PlainProgram:
    """A program, ready to ask; `releases` are in the operator's order, the ones that are not live left out."""

    id: str
    poll_after_s: int
    offers_expire: int
    releases: tuple[PlainRelease, ...]


@lru_cache(MAX_REMEMBERED)
def fold(text: str) -> str:
    """Returns a text as conditions compare it: trimmed, NFKC, case-folded."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


@lru_cache(MAX_REMEMBERED)
def read_version(text: str) -> Version | None:
    """Returns a version's four numbers, None where the text is no version."""
    parts = text.split(".")
    if len(parts) > VERSION_PARTS or not all(part.isascii() and part.isdigit() for part in parts):
        return None
    numbers = [int(part) for part in parts]
    if max(numbers) > MAX_PART:
        return None
    return (*numbers, *[0] * (VERSION_PARTS - len(numbers)))


def read_ends(text: str) -> tuple[Version, Version]:
    """Returns the lowest and the highest version that a condition's value stands for (`14.*` is all of 14).

    Raises:
        ValueError: neither a version nor a wildcard.
    """
    stem = text.removesuffix(".*")
    low = read_version(stem)
    if low is None:
        raise ValueError(f"expected a version or a wildcard, got {text!r}")
    given = VERSION_PARTS if stem == text else stem.count(".") + 1
    return low, low[:given] + (MAX_PART,) * (VERSION_PARTS - given)


def compile_program(document: Json) -> PlainProgram:
    """Returns a document in its author's or its published form, ready to ask."""
    return PlainProgram(
        id=document["program"],
        poll_after_s=document.get("poll_after", DEFAULT_POLL_AFTER_S),
        offers_expire=(document.get("offers") or {}).get("expires", 0),
        releases=tuple(
            [_compile_release(document, one) for one in document["releases"] if one.get("state", "live") == "live"]
        ),
    )


def decide(program: PlainProgram, device: Mapping[str, Any], installed: Version | None) -> PlainRelease | None:
    """Returns the release that decides, None where none does; it may name the very package that is installed."""
    for release in program.releases:
        for holds in release.conditions:
            if not holds(device):
                break
        else:
            if is_inside(release.percent, device["id"]) and (installed is None or installed <= release.version):
                return release
    return None


def is_inside(percent: tuple[str, int] | None, device_id: str) -> bool:
    """Says whether a device falls into a percentage of (salt, parts of a million); None is everybody."""
    if percent is None:
        return True
    salt, parts = percent
    return (xxh32_intdigest(f"{salt}\0{device_id}".encode()) * 1_000_000) >> 32 < parts


def spread_poll(base_s: int, device_id: str, now: int) -> int:
    """Returns a device's poll interval in seconds: the base, moved by -10 % to +10 %, fixed for an hour."""
    return base_s + base_s * (xxh32_intdigest(f"{device_id}\0{now // 3600}".encode()) % 21 - 10) // 100


def compile_condition(condition: Json) -> Holds:
    """Returns a condition as a function of the device."""
    attribute, op, values = condition["attribute"], condition["op"], condition["values"]
    negated = op in ("not_in", "outside")
    if attribute in VERSION_ATTRIBUTES:
        return _compile_version(attribute, op, values, negated=negated)
    texts = [fold(value) for value in values]
    if attribute.startswith("tags."):
        return _compile_tag(attribute.removeprefix("tags."), frozenset(texts), negated=negated)
    if op == "contains":
        return _compile_contains(attribute, texts)
    if op == "prefix":
        return _compile_prefix(attribute, tuple(texts))
    accepted = frozenset(texts)
    if attribute == "network" and "cellular" in accepted:
        accepted |= CELLULAR
    return _compile_in(attribute, accepted, negated=negated)


def _compile_release(document: Json, release: Json) -> PlainRelease:
    package = document["packages"][release["package"]]
    version = read_version(release["package"])
    if version is None:
        raise ValueError(f"expected a version, got {release['package']!r}")
    percent = (release.get("who") or {}).get("percent")
    offer = (document.get("offers") or {}).get("install", {}).get(release["package"], "")
    return PlainRelease(
        id=release["id"],
        version=version,
        package=release["package"],
        conditions=tuple([compile_condition(one) for one in release.get("when", [])]),
        percent=(percent["salt"], percent["parts"]) if percent else None,
        update=_make_update(document["program"], release, package, offer),
    )


def _make_update(program: str, release: Json, package: Json, offer: str) -> Json:
    return {
        "program": program,
        "version": release["package"],
        "release": release["id"],
        "action": "install",
        "urgency": release.get("urgency", "silent"),
        "download": package.get("download", "any"),
        "install": package.get("install", "open"),
        "size": package["size"],
        "sha256": package["sha256"],
        "signature": package["signature"],
        "offer": offer,
        "transfers": [one for one in package["transfers"] if one["format"] == "zstd"],
        "extra": package.get("extra", {}),
    }


def _compile_in(attribute: str, accepted: frozenset[str], *, negated: bool) -> Holds:
    def holds(device: Mapping[str, Any]) -> bool:
        text = device.get(attribute)
        return bool(text) and (fold(text) in accepted) is not negated

    return holds


def _compile_tag(name: str, accepted: frozenset[str], *, negated: bool) -> Holds:
    def holds(device: Mapping[str, Any]) -> bool:
        tags = device.get("tags")
        text = tags.get(name) if tags else None
        return bool(text) and (fold(text) in accepted) is not negated

    return holds


def _compile_contains(attribute: str, needles: list[str]) -> Holds:
    def holds(device: Mapping[str, Any]) -> bool:
        text = device.get(attribute)
        if not text:
            return False
        folded = fold(text)
        return any(needle in folded for needle in needles)

    return holds


def _compile_prefix(attribute: str, prefixes: tuple[str, ...]) -> Holds:
    def holds(device: Mapping[str, Any]) -> bool:
        text = device.get(attribute)
        return bool(text) and fold(text).startswith(prefixes)

    return holds


def _compile_version(attribute: str, op: str, values: list[str], *, negated: bool) -> Holds:
    ends = [read_ends(value) for value in values]
    if op in ("between", "outside"):
        return _compile_between(attribute, ends[0][0], ends[1][1], negated=negated)

    def holds(device: Mapping[str, Any]) -> bool:
        version = read_version(device.get(attribute) or "")
        return version is not None and any(low <= version <= high for low, high in ends) is not negated

    return holds


def _compile_between(attribute: str, low: Version, high: Version, *, negated: bool) -> Holds:
    def holds(device: Mapping[str, Any]) -> bool:
        version = read_version(device.get(attribute) or "")
        return version is not None and (low <= version <= high) is not negated

    return holds
