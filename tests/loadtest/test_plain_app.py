"""The plain application answers as the oracle does, and refuses what it cannot read."""

from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from contract import oracle
from loadtest.plain_app import PlainApp, QuestionError, check_question, make_application
from loadtest.population import Population, merge_questions, parse_question

NOW = 1_795_000_000


def publish(document: dict[str, Any], *, expires: int = NOW + 1) -> dict[str, Any]:
    """A document with offers, as a publisher would make it."""
    offers = {version: f"offer of {version}" for version in document["packages"]}
    return {**document, "offers": {"expires": expires, "install": offers}}


@pytest.fixture(scope="module")
def source(documents: list[dict[str, Any]]) -> dict[str, Any]:
    published = {one["program"]: publish(one) for one in documents}
    return {"workspace": "bench", "revision": 1_000, "root": 1, "documents": published}


@pytest.fixture(scope="module")
def questions(population: Population) -> list[dict[str, Any]]:
    requests = list(population.render(population.draw_records(0, 3_000)))
    merged = [merge_questions(requests[place : place + 8]) for place in range(0, 800, 8)]
    return [parse_question(request) for request in requests + merged]


def test_answers_are_the_oracles(source: dict[str, Any], questions: list[dict[str, Any]]) -> None:
    """Thousands of questions, about one program and about several, are answered as the oracle answers them."""
    app = PlainApp(source)
    for question in questions:
        expected = oracle.answer(source["documents"], 1_000, 1, question, NOW)
        assert app.answer(question, NOW) == expected


def test_expired_offers_give_no_update(documents: list[dict[str, Any]], questions: list[dict[str, Any]]) -> None:
    """From the second of their expiry on, nothing is offered."""
    published = {one["program"]: publish(one, expires=NOW) for one in documents}
    app = PlainApp({"workspace": "bench", "revision": 1, "root": 1, "documents": published})
    assert app.answer(questions[0], NOW)["updates"] == []
    assert app.answer(questions[0], NOW - 1)["updates"] != []


@pytest.mark.parametrize(
    ("question", "message"),
    [
        ([], "expected an object"),
        ({"workspace": "w", "programs": {"p": ""}}, "expected device.id"),
        ({"workspace": "w", "device": {"id": "", "platform": "ios"}, "programs": {"p": ""}}, "expected device.id"),
        (
            {"workspace": "w", "device": {"id": "d", "platform": "tv"}, "programs": {"p": ""}},
            "expected device.platform to be android, ios or harmony",
        ),
        ({"workspace": "w", "device": {"id": "d", "platform": "ios"}}, "expected workspace and programs"),
        (
            {
                "workspace": "w",
                "device": {"id": "d", "platform": "ios"},
                "programs": dict.fromkeys(map(str, range(201))),
            },
            "expected at most 200 programs, got 201",
        ),
    ],
)
def test_a_question_without_what_an_answer_needs_is_refused(question: Any, message: str) -> None:
    """Each missing member has a message of its own."""
    with pytest.raises(QuestionError, match=message):
        check_question(question)


async def test_it_serves_over_http(source: dict[str, Any], questions: list[dict[str, Any]]) -> None:
    """A question gets 200 and JSON; bad JSON 400, another workspace 404."""
    async with TestClient(TestServer(make_application(source))) as client:
        good = await client.post("/v1/check", json=questions[1])
        assert (good.status, good.content_type) == (200, "application/json")
        assert (await good.json())["revision"] == 1_000
        bad = await client.post("/v1/check", data=b"{")
        assert (bad.status, (await bad.json())["error"]["code"]) == (400, "malformed_json")
        other = await client.post("/v1/check", json={**questions[1], "workspace": "other"})
        assert (other.status, (await other.json())["error"]["code"]) == (404, "unknown_workspace")
