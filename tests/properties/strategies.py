"""Hypothesis strategies for published program documents and questions that meet: small pools, and values at boundaries.

Everything drawn is well formed and compiles, so that a property is about decisions; what is refused has its own tests.
"""

import os
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from contract.oracle import bucket, fold, read_ends, read_version

Json = dict[str, Any]

# `GRAYWAVE_EXAMPLES=100000` is the long run.
EXAMPLES = int(os.environ.get("GRAYWAVE_EXAMPLES", "500"))
thorough = settings(max_examples=EXAMPLES)
quick = settings(thorough, max_examples=max(1, EXAMPLES // 5))

PROGRAM = "2021000000000001"
DEVICES = ("device-1", "device-2", "device-431917", "设备-1")
USERS = ("u-777", "U-777", "u-777 ", "Köln", "Ko\u0308ln")
AUDIENCES = ("qa", "staff")
WINDOWS = ("0" * 16, "1" * 16, "2" * 16)
SALTS = ("salt", "salt-of-gray", "盐")
PLATFORMS = ("android", "ios", "harmony")
VARIANTS = ("red", "green", "blue")
NETWORKS = ("wifi", "2g", "3g", "4g", "5g", "cellular", "other")
# What conditions may name exactly, in several spellings.
CLOSED = {
    "network": (*NETWORKS, " Cellular", "WIFI", "\uff14g"),
    "platform": (*PLATFORMS, "iOS", " Harmony"),
}
TAGS = ("vip", "VIP", "plan")
TEXT_ATTRIBUTES = ("model", "manufacturer", "network", "city", "region", "country", "locale", "platform")
FREE_ATTRIBUTES = ("manufacturer", "model", "city", "region", "country", "locale")
VERSIONS = (
    "0",
    "1",
    "1.0",
    "1.0.0.1",
    "1.65535",
    "2.3",
    "2.3.0",
    "2.3.1",
    "02.3.1.0",
    "2.10",
    "14",
    "65535.65535.65535.65535",
)
WILDCARDS = ("0.*", "1.*", "1.0.0.*", "2.*", "2.3.*", "14.*", "65535.*")
UNREADABLE = ("", " ", "14.", ".14", "1.2.3.4.5", "65536", " 1", "\uff11", "²", "1_0", "+1", "-1", "14.*", "0" * 24)
TEXTS = (
    *("MI 10", " mi 10\t", "\uff2d\uff29\u300010", "MI10", "MI 10 Pro", "XIAOMI", " xiaomi ", "vivo X5M", "VIVO X5M"),
    *("杭州市", "杭州", "Straße", "STRASSE", "İ", "i\u0307", "i", "\u0131", "I", "Σας", "ΣΑΣ", "\ufb01", "FI"),
    *(
        "Köln",
        "Ko\u0308ln",
        "\u00a8",
        "\u0345",
        "\u1fb3",
        "cellular",
        " Cellular",
        "4g",
        "4G",
        "wifi",
        "android",
        "Harmony",
    ),
)
BLANKS = ("", " ", "\u3000", "\x1f", "\u200b")
NOW = 1000

any_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
texts = st.sampled_from(TEXTS) | any_text
versions = st.sampled_from(VERSIONS)
version_values = st.sampled_from(VERSIONS + WILDCARDS)
moments = st.sampled_from([NOW - 1, NOW, NOW + 1, NOW + 2])


def often_absent(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A member that is null as often as not."""
    return st.none() | values


@st.composite
def ranges(draw: st.DrawFn) -> list[str]:
    """Two values, the lower end and the upper end of a range that is not empty."""
    one, two = draw(version_values), draw(version_values)
    return [one, two] if read_ends(one)[0] <= read_ends(two)[1] else [two, one]


@st.composite
def text_conditions(draw: st.DrawFn) -> Json:
    """Conditions on text; values that would be refused, blanks and unknown networks and platforms, are not drawn."""
    attribute = draw(st.sampled_from([*TEXT_ATTRIBUTES, *(f"tags.{tag}" for tag in TAGS)]))
    op = draw(st.sampled_from(["in", "not_in", "contains", "prefix"]))
    is_closed = attribute in CLOSED and op in ("in", "not_in")
    values = st.sampled_from(CLOSED[attribute]) if is_closed else texts.filter(fold)
    return {"attribute": attribute, "op": op, "values": draw(st.lists(values, min_size=1, max_size=3))}


def version_conditions() -> st.SearchStrategy[Json]:
    """Conditions on versions, ranges with ends that are equal, touch and overlap."""
    attributes = st.sampled_from(["os", "app", "installed"])
    lists = {"op": st.sampled_from(["in", "not_in"]), "values": st.lists(version_values, min_size=1, max_size=3)}
    ends = {"op": st.sampled_from(["between", "outside"]), "values": ranges()}
    return st.fixed_dictionaries({"attribute": attributes, **lists}) | st.fixed_dictionaries(
        {"attribute": attributes, **ends}
    )


@st.composite
def percents(draw: st.DrawFn) -> Json:
    """Percentages at both ends of the scale, and exactly at the bucket of some device or user."""
    salt = draw(st.sampled_from(SALTS))
    edge = bucket(salt, draw(st.sampled_from(DEVICES + USERS)))
    parts = draw(st.sampled_from([0, 1, 999_999, 1_000_000, edge, edge + 1]) | st.integers(0, 1_000_000))
    by = draw(st.sampled_from([{}, {"by": "device"}, {"by": "user"}]))
    return {"parts": parts, "salt": salt, **by, **draw(ramps(parts, edge))}


@st.composite
def ramps(draw: st.DrawFn, parts: int, edge: int) -> Json:
    """No steps, or some around NOW that rise over the bucket at the edge."""
    times = sorted(draw(st.lists(moments, max_size=3, unique=True)))
    rising = sorted(draw(st.sampled_from([parts, edge, edge + 1, 1_000_000])) for _ in times)
    steps = [{"at": at, "parts": max(parts, to)} for at, to in zip(times, rising, strict=True)]
    return {"steps": steps} if steps else {}


@st.composite
def windows(draw: st.DrawFn) -> Json:
    """Windows of a few ids, some open, closed or yet to open, at their very ends, too."""
    opens_at = draw(st.sampled_from([0, NOW - 1, NOW, NOW + 1]))
    return {
        "limit": draw(st.sampled_from([1, 10_000])),
        "opens_at": opens_at,
        "closes_at": draw(st.integers(max(NOW - 1, opens_at + 1), NOW + 3)),
        "proven": draw(st.booleans()),
        "id": draw(st.sampled_from(WINDOWS)),
        "key": "k1",
    }


def whos() -> st.SearchStrategy[Json]:
    """Who a release goes to: users, audiences, a percentage, a window, and all their combinations."""
    members: dict[str, st.SearchStrategy[Any]] = {
        "users": st.lists(st.sampled_from(USERS), min_size=1, max_size=3),
        "audiences": st.lists(st.sampled_from([*AUDIENCES, "unknown"]), min_size=1, max_size=3),
        "percent": percents(),
        "window": windows(),
    }
    return st.fixed_dictionaries({}, optional=members).filter(bool)


def lists() -> st.SearchStrategy[Json]:
    """What is known beside a document: some of the audiences and windows that releases name.

    Half of the time each window is open with nobody in it: else too few would be asked for a place.
    """
    opened = {id_: {"members": [], "is_open": True} for id_ in WINDOWS}
    window = {"members": st.lists(st.sampled_from(DEVICES + USERS), max_size=4), "is_open": st.booleans()}
    return st.fixed_dictionaries(
        {
            "audiences": st.dictionaries(st.sampled_from(AUDIENCES), st.lists(st.sampled_from(USERS), max_size=3)),
            "windows": st.just(opened) | st.dictionaries(st.sampled_from(WINDOWS), st.fixed_dictionaries(window)),
            "proven": st.booleans(),
        },
        optional={"trials": st.dictionaries(st.sampled_from([PROGRAM, "2021000000000002"]), versions, max_size=2)},
    )


@st.composite
def client_ranges(draw: st.DrawFn) -> Json:
    """The app versions of one platform, each end drawn, open or null."""
    low, high = draw(ranges())
    members = {"min": draw(st.sampled_from([low, None])), "max": draw(st.sampled_from([high, None]))}
    return {end: value for end, value in members.items() if value is not None or draw(st.booleans())}


@st.composite
def releases(draw: st.DrawFn, name: str, packages: list[str]) -> Json:
    """One release of one of these packages; a few of its members say something, so that many releases decide."""
    package = draw(st.sampled_from(packages))
    members = {
        "state": st.sampled_from(["live", "paused", "ended"]),
        "who": whos(),
        "when": st.lists(text_conditions() | version_conditions(), max_size=2),
        "clients": st.dictionaries(st.sampled_from(PLATFORMS), client_ranges(), min_size=1),
        "rollback": rollbacks(package),
        "times": openings(),
    }
    said = draw(st.lists(st.sampled_from(list(members)), max_size=3, unique=True))
    release = {member: draw(values) for member, values in members.items() if member in said}
    nulls = dict.fromkeys(["who", "clients", "rollback", "opens_at", "closes_at"]) if draw(st.booleans()) else {}
    return {"id": name, "package": package, **nulls, **release.pop("times", {}), **release}


@st.composite
def openings(draw: st.DrawFn) -> Json:
    """Opening and closing times around NOW, one after the other; 0 and null are none."""
    opens_at = draw(st.sampled_from([None, 0]) | moments)
    closes_at = draw(st.none() | st.integers(max(NOW, (opens_at or 0) + 1), NOW + 3))
    return {"opens_at": opens_at, "closes_at": closes_at}


def rollbacks(package: str) -> st.SearchStrategy[Any]:
    """Rollbacks from versions above the package, None where the pool has none."""
    above = [text for text in VERSIONS if (read_version(text) or ()) > (read_version(package) or ())]
    if not above:
        return st.none()
    return st.fixed_dictionaries({"from": st.lists(st.sampled_from(above), min_size=1, max_size=3)})


def publish_package(version: str) -> Json:
    """A package entry; what is in it decides nothing."""
    transfer = {"format": "zstd", "url": f"https://cdn.example/{version}", "size": 1, "sha256": "f" * 64}
    return {"sha256": "0" * 64, "size": 1, "signature": f"signature-of-{version}", "transfers": [transfer]}


@st.composite
def documents(draw: st.DrawFn) -> Json:
    """A published document of PROGRAM."""
    packages = draw(st.lists(versions, min_size=1, max_size=4, unique_by=read_version))
    count = draw(st.integers(0, 5))
    return {
        "format": 1,
        "workspace": "demo",
        "epoch": 1,
        "revision": draw(st.integers(1, 3)),
        "program": PROGRAM,
        "poll_after": draw(st.sampled_from([0, 1, 300, 86_400])),
        "taken_down": draw(st.sampled_from([False] * 9 + [True])),
        "packages": {version: publish_package(version) for version in packages},
        "trials": draw(st.just([]) | st.lists(st.sampled_from(packages), max_size=2)),
        "releases": [draw(releases(f"r{i}", packages)) for i in range(count)],
        "offers": publish_offers(packages),
    }


def publish_offers(packages: list[str]) -> Json:
    """Offers for whatever may be decided."""
    tokens = {version: f"offer-of-{version}" for version in packages}
    return {"expires": NOW + 86_400, "install": tokens, "rollback": tokens, "remove": "remove-offer"}


def devices() -> st.SearchStrategy[Json]:
    """Devices that say much, little, null or nothing of themselves."""
    said = texts | st.sampled_from(BLANKS)
    optional = {
        "user": often_absent(st.sampled_from((*USERS, ""))),
        "os": often_absent(st.sampled_from(VERSIONS + UNREADABLE)),
        "app": often_absent(st.sampled_from(VERSIONS + UNREADABLE)),
        "network": often_absent(st.sampled_from(NETWORKS)),
        "tags": often_absent(st.dictionaries(st.sampled_from(TAGS), said, max_size=3)),
        **{name: often_absent(said) for name in FREE_ATTRIBUTES},
    }
    required = {"id": st.sampled_from(DEVICES), "platform": st.sampled_from(PLATFORMS)}
    return st.fixed_dictionaries(required, optional=optional)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Json, Json, int]:
    """A document, a question about it and a time; what is installed is often a version that the document names."""
    document = draw(documents())
    named = list(document["packages"])
    for release in document["releases"]:
        named += (release.get("rollback") or {}).get("from", [])
    installed = draw(st.sampled_from(["", "2.3.2", *VERSIONS]) | st.sampled_from(named))
    question = {"workspace": "demo", "device": draw(devices()), "programs": {PROGRAM: installed}}
    return document, question, draw(moments)


def switch_whos() -> st.SearchStrategy[Json]:
    """Who a switch's rule is for: all but windows, which switches do not have."""
    members: dict[str, st.SearchStrategy[Any]] = {
        "users": st.lists(st.sampled_from(USERS), min_size=1, max_size=3),
        "audiences": st.lists(st.sampled_from([*AUDIENCES, "unknown"]), min_size=1, max_size=3),
        "percent": percents(),
    }
    return st.fixed_dictionaries({}, optional=members).filter(bool)


@st.composite
def switch_rules(draw: st.DrawFn, name: str) -> Json:
    """One rule of a switch; a few of its members say something, so that many rules decide."""
    members = {
        "state": st.sampled_from(["live", "paused", "ended"]),
        "who": switch_whos(),
        "when": st.lists(
            text_conditions() | version_conditions().filter(lambda one: one["attribute"] != "installed"), max_size=2
        ),
        "clients": st.dictionaries(st.sampled_from(PLATFORMS), client_ranges(), min_size=1),
        "times": openings(),
    }
    said = draw(st.lists(st.sampled_from(list(members)), max_size=3, unique=True))
    rule = {member: draw(values) for member, values in members.items() if member in said}
    return {"id": name, "variant": draw(st.sampled_from(VARIANTS)), **rule.pop("times", {}), **rule}


@st.composite
def switches(draw: st.DrawFn) -> Json:
    """One switch with a few rules."""
    return {
        "type": "string",
        "variants": {name: f"value of {name}" for name in VARIANTS},
        "default": draw(st.sampled_from(VARIANTS)),
        "state": draw(st.sampled_from(["live"] * 9 + ["disabled"])),
        "rules": [draw(switch_rules(f"r{i}")) for i in range(draw(st.integers(0, 3)))],
    }


def switch_sets() -> st.SearchStrategy[Json]:
    """A published switch set of a few switches."""
    flags = st.dictionaries(st.sampled_from(["one", "two"]), switches(), max_size=2)
    return flags.map(
        lambda told: {
            "format": 1, "workspace": "demo", "epoch": 1, "revision": 1, "switches": "app", "flags": told,
        }
    )  # fmt: skip


def contexts() -> st.SearchStrategy[Json]:
    """OFREP contexts that say much, little or nothing, in whatever types JSON has."""
    said = texts | st.sampled_from(BLANKS)
    odd = st.sampled_from([None, True, False, 0, 1, 14, 1.0, 0.5, -3, 2**53, [1], {"a": 1}])
    optional: dict[str, st.SearchStrategy[Any]] = {
        "targetingKey": st.sampled_from((*DEVICES, *USERS, "", None)),
        "user": often_absent(st.sampled_from((*USERS, "")) | odd),
        "platform": st.sampled_from((*PLATFORMS, "web", "Android", "")) | odd,
        "os": st.sampled_from(VERSIONS + UNREADABLE) | odd,
        "app": st.sampled_from(VERSIONS + UNREADABLE) | odd,
        "network": st.sampled_from((*NETWORKS, "ethernet")) | odd,
        **dict.fromkeys((*FREE_ATTRIBUTES, *TAGS), said | odd),
    }
    return st.fixed_dictionaries({}, optional=optional)
