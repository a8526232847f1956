"""The population fulfils every clause of the bench, as counted from the requests that are sent."""

from random import Random
from typing import Any

import pytest

from contract import oracle
from loadtest.market import draw_profile
from loadtest.population import (
    ADDRESSES,
    OUTDATED_EVERY,
    RECORD,
    Census,
    Population,
    count_repeated,
    make_address,
    make_template,
    measure_population,
    merge_questions,
    parse_question,
)
from loadtest.program import make_documents

BLANK_LINE = b"\r\n\r\n"
CHECKS = 20_000


@pytest.fixture(scope="module")
def requests(population: Population) -> list[bytes]:
    return list(population.render(population.draw_records(0, CHECKS)))


@pytest.fixture(scope="module")
def census(documents: list[dict[str, Any]], requests: list[bytes]) -> Census:
    return measure_population(documents, requests)


def test_device_ids_never_repeat(census: Census) -> None:
    """No two requests come from the same device, or carry the same request id."""
    assert census.checks == CHECKS
    assert census.repeated_devices == 0
    assert census.repeated_request_ids == 0


def test_device_ids_do_not_repeat_in_later_records(population: Population) -> None:
    """Records drawn for a later round have other ids than those of the first."""
    first, later = (population.draw_records(start, 5_000) for start in (0, 5_000_000))
    ids = [record[0] for records in (first, later) for record in RECORD.iter_unpack(records)]
    assert len(set(ids)) == 10_000


def test_a_device_that_asks_again_is_counted(population: Population) -> None:
    """Records in their order repeat nothing; a record in another's place is seen."""
    records = population.draw_records(100, 50)
    assert count_repeated(records, 100) == 0
    assert count_repeated(records[: RECORD.size] * 3, 100) == 2
    assert count_repeated(records, 101) == 50


def test_the_same_seed_gives_the_same_records(documents: list[dict[str, Any]], population: Population) -> None:
    """A population is repeatable: same documents, same seed, same bytes; and another seed gives others."""
    again = Population(documents, 7)
    assert again.templates == population.templates
    assert again.draw_records(40, 100) == population.draw_records(40, 100)
    assert Population(documents[:10], 8, pairs=50).templates != Population(documents[:10], 7, pairs=50).templates


def test_nineteen_of_twenty_are_up_to_date(census: Census) -> None:
    """95 % of the devices have the package that the rules give them."""
    assert census.up_to_date == 0.95


def test_two_newer_grays_refuse_each_up_to_date_device(census: Census) -> None:
    """No up-to-date device has fewer than two refusing grays above its release; on average there are more."""
    assert census.least_refusals_of_up_to_date == 2
    assert census.refusals_a_check > 2


def test_the_last_condition_decides_half_of_the_refusals(census: Census) -> None:
    """Half of all refusals, or a little more, have passed all conditions but the last; some are the percentage's."""
    assert 0.5 <= census.refused_by["condition 4"] <= 0.56
    assert census.refused_by["percentage"] > 0.05
    assert sum(census.refused_by.values()) == pytest.approx(1, abs=0.001)


def test_every_gray_admits_thirty_percent(census: Census) -> None:
    """The percentage of each gray, the smallest included, admits at least 30 % of the devices."""
    assert census.least_percentage >= 0.3


def test_all_programs_are_asked_about(census: Census) -> None:
    """The thousand programs are all asked about, so that none stays in the processor's cache for itself alone."""
    assert census.programs == 1_000


def test_many_conditions_are_evaluated(census: Census) -> None:
    """A check evaluates the conditions of several releases, more than three releases of three."""
    assert census.conditions_a_check > 10


def test_the_oracle_agrees_on_who_is_up_to_date(documents: list[dict[str, Any]], requests: list[bytes]) -> None:
    """The oracle finds nothing to do for 19 of 20 devices, and an installation for each other one."""
    known = {one["program"]: one for one in documents}
    reasons = []
    for request in requests[:2_000]:
        question = parse_question(request)
        (name,) = question["programs"]
        reasons.append(oracle.decide(known[name], question, name, 0)["reason"])
    assert reasons == ["current" if number % OUTDATED_EVERY else "install" for number in range(2_000)]


def test_a_request_is_what_a_balancer_sends(requests: list[bytes]) -> None:
    """A request has its own X-Forwarded-For and X-Request-Id, and a Content-Length that is its body's."""
    heads = [request.partition(b"\r\n\r\n")[0].decode() for request in requests[:500]]
    bodies = [request.partition(b"\r\n\r\n")[2] for request in requests[:500]]
    fields = [dict(line.split(": ", 1) for line in head.split("\r\n")[1:]) for head in heads]
    assert {head.split("\r\n")[0] for head in heads} == {"POST /v1/check HTTP/1.1"}
    assert len({field["X-Forwarded-For"] for field in fields}) == 500
    assert len({field["X-Request-Id"] for field in fields}) == 500
    assert [int(field["Content-Length"]) for field in fields] == [len(body) for body in bodies]


def test_addresses_do_not_repeat() -> None:
    """A hundred thousand devices have as many addresses, each of four parts of three digits."""
    addresses = {make_address(number) for number in range(100_000)}
    assert len(addresses) == 100_000
    assert make_address(ADDRESSES) == make_address(0)
    assert {len(address) for address in addresses} == {15}


def test_a_template_has_a_length_of_three_digits() -> None:
    """A body that is too long for the place of its length is refused."""
    programs = {f"{number:016}": "1.0.0.0" for number in range(40)}
    with pytest.raises(ValueError, match="expected a body of 100 to 999 bytes, got 14"):
        make_template(draw_profile(Random(1)), programs)


def test_merged_questions_ask_about_all_programs(requests: list[bytes]) -> None:
    """A merged question is the first device's, about everybody's programs and an unknown one, with the right length."""
    merged = merge_questions(requests[:8])
    question = parse_question(merged)
    assert question["device"] == parse_question(requests[0])["device"]
    asked = {name for request in requests[:8] for name in parse_question(request)["programs"]}
    assert set(question["programs"]) == asked | {"10000000"}
    assert f"Content-Length: {len(merged.split(BLANK_LINE)[1])}\r\n".encode() in merged


def test_census_sees_a_flattering_population() -> None:
    """The census counts: devices that repeat, and are on nothing, are seen."""
    few = make_documents(1, 7)
    alone = Population(few, 7, pairs=1)
    request = next(iter(alone.render(alone.draw_records(0, 1))))
    census = measure_population(few, [request, request])
    assert (census.checks, census.repeated_devices, census.up_to_date) == (2, 1, 0)
