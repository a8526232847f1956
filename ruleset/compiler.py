"""From a document to the objects that answer: everything that can be computed before a device asks is computed here.

What is compiled is immutable and keeps the JSON path of each condition, so that explain can walk what evaluate walks.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Protocol

import orjson
from msgspec import Struct

from ruleset.bucket import compute_limit
from ruleset.condition import ATTRIBUTES, CompiledCondition, compile_condition
from ruleset.errors import DocumentError, VersionError
from ruleset.model import (
    MAX_TIME,
    ClientRange,
    Condition,
    Package,
    Percent,
    Platform,
    Program,
    Release,
    State,
    Who,
    Window,
)
from ruleset.sheet import Sheet, TagColumn
from ruleset.version import MAX_PART, PART_BITS, PARTS, format_version, parse_version, parse_version_range

HIGHEST_VERSION = (MAX_PART + 1) ** PARTS - 1
assert HIGHEST_VERSION.bit_length() == PARTS * PART_BITS  # noqa: S101 - a law of the key, not a check of input


# Whatever a trial gives comes from a release of this id; no other may have it.
TRIAL_ID = "trial"

# The app versions that each platform is admitted with, None for every version.
Clients = MappingProxyType[Platform, range | None]


class CompiledPercent(Struct, frozen=True, gc=False):
    """A percentage: an id is inside where its hash under `salt` is below the limit of the time.

    `limits` has the limit after the step of the same place in `times`; before the first one it is `limit`.
    """

    limit: int
    salt: str
    by_user: bool
    times: tuple[int, ...] = ()
    limits: tuple[int, ...] = ()

    def find_limit(self, now: int) -> int:
        """Returns the limit at a time in seconds."""
        step = bisect_right(self.times, now)
        return self.limits[step - 1] if step else self.limit


class CompiledWindow(Struct, frozen=True, gc=False):
    """A window: who is among the members of `id`, or gets a place there while it is open."""

    id: str
    key: str
    limit: int
    opens_at: int
    closes_at: int
    per_minute: int | None
    proven: bool


class CompiledRule(Struct, frozen=True, gc=False):
    """What a release and a switch's rule have in common, ready to ask: whom it is for, and when.

    `clients` maps a platform to the app versions it admits, None where every app version (also an unknown one) will do;
    it is None itself where the rule names no platforms. `official` means: no *who*, everybody.
    """

    opens_at: int
    closes_at: int
    clients: Clients | None
    conditions: tuple[CompiledCondition, ...]
    official: bool
    users: frozenset[str]
    percent: CompiledPercent | None
    audiences: tuple[str, ...]
    id: str
    state: State
    path: str

    def locate(self, condition: int) -> str:
        """Returns the JSON path of the condition of that number, from 0."""
        return f"{self.path}.when[{condition}]"


class CompiledRelease(CompiledRule, frozen=True, gc=False):
    """A release, ready to ask."""

    version: int
    window: CompiledWindow | None
    rollback_from: frozenset[int]


class CompiledProgram(Struct, frozen=True, gc=False):
    """A program, ready to ask. `releases` are all, in the operator's order; `live` are those that can decide.

    `needed` has, for each live release, the bits of its conditions on the program's sheet: most releases are refused by
    them, without being touched. The document is not kept. What is asked a million times lies close together
    (docs/adr/0007). `changes` are the seconds at which the program's rules change by themselves, ascending; `trials`
    has what trials may give, by version, as if it were released.
    """

    taken_down: bool
    sheet: Sheet
    tags: tuple[TagColumn, ...]
    needed: tuple[int, ...]
    live: tuple[CompiledRelease, ...]
    releases: tuple[CompiledRelease, ...]
    id: str
    changes: tuple[int, ...]
    trials: Mapping[int, CompiledRelease]


def compile_program(program: Program, sheet: Sheet | None = None) -> CompiledProgram:
    """Returns a program's document, ready to ask; its conditions are numbered on `sheet`, or on one of its own.

    Raises:
        DocumentError: what the members mean together is wrong; the error's path names the place.
    """
    versions = _read_packages(program.packages)
    if program.floor:
        _read_version(program.floor, "$.floor")
    _refuse_ids([release.id for release in program.releases])
    releases = tuple(
        [_compile_release(release, f"$.releases[{i}]", versions) for i, release in enumerate(program.releases)]
    )
    live = tuple([release for release in releases if release.state == "live"])
    sheet = Sheet() if sheet is None else sheet
    return CompiledProgram(
        taken_down=program.taken_down,
        sheet=sheet,
        tags=find_tags(live, sheet),
        needed=number_rules(live, sheet),
        live=live,
        releases=releases,
        id=program.program,
        changes=_list_changes(program, live),
        trials=MappingProxyType(dict(_compile_trials(program.trials, versions))),
    )


def find_tags(rules: Iterable[CompiledRule], sheet: Sheet) -> tuple[TagColumn, ...]:
    """Returns the columns of the tags that rules ask for."""
    tags = {one.attribute: None for rule in rules for one in rule.conditions if one.attribute not in ATTRIBUTES}
    return tuple([sheet.find_tag(attribute) for attribute in tags])


def number_rules(rules: Iterable[CompiledRule], sheet: Sheet) -> tuple[int, ...]:
    """Returns for each rule the bits of its conditions on a sheet."""
    return tuple([sum({sheet.number(condition) for condition in rule.conditions}) for rule in rules])


def list_times(rules: Iterable[CompiledRule]) -> set[int]:
    """Returns the seconds at which rules change by themselves; 0 and MAX_TIME may be among them."""
    times = set()
    for rule in rules:
        times |= {rule.opens_at, rule.closes_at, *(rule.percent.times if rule.percent else ())}
    return times


def _list_changes(program: Program, live: Iterable[CompiledRelease]) -> tuple[int, ...]:
    times = list_times(live)
    if program.urgent:
        times.add(program.urgent.until)
    for release in live:
        if release.window:
            times |= {release.window.opens_at, release.window.closes_at}
    return tuple(sorted(times - {0, MAX_TIME}))


def _compile_trials(trials: list[str], versions: dict[str, int]) -> Iterator[tuple[int, CompiledRelease]]:
    for i, version in enumerate(trials):
        path = f"$.trials[{i}]"
        if version not in versions:
            raise DocumentError(path, f"expected a version under $.packages, got {version!r}")
        yield versions[version], _compile_release(Release(TRIAL_ID, version), path, versions)


def _read_packages(packages: dict[str, Package]) -> dict[str, int]:
    """Each package's version key by its text; two texts of one version are refused."""
    keys: dict[int, str] = {}
    for text, package in packages.items():
        path = f"$.packages[{text!r}]"
        key = _read_version(text, path)
        if key in keys:
            raise DocumentError(path, f"expected each version once, got {keys[key]!r} and {text!r}")
        keys[key] = text
        _refuse_package(package, path)
    return {text: key for key, text in keys.items()}


def _refuse_package(package: Package, path: str) -> None:
    for i, transfer in enumerate(package.transfers):
        has_base = (bool(transfer.base), bool(transfer.from_sha256))
        place = f"{path}.transfers[{i}]"
        if has_base != ((True, True) if transfer.format == "dcz" else (False, False)):
            raise DocumentError(place, "expected from and from_sha256 with format dcz, and with no other")
        if transfer.format == "dcz":
            _read_version(transfer.base, f"{place}.from")
            if not _DIGEST.fullmatch(transfer.from_sha256):
                message = f"expected 64 lower-case hexadecimal digits, got {transfer.from_sha256!r}"
                raise DocumentError(f"{place}.from_sha256", message)
    if package.key and not _SEAL_KEY.fullmatch(package.key):
        raise DocumentError(
            f"{path}.key", "expected an age secret key, AGE-SECRET-KEY-1 and 58 characters, got another"
        )
    for name in ("permissions", "extra"):
        value = getattr(package, name)
        try:
            # In three arrays, as deep as in the document: what compiles can be encoded.
            _ = value and orjson.dumps([[[value]]])
        except TypeError as error:
            raise DocumentError(f"{path}.{name}", f"expected plain JSON ({error})") from None


_DIGEST = re.compile("[0-9a-f]{64}")
# Bech32 in capitals (age's format, version 1); whether it opens the transfers, no edge can see.
_SEAL_KEY = re.compile("AGE-SECRET-KEY-1[02-9AC-HJ-NP-Z]{58}")


def _refuse_ids(ids: list[str]) -> None:
    seen: set[str] = set()
    for i, name in enumerate(ids):
        if name == TRIAL_ID:
            raise DocumentError(f"$.releases[{i}].id", f"expected another id than {TRIAL_ID!r}, which trials have")
        if name in seen:
            raise DocumentError(f"$.releases[{i}].id", f"expected each release id once, got {name!r} again")
        seen.add(name)


def _compile_release(release: Release, path: str, versions: dict[str, int]) -> CompiledRelease:
    if release.package not in versions:
        raise DocumentError(f"{path}.package", f"expected a version under $.packages, got {release.package!r}")
    version = versions[release.package]
    return CompiledRelease(
        **compile_rule(release, path),
        version=version,
        window=_compile_window(release.who.window if release.who else None, f"{path}.who.window"),
        rollback_from=_compile_rollback(release, version, f"{path}.rollback.from"),
    )


class Rule(Protocol):
    """The members that a release and a switch's rule have in common, as their author writes them."""

    @property
    def id(self) -> str:
        """Its name in the document."""

    @property
    def state(self) -> State:
        """Whether it can decide."""

    @property
    def who(self) -> Who | None:
        """Whom it is for; None for everybody."""

    @property
    def when(self) -> list[Condition]:
        """What has to hold, all of it."""

    @property
    def clients(self) -> dict[Platform, ClientRange] | None:
        """Which host apps."""

    @property
    def opens_at(self) -> int | None:
        """From when on, in seconds."""

    @property
    def closes_at(self) -> int | None:
        """Until when, in seconds."""


def compile_rule(rule: Rule, path: str) -> dict[str, Any]:
    """Returns the members of a `CompiledRule` for a rule at a JSON path.

    Raises:
        DocumentError: what its members mean together is wrong.
    """
    opens_at = 0 if rule.opens_at is None else rule.opens_at
    closes_at = MAX_TIME if rule.closes_at is None else rule.closes_at
    if opens_at >= closes_at:
        raise DocumentError(f"{path}.closes_at", f"expected a time after opens_at {opens_at}, got {closes_at}")
    who = _read_who(rule.who, f"{path}.who")
    return {
        "opens_at": opens_at,
        "closes_at": closes_at,
        "clients": _compile_clients(rule.clients, f"{path}.clients"),
        "conditions": tuple(
            [compile_condition(condition, f"{path}.when[{i}]") for i, condition in enumerate(rule.when)]
        ),
        "official": rule.who is None,
        "users": frozenset(who.users or ()),
        "percent": _compile_percent(who.percent, f"{path}.who.percent"),
        "audiences": tuple(dict.fromkeys(who.audiences or ())),
        "id": rule.id,
        "state": rule.state,
        "path": path,
    }


def _read_who(who: Who | None, path: str) -> Who:
    if who is None:
        return _NOBODY_NAMED
    if who == _NOBODY_NAMED:
        expected = "expected users, audiences, percent or window"
        raise DocumentError(path, f"{expected}, got none of them (leave who out to reach everybody)")
    return who


_NOBODY_NAMED = Who()


def _compile_percent(percent: Percent | None, path: str) -> CompiledPercent | None:
    if percent is None:
        return None
    if not percent.salt:
        raise DocumentError(f"{path}.salt", "expected a salt, got none (the publisher fills it in)")
    _refuse_steps(percent, path)
    return CompiledPercent(
        compute_limit(percent.parts),
        percent.salt,
        percent.by == "user",
        times=tuple([step.at for step in percent.steps]),
        limits=tuple([compute_limit(step.parts) for step in percent.steps]),
    )


def _refuse_steps(percent: Percent, path: str) -> None:
    """A ramp only adds devices, one step after the other."""
    at, parts = 0, percent.parts
    for i, step in enumerate(percent.steps):
        if step.at <= at:
            raise DocumentError(f"{path}.steps[{i}].at", f"expected a time after {at}, got {step.at}")
        if step.parts < parts:
            raise DocumentError(f"{path}.steps[{i}].parts", f"expected at least the {parts} before, got {step.parts}")
        at, parts = step.at, step.parts


def _compile_window(window: Window | None, path: str) -> CompiledWindow | None:
    if window is None:
        return None
    if window.opens_at >= window.closes_at:
        message = f"expected a time after opens_at {window.opens_at}, got {window.closes_at}"
        raise DocumentError(f"{path}.closes_at", message)
    if not window.id:
        raise DocumentError(f"{path}.id", "expected an id, got none (the publisher fills it in)")
    if not window.key:
        raise DocumentError(
            f"{path}.key", "expected the name of a fingerprint key, got none (the publisher fills it in)"
        )
    return CompiledWindow(
        window.id, window.key, window.limit, window.opens_at, window.closes_at, window.per_minute, window.proven
    )


def _compile_clients(clients: dict[Platform, ClientRange] | None, path: str) -> Clients | None:
    if clients is None:
        return None
    if not clients:
        raise DocumentError(path, "expected at least one platform, got none (leave clients out to admit all)")
    compiled = {platform: _compile_client(ends, f"{path}.{platform}") for platform, ends in clients.items()}
    return MappingProxyType(compiled)


def _compile_client(ends: ClientRange, path: str) -> range | None:
    if ends.min is None and ends.max is None:
        return None
    low = 0 if ends.min is None else _read_range(ends.min, f"{path}.min")[0]
    high = HIGHEST_VERSION if ends.max is None else _read_range(ends.max, f"{path}.max")[1]
    if low > high:
        shown = f"{format_version(low)} to {format_version(high)}"
        raise DocumentError(path, f"expected a range that is not empty, got {shown}")
    return range(low, high + 1)


def _compile_rollback(release: Release, version: int, path: str) -> frozenset[int]:
    if release.rollback is None:
        return frozenset()
    keys = [_read_version(text, f"{path}[{i}]") for i, text in enumerate(release.rollback.versions)]
    for i, key in enumerate(keys):
        if key <= version:
            higher = f"expected a version above the release's own {release.package}"
            raise DocumentError(f"{path}[{i}]", f"{higher}, got {release.rollback.versions[i]!r}")
    return frozenset(keys)


def _read_version(text: str, path: str) -> int:
    try:
        return parse_version(text)
    except VersionError as error:
        raise DocumentError(path, str(error)) from None


def _read_range(text: str, path: str) -> tuple[int, int]:
    try:
        return parse_version_range(text)
    except VersionError as error:
        raise DocumentError(path, str(error)) from None
