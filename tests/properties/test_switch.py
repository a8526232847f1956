"""The compiled switches decide as the naive oracle does, and an entity tag never stays where an answer changes."""

import json

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from contract.oracle import Json, tell_flags
from edge.ofrep import read_context
from edge.switch import Board, SwitchSet, compile_set
from ruleset import encode_switches, parse_switches
from tests.contract.lists import surround
from tests.properties.strategies import contexts, lists, moments, quick, switch_sets, thorough

REASONS = ("STATIC", "TARGETING_MATCH", "SPLIT", "UNKNOWN", "DISABLED", "TARGETING_KEY_MISSING")


def compile_bytes(data: bytes) -> SwitchSet:
    """A set as a worker holds it."""
    return compile_set(parse_switches(data))


def tell(board: Board, context: Json, now: int, known: Json) -> list[Json]:
    """What the edge tells of all switches, by key."""
    told = board.tell_all(read_context(context, board), now, surround(known))
    flags = json.loads(b"[" + b",".join([one.item for one in told]) + b"]")
    return sorted(flags, key=lambda flag: str(flag["key"]))


@thorough
@given(switch_sets(), contexts(), moments, lists())
def test_compiled_equals_oracle(document: Json, context: Json, now: int, known: Json) -> None:
    """Value, variant, reason and error are those that the oracle finds, whatever is said and known."""
    board = Board({"app": compile_bytes(json.dumps(document).encode())})
    assert tell(board, context, now, known) == tell_flags([document], context, now, known)


@quick
@given(switch_sets(), contexts(), moments, lists())
def test_canonical_bytes_decide_the_same(document: Json, context: Json, now: int, known: Json) -> None:
    """What the publisher signs, the canonical form, decides as the document that came in."""
    canonical = encode_switches(parse_switches(json.dumps(document).encode()))
    assert tell(Board({"app": compile_bytes(canonical)}), context, now, known) == tell_flags(
        [document], context, now, known
    )


@quick
@given(switch_sets(), contexts(), contexts(), st.data(), lists())
def test_same_tag_same_answer(document: Json, one: Json, more: Json, data: st.DataObject, known: Json) -> None:
    """Two questions with one entity tag have one answer: nothing that decides is left out of the tag."""
    board = Board({"app": compile_bytes(json.dumps(document).encode())})
    names = data.draw(st.sets(st.sampled_from(sorted({*one, *more, "nothing"})), max_size=2))
    other = {**{name: value for name, value in one.items() if name not in names}, **_pick(more, names)}
    asked = [(one, data.draw(moments)), (other, data.draw(moments))]
    tags = [board.make_etag(read_context(context, board), now) for context, now in asked]
    if tags[0] == tags[1]:
        assert tell(board, *asked[0], known) == tell(board, *asked[1], known)


def _pick(context: Json, names: set[str]) -> Json:
    return {name: value for name, value in context.items() if name in names}


@pytest.mark.parametrize("reason", REASONS)
def test_strategies_reach_every_reason(reason: str) -> None:
    """The property is not empty: sets and contexts meet in each of the reasons."""

    def is_reached(example: tuple[Json, Json, int, Json]) -> bool:
        document, context, now, known = example
        told = tell_flags([document], context, now, known)
        return any((flag.get("reason") or flag["errorCode"]) == reason for flag in told)

    examples = settings(max_examples=3000, database=None, derandomize=True, phases=[Phase.generate])
    assert is_reached(find(st.tuples(switch_sets(), contexts(), moments, lists()), is_reached, settings=examples))
