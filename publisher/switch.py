"""From the switch set that an author sends to one that can be signed. Pure: randomness and time are values."""

from collections.abc import Iterator

from msgspec.structs import replace

from publisher.draft import Doubt, make_value, takes_everybody
from publisher.errors import BadDocumentError
from ruleset import (
    CompiledSwitch,
    CompiledSwitches,
    DocumentError,
    Switch,
    SwitchesDocument,
    SwitchRule,
    compile_switches,
)


def complete_switches(
    author: SwitchesDocument, current: SwitchesDocument | None, randomness: bytes
) -> SwitchesDocument:
    """Returns an author's switch set with every salt filled in.

    An absent salt is that of the rule of the same id of the same switch in the current document, else a new one.

    Args:
        author: as it was sent.
        current: the document that it replaces, complete.
        randomness: unpredictable bytes, 16 to 64, for this document alone.
    """
    known = current.flags if current else {}
    flags = {key: _fill_salts(key, switch, known.get(key), randomness) for key, switch in author.flags.items()}
    return replace(author, flags=flags)


def _fill_salts(key: str, switch: Switch, current: Switch | None, randomness: bytes) -> Switch:
    salts = {rule.id: _find_salt(rule) for rule in current.rules} if current else {}
    return replace(switch, rules=[_fill_salt(key, rule, salts.get(rule.id, ""), randomness) for rule in switch.rules])


def _fill_salt(key: str, rule: SwitchRule, salt: str, randomness: bytes) -> SwitchRule:
    if not rule.who or not rule.who.percent or rule.who.percent.salt:
        return rule
    percent = replace(rule.who.percent, salt=salt or make_value(f"switch {key} ", rule.id, randomness))
    return replace(rule, who=replace(rule.who, percent=percent))


def _find_salt(rule: SwitchRule) -> str:
    return rule.who.percent.salt if rule.who and rule.who.percent else ""


def compile_set(document: SwitchesDocument) -> CompiledSwitches:
    """Returns a complete switch set, compiled as the edge will do it; raises BadDocumentError."""
    try:
        return compile_switches(document)
    except DocumentError as error:
        raise BadDocumentError(error.path, error.message) from error


def find_switch_doubts(compiled: CompiledSwitches, now: int) -> list[Doubt]:
    """Returns what is probably not meant: rules that can reach nobody (now in seconds)."""
    return [doubt for switch in compiled.switches for doubt in _find_doubts(switch, now)]


def _find_doubts(switch: CompiledSwitch, now: int) -> Iterator[Doubt]:
    above = ""
    for rule in switch.live:
        if rule.closes_at <= now:
            yield Doubt(f"{rule.path}.closes_at", f"it closed at {rule.closes_at}, which is past (now {now})")
        if above:
            yield Doubt(rule.path, f"it reaches nobody: rule {above!r} above it takes everybody")
        elif takes_everybody(rule):
            above = rule.id
