"""The rules: documents in, compiled programs out, and one function that decides. PURE: no loop, socket or clock."""

from ruleset.audience import AudienceDocument, check_audience
from ruleset.bucket import spread_poll
from ruleset.circumstance import NOTHING_KNOWN, Audience, Circumstances, Place, Window
from ruleset.compiler import TRIAL_ID, CompiledProgram, CompiledRelease, CompiledWindow, compile_program
from ruleset.document import (
    MAX_DOCUMENT_BYTES,
    encode,
    encode_audience,
    encode_switches,
    parse_audience,
    parse_program,
    parse_switches,
)
from ruleset.errors import DocumentError, FingerprintError, RulesetError, VersionError
from ruleset.evaluator import Decision, Reason, evaluate
from ruleset.explain import Explanation, explain
from ruleset.fingerprint import Fingerprinter, Fingerprints
from ruleset.model import DEFAULT_POLL_AFTER_S, Device, Offers, Package, Program, Release, Transfer
from ruleset.pattern import compile_patterns
from ruleset.sample import Sample
from ruleset.sheet import Binder, Sheet
from ruleset.simulation import Simulation, simulate
from ruleset.switch import (
    CompiledSwitch,
    CompiledSwitches,
    Switch,
    SwitchesDocument,
    SwitchReason,
    SwitchRule,
    compile_switches,
    decide_switch,
)
from ruleset.version import NOT_INSTALLED, format_version, parse_version, parse_version_range

__all__ = [
    "DEFAULT_POLL_AFTER_S",
    "MAX_DOCUMENT_BYTES",
    "NOTHING_KNOWN",
    "NOT_INSTALLED",
    "TRIAL_ID",
    "Audience",
    "AudienceDocument",
    "Binder",
    "Circumstances",
    "CompiledProgram",
    "CompiledRelease",
    "CompiledSwitch",
    "CompiledSwitches",
    "CompiledWindow",
    "Decision",
    "Device",
    "DocumentError",
    "Explanation",
    "FingerprintError",
    "Fingerprinter",
    "Fingerprints",
    "Offers",
    "Package",
    "Place",
    "Program",
    "Reason",
    "Release",
    "RulesetError",
    "Sample",
    "Sheet",
    "Simulation",
    "Switch",
    "SwitchReason",
    "SwitchRule",
    "SwitchesDocument",
    "Transfer",
    "VersionError",
    "Window",
    "check_audience",
    "compile_patterns",
    "compile_program",
    "compile_switches",
    "decide_switch",
    "encode",
    "encode_audience",
    "encode_switches",
    "evaluate",
    "explain",
    "format_version",
    "parse_audience",
    "parse_program",
    "parse_switches",
    "parse_version",
    "parse_version_range",
    "simulate",
    "spread_poll",
]
