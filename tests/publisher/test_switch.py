"""Switch sets on their way to be signed: salts that are handed on, and rules that are hardly meant."""

from typing import Any

import orjson

from publisher.draft import Doubt
from publisher.switch import compile_set, complete_switches, find_switch_doubts
from ruleset import SwitchesDocument, parse_switches

Json = dict[str, Any]
NOW = 1_000


def make_set(*rules: Json, key: str = "f") -> SwitchesDocument:
    """A set of one switch with these rules."""
    told = [{"id": f"r{i}", "variant": "on", **rule} for i, rule in enumerate(rules)]
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off", "rules": told}
    return parse_switches(orjson.dumps({"format": 1, "switches": "app", "flags": {key: flag}}))


def percent(parts: int, **members: Any) -> Json:
    """A rule for so many parts of a million."""
    return {"who": {"percent": {"parts": parts, **members}}}


def list_salts(document: SwitchesDocument) -> list[str]:
    """The salts of all rules that have a percentage."""
    rules = [rule for flag in document.flags.values() for rule in flag.rules]
    return [rule.who.percent.salt for rule in rules if rule.who and rule.who.percent]


def test_salts_are_drawn_and_handed_on() -> None:
    """A rule keeps its salt from document to document, wherever it stands, so that raising its parts only adds."""
    first = complete_switches(make_set({}, percent(1)), None, b"a" * 32)
    second = complete_switches(make_set(percent(1, salt="own"), {**percent(2), "id": "r1"}), first, b"b" * 32)
    assert len(list_salts(first)[0]) == 16
    assert list_salts(second) == ["own", *list_salts(first)]


def test_salts_differ() -> None:
    """Nobody is among the first by every switch, every rule, or every draw."""
    salts = [
        *list_salts(complete_switches(make_set(percent(1), percent(1)), None, b"a" * 32)),
        *list_salts(complete_switches(make_set(percent(1), key="g"), None, b"a" * 32)),
        *list_salts(complete_switches(make_set(percent(1)), None, b"b" * 32)),
    ]
    assert len(set(salts)) == len(salts)


def test_rules_that_reach_nobody() -> None:
    """What stands below a rule for everybody, and what has closed, is told with its place; what may come is not."""
    rules = (
        {"who": {"users": ["u"]}},
        {"closes_at": NOW},
        {"opens_at": NOW + 1},
        {"state": "paused"},
        {"when": [{"attribute": "city", "op": "in", "values": ["x"]}]},
        {"clients": {"ios": {}}},
        {"id": "all"},
        {"id": "last"},
    )
    path = "$.flags['f'].rules"
    assert find_switch_doubts(compile_set(make_set(*rules)), NOW) == [
        Doubt(f"{path}[1].closes_at", "it closed at 1000, which is past (now 1000)"),
        Doubt(f"{path}[7]", "it reaches nobody: rule 'all' above it takes everybody"),
    ]
