"""The contract's vectors over the container's side of the wire: what it asks, understands, and keeps of a refusal."""

import json
from dataclasses import fields
from typing import Any

import msgspec
import pytest

from container.device import Device
from container.wire import decode_answer, encode_question, explain_status
from contract.vector import Vector, load_vectors

VECTORS = load_vectors()
ANSWERED = [vector for vector in VECTORS if vector.answer is not None]
REFUSED = [vector for vector in VECTORS if vector.answer is None]
# What is only told to whoever asks for it, and this container does not.
NEVER_ASKED = ("switches", "switches_etag")
KNOWN = {field.name for field in fields(Device)}


def keep_said(device: dict[str, Any]) -> dict[str, Any]:
    """What a container would say of this device: the members it knows that are not empty."""
    return {name: value for name, value in device.items() if name in KNOWN and value}


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector.id)
def test_asks(vector: Vector) -> None:
    """A container on a vector's device asks the vector's question, but for members that say nothing."""
    question = vector.question
    device = keep_said(question["device"])
    asked = json.loads(encode_question(question["workspace"], Device(**device), question["programs"]))
    assert asked == {"workspace": question["workspace"], "device": device, "programs": question["programs"]}


@pytest.mark.parametrize("vector", ANSWERED, ids=lambda vector: vector.id)
def test_understands(vector: Vector) -> None:
    """A container understands every member of a vector's answer, and none gets another value."""
    assert vector.answer is not None
    answer = decode_answer(json.dumps(vector.answer).encode(), list(vector.question["programs"]))
    told = json.loads(msgspec.json.encode(answer))
    others = vector.answer.keys() - {"updates", *NEVER_ASKED}
    assert {name: told[name] for name in others} == {name: vector.answer[name] for name in others}
    for update, wanted in zip(told["updates"], vector.answer["updates"], strict=True):
        transfers = [keep_named(transfer) for transfer in update.pop("transfers")]
        assert transfers == wanted.get("transfers", [])
        assert {name: update[name] for name in wanted if name != "transfers"} == {
            name: value for name, value in wanted.items() if name != "transfers"
        }


def keep_named(transfer: dict[str, Any]) -> dict[str, Any]:
    """A transfer as it is told: `from` only where it has one."""
    return {name: value for name, value in transfer.items() if name != "from" or value}


@pytest.mark.parametrize("vector", REFUSED, ids=lambda vector: vector.id)
def test_knows_the_code_of_a_refusal(vector: Vector) -> None:
    """A refusal becomes an error that keeps status and code."""
    body = json.dumps({"error": {"code": vector.code, "message": "why"}}).encode()
    error = explain_status(vector.status, {}, body)
    assert (error.status, error.code) == (vector.status, vector.code)
