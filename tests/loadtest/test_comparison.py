"""Answers are compared with the oracle's, and a wrong one is seen."""

from typing import Any

import orjson
import pytest

from loadtest.client import Answer
from loadtest.comparison import Truth, Verdict, compare
from loadtest.population import Population, parse_question

NOW = 1_795_000_799
HOUR_STRIKES = 1_795_003_200


@pytest.fixture(scope="module")
def truth(documents: list[dict[str, Any]]) -> Truth:
    return Truth({one["program"]: one for one in documents}, 1_000, 1)


@pytest.fixture(scope="module")
def requests(population: Population) -> list[bytes]:
    return list(population.render(population.draw_records(0, 40)))


def answer_as(truth: Truth, request: bytes, now: int, **members: Any) -> Answer:
    """The oracle's answer at a time, with these members instead."""
    body = truth.expect(parse_question(request), now) | members
    return Answer(200, b"", orjson.dumps(body), now, now)


def test_the_oracles_answers_are_right(truth: Truth, requests: list[bytes]) -> None:
    """Answers that are the oracle's are counted, none is wrong."""
    answers = [answer_as(truth, request, NOW) for request in requests]
    verdict = compare(truth, requests, {"lane": answers, "plain_edge": answers})
    assert verdict.compared == {"lane": 40, "plain_edge": 40}
    assert verdict.wrong == {"lane": 0, "plain_edge": 0}
    assert verdict.examples == []


@pytest.mark.parametrize(
    "members",
    [{"revision": 999}, {"root": 2}, {"poll_after": 1}, {"updates": [{}]}, {"unknown": ["1"]}, {"extra": 1}],
)
def test_one_wrong_member_is_a_wrong_answer(truth: Truth, requests: list[bytes], members: dict[str, Any]) -> None:
    """Every member counts, and the answer is shown beside what was expected."""
    right = [answer_as(truth, request, NOW) for request in requests[:2]]
    wrong = [right[0], answer_as(truth, requests[1], NOW, **members)]
    verdict = compare(truth, requests[:2], {"nginx": right, "lane": wrong})
    assert verdict.wrong == {"nginx": 0, "lane": 1}
    (example,) = verdict.examples
    assert example.startswith("lane, asked ")
    assert example.endswith(f"got 200 {wrong[1].body.decode()}")


def test_another_status_is_wrong(truth: Truth, requests: list[bytes]) -> None:
    """An error is a wrong answer, whatever it says."""
    refused = Answer(503, b"", answer_as(truth, requests[0], NOW).body, NOW, NOW)
    assert compare(truth, requests[:1], {"lane": [refused]}).wrong == {"lane": 1}


def test_the_hour_may_strike_while_a_device_waits(truth: Truth, requests: list[bytes]) -> None:
    """Polling is spread by the hour: an answer of either hour is right, one of a third is not."""
    for asked in (HOUR_STRIKES - 1, HOUR_STRIKES):
        body = answer_as(truth, requests[0], asked).body
        given = Answer(200, b"", body, HOUR_STRIKES - 1, HOUR_STRIKES)
        assert compare(truth, requests[:1], {"lane": [given]}).wrong == {"lane": 0}
    hours = [HOUR_STRIKES + 3_600 * hour for hour in range(1, 9)]
    late = [Answer(200, b"", answer_as(truth, requests[0], hour).body, NOW, NOW) for hour in hours]
    assert sum(compare(truth, requests[:1], {"lane": [one]}).wrong["lane"] for one in late) > 0


def test_verdicts_add_up() -> None:
    """Counts are added by server, and some examples kept."""
    one = Verdict({"lane": 10, "nginx": 10}, {"lane": 1, "nginx": 0}, ["a", "b"])
    two = Verdict({"lane": 5, "nginx": 5}, {"lane": 2, "nginx": 0}, ["c", "d"])
    assert one + two == Verdict({"lane": 15, "nginx": 15}, {"lane": 3, "nginx": 0}, ["a", "b", "c"])
