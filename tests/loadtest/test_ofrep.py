"""The bench's switches: a set that can be published, pages that ask by it, and tags that an edge tells."""

import asyncio
from pathlib import Path

import orjson
import pytest

from contract.oracle import tell_flags
from loadtest.client import ask_all
from loadtest.errors import MeasureError
from loadtest.ofrep import (
    QUICK,
    UNCHANGED,
    SwitchBench,
    compute_ratio,
    make_body,
    make_request,
    make_set,
    read_tag,
    read_tags,
)
from loadtest.population import Population
from loadtest.report import Round
from loadtest.stage import Edge, Stage
from loadtest.wrk import Supply
from ruleset import compile_switches, parse_switches

PAGES = 40


def test_a_set_of_all_kinds() -> None:
    """A quarter of the switches have no rules; pages get values by each kind of rule, and none is an error."""
    document = make_set(200)
    compiled = compile_switches(parse_switches(orjson.dumps(fill_salts(document))))
    assert sum(not switch.live for switch in compiled.switches) == 50
    told = [tell_flags([fill_salts(document)], orjson.loads(make_body(n))["context"], 0) for n in range(PAGES)]
    reasons = {flag["reason"] for flags in told for flag in flags}
    assert reasons == {"STATIC", "UNKNOWN", "SPLIT", "TARGETING_MATCH"}


def fill_salts(document: dict[str, object]) -> dict[str, object]:
    """The document as a publisher completes it."""
    filled: dict[str, object] = orjson.loads(orjson.dumps(document).replace(b'"parts"', b'"salt":"s","parts"'))
    return filled


def test_pages_differ() -> None:
    """Each page asks with a context of its own."""
    assert len({make_body(number) for number in range(PAGES)}) == PAGES


def test_an_edge_tells_tags(stage: Stage, edge: Edge) -> None:
    """Each page's tag is told as soon as all switches have arrived, and is answered with 304; others' are not."""
    stage.publish_switches({**make_set(20), "switches": "tags"})
    bodies = [make_body(number) for number in range(PAGES)]
    tags = asyncio.run(read_tags(edge.port, bodies, 20))
    assert len(set(tags)) == PAGES
    requests = [make_request(bodies[0], tags[1]), make_request(bodies[0])]
    answers = asyncio.run(ask_all(edge.port, requests))
    assert [answer.status for answer in answers] == [200, 200]
    assert [read_tag(answer.head) for answer in answers] == tags[:1] * 2


def test_an_answer_without_a_tag() -> None:
    """An edge that tells none cannot be measured."""
    with pytest.raises(MeasureError, match="expected an ETag, got"):
        read_tag(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")


def test_the_ratio_is_taken_within_rounds() -> None:
    """A machine that slows down slows both sides."""
    costs = [(1, "a", 30), (1, "b", 10), (2, "a", 80), (2, "b", 40), (3, "a", 50), (3, "b", 20)]
    rounds = [Round(number, server, 1_000_000, 1.0, cost, 0.0, 0.0, 0, 0) for number, server, cost in costs]
    assert compute_ratio(rounds, "a", "b") == 2.5


def test_answers_that_are_not_304_are_noticed(
    stage: Stage, edge: Edge, population: Population, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker's own counter has to confirm every 304."""
    monkeypatch.setattr("loadtest.ofrep.COUNT_TIMEOUT_S", 0.0)
    bench = SwitchBench(stage, edge, Supply(population, tmp_path), tmp_path, QUICK, (0, 0))
    with pytest.raises(MeasureError, match=f"expected {1 << 40} answers of 304, got "):
        bench._await_unchanged(1 << 40)
    assert UNCHANGED
