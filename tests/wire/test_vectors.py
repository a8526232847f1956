"""The contract's vectors over the wire, with the lane and without."""

import json

import pytest

from contract.oracle import OPAQUE, Json
from contract.vector import Vector, load_vectors
from tests.contract.lists import surround
from tests.wire.client import ask, make_check
from tests.wire.conftest import publish_usual
from tests.wire.server import WireServer


@pytest.mark.parametrize("vector", load_vectors(), ids=lambda vector: vector.id)
def test_answers_as_the_contract_says(both: dict[str, WireServer], vector: Vector) -> None:
    """Status and answer, or code, are those of the vector; both sides say the same bytes."""
    check = make_check(vector.body)
    for server in both.values():
        server.publish(
            vector.documents,
            vector.revision,
            vector.root,
            vector.now,
            surround(vector.lists),
            switches=vector.lists.get("switches", ()),
        )
    try:
        (lane,), (plain,) = ask(both["lane"], check), ask(both["plain"], check)
    finally:
        for server in both.values():
            publish_usual(server)
    assert lane == plain
    assert (lane.status, lane.type, lane.code) == (vector.status, "application/json", vector.code)
    assert vector.answer is None or hide_tag(json.loads(lane.body)) == vector.answer


def hide_tag(answer: Json) -> Json:
    """An answer with the oracle's tag in the place of the server's."""
    return {**answer, "switches_etag": OPAQUE} if answer.get("switches_etag") else answer
