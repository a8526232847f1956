"""The bench's rule set: programs of five releases with four conditions each, as an author would send them. PURE.

From top to bottom a program has two young grays, two that have been raised, and the official release. What each gray's
last condition admits and its percentage are drawn from bands, so that a search is refused several times before it ends;
how often, and by what, `loadtest/population.py` counts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from random import Random
from typing import Any

from loadtest.market import MILLION, Shares, count_shares

Json = dict[str, Any]

RELEASES = 5
CONDITIONS = 4
FIRST_PROGRAM = 2_021_000_000_000_001
VERSION_ATTRIBUTES = ("os", "app")
# Pieces by which text conditions may ask, where an attribute has some.
NEEDLES: Mapping[str, tuple[str, ...]] = {"model": ("pro", "note", "iphone", "mate", "nova", "x", "9", "1")}
PREFIXES: Mapping[str, tuple[str, ...]] = {
    "region": ("CN-G", "CN-S", "CN-H", "CN-J", "CN-B", "CN-Z"),
    "locale": ("zh", "zh-c", "en"),
    "model": ("iPhone", "Redmi", "MI", "Mate"),
}
# How many different conditions a band holds for an attribute, and how many drawings it may take to find them.
POOL = 40
TRIES = 1_500


@dataclass(frozen=True, slots=True)
class Band:
    """What a condition, or a percentage, may admit: from `low` to `high` devices of a million, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Gray:
    """The bands of one gray release: its last condition, and its percentage."""

    last: Band
    percent: Band


# The conditions before the last one refuse few: they are there to keep old phones and odd places out.
BROAD = Band(850_000, 950_000)
YOUNG = Gray(Band(240_000, 400_000), Band(420_000, 520_000))
RAISED = Gray(Band(480_000, 640_000), Band(700_000, 800_000))
GRAYS = (YOUNG, YOUNG, RAISED, RAISED)
# What the official release asks holds for every device of the market.
OFFICIAL = (
    {"attribute": "platform", "op": "in", "values": ["android", "ios", "harmony"]},
    {"attribute": "os", "op": "outside", "values": ["0", "2.*"]},
    {"attribute": "app", "op": "between", "values": ["10.0.0", "10.*"]},
    {"attribute": "network", "op": "in", "values": ["wifi", "cellular", "other"]},
)


def name_program(number: int) -> str:
    """Returns the id of a program by its number, from 0."""
    return str(FIRST_PROGRAM + number)


def make_document(number: int, seed: int) -> Json:
    """Returns the author's document of one program; the same numbers give the same document.

    Its package signatures are empty words; whoever publishes it puts real ones in their place.
    """
    random = Random(f"{seed}/program/{number}")
    program = name_program(number)
    # Release 0 is the newest and stands on top.
    versions = [f"2.{RELEASES - 1 - place}.{random.randrange(10)}.0" for place in range(RELEASES)]
    return {
        "format": 1,
        "program": program,
        "poll_after": random.choice((300, 600, 900, 1800)),
        "packages": {version: _make_package(program, version, random) for version in versions},
        "releases": [_make_release(place, versions[place], program, random) for place in range(RELEASES)],
    }


def make_documents(count: int, seed: int) -> list[Json]:
    """Returns the documents of programs 0 to count - 1."""
    return [make_document(number, seed) for number in range(count)]


@cache
def pool_conditions(band: Band) -> Mapping[str, tuple[Json, ...]]:
    """Returns by attribute the conditions that admit a share of the market within a band."""
    random = Random(f"{band}")
    shares = count_shares()
    pools = {attribute: _find_conditions(attribute, shares, band, random) for attribute in shares}
    return {attribute: tuple(found) for attribute, found in pools.items() if found}


def _make_package(program: str, version: str, random: Random) -> Json:
    size = random.randrange(200_000, 3_000_000)
    transfer = sha256(f"{program}/{version}.zst".encode()).hexdigest()
    return {
        "sha256": sha256(f"{program}/{version}".encode()).hexdigest(),
        "size": size,
        "signature": "unsigned",
        "transfers": [{"format": "zstd", "url": f"/v1/files/{transfer}", "size": size // 4, "sha256": transfer}],
    }


def _make_release(place: int, version: str, program: str, random: Random) -> Json:
    release: Json = {"id": f"r{RELEASES - place}", "package": version}
    if place == len(GRAYS):
        return {**release, "when": list(OFFICIAL)}
    gray = GRAYS[place]
    parts = random.randrange(gray.percent.low, gray.percent.high + 1)
    percent = {"parts": parts, "by": "device", "salt": f"{program[-6:]}{random.getrandbits(40):010x}"}
    return {**release, "who": {"percent": percent}, "when": _draw_conditions(gray.last, random)}


def _draw_conditions(last: Band, random: Random) -> list[Json]:
    """Broad conditions, then one within the last band, each over another attribute."""
    lasts, broads = pool_conditions(last), pool_conditions(BROAD)
    final = random.choice(sorted(lasts))
    others = random.sample(sorted(set(broads) - {final}), CONDITIONS - 1)
    return [*(random.choice(broads[attribute]) for attribute in others), random.choice(lasts[final])]


def _find_conditions(attribute: str, shares: Shares, band: Band, random: Random) -> list[Json]:
    found: dict[str, Json] = {}
    for _ in range(TRIES):
        op, values, admitted = _draw_condition(attribute, shares[attribute], random)
        if band.low <= admitted <= band.high and len(found) < POOL:
            found[f"{op} {values}"] = {"attribute": attribute, "op": op, "values": values}
    return list(found.values())


def _draw_condition(attribute: str, shares: Mapping[str, int], random: Random) -> tuple[str, list[str], int]:
    """An operator, its values, and how many devices of a million they admit."""
    if attribute in VERSION_ATTRIBUTES:
        return _draw_range(shares, random)
    op = random.choice(("in", "not_in", "contains", "prefix"))
    if op == "contains" and attribute in NEEDLES:
        needles = random.sample(NEEDLES[attribute], random.randint(1, 3))
        return op, needles, _sum(shares, lambda text: any(one in text.casefold() for one in needles))
    if op == "prefix" and attribute in PREFIXES:
        prefixes = random.sample(PREFIXES[attribute], random.randint(1, 3))
        starts = tuple(one.casefold() for one in prefixes)
        return op, prefixes, _sum(shares, lambda text: text.casefold().startswith(starts))
    return _draw_list(shares, random)


def _draw_range(shares: Mapping[str, int], random: Random) -> tuple[str, list[str], int]:
    ordered = sorted(shares, key=lambda version: [int(part) for part in version.split(".")])
    low, high = sorted(random.sample(range(len(ordered)), 2))
    inside = sum(shares[version] for version in ordered[low : high + 1])
    op = random.choice(("between", "outside"))
    return op, [ordered[low], ordered[high]], inside if op == "between" else sum(shares.values()) - inside


def _draw_list(shares: Mapping[str, int], random: Random) -> tuple[str, list[str], int]:
    values = random.sample(sorted(shares), random.randint(1, max(1, len(shares) - 1)))
    named = sum(shares[value] for value in values)
    op = random.choice(("in", "not_in"))
    return op, values, named if op == "in" else sum(shares.values()) - named


def _sum(shares: Mapping[str, int], admits: Any) -> int:
    return sum(share for value, share in shares.items() if admits(value))


assert all(gray.percent.low > 3 * MILLION // 10 for gray in GRAYS)  # noqa: S101 - a law of the bench: at least 30 %
