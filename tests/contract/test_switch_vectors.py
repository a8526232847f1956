"""Every vector of switches, over the oracle and over the compiled evaluator."""

import json
from pathlib import Path

import msgspec
import pytest

from contract.generate import render_file
from contract.oracle import Json, decide_switch, read_context, tell_flags
from contract.vector import SwitchVector, list_switch_files, load_switch_vectors
from ruleset import Device, compile_switches
from ruleset import decide_switch as decide_compiled
from ruleset.document import parse_switches
from tests.contract.lists import surround

VECTORS = load_switch_vectors()


def read_device(context: Json) -> Device:
    """The device of a context; it may lack what a check's has."""
    members = read_context(context)
    return msgspec.structs.replace(Device(id="", platform="android"), **members)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_tells(vector: SwitchVector) -> None:
    """The oracle gives the vector's flags, member for member and in their order, floats as floats."""
    found = tell_flags(vector.documents, vector.context, vector.now, vector.lists)
    assert json.dumps(found) == json.dumps(vector.flags)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.id)
def test_decides(vector: SwitchVector) -> None:
    """The compiled evaluator decides each switch as the oracle does."""
    device, around = read_device(vector.context), surround(vector.lists)
    for document in vector.documents:
        compiled = compile_switches(parse_switches(json.dumps(document).encode()))
        for switch in compiled.switches:
            variant, reason = decide_compiled(switch, device, compiled.gather(device), vector.now, around)
            wanted = decide_switch(
                document["flags"][switch.key], read_context(vector.context), vector.now, vector.lists
            )
            assert {"variant": variant, "reason": reason.value} == wanted


@pytest.mark.parametrize("path", list_switch_files(), ids=lambda path: path.stem)
def test_files_are_as_generated(path: Path) -> None:
    """Generating anew changes nothing; if this fails, run `python -m contract.generate` and read the difference."""
    text = path.read_text()
    assert render_file(json.loads(text)) == text


def test_every_reason_has_a_vector() -> None:
    """No reason goes without a case, and no vector's name is used twice in a file."""
    told = {flag.get("reason") or flag["errorCode"] for vector in VECTORS for flag in vector.flags}
    reasons = {"STATIC", "TARGETING_MATCH", "SPLIT", "DISABLED", "UNKNOWN", "TARGETING_KEY_MISSING"}
    assert told == reasons
    assert len({vector.id for vector in VECTORS}) == len(VECTORS)
