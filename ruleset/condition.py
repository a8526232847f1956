"""Conditions, compiled: a device's facts, and the set of values that each condition accepts.

Whatever the operator, a compiled condition asks one thing: is this fact in that collection? Text is trimmed, NFKC and
case-folded, versions become integers, and both are remembered, since hundreds of millions of devices send the same
few thousand models, cities and versions.
"""

import unicodedata
from collections.abc import Callable, Container
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, get_args

from msgspec import Struct

from ruleset.errors import DocumentError, VersionError
from ruleset.model import Condition, Device, Network, Op, Platform
from ruleset.version import format_version, parse_version, parse_version_range

Fact = str | int | None
Facts = list[Fact]

TEXT_ATTRIBUTES: Final = ("model", "manufacturer", "network", "city", "region", "country", "locale", "platform")
VERSION_ATTRIBUTES: Final = ("os", "app", "installed")
ATTRIBUTES: Final = (*TEXT_ATTRIBUTES, *VERSION_ATTRIBUTES)
APP: Final = ATTRIBUTES.index("app")
TAG_PREFIX: Final = "tags."
TEXT_OPS: Final = ("in", "not_in", "contains", "prefix")
VERSION_OPS: Final = ("in", "not_in", "between", "outside")
_KNOWN: Final = {"network": get_args(Network), "platform": get_args(Platform)}
CELLULAR: Final = ("cellular", "2g", "3g", "4g", "5g")

# How many folded texts and read versions are remembered. A client that makes up a new model with each check costs the
# work of one fold each time and never more memory than this.
MAX_REMEMBERED = 65_536


class _Memo(dict[str | None, Fact]):
    """What a pure function gave for each text so far, emptied when it holds MAX_REMEMBERED; None stays None."""

    def __init__(self, compute: Callable[[str], Fact]) -> None:
        super().__init__({None: None})
        self._compute = compute

    def __missing__(self, text: str) -> Fact:
        if len(self) >= MAX_REMEMBERED:
            self.clear()
            self[None] = None
        fact = self[text] = self._compute(text)
        return fact


@lru_cache(MAX_REMEMBERED)
def fold(text: str) -> str:
    """Returns a text as conditions compare it: trimmed, then NFKC, then case-folded."""
    return unicodedata.normalize("NFKC", text.strip()).casefold()


def _read_version(text: str) -> int | None:
    """A version that cannot be read is an absent one: it satisfies no condition."""
    try:
        return parse_version(text)
    except VersionError:
        return None


def _read_text(text: str) -> str | None:
    """A text of nothing but blanks is an absent one."""
    return fold(text) or None


_folded = _Memo(_read_text)
_versions = _Memo(_read_version)


def gather(device: Device, tags: tuple[str, ...], installed: int) -> Facts:
    """Returns a device's facts in the order of ATTRIBUTES, then those of the tags that a program asks for.

    Args:
        device: what the device says of itself.
        tags: the names of the tags, `CompiledProgram.tags`.
        installed: the key of the installed version, -1 for none.
    """
    folded, versions = _folded, _versions
    facts = [
        folded[device.model],
        folded[device.manufacturer],
        device.network,
        folded[device.city],
        folded[device.region],
        folded[device.country],
        folded[device.locale],
        device.platform,
        versions[device.os],
        versions[device.app],
        None if installed < 0 else installed,
    ]
    if tags:
        given = device.tags or {}
        for tag in tags:
            facts.append(folded[given.get(tag)])  # noqa: PERF401 - a comprehension costs a call at each check
    return facts


class CompiledCondition(Struct, frozen=True, gc=False):
    """One condition, ready to ask: does the fact at `index` lie in `accepted`, or, negated, outside of it?

    It holds when the fact is there and `(fact in accepted) is not negated`; an absent fact satisfies nothing. Equal
    conditions are one object, in whatever programs they stand: what is asked often stays in the processor's cache.
    """

    index: int
    accepted: Container[object]
    negated: bool

    def holds(self, facts: Facts) -> bool:
        """Says whether the condition holds for these facts."""
        fact = facts[self.index]
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


def compile_condition(condition: Condition, path: str, tags: dict[str, int]) -> CompiledCondition:
    """Returns a condition ready to ask.

    Args:
        condition: as the document has it.
        path: its JSON path.
        tags: the program's tags so far by name, each with its index among the facts; a new one is added.

    Raises:
        DocumentError: an unknown attribute, an operator that the attribute does not have, a value that cannot be read.
    """
    try:
        index = _find_index(condition.attribute, tags)
        return _compile(index, condition.attribute, condition.op, tuple(condition.values))
    except DocumentError as error:
        raise DocumentError(path + error.path, error.message) from None


@lru_cache(MAX_REMEMBERED)
def _compile(index: int, attribute: str, op: Op, values: tuple[str, ...]) -> CompiledCondition:
    """The one object for all conditions that ask the same; the paths of its errors begin at the condition."""
    is_version = attribute in VERSION_ATTRIBUTES
    ops = VERSION_OPS if is_version else TEXT_OPS
    if op not in ops:
        raise DocumentError(".op", f"expected one of {', '.join(ops)} for {attribute}, got {op}")
    accepted = _accept_versions(op, values) if is_version else _accept_texts(attribute, op, values)
    return CompiledCondition(index, accepted, op in ("not_in", "outside"))


def _find_index(attribute: str, tags: dict[str, int]) -> int:
    if attribute in ATTRIBUTES:
        return ATTRIBUTES.index(attribute)
    name = attribute.removeprefix(TAG_PREFIX)
    if name in ("", attribute):
        expected = ", ".join((*ATTRIBUTES, "tags.<name>"))
        raise DocumentError(".attribute", f"expected one of {expected}, got {attribute!r}")
    return tags.setdefault(name, len(ATTRIBUTES) + len(tags))


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
