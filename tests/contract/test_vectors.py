"""Every vector, over the oracle and over the compiled evaluator: the same decision, and for the oracle the answer."""

import json
from collections.abc import Callable

import msgspec
import pytest

from contract.oracle import Json, answer, decide
from contract.refusal import refuse
from contract.vector import Vector, load_vectors
from ruleset import NOT_INSTALLED, Device, compile_program, evaluate, parse_program, parse_version
from tests.contract.lists import surround

ANSWERED = [vector for vector in load_vectors() if vector.answer is not None]
REFUSED = [vector for vector in load_vectors() if vector.answer is None]

Decide = Callable[[Json, Json, str, int, Json], Json]


def decide_compiled(document: Json, question: Json, program: str, now: int, lists: Json) -> Json:
    """What the compiled evaluator decides, told as the oracle tells it."""
    compiled = compile_program(parse_program(json.dumps(document).encode()))
    device = msgspec.convert(question["device"], Device)
    version = question["programs"][program]
    installed = parse_version(version) if version else NOT_INSTALLED
    release, reason = evaluate(compiled, device, installed, now, surround(lists))
    return {"release": None if release is None else release.id, "reason": reason.value}


@pytest.fixture(params=[decide, decide_compiled], ids=["oracle", "compiled"])
def decider(request: pytest.FixtureRequest) -> Decide:
    """Whatever decides."""
    chosen: Decide = request.param
    return chosen


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector.id)
def test_decides(decider: Decide, vector: Vector) -> None:
    """Each program asked about is decided by the release and for the reason that the vector names."""
    found = {
        document["program"]: decider(document, vector.question, document["program"], vector.now, vector.lists)
        for document in vector.documents
        if document["program"] in vector.question["programs"]
    }
    assert found == vector.decisions


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector.id)
def test_answers(vector: Vector) -> None:
    """The oracle gives the vector's whole answer, member for member and in their order."""
    found = answer(vector.documents, vector.revision, vector.root, vector.question, vector.now, vector.lists)
    assert json.dumps(found) == json.dumps(vector.answer)


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector.id)
def test_is_not_refused(vector: Vector) -> None:
    """A question that has an answer is well formed."""
    assert refuse(vector.body, ["demo"]) is None


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.id)
def test_refuses(vector: Vector) -> None:
    """A body that is refused is refused with the vector's status and code."""
    assert refuse(vector.body, ["demo"]) == (vector.status, vector.code)


def test_every_reason_and_action_has_a_vector() -> None:
    """No reason and no action goes without a case."""
    reasons = {decision["reason"] for vector in ANSWERED for decision in vector.decisions.values()}
    updates = [update for vector in ANSWERED for update in (vector.answer or {})["updates"]]
    assert reasons == {"install", "rollback", "remove", "current", "no_release", "gone"}
    assert {update["action"] for update in updates} == {"install", "rollback", "remove"}
