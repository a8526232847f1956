"""Switch sets: what is refused and where, values by type, and how a switch is decided."""

from typing import Any

import msgspec
import orjson
import pytest

from ruleset import NOTHING_KNOWN, Circumstances, Device, DocumentError, SwitchReason, compile_switches, decide_switch
from ruleset.document import encode_switches, parse_switches
from ruleset.switch import MAX_DEPTH, MAX_VALUE_BYTES, CompiledSwitches

Json = dict[str, Any]
NOW = 1_000
NO_WHO = "expected users, audiences, percent or window, got none of them (leave who out to reach everybody)"
GRAY = {"percent": {"parts": 1_000_000, "salt": "s"}}


def switch(*rules: Json, **members: Any) -> Json:
    """A boolean switch; each rule has an id and the variant on unless it says so."""
    told = [{"id": f"r{i}", "variant": "on", **rule} for i, rule in enumerate(rules)]
    return {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "rules": told, **members}


def compile_flags(**flags: Json) -> CompiledSwitches:
    """A set of these switches, compiled."""
    return compile_switches(parse_switches(orjson.dumps({"format": 1, "switches": "app", "flags": flags})))


def decide(flag: Json, around: Circumstances = NOTHING_KNOWN, **device: Any) -> tuple[str | None, SwitchReason]:
    """What is decided for a device that says so much."""
    compiled = compile_flags(f=flag)
    asking = msgspec.structs.replace(Device(id="d-1", platform="android"), **device)
    return decide_switch(compiled.switches[0], asking, compiled.gather(asking), NOW, around)


def refuse(**flags: Json) -> str:
    """How a set of these switches is refused."""
    with pytest.raises(DocumentError) as caught:
        compile_flags(**flags)
    return str(caught.value)


@pytest.mark.parametrize(
    ("type_", "value", "got"),
    [
        ("boolean", 1, "integer"),
        ("integer", True, "boolean"),
        ("integer", 1.0, "float"),
        ("float", "1", "string"),
        ("float", True, "boolean"),
        ("string", None, "null"),
        ("object", [], "an array"),
    ],
)
def test_values_of_another_type(type_: str, value: object, got: str) -> None:
    """A bool is no integer, an array no object, and nothing is converted."""
    flag = {"type": type_, "variants": {"v": value}, "default": "v"}
    assert refuse(f=flag) == f"$.flags['f'].variants['v']: expected a value of type {type_}, got {got}"


def nest(depth: int) -> Json:
    """An object of so many levels."""
    return {"a": nest(depth - 1)} if depth > 1 else {}


@pytest.mark.parametrize(
    ("value", "place", "said"),
    [
        ({"a": [2**53]}, "['a'][0]", f"expected an integer between -{2**53 - 1} and {2**53 - 1}, got another"),
        ({"a": -(2**53)}, "['a']", f"expected an integer between -{2**53 - 1} and {2**53 - 1}, got another"),
        (nest(MAX_DEPTH + 1), "['a']" * MAX_DEPTH, f"expected at most {MAX_DEPTH} levels of nesting, got more"),
        ({"a": "x" * MAX_VALUE_BYTES}, "", f"expected a value of at most {MAX_VALUE_BYTES} bytes, got 16392"),
    ],
)
def test_values_beyond_a_bound(value: Json, place: str, said: str) -> None:
    """What clients could not tell exactly, or would choke on, is refused with its place."""
    assert refuse(f={"type": "object", "variants": {"v": value}, "default": "v"}) == (
        f"$.flags['f'].variants['v']{place}: {said}"
    )


def test_values_at_their_bounds() -> None:
    """The largest integers, the deepest object and the longest value are taken."""
    values = {"a": 2**53 - 1, "b": -(2**53 - 1)}
    for type_, value in (("object", values), ("object", nest(MAX_DEPTH)), ("string", "x" * (MAX_VALUE_BYTES - 2))):
        compile_flags(f={"type": type_, "variants": {"v": value}, "default": "v"})


def test_floats_are_floats() -> None:
    """A float that is written as a whole number is told with its point, and integers stay integers."""
    compiled = compile_flags(
        f={"type": "float", "variants": {"v": 10}, "default": "v"},
        i={"type": "integer", "variants": {"v": 10}, "default": "v"},
    )
    assert [orjson.dumps(one.values["v"]) for one in compiled.switches] == [b"10.0", b"10"]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        (switch(default="maybe"), ".default: expected one of the variants on, off, got 'maybe'"),
        (switch({"variant": "maybe"}), ".rules[0].variant: expected one of the variants on, off, got 'maybe'"),
        (switch({"id": "r"}, {"id": "r"}), ".rules[1].id: expected each rule id once a switch, got 'r' again"),
        (
            switch({"who": {"window": {"limit": 1, "closes_at": 9}}}),
            ".rules[0].who.window: expected none in a switch: windows are for releases alone",
        ),
        (
            switch({"when": [{"attribute": "installed", "op": "in", "values": ["1"]}]}),
            ".rules[0].when[0].attribute: expected another attribute than installed: a switch belongs to no program",
        ),
        (
            switch({"when": [{"attribute": "city", "op": "between", "values": ["1", "2"]}]}),
            ".rules[0].when[0].op: expected one of in, not_in, contains, prefix for city, got between",
        ),
        (
            switch({"opens_at": 5, "closes_at": 5}),
            ".rules[0].closes_at: expected a time after opens_at 5, got 5",
        ),
        (
            switch({"who": {}}),
            f".rules[0].who: {NO_WHO}",
        ),
    ],
)
def test_rules_that_are_refused(flag: Json, said: str) -> None:
    """What members mean together is refused with its place, by the same words as of a release."""
    assert refuse(f=flag) == f"$.flags['f']{said}"


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"flags": {"a/b": switch()}}, "$.flags: expected `str` matching regex '^[A-Za-z0-9._-]{1,128}\\\\Z'"),
        ({"flags": {"k" * 129: switch()}}, "$.flags: expected `str` matching regex '^[A-Za-z0-9._-]{1,128}\\\\Z'"),
        ({"flags": {"f": switch(variants={})}}, "$.flags[...].variants: expected `object` of length >= 1"),
        ({"flags": {"f": switch({"colour": 1})}}, "$.flags[...].rules[0]: object contains unknown field `colour`"),
        ({"switches": "-x"}, "$.switches: expected `str` matching regex '^[A-Za-z0-9][A-Za-z0-9._-]*\\\\Z'"),
    ],
)
def test_shapes_that_are_refused(document: Json, said: str) -> None:
    """What has another shape is refused when it is read."""
    with pytest.raises(DocumentError) as caught:
        parse_switches(orjson.dumps({"format": 1, "switches": "app", **document}))
    assert str(caught.value) == said


def test_removed_set_has_no_switches() -> None:
    """A tombstone is nothing but that."""
    document = {"format": 1, "switches": "app", "removed": True, "flags": {"f": switch()}}
    with pytest.raises(DocumentError, match=r"^\$\.removed: expected no flags in a switch set that is removed$"):
        compile_switches(parse_switches(orjson.dumps(document)))
    assert compile_switches(parse_switches(orjson.dumps({**document, "flags": {}}))).switches == ()


def test_canonical_bytes_leave_defaults_out() -> None:
    """One set has one text, whatever order and spaces its author used."""
    document = parse_switches(b'{"switches": "app", "removed": false, "flags": {}, "format": 1}')
    assert encode_switches(document) == b'{"format":1,"switches":"app"}'


def test_reasons() -> None:
    """Each reason, and the variant that comes with it."""
    assert decide(switch()) == ("off", SwitchReason.STATIC)
    assert decide(switch({"state": "paused"})) == ("off", SwitchReason.STATIC)
    assert decide(switch({"who": {"users": ["u-1"]}})) == ("off", SwitchReason.UNKNOWN)
    assert decide(switch({"who": {"users": ["u-1"]}}), user="u-1") == ("on", SwitchReason.TARGETING_MATCH)
    assert decide(switch({"who": GRAY})) == ("on", SwitchReason.SPLIT)
    assert decide(switch({"who": {**GRAY, "users": ["u-1"]}}), user="u-1") == ("on", SwitchReason.TARGETING_MATCH)
    assert decide(switch({}, state="disabled")) == (None, SwitchReason.DISABLED)


def test_percentage_of_devices_wants_an_id() -> None:
    """Without one there is no answer, unless the rule is for somebody else, or for whoever asks by name."""
    assert decide(switch({"who": GRAY}), id="") == (None, SwitchReason.KEY_MISSING)
    assert decide(switch({"who": {**GRAY, "users": ["u-1"]}}), id="", user="u-1")[0] == "on"
    assert decide(switch({"who": GRAY, "closes_at": NOW}), id="") == ("off", SwitchReason.UNKNOWN)
    by_user = {"percent": {**GRAY["percent"], "by": "user"}}
    assert decide(switch({"who": by_user}), id="") == ("off", SwitchReason.UNKNOWN)
    assert decide(switch({}, {"who": GRAY}), id="") == ("on", SwitchReason.TARGETING_MATCH)


def test_times_at_which_a_set_changes_by_itself() -> None:
    """Openings, closings and steps of live rules, each once, ascending."""
    ramp = {"percent": {"parts": 1, "salt": "s", "steps": [{"at": 30, "parts": 2}]}}
    rules = ({"opens_at": 20, "closes_at": 40}, {"who": ramp, "opens_at": 20}, {"state": "ended", "opens_at": 7})
    assert compile_flags(f=switch(*rules)).changes == (20, 30, 40)


def test_sets_have_a_sheet_of_their_own() -> None:
    """The conditions of switches do not lengthen the integers that programs are asked with."""
    rule = {"when": [{"attribute": "tags.vip", "op": "in", "values": ["1"]}]}
    one, two = compile_flags(f=switch(rule)), compile_flags(f=switch(rule))
    assert one.sheet is not two.sheet
    assert [name for name, _ in one.tags] == ["vip"]
