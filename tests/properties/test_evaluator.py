"""The compiled evaluator decides as the naive oracle does, whatever the document, the device and the time."""

import json
from collections.abc import Collection
from random import Random

import msgspec
import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from contract.oracle import NOTHING, Json, decide, fold
from ruleset import NOT_INSTALLED, Device, compile_program, encode, evaluate, parse_program, parse_version
from ruleset import condition as ruleset_condition
from tests.contract.lists import surround
from tests.properties.strategies import PROGRAM, WINDOWS, any_text, cases, lists, quick, thorough

REASONS = ("install", "rollback", "remove", "current", "no_release", "gone", "ask")
refusals = st.frozensets(st.sampled_from(WINDOWS))


def decide_compiled(
    data: bytes, question: Json, now: int, known: Json = NOTHING, refused: Collection[str] = ()
) -> Json:
    """What the compiled evaluator decides, told as the oracle tells it."""
    program = compile_program(parse_program(data))
    device = msgspec.json.decode(json.dumps(question["device"]), type=Device)
    installed = question["programs"][PROGRAM]
    version = parse_version(installed) if installed else NOT_INSTALLED
    release, reason = evaluate(program, device, version, now, surround(known), refused)
    return {"release": None if release is None else release.id, "reason": reason.value}


@thorough
@given(cases(), lists(), refusals)
def test_compiled_equals_oracle(case: tuple[Json, Json, int], known: Json, refused: Collection[str]) -> None:
    """Release and reason are those that the oracle finds, whatever is known of audiences and windows."""
    document, question, now = case
    found = decide_compiled(json.dumps(document).encode(), question, now, known, refused)
    assert found == decide(document, question, PROGRAM, now, known, refused)


@quick
@given(cases(), lists())
def test_who_was_refused_everywhere_is_not_asked_again(case: tuple[Json, Json, int], known: Json) -> None:
    """With all windows refused there is a decision."""
    document, question, now = case
    assert decide_compiled(json.dumps(document).encode(), question, now, known, WINDOWS)["reason"] != "ask"


@quick
@given(cases())
def test_canonical_bytes_decide_the_same(case: tuple[Json, Json, int]) -> None:
    """What the publisher signs, the canonical form, decides as the document that came in."""
    document, question, now = case
    canonical = encode(parse_program(json.dumps(document).encode()))
    assert decide_compiled(canonical, question, now) == decide(json.loads(canonical), question, PROGRAM, now)


@pytest.mark.parametrize("reason", REASONS)
def test_strategies_reach_every_reason(reason: str) -> None:
    """The property is not empty: documents and questions meet in each of the reasons."""

    def is_reached(example: tuple[tuple[Json, Json, int], Json]) -> bool:
        (document, question, now), known = example
        return bool(decide(document, question, PROGRAM, now, known)["reason"] == reason)

    # Any example will do, so none is made small; the same ones each time, so that the test is no lottery.
    examples = settings(max_examples=3000, database=None, phases=[Phase.generate])
    drawn = find(st.tuples(cases(), lists()), is_reached, settings=examples, random=Random(1))
    assert is_reached(drawn)


@thorough
@given(any_text)
def test_folding_equals_oracle(text: str) -> None:
    """Any text folds as the oracle folds it."""
    assert ruleset_condition.fold(text) == fold(text)
