"""The canonical form of a document: nothing is lost in it, and there is one of each."""

import json
import random

from hypothesis import given
from hypothesis import strategies as st

from contract.oracle import Json
from ruleset import encode, parse_program
from tests.properties.strategies import documents, quick


def shuffle(value: object, order: random.Random) -> object:
    """The same JSON with the members of its objects in another order; lists keep theirs, and `releases` is one."""
    if isinstance(value, list):
        return [shuffle(one, order) for one in value]
    if not isinstance(value, dict):
        return value
    names = list(value)
    order.shuffle(names)
    return {name: shuffle(value[name], order) for name in names}


@quick
@given(documents())
def test_round_trip(document: Json) -> None:
    """What is parsed from the canonical bytes is what was encoded, and encodes to the same bytes."""
    parsed = parse_program(json.dumps(document).encode())
    canonical = encode(parsed)
    assert parse_program(canonical) == parsed
    assert encode(parse_program(canonical)) == canonical


@quick
@given(documents(), st.randoms(use_true_random=False))
def test_the_order_of_members_does_not_matter(document: Json, order: random.Random) -> None:
    """Two texts of one document have the same canonical bytes."""
    shuffled = json.dumps(shuffle(document, order), indent=2).encode()
    assert encode(parse_program(shuffled)) == encode(parse_program(json.dumps(document).encode()))


@quick
@given(documents())
def test_canonical_bytes_are_sorted_and_without_blanks(document: Json) -> None:
    """Anybody with a JSON library can write the canonical bytes of what they say."""
    canonical = encode(parse_program(json.dumps(document).encode()))
    value = json.loads(canonical)
    assert json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() == canonical
