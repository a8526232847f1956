"""Answers against the oracle: what a server has said, and what it should say of what is published. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from contract.oracle import answer as ask_oracle
from loadtest.client import Answer
from loadtest.population import parse_question

Json = dict[str, Any]

SECONDS_AN_HOUR = 3_600
# How many wrong answers are shown in full.
SHOWN = 3


@dataclass(frozen=True, slots=True)
class Truth:
    """What is published: documents by program, the workspace's revision, and the number of its root."""

    documents: Mapping[str, Json]
    revision: int
    root: int

    def expect(self, question: Json, now: int) -> Json:
        """Returns what the oracle answers at a time in seconds."""
        expected: Json = ask_oracle(self.documents, self.revision, self.root, question, now)
        return expected


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many answers of each server were compared and wrong; some of the wrong ones in words. Verdicts add up."""

    compared: dict[str, int]
    wrong: dict[str, int]
    examples: list[str]

    def __add__(self, other: "Verdict") -> "Verdict":
        return Verdict(
            {server: count + other.compared[server] for server, count in self.compared.items()},
            {server: count + other.wrong[server] for server, count in self.wrong.items()},
            [*self.examples, *other.examples][:SHOWN],
        )


def compare(truth: Truth, requests: Sequence[bytes], answers: Mapping[str, Sequence[Answer]]) -> Verdict:
    """Compares what servers have answered to the same requests with what the oracle says.

    Args:
        truth: what is published.
        requests: whole HTTP requests.
        answers: by server, in the order of the requests.
    """
    wrong = dict.fromkeys(answers, 0)
    examples: list[str] = []
    for place, request in enumerate(requests):
        question = parse_question(request)
        expected: dict[int, Json] = {}
        for server, given in answers.items():
            if not _is_right(truth, question, given[place], expected):
                wrong[server] += 1
                if len(examples) < SHOWN:
                    examples.append(_describe(server, question, given[place], expected))
    return Verdict({server: len(given) for server, given in answers.items()}, wrong, examples)


def _is_right(truth: Truth, question: Json, answer: Answer, expected: dict[int, Json]) -> bool:
    """By the hour: it is all of the time that an answer depends on here, and it may have struck in between."""
    if answer.status != HTTPStatus.OK:
        return False
    told = orjson.loads(answer.body)
    for now in (answer.asked_at, answer.answered_at):
        hour = now // SECONDS_AN_HOUR
        if hour not in expected:
            expected[hour] = truth.expect(question, now)
        if told == expected[hour]:
            return True
    return False


def _describe(server: str, question: Json, answer: Answer, expected: Mapping[int, Json]) -> str:
    wanted = " or ".join(orjson.dumps(one).decode() for one in expected.values())
    asked = orjson.dumps(question).decode()
    return f"{server}, asked {asked}: expected {wanted}, got {answer.status} {answer.body.decode(errors='replace')}"
