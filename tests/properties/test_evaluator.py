"""The compiled evaluator decides as the naive oracle does, whatever the document, the device and the time."""

import json

import msgspec
import pytest
from hypothesis import Phase, find, given, settings

from contract.oracle import Json, decide, fold
from ruleset import NOT_INSTALLED, Device, compile_program, encode, evaluate, parse_program, parse_version
from ruleset import condition as ruleset_condition
from tests.properties.strategies import PROGRAM, any_text, cases, quick, thorough

REASONS = ("install", "rollback", "remove", "current", "no_release", "gone")


def decide_compiled(data: bytes, question: Json, now: int) -> Json:
    """What the compiled evaluator decides, told as the oracle tells it."""
    program = compile_program(parse_program(data))
    device = msgspec.json.decode(json.dumps(question["device"]), type=Device)
    installed = question["programs"][PROGRAM]
    release, reason = evaluate(program, device, parse_version(installed) if installed else NOT_INSTALLED, now)
    return {"release": None if release is None else release.id, "reason": reason.value}


@thorough
@given(cases())
def test_compiled_equals_oracle(case: tuple[Json, Json, int]) -> None:
    """Release and reason are those that the oracle finds."""
    document, question, now = case
    assert decide_compiled(json.dumps(document).encode(), question, now) == decide(document, question, PROGRAM, now)


@quick
@given(cases())
def test_canonical_bytes_decide_the_same(case: tuple[Json, Json, int]) -> None:
    """What the publisher signs, the canonical form, decides as the document that came in."""
    document, question, now = case
    canonical = encode(parse_program(json.dumps(document).encode()))
    assert decide_compiled(canonical, question, now) == decide(json.loads(canonical), question, PROGRAM, now)


@pytest.mark.parametrize("reason", REASONS)
def test_strategies_reach_every_reason(reason: str) -> None:
    """The property is not empty: documents and questions meet in each of the six reasons."""

    def is_reached(case: tuple[Json, Json, int]) -> bool:
        document, question, now = case
        return bool(decide(document, question, PROGRAM, now)["reason"] == reason)

    # Any example will do, so none is made small; the same ones each time, so that the test is no lottery.
    examples = settings(max_examples=3000, deadline=None, database=None, derandomize=True, phases=[Phase.generate])
    assert is_reached(find(cases(), is_reached, settings=examples))


@thorough
@given(any_text)
def test_folding_equals_oracle(text: str) -> None:
    """Any text folds as the oracle folds it."""
    assert ruleset_condition.fold(text) == fold(text)
