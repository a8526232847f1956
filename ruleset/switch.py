"""Switches: the words of a switch set's document, its compiled form, and how a switch is decided.

Field by field the same as `contract/switches.md`. A switch's rules are for whom and when a release's rules are; what
they give is a variant, a named value. How a value travels is not known here.
"""

from enum import StrEnum
from typing import Annotated, Any, Final, Literal

import orjson
from msgspec import Meta, Struct

from ruleset.circumstance import Circumstances
from ruleset.compiler import CompiledRule, compile_rule, find_tags, list_times, number_rules
from ruleset.errors import DocumentError
from ruleset.evaluator import admits, is_covered, is_listed
from ruleset.model import (
    MAX_CONDITIONS,
    MAX_COUNTER,
    MAX_TIME,
    AudienceName,
    ClientRange,
    Condition,
    Counter,
    Device,
    Platform,
    ShortText,
    State,
    Time,
    Who,
)
from ruleset.sheet import Bits, Sheet, TagColumn
from ruleset.version import NOT_INSTALLED

# Whoever asks in bulk is answered for each switch of a workspace.
MAX_SWITCHES = 2_000
MAX_RULES = 100
MAX_VARIANTS = 100
# Of one value as JSON: each switch's goes into every bulk answer.
MAX_VALUE_BYTES = 16_384
# How deep an object may be nested: clients in other languages read it by recursion.
MAX_DEPTH = 16

SwitchKey = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,128}\Z")]
VariantName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}\Z")]
Type = Literal["boolean", "string", "integer", "float", "object"]


class SwitchRule(Struct, frozen=True, forbid_unknown_fields=True):
    """One rule of a switch: this variant for *who*, *when* conditions hold."""

    id: ShortText
    variant: VariantName
    state: State = "live"
    who: Who | None = None
    when: Annotated[list[Condition], Meta(max_length=MAX_CONDITIONS)] = []
    clients: dict[Platform, ClientRange] | None = None
    opens_at: Time | None = None
    closes_at: Time | None = None


class Switch(Struct, frozen=True, forbid_unknown_fields=True):
    """One switch: its values by the variants' names, and the rules that choose among them; else the default.

    A `disabled` one has no value: whoever asks uses the value that is built into the asking code.
    """

    type: Type
    variants: Annotated[dict[VariantName, Any], Meta(min_length=1, max_length=MAX_VARIANTS)]
    default: VariantName
    state: Literal["live", "disabled"] = "live"
    rules: Annotated[list[SwitchRule], Meta(max_length=MAX_RULES)] = []


class SwitchesDocument(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A switch set. The last three members are the publisher's; an author's document has none of them.

    One that is `removed` has no switches.
    """

    format: Literal[1]
    switches: AudienceName
    flags: Annotated[dict[SwitchKey, Switch], Meta(max_length=MAX_SWITCHES)] = {}
    removed: bool = False
    workspace: Annotated[str, Meta(max_length=64)] = ""
    epoch: Counter = 0
    revision: Counter = 0


class SwitchReason(StrEnum):
    """Why a switch has its variant: a closed set, in OFREP's words.

    `unknown` is what OFREP leaves for a default after rules that are all for others. `key_missing` is no decision: a
    percentage of devices was asked of somebody without an id.
    """

    STATIC = "STATIC"
    TARGETING_MATCH = "TARGETING_MATCH"
    SPLIT = "SPLIT"
    UNKNOWN = "UNKNOWN"
    DISABLED = "DISABLED"
    KEY_MISSING = "TARGETING_KEY_MISSING"

    # An enumeration's own is a call of Python's, and a reason is looked up for each switch that is told.
    __hash__ = str.__hash__


STATIC, TARGETING_MATCH, SPLIT, UNKNOWN, DISABLED, KEY_MISSING = SwitchReason


class CompiledSwitchRule(CompiledRule, frozen=True, gc=False):
    """A switch's rule, ready to ask."""

    variant: str


class CompiledSwitch(Struct, frozen=True, gc=False):
    """A switch, ready to ask: `live` are the rules that can decide, `needed` the bits of their conditions.

    `values` are those of all variants, of the switch's type: a float's are floats.
    """

    needed: tuple[Bits, ...]
    live: tuple[CompiledSwitchRule, ...]
    default: str
    is_disabled: bool
    key: str
    values: dict[str, Any]
    rules: tuple[CompiledSwitchRule, ...]


class CompiledSwitches(Struct, frozen=True, gc=False):
    """A switch set, ready to ask. Its conditions have a sheet of their own, so that programs' do not get longer.

    `changes` are the seconds at which its rules change by themselves, ascending.
    """

    id: str
    sheet: Sheet
    tags: tuple[TagColumn, ...]
    switches: tuple[CompiledSwitch, ...]
    changes: tuple[int, ...]

    def gather(self, device: Device) -> Bits:
        """Returns the bits of the conditions that a device satisfies."""
        return self.sheet.gather(device, NOT_INSTALLED, self.tags)


# The variant that was decided for, None where there is no value, and the reason.
SwitchDecision = tuple[str | None, SwitchReason]


def compile_switches(document: SwitchesDocument) -> CompiledSwitches:
    """Returns a switch set's document, ready to ask.

    Raises:
        DocumentError: what the members mean together is wrong; the error's path names the place.
    """
    if document.removed and document.flags:
        raise DocumentError("$.removed", "expected no flags in a switch set that is removed")
    sheet = Sheet()
    switches = tuple([_compile_switch(key, switch, sheet) for key, switch in document.flags.items()])
    live = [rule for switch in switches for rule in switch.live]
    return CompiledSwitches(
        id=document.switches,
        sheet=sheet,
        tags=find_tags(live, sheet),
        switches=switches,
        changes=tuple(sorted(list_times(live) - {0, MAX_TIME})),
    )


def decide_switch(
    switch: CompiledSwitch, device: Device, satisfied: Bits, now: int, around: Circumstances
) -> SwitchDecision:
    """Decides which variant of a switch a device should have; the steps are those of `contract/switches.md`.

    Args:
        switch: compiled.
        device: what the device says of itself; its id may be empty here.
        satisfied: what the switch's set has gathered of it.
        now: the time, in seconds since the epoch.
        around: the lists that are known.
    """
    if switch.is_disabled:  # 1.
        return None, DISABLED
    for needed, rule in zip(switch.needed, switch.live):  # noqa: B905 - 2.; as in evaluate, whose guards these are
        if needed & satisfied != needed or not rule.opens_at <= now < rule.closes_at:  # 3. and 5.
            continue
        if rule.clients is not None and not admits(rule.clients, device):  # 4.
            continue
        if rule.official or is_covered(rule, device, now, around):  # 6.
            return rule.variant, SPLIT if _is_split(rule, device, around) else TARGETING_MATCH
        if rule.percent is not None and not (rule.percent.by_user or device.id):
            return None, KEY_MISSING
    return switch.default, UNKNOWN if switch.live else STATIC  # 7.


def _is_split(rule: CompiledSwitchRule, device: Device, around: Circumstances) -> bool:
    """Whether a rule that covers a device does so by its percentage alone."""
    user = device.user
    if rule.percent is None or user in rule.users:
        return False
    return not (user and is_listed(rule.audiences, user, around.audiences))


def _compile_switch(key: str, switch: Switch, sheet: Sheet) -> CompiledSwitch:
    path = f"$.flags[{key!r}]"
    if switch.default not in switch.variants:
        raise DocumentError(f"{path}.default", _name_variants(switch, switch.default))
    rules = tuple([_compile_rule(rule, switch, f"{path}.rules[{i}]") for i, rule in enumerate(switch.rules)])
    _refuse_repeated(rules)
    live = tuple([rule for rule in rules if rule.state == "live"])
    return CompiledSwitch(
        needed=number_rules(live, sheet),
        live=live,
        default=switch.default,
        is_disabled=switch.state == "disabled",
        key=key,
        values={
            name: _read_value(value, switch.type, f"{path}.variants[{name!r}]")
            for name, value in switch.variants.items()
        },
        rules=rules,
    )


def _name_variants(switch: Switch, got: str) -> str:
    return f"expected one of the variants {', '.join(list(switch.variants)[:10])}, got {got!r}"


def _refuse_repeated(rules: tuple[CompiledSwitchRule, ...]) -> None:
    seen: set[str] = set()
    for rule in rules:
        if rule.id in seen:
            raise DocumentError(f"{rule.path}.id", f"expected each rule id once a switch, got {rule.id!r} again")
        seen.add(rule.id)


def _compile_rule(rule: SwitchRule, switch: Switch, path: str) -> CompiledSwitchRule:
    if rule.variant not in switch.variants:
        raise DocumentError(f"{path}.variant", _name_variants(switch, rule.variant))
    if rule.who and rule.who.window:
        raise DocumentError(f"{path}.who.window", "expected none in a switch: windows are for releases alone")
    for i, condition in enumerate(rule.when):
        if condition.attribute == "installed":
            message = "expected another attribute than installed: a switch belongs to no program"
            raise DocumentError(f"{path}.when[{i}].attribute", message)
    return CompiledSwitchRule(**compile_rule(rule, path), variant=rule.variant)


_TYPES: Final[dict[Type, tuple[type, ...]]] = {
    "boolean": (bool,),
    "string": (str,),
    "integer": (int,),
    "float": (float, int),
    "object": (dict,),
}


def _read_value(value: Any, type_: Type, path: str) -> Any:
    """A variant's value as it is told: type by type, since a bool is no integer, and 10 may be a float."""
    if type(value) not in _TYPES[type_]:
        raise DocumentError(path, f"expected a value of type {type_}, got {_name_type(value)}")
    _refuse_value(value, path, 1)
    size = len(orjson.dumps(value))
    if size > MAX_VALUE_BYTES:
        raise DocumentError(path, f"expected a value of at most {MAX_VALUE_BYTES} bytes, got {size}")
    return float(value) if type_ == "float" else value


def _name_type(value: Any) -> str:
    for name, types in _TYPES.items():
        if type(value) is types[0]:
            return name
    return "null" if value is None else "an array"


def _refuse_value(value: Any, path: str, depth: int) -> None:
    """Refuses what JSON libraries do not agree on."""
    if type(value) is int and not -MAX_COUNTER < value < MAX_COUNTER:
        raise DocumentError(path, f"expected an integer between -{MAX_COUNTER - 1} and {MAX_COUNTER - 1}, got another")
    if not isinstance(value, dict | list):
        return
    if depth > MAX_DEPTH:
        raise DocumentError(path, f"expected at most {MAX_DEPTH} levels of nesting, got more")
    parts = value.items() if isinstance(value, dict) else enumerate(value)
    for name, part in parts:
        _refuse_value(part, f"{path}[{name!r}]", depth + 1)
