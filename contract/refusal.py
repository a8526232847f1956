"""Which bodies of a check are refused, and with what: the limits of `contract/check.md`, slowly, one after the other.

Like the oracle it knows no module of ours. It sees bodies only: methods, heads and framing are the server's.
"""

import json
from collections.abc import Collection
from typing import Any

from contract.oracle import read_version

Json = dict[str, Any]
Refusal = tuple[int, str]

MAX_BODY_BYTES = 65_536
MAX_STRING = 256
MAX_PROGRAMS = 200
MAX_TAGS = 64
MAX_SWITCHES = 200
MAX_TRIALS = 4
MAX_TRIAL = 8_192
PLATFORMS = ("android", "ios", "harmony")
NETWORKS = ("wifi", "2g", "3g", "4g", "5g", "cellular", "other")
OPTIONAL = ("user", "os", "app", "manufacturer", "model", "city", "region", "country", "locale")


def refuse(body: bytes, workspaces: Collection[str]) -> Refusal | None:
    """Returns the status and the code with which a body is refused, or None where it gets an answer.

    Where a body has several faults, this names the first that it finds; a server may name another one.
    """
    if len(body) > MAX_BODY_BYTES:
        return 413, "too_large"
    try:
        question = _read_json(body)
    except (ValueError, RecursionError):
        return 400, "malformed_json"
    code = _find_fault(question)
    if code:
        return 400, code
    return None if question["workspace"] in workspaces else (404, "unknown_workspace")


def _read_json(body: bytes) -> Any:
    value = json.loads(body.decode(), parse_constant=_refuse_constant)
    json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is no text
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"expected JSON, got {name}")


def _find_fault(question: Any) -> str:
    if not isinstance(question, dict):
        return "bad_field"
    if not {"workspace", "device", "programs"} <= set(question):
        return "missing_field"
    if not _is_short(question["workspace"]):
        return "bad_field"
    return (
        _find_device_fault(question["device"])
        or _find_programs_fault(question["programs"])
        or ("" if _are_trials(question.get("trials")) else "bad_field")
        or ("" if _are_switches(question) else "bad_field")
    )


def _find_device_fault(device: Any) -> str:
    if not isinstance(device, dict):
        return "bad_field"
    if not {"id", "platform"} <= set(device):
        return "missing_field"
    is_good = (
        _is_short(device["id"])
        and device["id"] != ""
        and device["platform"] in PLATFORMS
        and _is_network(device.get("network"))
    )
    if not is_good or not all(device.get(name) is None or _is_short(device[name]) for name in OPTIONAL):
        return "bad_field"
    return "" if _are_tags(device.get("tags")) else "bad_field"


def _find_programs_fault(programs: Any) -> str:
    if not isinstance(programs, dict) or not programs:
        return "bad_field"
    if len(programs) > MAX_PROGRAMS:
        return "too_many_programs"
    is_good = all(_is_short(program) and _is_installed(version) for program, version in programs.items())
    return "" if is_good else "bad_field"


def _is_short(value: Any) -> bool:
    return isinstance(value, str) and len(value) <= MAX_STRING


def _is_network(value: Any) -> bool:
    return value is None or value in NETWORKS


def _is_installed(value: Any) -> bool:
    return isinstance(value, str) and (value == "" or read_version(value) is not None)


def _are_trials(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, list)
        and len(value) <= MAX_TRIALS
        and all(isinstance(token, str) and len(token) <= MAX_TRIAL for token in value)
    )


def _are_tags(value: Any) -> bool:
    if value is None:
        return True
    return (
        isinstance(value, dict)
        and len(value) <= MAX_TAGS
        and all(_is_short(name) and _is_short(tag) for name, tag in value.items())
    )


def _are_switches(question: Any) -> bool:
    wanted, tag = question.get("switches"), question.get("switches_etag")
    is_list = isinstance(wanted, list) and len(wanted) <= MAX_SWITCHES and all(_is_short(key) for key in wanted)
    return (wanted is None or isinstance(wanted, bool) or is_list) and (tag is None or _is_short(tag))
