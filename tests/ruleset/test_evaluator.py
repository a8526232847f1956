"""The evaluator: the eight steps, each on both sides, and that their order is the document's."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset.bucket import compute_hash
from ruleset.circumstance import NOTHING_KNOWN
from ruleset.compiler import CompiledProgram
from ruleset.condition import Fact
from ruleset.evaluator import Reason, admits, evaluate, is_covered
from ruleset.model import Device
from ruleset.version import NOT_INSTALLED, parse_version

Json = dict[str, Any]
Compile = Callable[..., CompiledProgram]
MakeDevice = Callable[..., Device]
ReadFact = Callable[[str, Device, int], Fact]

NOW = 1_000_000

words = st.sampled_from(["a", "ab", "b", "", " B "])
versions = st.sampled_from(["1", "1.5", "2", "2.0.0.1", "3", "old", ""])
devices = st.fixed_dictionaries(
    {"id": st.sampled_from(["d-1", "d-2", "d-3"]), "platform": st.sampled_from(["android", "ios"])},
    optional={
        "user": st.sampled_from(["u-1", "u-2", ""]),
        "os": versions,
        "app": versions,
        "model": words,
        "network": st.sampled_from(["wifi", "cellular", "5g"]),
        "tags": st.dictionaries(st.sampled_from(["x", "y"]), words),
    },
)
text_values = st.lists(st.sampled_from(["a", "B", "cellular", "ios"]), min_size=1, max_size=2)
text_conditions = (
    st.fixed_dictionaries(
        {
            "attribute": st.sampled_from(["model", "tags.x", "tags.y"]),
            "op": st.sampled_from(["in", "not_in", "contains", "prefix"]),
            "values": text_values,
        }
    )
    | st.fixed_dictionaries(
        {
            "attribute": st.sampled_from(["network", "platform"]),
            "op": st.sampled_from(["contains", "prefix"]),
            "values": text_values,
        }
    )
    | st.fixed_dictionaries(
        {
            "attribute": st.just("network"),
            "op": st.sampled_from(["in", "not_in"]),
            "values": st.lists(st.sampled_from(["wifi", " Cellular", "5g"]), min_size=1, max_size=2),
        }
    )
    | st.fixed_dictionaries(
        {
            "attribute": st.just("platform"),
            "op": st.sampled_from(["in", "not_in"]),
            "values": st.lists(st.sampled_from(["iOS", "harmony"]), min_size=1, max_size=2),
        }
    )
)
version_conditions = st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(["os", "app", "installed"]),
        "op": st.sampled_from(["in", "not_in"]),
        "values": st.lists(st.sampled_from(["1", "1.5", "2.*"]), min_size=1, max_size=2),
    }
) | st.fixed_dictionaries(
    {
        "attribute": st.sampled_from(["os", "app", "installed"]),
        "op": st.sampled_from(["between", "outside"]),
        "values": st.just(["1.5", "2.*"]),
    }
)
conditions = st.lists(text_conditions | version_conditions, max_size=3)
installed_keys = st.sampled_from([NOT_INSTALLED, *map(parse_version, ["1", "1.5", "2", "2.5", "3"])])
releases = st.fixed_dictionaries(
    {"package": st.sampled_from(["1", "2", "3"])},
    optional={
        "state": st.sampled_from(["live", "live", "paused", "ended"]),
        "when": conditions,
        "who": st.sampled_from(
            [{"users": ["u-1"]}, {"percent": {"parts": 500_000, "salt": "s"}}, {"percent": {"parts": 0, "salt": "s"}}]
        ),
        "opens_at": st.sampled_from([NOW, NOW + 1]),
        "clients": st.sampled_from([{"ios": {}}, {"android": {"min": "1.5"}}]),
    },
)


def decide(program: CompiledProgram, device: Device, installed: str | None = None, now: int = NOW) -> tuple[str, str]:
    """Returns the id of the release that decided, `-` for none, and the reason."""
    key = NOT_INSTALLED if installed is None else parse_version(installed)
    release, reason = evaluate(program, device, key, now)
    return ("-" if release is None else release.id), reason.value


def test_the_reasons_are_a_closed_set() -> None:
    """There are six reasons, and they are the words that devices and operators see."""
    assert [str(reason) for reason in Reason] == [
        "install",
        "rollback",
        "remove",
        "current",
        "no_release",
        "gone",
        "ask",
    ]


def test_what_is_taken_down_is_removed(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 1: a program that was taken down is removed whatever its releases say, also at version 0."""
    program = compile_releases({"rollback": {"from": ["3"]}}, taken_down=True)
    for installed in ("0", "1", "2", "3"):
        assert decide(program, make_device(), installed) == ("-", "remove")


def test_what_is_taken_down_and_not_there_is_gone(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 1: a program that was taken down is not installed any more."""
    assert decide(compile_releases({}, taken_down=True), make_device()) == ("-", "gone")


def test_without_releases_nothing_is_decided(compile_releases: Compile, make_device: MakeDevice) -> None:
    """No release, no decision."""
    assert decide(compile_releases(), make_device()) == ("-", "no_release")


def test_the_first_release_that_fits_decides(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 2: the operator's order decides, not the version: a lower package on top is what a new device gets."""
    program = compile_releases({"id": "top", "package": "1"}, {"id": "below", "package": "3"})
    assert decide(program, make_device()) == ("top", "install")


def test_a_release_that_does_not_fit_is_passed_over(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 2: what the first release does not decide is the next one's."""
    program = compile_releases({"id": "gray", "package": "3", "who": {"users": ["u-1"]}}, {"id": "all", "package": "2"})
    assert decide(program, make_device(user="u-1")) == ("gray", "install")
    assert decide(program, make_device(user="u-2")) == ("all", "install")


@pytest.mark.parametrize(("state", "decision"), [("live", "r0"), ("paused", "r1"), ("ended", "r1")])
def test_only_live_releases_decide(
    compile_releases: Compile, make_device: MakeDevice, state: str, decision: str
) -> None:
    """Step 2: a paused or ended release gives nothing to anybody."""
    assert decide(compile_releases({"state": state}, {}), make_device())[0] == decision


@pytest.mark.parametrize(("now", "reason"), [(9, "no_release"), (10, "install"), (19, "install"), (20, "no_release")])
def test_a_release_is_open_from_its_first_second_to_before_its_last(
    compile_releases: Compile, make_device: MakeDevice, now: int, reason: str
) -> None:
    """Step 3: the opening time is inside, the closing time is outside."""
    program = compile_releases({"opens_at": 10, "closes_at": 20})
    assert decide(program, make_device(), now=now)[1] == reason


@pytest.mark.parametrize("now", [0, NOW, (1 << 40) - 1])
def test_a_release_without_times_is_open(compile_releases: Compile, make_device: MakeDevice, now: int) -> None:
    """Step 3: absent times are open ends."""
    assert decide(compile_releases({}), make_device(), now=now)[1] == "install"


@pytest.mark.parametrize(
    ("app", "reason"),
    [
        ("10.1.67.65535", "no_release"),
        ("10.1.68", "install"),
        ("11.0", "install"),
        ("11.0.0.1", "no_release"),
        ("", "no_release"),
        ("ten", "no_release"),
        (None, "no_release"),
    ],
)
def test_a_client_is_inside_at_both_ends(
    compile_releases: Compile, make_device: MakeDevice, app: str | None, reason: str
) -> None:
    """Step 4: the app's version is within the range, ends included; one that is unknown is not."""
    program = compile_releases({"clients": {"android": {"min": "10.1.68", "max": "11"}}})
    assert decide(program, make_device(app=app))[1] == reason


@pytest.mark.parametrize(("app", "is_admitted"), [("1", False), ("2", True), ("3", True), ("4", False), (None, False)])
def test_a_client_range_can_be_asked_alone(make_device: MakeDevice, app: str | None, *, is_admitted: bool) -> None:
    """Step 4: explain asks for a client range as evaluate does."""
    clients = MappingProxyType({"android": range(parse_version("2"), parse_version("3") + 1), "ios": None})
    assert admits(clients, make_device(app=app)) is is_admitted
    assert admits(clients, make_device(platform="ios", app=app)) is True
    assert admits(clients, make_device(platform="harmony", app=app)) is False


@pytest.mark.parametrize(
    ("ends", "app", "reason"),
    [
        ({"min": "10"}, "65535.65535.65535.65535", "install"),
        ({"min": "10"}, "9", "no_release"),
        ({"max": "10"}, "0", "install"),
        ({"max": "10"}, "10.0.0.1", "no_release"),
        ({"max": "10"}, None, "no_release"),
        ({}, "9", "install"),
        ({}, "ten", "install"),
        ({}, None, "install"),
    ],
)
def test_an_absent_end_of_a_client_range_is_open(
    compile_releases: Compile, make_device: MakeDevice, ends: Json, app: str | None, reason: str
) -> None:
    """Step 4: an open end admits every version there is; no ends at all admit an unknown one too."""
    assert decide(compile_releases({"clients": {"android": ends}}), make_device(app=app))[1] == reason


def test_a_platform_that_is_not_named_is_outside(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 4: each platform has its own range, and one that is not named has none."""
    program = compile_releases({"clients": {"android": {"min": "10"}, "ios": {"min": "20"}}})
    assert decide(program, make_device(platform="android", app="15"))[1] == "install"
    assert decide(program, make_device(platform="ios", app="15"))[1] == "no_release"
    assert decide(program, make_device(platform="harmony", app="25"))[1] == "no_release"


def test_all_conditions_must_hold(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 5: one condition that does not hold is enough, be it the first or the last."""
    when = [
        {"attribute": "model", "op": "in", "values": ["MI 10"]},
        {"attribute": "os", "op": "between", "values": ["12", "14.*"]},
        {"attribute": "tags.ring", "op": "not_in", "values": ["slow"]},
    ]
    program = compile_releases({"when": when})
    fitting = {"model": "mi 10", "os": "14.2", "tags": {"ring": "fast"}}
    assert decide(program, make_device(**fitting))[1] == "install"
    for member in ({"model": "MI 11"}, {"os": "15"}, {"tags": {"ring": "SLOW"}}, {"tags": None}, {"os": None}):
        assert decide(program, make_device(**fitting | member))[1] == "no_release"


def test_conditions_are_those_of_their_own_release(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Steps 2 and 5: a release that rests in between does not shift what the next one asks."""
    stack = [
        {"id": name, "state": state, "when": [{"attribute": "model", "op": "in", "values": [name]}]}
        for name, state in (("a", "live"), ("b", "ended"), ("c", "live"), ("d", "paused"), ("e", "live"))
    ]
    program = compile_releases(*stack)
    assert [decide(program, make_device(model=name))[0] for name in "abcde"] == ["a", "-", "c", "-", "e"]


def test_an_absent_attribute_satisfies_nothing(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 5: not to be in a list is something that only a known value can do."""
    program = compile_releases({"when": [{"attribute": "city", "op": "not_in", "values": ["Paris"]}]})
    assert decide(program, make_device(city="Rome"))[1] == "install"
    assert decide(program, make_device())[1] == "no_release"


def test_conditions_may_ask_for_the_installed_version(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 5: the version that the device has is an attribute; what is not installed satisfies nothing."""
    program = compile_releases({"when": [{"attribute": "installed", "op": "outside", "values": ["1.5", "1.*"]}]})
    assert decide(program, make_device(), "1.4")[1] == "install"
    assert decide(program, make_device(), "1.5")[1] == "no_release"
    assert decide(program, make_device())[1] == "no_release"


def test_tags_of_several_releases_do_not_mix(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 5: each condition is asked of the tag that it names."""
    program = compile_releases(
        {"id": "x", "when": [{"attribute": "tags.x", "op": "in", "values": ["yes"]}]},
        {"id": "y", "when": [{"attribute": "tags.y", "op": "in", "values": ["yes"]}]},
    )
    assert decide(program, make_device(tags={"x": "Yes"}))[0] == "x"
    assert decide(program, make_device(tags={"y": "yes", "x": "no"}))[0] == "y"
    assert decide(program, make_device(tags={"z": "yes"}))[0] == "-"


@pytest.mark.parametrize(
    ("user", "reason"),
    [("u-1", "install"), ("U-1", "no_release"), ("u-1 ", "no_release"), ("", "no_release"), (None, "no_release")],
)
def test_users_compare_exactly(
    compile_releases: Compile, make_device: MakeDevice, user: str | None, reason: str
) -> None:
    """Step 6: a user id is no text for people, and is not folded."""
    assert decide(compile_releases({"who": {"users": ["u-1", "u-3"]}}), make_device(user=user))[1] == reason


@pytest.mark.parametrize(("by", "identity"), [("device", "d-1"), ("user", "u-1")])
def test_a_percentage_ends_at_its_bucket(
    compile_releases: Compile, make_device: MakeDevice, by: str, identity: str
) -> None:
    """Step 6: with as many parts as its bucket's number an id is outside, with one more it is inside."""
    bucket = (compute_hash("salt", identity) * 1_000_000) >> 32
    for parts, reason in ((bucket, "no_release"), (bucket + 1, "install")):
        program = compile_releases({"who": {"percent": {"parts": parts, "by": by, "salt": "salt"}}})
        assert decide(program, make_device(id="d-1", user="u-1"))[1] == reason


def test_the_limit_itself_is_outside(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 6: a hash is inside below the compiled limit, and at the limit it is not."""
    release = compile_releases({"who": {"percent": {"parts": 1, "salt": "s"}}}).live[0]
    hashed = compute_hash("s", "d-1")
    for limit, is_inside in ((hashed, False), (hashed + 1, True)):
        percent = msgspec.structs.replace(release.percent, limit=limit)
        covered = msgspec.structs.replace(release, percent=percent)
        assert is_covered(covered, make_device(id="d-1"), 0, NOTHING_KNOWN) is is_inside


@pytest.mark.parametrize("by", ["device", "user"])
def test_the_ends_of_a_percentage(compile_releases: Compile, make_device: MakeDevice, by: str) -> None:
    """Step 6: no parts are nobody, a million parts are everybody."""
    for parts, reason in ((0, "no_release"), (1_000_000, "install")):
        program = compile_releases({"who": {"percent": {"parts": parts, "by": by, "salt": "s"}}})
        for i in range(50):
            assert decide(program, make_device(id=f"d-{i}", user=f"u-{i}"))[1] == reason


@pytest.mark.parametrize("user", [None, ""])
def test_nobody_is_in_no_percentage_of_users(
    compile_releases: Compile, make_device: MakeDevice, user: str | None
) -> None:
    """Step 6: a device without a user is outside of a percentage by user, be it the whole."""
    program = compile_releases({"who": {"percent": {"parts": 1_000_000, "by": "user", "salt": "s"}}})
    assert decide(program, make_device(user=user))[1] == "no_release"
    assert decide(program, make_device(user="u"))[1] == "install"


def test_users_and_a_percentage_admit_either(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 6: any place of *who* is enough."""
    bucket = (compute_hash("s", "d-1") * 1_000_000) >> 32
    for parts, stranger in ((bucket, "no_release"), (bucket + 1, "install")):
        program = compile_releases({"who": {"users": ["u-1"], "percent": {"parts": parts, "salt": "s"}}})
        assert decide(program, make_device(user="u-1"))[1] == "install"
        assert decide(program, make_device(user="u-2"))[1] == stranger


def test_conditions_bind_named_users_too(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Steps 3 to 6 must all let a device through: to be named does not open a closed release."""
    who = {"who": {"users": ["u-1"]}}
    device = make_device(user="u-1", app="1", model="a")
    closed: list[Json] = [
        {"opens_at": NOW + 1},
        {"clients": {"ios": {}}},
        {"when": [{"attribute": "model", "op": "in", "values": ["b"]}]},
    ]
    for members in closed:
        assert decide(compile_releases(who | members), device)[1] == "no_release"
    assert decide(compile_releases(who), device)[1] == "install"


@pytest.mark.parametrize(
    ("installed", "reason"),
    [
        (None, "install"),
        ("0", "install"),
        ("1.65535.65535.65535", "install"),
        ("2", "current"),
        ("2.0.0.0", "current"),
        ("2.0.0.1", "rollback"),
        ("2.0.0.2", "no_release"),
        ("3", "rollback"),
        ("4", "no_release"),
    ],
)
def test_the_installed_version_is_compared(
    compile_releases: Compile, make_device: MakeDevice, installed: str | None, reason: str
) -> None:
    """Steps 7 and 8: below is an install, equal is current, above is a rollback where it is named, else nothing."""
    program = compile_releases({"package": "2", "rollback": {"from": ["3", "2.0.0.1"]}})
    assert decide(program, make_device(), installed) == ("-" if reason == "no_release" else "r0", reason)


def test_version_zero_can_be_installed(compile_releases: Compile, make_device: MakeDevice, make_package: Any) -> None:
    """Step 7: the lowest version there is, is above none at all."""
    program = compile_releases({"package": "0"}, packages={"0": make_package()})
    assert decide(program, make_device()) == ("r0", "install")
    assert decide(program, make_device(), "0") == ("r0", "current")


def test_a_device_that_is_ahead_is_the_next_releases(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 8: a release whose package is lower, and that does not roll back, leaves the device to those below it."""
    program = compile_releases(
        {"id": "gray", "package": "1"}, {"id": "back", "package": "2", "rollback": {"from": ["3"]}}
    )
    assert decide(program, make_device(), "1") == ("gray", "current")
    assert decide(program, make_device(), "2") == ("back", "current")
    assert decide(program, make_device(), "3") == ("back", "rollback")
    assert decide(program, make_device(), "4") == ("-", "no_release")


def test_a_current_device_is_not_led_further(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 8: a device that has what the first fitting release gives does not get what the next would give."""
    program = compile_releases({"id": "top", "package": "2"}, {"id": "below", "package": "3"})
    assert decide(program, make_device(), "2") == ("top", "current")


def test_a_rollback_is_for_whom_the_release_is(compile_releases: Compile, make_device: MakeDevice) -> None:
    """Step 8 comes after *who*: nobody is taken back by a release that is not for them."""
    program = compile_releases({"who": {"users": ["u-1"]}, "rollback": {"from": ["3"]}})
    assert decide(program, make_device(user="u-1"), "3") == ("r0", "rollback")
    assert decide(program, make_device(user="u-2"), "3") == ("-", "no_release")


@given(members=devices, when=conditions, installed=installed_keys)
def test_a_device_is_let_through_where_every_condition_holds(
    *,
    compile_releases: Compile,
    make_device: MakeDevice,
    read_fact: ReadFact,
    members: Json,
    when: list[Json],
    installed: int,
) -> None:
    """One integer decides what asking condition after condition decides."""
    program = compile_releases({"package": "3", "when": when})
    device = make_device(**members)
    is_let_through = evaluate(program, device, installed, NOW)[0] is not None
    asked = [one.holds(read_fact(one.attribute, device, installed)) for one in program.live[0].conditions]
    assert is_let_through == all(asked)


@given(members=devices, stack=st.lists(releases, max_size=4), installed=installed_keys)
def test_a_stack_decides_as_its_first_release_that_decides(
    compile_releases: Compile, make_device: MakeDevice, members: Json, stack: list[Json], installed: int
) -> None:
    """Several releases decide what the first of them that would decide alone decides."""
    device = make_device(**members)
    named = [{"id": f"r{i}", **release} for i, release in enumerate(stack)]
    alone = [evaluate(compile_releases(release), device, installed, NOW) for release in named]
    decided = [(release.id, reason) for release, reason in alone if release is not None]
    release, reason = evaluate(compile_releases(*named), device, installed, NOW)
    expected = decided[0] if decided else (None, Reason.NO_RELEASE)
    assert (None if release is None else release.id, reason) == expected


@given(
    identity=st.text(st.characters(codec="utf-8"), min_size=1, max_size=9),
    parts=st.tuples(*[st.integers(0, 1_000_000)] * 2),
)
def test_raising_a_percentage_drops_nobody(
    compile_releases: Compile, make_device: MakeDevice, identity: str, parts: tuple[int, int]
) -> None:
    """Who is inside a percentage stays inside when it is raised under the same salt."""
    low, high = (
        decide(compile_releases({"who": {"percent": {"parts": one, "salt": "s"}}}), make_device(id=identity))[1]
        for one in sorted(parts)
    )
    assert (low, high) != ("install", "no_release")


@given(members=devices, stack=st.lists(releases, max_size=3), installed=installed_keys)
def test_what_is_decided_follows_from_the_versions(
    compile_releases: Compile, make_device: MakeDevice, members: Json, stack: list[Json], installed: int
) -> None:
    """Whatever the rules, an install leads up, current is equal, and nobody is taken back unnamed."""
    release, reason = evaluate(compile_releases(*stack), make_device(**members), installed, NOW)
    if release is None:
        assert reason is Reason.NO_RELEASE
    else:
        assert reason is (Reason.INSTALL if installed < release.version else Reason.CURRENT)
        assert installed <= release.version


@given(members=devices, stack=st.lists(releases, max_size=3), installed=installed_keys)
def test_the_same_question_has_the_same_answer(
    compile_releases: Compile, make_device: MakeDevice, members: Json, stack: list[Json], installed: int
) -> None:
    """Two compilations of a document, asked twice, decide alike: nothing is kept from one check to the next."""
    answers = {
        (None if release is None else release.id, reason)
        for program in (compile_releases(*stack), compile_releases(*stack))
        for _ in range(2)
        for release, reason in [evaluate(program, make_device(**members), installed, NOW)]
    }
    assert len(answers) == 1
