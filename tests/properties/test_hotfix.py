"""A hotfix that is released while grays run leaves the grays' devices to them, and one of a gray reaches just those.

Documents go the way of real ones: the command's edit, what the publisher fills in, the compiled evaluator.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.draft import continue_release, insert_release
from publisher.draft import complete
from ruleset import Circumstances, Device, compile_program, encode, evaluate, parse_program, parse_version
from tests.contract.lists import ListedAudience, ListedWindow
from tests.properties.strategies import PROGRAM, publish_package, quick

Json = dict[str, Any]

NOW = 1_000
CLOSES = NOW + 86_400
GRAYS = ("whitelist", "listed", "window", "percent", "by-user")
VERSIONS = ("1.0", "1.1", "2.0", "2.1")
# Devices of which one in four is in the audience and one in ten in the window.
DEVICES = [Device(id=f"d-{n}", platform="android", user=f"u-{n}", os="14" if n % 3 else "13") for n in range(400)]
MEMBERS = [device.id for device in DEVICES[::10]]
AUDIENCE = ListedAudience([device.user or "" for device in DEVICES[::4]])


def make_gray(name: str, **who: Any) -> Json:
    """Returns a gray release of 2.0."""
    return {"id": name, "package": "2.0", "who": who}


def publish(document: Json, current: Json | None, randomness: bytes) -> Json:
    """Returns an author's document as the publisher completes and keeps it."""
    author = parse_program(json.dumps(document).encode())
    before = None if current is None else parse_program(json.dumps(current).encode())
    published: Json = json.loads(encode(complete(author, before, randomness, "k1")))
    return published


@pytest.fixture(scope="module")
def running() -> Json:
    """A program whose grays of every kind run above what everybody has."""
    grays = [
        make_gray("whitelist", users=["u-1", "u-2", "u-7"]),
        make_gray("listed", audiences=["qa"]),
        make_gray("window", window={"limit": 40, "closes_at": CLOSES}),
        make_gray("percent", percent={"parts": 100_000, "steps": [{"at": NOW - 1, "parts": 200_000}]}),
        make_gray("by-user", percent={"parts": 100_000, "by": "user"}),
    ]
    packages = {version: publish_package(version) for version in VERSIONS}
    document = {"format": 1, "program": PROGRAM, "packages": packages, "releases": [*grays, everybody("all", "1.0")]}
    return publish(document, None, b"the first publication")


def everybody(name: str, package: str, **members: Any) -> Json:
    """Returns a release to everybody."""
    return {"id": name, "package": package, **members}


def decide(document: Json) -> dict[str, str]:
    """Returns the release that each device has, all of them on 1.0; nobody new is admitted to the window."""
    program = compile_program(parse_program(json.dumps(document).encode()))
    (window,) = {release.window.id for release in program.releases if release.window}
    around = Circumstances({"qa": AUDIENCE}, {window: ListedWindow(MEMBERS, is_open=False)})
    decided = {}
    for device in DEVICES:
        release, _ = evaluate(program, device, parse_version("1.0"), NOW, around)
        decided[device.id] = release.id if release else ""
    return decided


def test_every_gray_has_devices(running: Json) -> None:
    """The tests below are not empty: each gray has some devices, and some have none."""
    decided = decide(running)
    assert set(decided.values()) == {*GRAYS, "all"}


@quick
@given(below=st.sampled_from(["by-user", "percent", "window", "all"]), randomness=st.binary(min_size=16, max_size=16))
def test_a_hotfix_below_takes_no_device_of_a_gray(running: Json, below: str, randomness: bytes) -> None:
    """What is released below a gray reaches devices that are in no gray above it, and nobody else moves."""
    document = insert_release(running, everybody("hotfix", "1.1"), below)
    published = publish(document, running, randomness)
    assert [one for one in published["releases"] if one["id"] in GRAYS] == running["releases"][:5]
    before, after = decide(running), decide(published)
    above = GRAYS[: GRAYS.index(below) + 1] if below != "all" else (*GRAYS, "all")
    assert after == {device: name if name in above else "hotfix" for device, name in before.items()}


@quick
@given(st.binary(min_size=16, max_size=16))
def test_a_hotfix_above_takes_whom_it_names(running: Json, randomness: bytes) -> None:
    """What is released above the grays for some devices moves those alone; all others stay in their grays."""
    condition = {"attribute": "os", "op": "in", "values": ["13"]}
    published = publish(insert_release(running, everybody("hotfix", "1.1", when=[condition])), running, randomness)
    named = {device.id for device in DEVICES if device.os == "13"}
    before = decide(running)
    assert decide(published) == {device: "hotfix" if device in named else name for device, name in before.items()}
    ended = json.loads(json.dumps(published))
    ended["releases"][0]["state"] = "ended"
    assert decide(publish(ended, published, randomness[::-1])) == before


@quick
@given(gray=st.sampled_from(GRAYS), randomness=st.binary(min_size=16, max_size=16))
def test_a_hotfix_of_a_gray_reaches_its_devices(running: Json, gray: str, randomness: bytes) -> None:
    """What continues a gray, above it, has exactly its devices; also when the gray's percentage is raised after."""
    hotfix = {"id": "hotfix", "package": "2.1", **continue_release(running, gray, {})}
    at = GRAYS.index(gray)
    above = GRAYS[at - 1] if at else None
    published = publish(insert_release(running, hotfix, above), running, randomness)
    before = decide(running)
    assert decide(published) == {device: "hotfix" if name == gray else name for device, name in before.items()}
