"""The rules: documents in, compiled programs out, and one function that decides. PURE: no loop, socket or clock."""

from ruleset.bucket import spread_poll
from ruleset.compiler import CompiledProgram, CompiledRelease, compile_program
from ruleset.document import MAX_DOCUMENT_BYTES, encode, parse_program
from ruleset.errors import DocumentError, RulesetError, VersionError
from ruleset.evaluator import Decision, Reason, evaluate
from ruleset.model import DEFAULT_POLL_AFTER_S, Device, Offers, Package, Program, Release, Transfer
from ruleset.sheet import Binder, Sheet
from ruleset.version import NOT_INSTALLED, format_version, parse_version, parse_version_range

__all__ = [
    "DEFAULT_POLL_AFTER_S",
    "MAX_DOCUMENT_BYTES",
    "NOT_INSTALLED",
    "Binder",
    "CompiledProgram",
    "CompiledRelease",
    "Decision",
    "Device",
    "DocumentError",
    "Offers",
    "Package",
    "Program",
    "Reason",
    "Release",
    "RulesetError",
    "Sheet",
    "Transfer",
    "VersionError",
    "compile_program",
    "encode",
    "evaluate",
    "format_version",
    "parse_program",
    "parse_version",
    "parse_version_range",
    "spread_poll",
]
