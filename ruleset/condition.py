"""Conditions, compiled: for each the set of facts that it accepts, whatever its operator.

Text is trimmed, NFKC and case-folded, versions become integers. What a device satisfies is asked once a text and
remembered by `ruleset.sheet`; nothing here is asked at a check.
"""

import unicodedata
from collections.abc import Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, get_args

from msgspec import Struct

from ruleset.errors import DocumentError, VersionError
from ruleset.model import Condition, Network, Op, Platform
from ruleset.version import format_version, parse_version, parse_version_range

# A folded text, or a version's key; None where the device said nothing that can be read.
Fact = str | int | None

TEXT_ATTRIBUTES: Final = ("model", "manufacturer", "network", "city", "region", "country", "locale", "platform")
VERSION_ATTRIBUTES: Final = ("os", "app", "installed")
ATTRIBUTES: Final = (*TEXT_ATTRIBUTES, *VERSION_ATTRIBUTES)
TAG_PREFIX: Final = "tags."
TEXT_OPS: Final = ("in", "not_in", "contains", "prefix")
VERSION_OPS: Final = ("in", "not_in", "between", "outside")
_KNOWN: Final = {"network": get_args(Network), "platform": get_args(Platform)}
CELLULAR: Final = ("cellular", "2g", "3g", "4g", "5g")

# How many folded texts and compiled conditions are remembered: documents name the same ones again and again.
MAX_REMEMBERED = 65_536


@lru_cache(MAX_REMEMBERED)
def fold(text: str) -> str:
    """Returns a text as conditions compare it: trimmed, then NFKC, then case-folded."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def read_text(text: str) -> Fact:
    """Returns a text as a fact; one of nothing but blanks is an absent one."""
    return fold(text) or None


def read_version(text: str) -> Fact:
    """Returns a version as a fact; one that cannot be read is an absent one."""
    try:
        return parse_version(text)
    except VersionError:
        return None


class CompiledCondition(Struct, frozen=True, gc=False):
    """One condition, ready to ask: whether the fact of an attribute lies in `accepted`, or, negated, outside of it.

    A condition that is written the same way is one object, in whatever programs it stands.
    """

    attribute: str
    accepted: Container[object]
    negated: bool

    def holds(self, fact: Fact) -> bool:
        """Says whether the condition holds for the fact of its attribute; an absent one satisfies nothing."""
        return fact is not None and (fact in self.accepted) is not self.negated


@dataclass(frozen=True, slots=True)
class _Containing:
    """Accepts every text that contains one of these."""

    needles: tuple[str, ...]

    def __contains__(self, text: object) -> bool:
        return any(needle in text for needle in self.needles) if isinstance(text, str) else False


@dataclass(frozen=True, slots=True)
class _Starting:
    """Accepts every text that starts with one of these."""

    prefixes: tuple[str, ...]

    def __contains__(self, text: object) -> bool:
        return isinstance(text, str) and text.startswith(self.prefixes)


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Accepts every version that lies in one of these ranges."""

    ranges: tuple[range, ...]

    def __contains__(self, key: object) -> bool:
        return any(key in versions for versions in self.ranges)


def compile_condition(condition: Condition, path: str) -> CompiledCondition:
    """Returns a condition ready to ask; `path` is its JSON path.

    Raises:
        DocumentError: an unknown attribute, an operator that the attribute does not have, a value that cannot be read.
    """
    try:
        return _compile(condition.attribute, condition.op, tuple(condition.values))
    except DocumentError as error:
        raise DocumentError(path + error.path, error.message) from None


@lru_cache(MAX_REMEMBERED)
def _compile(attribute: str, op: Op, values: tuple[str, ...]) -> CompiledCondition:
    """The one object for all conditions that ask the same; the paths of its errors begin at the condition."""
    if attribute not in ATTRIBUTES and attribute.removeprefix(TAG_PREFIX) in ("", attribute):
        expected = ", ".join((*ATTRIBUTES, "tags.<name>"))
        raise DocumentError(".attribute", f"expected one of {expected}, got {attribute!r}")
    is_version = attribute in VERSION_ATTRIBUTES
    ops = VERSION_OPS if is_version else TEXT_OPS
    if op not in ops:
        raise DocumentError(".op", f"expected one of {', '.join(ops)} for {attribute}, got {op}")
    accepted = _accept_versions(op, values) if is_version else _accept_texts(attribute, op, values)
    return CompiledCondition(attribute, accepted, op in ("not_in", "outside"))


def _accept_texts(attribute: str, op: Op, values: tuple[str, ...]) -> Container[object]:
    texts = tuple([fold(value) for value in values])
    if "" in texts:
        raise DocumentError(f".values[{texts.index('')}]", "expected text, got nothing but blanks")
    known = _KNOWN.get(attribute)
    if known and op in ("in", "not_in"):
        _refuse_unknown(texts, known)
    if op == "contains":
        return _Containing(texts)
    if op == "prefix":
        return _Starting(texts)
    if attribute == "network" and "cellular" in texts:
        texts += CELLULAR
    return frozenset(texts)


def _refuse_unknown(texts: tuple[str, ...], known: tuple[str, ...]) -> None:
    for i, text in enumerate(texts):
        if text not in known:
            raise DocumentError(f".values[{i}]", f"expected one of {', '.join(known)}, got {text!r}")


def _accept_versions(op: Op, values: tuple[str, ...]) -> Container[object]:
    ranges = tuple([_read_range(value, f".values[{i}]") for i, value in enumerate(values)])
    if op in ("in", "not_in"):
        if all(len(versions) == 1 for versions in ranges):
            return frozenset([versions.start for versions in ranges])
        return _Ranges(ranges)
    if len(ranges) != 2:  # noqa: PLR2004 - a range has two ends
        raise DocumentError(".values", f"expected two versions, both ends included, got {len(ranges)}")
    between = range(ranges[0].start, ranges[1].stop)
    if not between:
        ends = f"{format_version(ranges[0].start)} to {format_version(ranges[1].stop - 1)}"
        raise DocumentError(".values", f"expected a range that is not empty, got {ends}")
    return between


def _read_range(text: str, path: str) -> range:
    try:
        low, high = parse_version_range(text)
    except VersionError as error:
        raise DocumentError(path, str(error)) from None
    return range(low, high + 1)
