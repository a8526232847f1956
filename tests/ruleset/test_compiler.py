"""The compiler: what members mean together, each refusal with its path, and what is ready to ask afterwards."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from ruleset.bucket import compute_limit
from ruleset.compiler import HIGHEST_VERSION, CompiledPercent, CompiledProgram, CompiledWindow, compile_program
from ruleset.condition import CompiledCondition
from ruleset.document import parse_program
from ruleset.errors import DocumentError
from ruleset.model import MAX_TIME, Package
from ruleset.sheet import Sheet
from ruleset.version import parse_version

Json = dict[str, Any]
Maker = Callable[..., Json]
Compile = Callable[..., CompiledProgram]

DIGEST = "0123456789abcdef" * 4

versions = st.lists(st.integers(0, 9), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))


def ask(attribute: str, *values: str) -> Json:
    """Makes a condition that asks whether an attribute is among values."""
    return {"attribute": attribute, "op": "in", "values": values}


def refuse(compile_releases: Compile, *releases: Json, **members: Any) -> str:
    with pytest.raises(DocumentError) as caught:
        compile_releases(*releases, **members)
    return str(caught.value)


def test_a_program_is_compiled_whole(make_document: Maker) -> None:
    """Id and take-down are at hand, and each release of the document is there."""
    for taken_down in (True, False):
        program = compile_program(parse_program(orjson.dumps(make_document({}, {}, taken_down=taken_down))))
        assert (program.id, program.taken_down, len(program.releases)) == ("2021000000000001", taken_down, 2)


def test_a_program_without_releases_is_compiled(compile_releases: Compile) -> None:
    """A new program has neither releases nor packages, and is a document all the same."""
    program = compile_releases(packages={})
    assert (program.releases, program.live, program.needed, program.tags) == ((), (), (), ())


def test_releases_stay_in_the_operators_order(compile_releases: Compile) -> None:
    """Neither versions nor ids nor states reorder releases; the first of the document is asked first."""
    program = compile_releases(
        {"id": "z", "package": "1"},
        {"id": "a", "package": "3"},
        {"id": "m", "package": "2", "state": "paused"},
        {"id": "b", "package": "2"},
        {"id": "k", "package": "1", "state": "ended"},
    )
    assert [release.id for release in program.releases] == ["z", "a", "m", "b", "k"]
    assert [release.id for release in program.live] == ["z", "a", "b"]


def test_a_release_keeps_its_place(compile_releases: Compile) -> None:
    """Paths count in the document, not among the live, so that explain can name what evaluate asked."""
    condition = {"attribute": "model", "op": "in", "values": ["x"]}
    program = compile_releases({"state": "ended"}, {"when": [condition, condition]})
    release = program.live[0]
    assert release.path == "$.releases[1]"
    assert [release.locate(i) for i in range(2)] == ["$.releases[1].when[0]", "$.releases[1].when[1]"]
    assert (release.id, release.state, len(release.conditions)) == ("r1", "live", 2)


def test_a_release_without_members_is_for_everybody(compile_releases: Compile) -> None:
    """Absent members ask nothing: always open, every client, no condition, no list, no percentage, no rollback."""
    release = compile_releases({"package": "3"}).live[0]
    assert (release.version, release.official) == (parse_version("3"), True)
    assert (release.opens_at, release.closes_at) == (0, MAX_TIME)
    assert (release.clients, release.conditions, release.percent) == (None, (), None)
    assert (release.users, release.rollback_from) == (frozenset(), frozenset())


def test_who_is_compiled(compile_releases: Compile) -> None:
    """A release with *who* is not official; users are a set, a percentage is a limit under its salt."""
    who = {"users": ["u-1", "U-1", "u-1"], "percent": {"parts": 250_000, "by": "user", "salt": "s"}}
    release = compile_releases({"who": who}).live[0]
    assert release.official is False
    assert release.users == frozenset({"u-1", "U-1"})
    assert release.percent == CompiledPercent(limit=compute_limit(250_000), salt="s", by_user=True)


def test_a_percentage_is_by_device_unless_it_says_so(compile_releases: Compile) -> None:
    """The default of `by` is the device."""
    release = compile_releases({"who": {"percent": {"parts": 0, "salt": "s"}}}).live[0]
    assert release.percent == CompiledPercent(limit=0, salt="s", by_user=False)
    assert release.official is False


def test_tags_are_those_of_the_live_releases(compile_releases: Compile) -> None:
    """The tags that can decide, each once, by name, in the order in which the document asks for them."""
    program = compile_releases(
        {"when": [ask("tags.b", "x")]},
        {"state": "ended", "when": [ask("tags.ended", "x")]},
        {"state": "paused", "when": [ask("tags.paused", "x")]},
        {"when": [ask("tags.a", "x"), ask("model", "x"), ask("tags.b", "y"), ask("tags.tags.c", "x")]},
    )
    assert [name for name, _ in program.tags] == ["b", "a", "tags.c"]
    assert program.tags == tuple(program.sheet.find_tag(f"tags.{name}") for name in ("b", "a", "tags.c"))


def test_programs_on_one_sheet_share_tags_and_conditions(compile_releases: Compile) -> None:
    """Programs that ask the same have one column for a tag, one bit and one object for each equal condition."""
    sheet = Sheet()
    release = {"when": [ask("tags.shared", "x")]}
    one, other = (compile_releases(*stack, sheet=sheet) for stack in ([release], [{}, release]))
    assert one.sheet is other.sheet is sheet
    assert one.tags[0][1] is other.tags[0][1]
    assert one.needed[0] == other.needed[1]
    assert one.live[0].conditions[0] is other.live[1].conditions[0]


def test_a_program_has_a_sheet_of_its_own_unless_one_is_given(compile_releases: Compile) -> None:
    """Without a sheet, nothing is shared with another program."""
    one, other = compile_releases({}), compile_releases({})
    assert isinstance(one.sheet, Sheet)
    assert one.sheet is not other.sheet


def test_what_a_release_needs_are_the_bits_of_its_conditions(compile_releases: Compile) -> None:
    """For each live release, the bits of all its conditions, each once; no condition needs nothing."""
    when = [ask("model", "x"), ask("os", "1"), ask("tags.t", "x")]
    program = compile_releases(
        {"when": when},
        {"state": "paused", "when": [ask("city", "x")]},
        {},
        {"when": [when[1], ask("model", "X "), when[1]]},
    )
    model, os, tag = (program.sheet.number(condition) for condition in program.live[0].conditions)
    assert len({model, os, tag}) == 3
    assert program.needed == (model | os | tag, 0, model | os)


def next_bit(sheet: Sheet) -> int:
    """Returns the bit of a condition that no document has."""
    return sheet.number(CompiledCondition("model", frozenset({"in no document"}), negated=False))


@pytest.mark.parametrize("state", ["paused", "ended"])
def test_a_release_that_cannot_decide_takes_no_bit(compile_releases: Compile, state: str) -> None:
    """Conditions that are never asked do not lengthen the integers, and can be explained all the same."""
    program = compile_releases({"state": state, "when": [ask("model", "x")]})
    assert program.needed == ()
    assert len(program.releases[0].conditions) == 1
    assert next_bit(program.sheet) == 1


def test_a_refused_document_leaves_the_sheet_as_it_was(compile_releases: Compile) -> None:
    """A publisher that publishes what is refused, again and again, does not fill the sheet of the others."""
    sheet = Sheet()
    message = refuse(compile_releases, {"when": [ask("model", "x")]}, {"when": [ask("colour", "x")]}, sheet=sheet)
    assert message.startswith("$.releases[1].when[0].attribute: ")
    assert next_bit(sheet) == 1


@pytest.mark.parametrize("floor", ["latest", "1.*", "1.65536", "1\n"])
def test_a_floor_is_a_version(compile_releases: Compile, floor: str) -> None:
    """A floor that no device could compare with is refused at its place."""
    assert refuse(compile_releases, floor=floor).startswith("$.floor: expected ")


@pytest.mark.parametrize("floor", ["", "1", "2.3.1.0"])
def test_a_floor_may_be_absent(compile_releases: Compile, floor: str) -> None:
    """A floor that can be read, and none, compile."""
    compile_releases(floor=floor)


@pytest.mark.parametrize("key", ["a-key-of-mine", "AGE-SECRET-KEY-1" + "Q" * 57, "AGE-SECRET-KEY-1" + "B" * 58])
def test_a_key_that_opens_nothing_is_refused_unseen(compile_releases: Compile, make_package: Maker, key: str) -> None:
    """What is no age key is refused by its place; the message does not hold it, since it may be half of one."""
    message = refuse(compile_releases, packages={"1": make_package(key=key)})
    assert message.startswith("$.packages['1'].key: expected an age secret key")
    assert key not in message


def test_a_key_is_not_shown(make_package: Maker) -> None:
    """A package that gets into a log or a traceback does not bring its key along."""
    key = "AGE-SECRET-KEY-1" + "Q" * 58
    assert key not in repr(convert(make_package(key=key), Package))


@pytest.mark.parametrize("text", ["latest", "1.*", "1.2.3.4.5", " ", "1\n"])
def test_a_package_is_named_by_its_version(compile_releases: Compile, make_package: Maker, text: str) -> None:
    """A member of `packages` that is no version is refused by its name."""
    message = refuse(compile_releases, packages={text: make_package()})
    assert message == f"$.packages[{text!r}]: expected a version of 1 to 4 numeric parts, got {text!r}"


def test_a_package_has_parts_of_16_bits(compile_releases: Compile, make_package: Maker) -> None:
    """The bound of a part holds for packages."""
    message = refuse(compile_releases, packages={"1.65536": make_package()})
    assert message == "$.packages['1.65536']: expected version parts from 0 to 65535, got '1.65536'"


def test_two_names_of_one_version_are_refused(compile_releases: Compile, make_package: Maker) -> None:
    """`2.3.1` and `2.3.1.0` are one version and cannot be two packages."""
    message = refuse(
        compile_releases, packages={"2.3.1": make_package(), "1": make_package(), "2.3.1.0": make_package()}
    )
    assert message == "$.packages['2.3.1.0']: expected each version once, got '2.3.1' and '2.3.1.0'"


TRANSFER = {"format": "zstd", "url": "u", "size": 1, "sha256": DIGEST}


@pytest.mark.parametrize(
    "members",
    [
        {"format": "dcz"},
        {"format": "dcz", "from": "1"},
        {"format": "dcz", "from_sha256": DIGEST},
        {"from": "1", "from_sha256": DIGEST},
        {"from": "1"},
        {"from_sha256": DIGEST},
    ],
    ids=str,
)
def test_a_difference_says_from_what(compile_releases: Compile, make_package: Maker, members: Json) -> None:
    """A difference names its base and the base's hash; a whole package names neither."""
    packages = {"2": make_package(transfers=[TRANSFER, TRANSFER | members])}
    assert refuse(compile_releases, packages=packages) == (
        "$.packages['2'].transfers[1]: expected from and from_sha256 with format dcz, and with no other"
    )


@pytest.mark.parametrize(
    ("member", "value", "expected"),
    [
        ("from", "latest", "a version of 1 to 4 numeric parts"),
        ("from", "1.*", "a version of 1 to 4 numeric parts"),
        ("from", "1.65536", "version parts from 0 to 65535"),
        ("from_sha256", "none", "64 lower-case hexadecimal digits"),
        ("from_sha256", DIGEST[1:], "64 lower-case hexadecimal digits"),
        ("from_sha256", DIGEST.upper(), "64 lower-case hexadecimal digits"),
        ("from_sha256", DIGEST[1:] + "\n", "64 lower-case hexadecimal digits"),
    ],
)
def test_a_difference_is_from_a_version_and_a_digest(
    *, compile_releases: Compile, make_package: Maker, member: str, value: str, expected: str
) -> None:
    """What the edge will compare with the device's version is a version, and its hash is a hash."""
    difference = TRANSFER | {"format": "dcz", "from": "1", "from_sha256": DIGEST} | {member: value}
    message = refuse(compile_releases, packages={"2": make_package(transfers=[TRANSFER, difference])})
    assert message == f"$.packages['2'].transfers[1].{member}: expected {expected}, got {value!r}"


def test_differences_and_wholes_are_compiled(compile_releases: Compile, make_package: Maker) -> None:
    """A package may have both."""
    difference = TRANSFER | {"format": "dcz", "from": "1", "from_sha256": DIGEST}
    assert compile_releases({}, packages={"2": make_package(transfers=[difference, TRANSFER])}).live[0].version > 0


def test_no_release_is_called_trial(compile_releases: Compile) -> None:
    """The id of whatever trials give is nobody else's."""
    message = refuse(compile_releases, {"id": "r"}, {"id": "trial", "state": "ended"})
    assert message == "$.releases[1].id: expected another id than 'trial', which trials have"


def test_a_release_id_is_given_once(compile_releases: Compile) -> None:
    """The second release of an id is refused, whatever the state of the first."""
    message = refuse(compile_releases, {"id": "r"}, {"id": "s", "state": "ended"}, {"id": "s"})
    assert message == "$.releases[2].id: expected each release id once, got 's' again"


def test_release_ids_compare_exactly(compile_releases: Compile) -> None:
    """Ids that differ in case are two ids."""
    assert len(compile_releases({"id": "r"}, {"id": "R"}).live) == 2


@pytest.mark.parametrize("package", ["4", "2.0", "latest"])
def test_a_release_names_a_package_of_the_document(compile_releases: Compile, package: str) -> None:
    """A release's package is a member of `packages`, by the same text."""
    message = refuse(compile_releases, {}, {"package": package})
    assert message == f"$.releases[1].package: expected a version under $.packages, got {package!r}"


@pytest.mark.parametrize("closes_at", [5, 4, 1])
def test_a_release_that_never_opens_is_refused(compile_releases: Compile, closes_at: int) -> None:
    """The closing time is after the opening time."""
    message = refuse(compile_releases, {"opens_at": 5, "closes_at": closes_at})
    assert message == f"$.releases[0].closes_at: expected a time after opens_at 5, got {closes_at}"


def test_a_release_may_be_open_for_one_second(compile_releases: Compile) -> None:
    """One second is the shortest time between both."""
    release = compile_releases({"opens_at": 5, "closes_at": 6}).live[0]
    assert (release.opens_at, release.closes_at) == (5, 6)


@pytest.mark.parametrize("members", [{"closes_at": 0}, {"opens_at": 0, "closes_at": 0}], ids=str)
def test_a_closing_time_of_zero_is_refused(compile_releases: Compile, members: Json) -> None:
    """Zero is a time like any other, and nothing opens before it; no closing time is an absent one."""
    message = refuse(compile_releases, members)
    assert message == "$.releases[0].closes_at: expected a time after opens_at 0, got 0"


@pytest.mark.parametrize("members", [{"opens_at": None, "closes_at": None}, {"opens_at": 0}, {}], ids=str)
def test_an_absent_time_is_an_open_end(compile_releases: Compile, members: Json) -> None:
    """Null is as good as absent, and an opening time of zero is always past."""
    release = compile_releases(members).live[0]
    assert (release.opens_at, release.closes_at) == (0, MAX_TIME)


def test_a_release_may_close_after_the_first_second(compile_releases: Compile) -> None:
    """One is the lowest closing time."""
    assert compile_releases({"closes_at": 1}).live[0].closes_at == 1


def test_a_who_that_names_nobody_is_refused(compile_releases: Compile) -> None:
    """An empty *who* could mean everybody or nobody."""
    expected = "expected users, audiences, percent or window, got none of them (leave who out to reach everybody)"
    assert refuse(compile_releases, {"who": {}}) == f"$.releases[0].who: {expected}"


def test_audiences_are_named_once(compile_releases: Compile) -> None:
    """Each audience is looked in once, in the order of the document."""
    release = compile_releases({"who": {"audiences": ["staff", "qa", "staff"]}}).live[0]
    assert release.audiences == ("staff", "qa")
    assert not release.official


WINDOW = {"limit": 7, "closes_at": 9, "id": "00" * 8, "key": "k1"}


def test_a_window_is_compiled(compile_releases: Compile) -> None:
    """All that keeping the window takes is there."""
    told = {**WINDOW, "opens_at": 3, "per_minute": 2, "proven": True}
    window = compile_releases({"who": {"window": told}}).live[0].window
    assert window == CompiledWindow("00" * 8, "k1", 7, 3, 9, 2, proven=True)


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({"opens_at": 9}, ".closes_at", "expected a time after opens_at 9, got 9"),
        ({"closes_at": 0}, ".closes_at", "expected a time after opens_at 0, got 0"),
        ({"id": ""}, ".id", "expected an id, got none (the publisher fills it in)"),
        ({"key": ""}, ".key", "expected the name of a fingerprint key, got none (the publisher fills it in)"),
    ],
)
def test_windows_that_cannot_be_kept_are_refused(
    compile_releases: Compile, members: dict[str, Any], path: str, message: str
) -> None:
    """A window that never opens, or that the publisher has not completed, is refused with its place."""
    said = refuse(compile_releases, {"who": {"window": {**WINDOW, **members}}})
    assert said == f"$.releases[0].who.window{path}: {message}"


def compile_ramp(compile_releases: Compile, *steps: tuple[int, int], parts: int = 10) -> CompiledPercent:
    """A percentage of 10 parts that rises by these steps."""
    told = {"parts": parts, "salt": "s", "steps": [{"at": at, "parts": to} for at, to in steps]}
    percent = compile_releases({"who": {"percent": told}}).live[0].percent
    assert percent is not None
    return percent


def test_a_ramp_rises_by_the_clock(compile_releases: Compile) -> None:
    """From its second on a step holds; before the first one the parts themselves do."""
    ramp = compile_ramp(compile_releases, (100, 10), (200, 1_000_000))
    limits = [ramp.find_limit(now) for now in (0, 99, 100, 199, 200, 10**12)]
    assert limits == [compute_limit(10)] * 4 + [compute_limit(1_000_000)] * 2


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([(5, 10), (5, 11)], ".steps[1].at: expected a time after 5, got 5"),
        ([(0, 10)], ".steps[0].at: expected a time after 0, got 0"),
        ([(5, 9)], ".steps[0].parts: expected at least the 10 before, got 9"),
        ([(5, 20), (6, 19)], ".steps[1].parts: expected at least the 20 before, got 19"),
    ],
)
def test_ramps_that_fall_are_refused(compile_releases: Compile, steps: list[tuple[int, int]], said: str) -> None:
    """A step that would drop devices, or comes before the one above it, is refused with its place."""
    told = {"parts": 10, "salt": "s", "steps": [{"at": at, "parts": parts} for at, parts in steps]}
    assert refuse(compile_releases, {"who": {"percent": told}}) == f"$.releases[0].who.percent{said}"


def test_changes_by_the_clock_are_listed(compile_releases: Compile) -> None:
    """Every second at which a live release opens, closes or rises is listed once; a paused one has none."""
    ramp = {"percent": {"parts": 1, "salt": "s", "steps": [{"at": 40, "parts": 2}]}}
    program = compile_releases(
        {"opens_at": 30, "closes_at": 90, "who": ramp},
        {"who": {"window": {**WINDOW, "opens_at": 30, "closes_at": 60}}},
        {"state": "paused", "opens_at": 1, "closes_at": 2},
    )
    assert program.changes == (30, 40, 60, 90)


def test_trials_name_packages(compile_releases: Compile) -> None:
    """What a trial may give has to be there."""
    assert compile_releases({}, trials=["2"]).trials.keys() == {parse_version("2")}
    assert refuse(compile_releases, {}, trials=["9.9"]) == "$.trials[0]: expected a version under $.packages, got '9.9'"


def test_a_percentage_needs_a_salt(compile_releases: Compile) -> None:
    """Without a salt every release would take the same devices first."""
    assert refuse(compile_releases, {}, {"who": {"percent": {"parts": 1}}}) == (
        "$.releases[1].who.percent.salt: expected a salt, got none (the publisher fills it in)"
    )


def test_clients_that_name_no_platform_are_refused(compile_releases: Compile) -> None:
    """An empty `clients` could mean all platforms or none."""
    assert refuse(compile_releases, {"clients": {}}) == (
        "$.releases[0].clients: expected at least one platform, got none (leave clients out to admit all)"
    )


@pytest.mark.parametrize(
    ("ends", "low", "high"),
    [
        ({"min": "10.1"}, "10.1", "65535.65535.65535.65535"),
        ({"max": "10.1"}, "0", "10.1"),
        ({"min": "10", "max": "11.2"}, "10", "11.2"),
        ({"min": "10", "max": "10"}, "10", "10"),
        ({"min": "10.*", "max": "11.*"}, "10", "11.65535.65535.65535"),
        ({"min": "0"}, "0", "65535.65535.65535.65535"),
        ({"max": "0"}, "0", "0"),
    ],
)
def test_both_ends_of_a_client_range_are_inside(compile_releases: Compile, ends: Json, low: str, high: str) -> None:
    """A range holds its ends; an absent end is the lowest or the highest version there is."""
    clients = compile_releases({"clients": {"ios": ends}}).live[0].clients
    assert clients == {"ios": range(parse_version(low), parse_version(high) + 1)}


def test_a_platform_without_ends_admits_every_version(compile_releases: Compile) -> None:
    """None stands for every version; it is not the range of all, which an unknown version is outside of."""
    assert compile_releases({"clients": {"ios": {}, "harmony": {"min": "1"}}}).live[0].clients == {
        "ios": None,
        "harmony": range(parse_version("1"), HIGHEST_VERSION + 1),
    }


def test_the_highest_version_is_that_of_four_full_parts() -> None:
    """The open end is the highest key that a text can have."""
    assert parse_version("65535.65535.65535.65535") == HIGHEST_VERSION


def test_an_empty_client_range_is_refused(compile_releases: Compile) -> None:
    """Ends the wrong way round are refused, with both shown as versions."""
    assert refuse(compile_releases, {"clients": {"ios": {"min": "11.2", "max": "11.1.*"}}}) == (
        "$.releases[0].clients.ios: expected a range that is not empty, got 11.2.0.0 to 11.1.65535.65535"
    )


@pytest.mark.parametrize("end", ["min", "max"])
def test_an_end_that_is_no_version_is_refused(compile_releases: Compile, end: str) -> None:
    """The end that cannot be read is named."""
    assert refuse(compile_releases, {"clients": {"android": {end: "ten"}}}) == (
        f"$.releases[0].clients.android.{end}: expected a version of 1 to 4 numeric parts, got 'ten'"
    )


def test_rollback_is_compiled(compile_releases: Compile) -> None:
    """The versions to be taken back are a set of keys; they need be no packages of the document."""
    release = compile_releases({"package": "2", "rollback": {"from": ["2.0.0.1", "9.1", "9.1.0"]}}).live[0]
    assert release.rollback_from == frozenset({parse_version("2.0.0.1"), parse_version("9.1")})


@pytest.mark.parametrize("text", ["2", "2.0", "1.65535", "0"])
def test_rollback_leads_down(compile_releases: Compile, text: str) -> None:
    """A version that is not above the release's own cannot be rolled back to it."""
    message = refuse(compile_releases, {"package": "2", "rollback": {"from": ["3", text]}})
    assert message == f"$.releases[0].rollback.from[1]: expected a version above the release's own 2, got {text!r}"


@pytest.mark.parametrize("text", ["3.*", "newest"])
def test_rollback_names_single_versions(compile_releases: Compile, text: str) -> None:
    """A text that is no version, a star included, is refused by its place."""
    message = refuse(compile_releases, {"rollback": {"from": ["3", text]}})
    assert message == f"$.releases[0].rollback.from[1]: expected a version of 1 to 4 numeric parts, got {text!r}"


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (
            {"attribute": "os", "op": "prefix", "values": ["1"]},
            ".op: expected one of in, not_in, between, outside for os, got prefix",
        ),
        (
            {"attribute": "os", "op": "between", "values": ["1"]},
            ".values: expected two versions, both ends included, got 1",
        ),
        ({"attribute": "model", "op": "in", "values": ["x", " "]}, ".values[1]: expected text, got nothing but blanks"),
    ],
)
def test_a_refused_condition_has_its_path(compile_releases: Compile, condition: Json, message: str) -> None:
    """The path of a condition counts releases and conditions of the document."""
    good = {"attribute": "model", "op": "in", "values": ["x"]}
    text = refuse(compile_releases, {}, {"when": [good, good, condition]})
    assert text == f"$.releases[1].when[2]{message}"


@pytest.mark.parametrize("state", ["paused", "ended"])
def test_a_release_that_cannot_decide_is_checked_as_well(compile_releases: Compile, state: str) -> None:
    """A paused release may be continued any time, so that it must be right while it rests."""
    assert refuse(compile_releases, {"state": state, "who": {}}).startswith("$.releases[0].who: ")


@pytest.mark.parametrize("name", CompiledProgram.__struct_fields__)
def test_a_compiled_program_cannot_be_changed(compile_releases: Compile, name: str) -> None:
    """No member of a compiled program can be set: what a worker reads cannot change under it."""
    with pytest.raises(AttributeError, match="immutable"):
        setattr(compile_releases({}), name, None)


def test_a_compiled_release_cannot_be_changed(compile_releases: Compile) -> None:
    """No member of a compiled release or of its percentage can be set, and its collections are fixed ones."""
    release = compile_releases({"who": {"users": ["u"], "percent": {"parts": 1, "salt": "s"}}}).live[0]
    for value in (release, release.percent):
        for name in value.__struct_fields__:
            with pytest.raises(AttributeError, match="immutable"):
                setattr(value, name, None)
    assert [type(release.conditions), type(release.users), type(release.rollback_from)] == [tuple, frozenset, frozenset]


def test_compiled_client_ranges_cannot_be_changed(compile_releases: Compile) -> None:
    """A platform cannot be added to a compiled release."""
    clients: Any = compile_releases({"clients": {"ios": {}}}).live[0].clients
    with pytest.raises(TypeError):
        clients["android"] = None


@given(low=versions, high=versions)
def test_a_client_range_is_refused_exactly_where_it_is_empty(compile_releases: Compile, low: str, high: str) -> None:
    """Ends compare as versions; every pair is compiled or refused."""
    clients = {"clients": {"ios": {"min": low, "max": high}}}
    if parse_version(low) <= parse_version(high):
        assert compile_releases(clients).live[0].clients == {"ios": range(parse_version(low), parse_version(high) + 1)}
    else:
        assert refuse(compile_releases, clients).startswith("$.releases[0].clients.ios: expected a range")


@given(own=versions, other=versions)
def test_a_rollback_is_refused_exactly_where_it_leads_up(
    compile_releases: Compile, make_package: Maker, own: str, other: str
) -> None:
    """The versions to be taken back are above the release's own, and those alone."""
    members = {"packages": {own: make_package()}}
    release = {"package": own, "rollback": {"from": [other]}}
    if parse_version(other) > parse_version(own):
        assert compile_releases(release, **members).live[0].rollback_from == {parse_version(other)}
    else:
        assert refuse(compile_releases, release, **members).startswith("$.releases[0].rollback.from[0]: expected")
