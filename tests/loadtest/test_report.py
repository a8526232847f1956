"""Ratios, medians, verdicts and the table, from figures that were made up."""

from typing import Any

import pytest

from loadtest.report import (
    Round,
    compute_processor,
    compute_rates,
    compute_ratios,
    find_failures,
    list_rounds,
    render_table,
    summarize,
)


def make_round(number: int, server: str, cost_us: float, core: float = 1.0) -> Round:
    """A round of 100,000 answers, a quarter of whose cost is user time."""
    total = cost_us / 10
    return Round(number, server, 100_000, total / core, total / 4, total * 3 / 4, 1.0, 400, 900)


def test_a_ratio_is_the_median_of_the_rounds_ratios() -> None:
    """A machine that is twice as slow in one round changes no ratio: both sides of a round are slow."""
    rounds = [make_round(1, "nginx", 6), make_round(1, "lane", 9)]
    rounds += [make_round(2, "nginx", 12), make_round(2, "lane", 18)]
    rounds += [make_round(3, "nginx", 6), make_round(3, "lane", 12)]
    assert compute_ratios(rounds) == {"lane/nginx": 1.5}


def test_all_three_ratios_are_computed() -> None:
    """Four servers give the three ratios of the report."""
    costs = {"nginx": 6, "lane": 9, "plain_edge": 30, "aiohttp_app": 36}
    ratios = compute_ratios([make_round(1, server, cost) for server, cost in costs.items()])
    assert ratios == {"lane/nginx": 1.5, "lane/aiohttp_app": 0.25, "plain_edge/nginx": 5.0}


def test_processor_times_are_medians_of_user_and_system() -> None:
    """Each server has its median user, system and total microseconds."""
    rounds = [make_round(number, "lane", cost) for number, cost in enumerate((8, 12, 40), 1)]
    assert compute_processor(rounds) == {"lane": {"user": 3.0, "system": 9.0, "total": 12.0}}


@pytest.mark.parametrize(("core", "rate"), [(0.95, 95_000), (0.94, None)])
def test_a_rate_wants_a_full_core(core: float, rate: int | None) -> None:
    """A rate is told from 95 % of a core on; below it there is a reason instead."""
    rates, reasons = compute_rates([make_round(1, "nginx", 10, core)])
    assert rates == {"nginx": rate}
    assert reasons == ({} if rate else {"nginx": "it used 94% of its core (median), less than 95%"})


def test_a_rate_wants_most_rounds() -> None:
    """One full round of three gives no rate, two of three give the median of these two."""
    rounds = [make_round(1, "lane", 10), make_round(2, "lane", 10, 0.5), make_round(3, "lane", 10, 0.5)]
    assert compute_rates(rounds)[0] == {"lane": None}
    assert compute_rates([*rounds[:2], make_round(3, "lane", 10)])[0] == {"lane": 100_000}


AUDIENCE = {
    "ids": 10_000_000,
    "build_s": 59.9,
    "file_bytes": 84_194_344,
    "memory_bytes": 90_000_000,
    "workers": 4,
    "ratio": 1.15,
    "processor_us": {"audience": 20.1, "inline": 18.2},
    "lists": 100,
    "ids_in_all": 100_000_000,
    "lookup_us": {"member": 2.0, "stranger": 1.6},
}


def make_report(**members: Any) -> dict[str, Any]:
    """A report that keeps every promise, with these members instead."""
    kept = {
        "wrong": 0,
        "ratios": {"lane/nginx": 1.8, "lane/aiohttp_app": 0.36, "plain_edge/nginx": 9.0},
        "rounds": [{"number": 5}],
        "compared": {"lane": 100_000, "plain_edge": 100_000},
        "load": {"programs": 10_000, "ms": 1_999.9},
        "change": {"100": {"median_ms": 10.0}, "10000": {"median_ms": 15.0}},
        "audience": AUDIENCE,
        "ofrep": {"switches": 1_000, "ratio": 3.0, "processor_us": {"check": 10.0, "unchanged": 30.0}},
    }
    return {**kept, **members}


def test_a_report_on_every_limit_is_kept() -> None:
    """The limits themselves are within the promise."""
    assert find_failures(make_report(), is_quick=False) == []


def test_what_was_not_measured_breaks_no_promise() -> None:
    """A run of one section is judged by that section."""
    assert find_failures({"wrong": 0, "machine": {}}, is_quick=False) == []


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"wrong": 2}, "expected no wrong answer, got 2"),
        ({"devices": {"used": 9, "repeated": 1}}, "expected no device twice, got 1 again"),
        ({"ratios": {"lane/nginx": 1.801}}, "expected lane/nginx of at most 1.8, got 1.801"),
        ({"ratios": {"lane/aiohttp_app": 0.361}}, "expected lane/aiohttp_app of at most 0.36, got 0.361"),
        ({"rounds": [{"number": 4}]}, "expected at least 5 rounds, got 4"),
        ({"compared": {"lane": 99_999}}, "expected at least 100000 answers of lane compared, got 99999"),
        ({"ofrep": {"ratio": 3.01}}, "expected a 304 for all switches at most 3.0 times a check, got 3.01"),
        ({"load": {"ms": 2_000.0}}, "expected the programs loaded in under 2000 ms, got 2000.0"),
        ({"audience": {**AUDIENCE, "build_s": 60.0}}, "expected an audience built in under 60 s, got 60.0"),
        (
            {"audience": {**AUDIENCE, "memory_bytes": 90_000_001}},
            "expected at most 90000000 bytes of memory for an audience, got 90000001",
        ),
        (
            {"audience": {**AUDIENCE, "ratio": 1.151}},
            "expected a check of an audience at most 1.15 times one of users, got 1.151",
        ),
        (
            {"audience": {**AUDIENCE, "lookup_us": {"member": 2.001, "stranger": 2.0}}},
            "expected a look-up of a member of at most 2.0 us, got 2.001",
        ),
        (
            {"change": {"100": {"median_ms": 50.0}}},
            "expected a median of under 50 ms for a change among 100 programs, got 50.0",
        ),
        (
            {"change": {"100": {"median_ms": 10.0}, "10000": {"median_ms": 15.1}}},
            "expected a change among 10000 programs to take at most 1.5 times one among 100, got 1.51",
        ),
    ],
)
def test_a_broken_promise_is_named(members: dict[str, Any], message: str) -> None:
    """Each promise has a line of its own that says what was expected and what came."""
    assert find_failures(make_report(**members), is_quick=False) == [message]


def test_a_quick_run_is_judged_by_its_answers_alone() -> None:
    """A short run proves no figure, but a wrong answer is wrong."""
    broken = make_report(wrong=1, ratios={"lane/nginx": 9.0}, rounds=[{"number": 1}])
    assert find_failures(broken, is_quick=True) == ["expected no wrong answer, got 1"]


def test_times_are_summarized() -> None:
    """Median, 99th percentile and largest of 200 times: 198 of them do not exceed the percentile."""
    figures = summarize([float(time) for time in range(200, 0, -1)])
    assert figures == {"changes": 200, "median_ms": 100.5, "p99_ms": 198.0, "max_ms": 200.0}


def test_rounds_are_listed_with_what_follows_from_them() -> None:
    """A round in the report has its cost and its share of the core."""
    (listed,) = list_rounds([make_round(1, "nginx", 6, 0.5)])
    assert (listed["processor_us"], listed["core"], listed["requests"]) == (6.0, 0.5, 100_000)


def test_the_table_shows_every_section() -> None:
    """What was measured is printed, and why a rate is missing."""
    rounds = [make_round(1, "nginx", 6, 0.9), make_round(1, "lane", 9)]
    rates, reasons = compute_rates(rounds)
    report = make_report(
        machine={"description": "2 cores"},
        conditions_a_check=14.4,
        processor_us=compute_processor(rounds),
        ratios=compute_ratios(rounds),
        rates=rates,
        no_rates=reasons,
        change={"100": {"median_ms": 8.5, "p99_ms": 20.0, "changes": 200}},
    )
    table = render_table(report)
    for line in (
        "machine    2 cores",
        "lane             2.25       6.75      9.00     1.50    111111",
        "  no rate of nginx: it used 90% of its core (median), less than 95%",
        "ratio      lane/nginx         1.5",
        "conditions 14.4 evaluated a check, on average",
        "answers    0 wrong of 100000 of lane, 100000 of plain_edge",
        "load       10000 programs in 1999.9 ms (a worker, from edge.db)",
        "change     among 100 programs: median 8.5 ms, p99 20.0 ms (200 changes)",
        "audience   of 10000000 ids: built in 59.9 s, file 84.2 MB, memory 90.0 MB for 4 workers",
        "audience   check 20.1 us, with inline users 18.2 us, ratio 1.15",
        "audience   look-up in 100 lists with 100000000 ids: member 2.0 us, stranger 1.6 us",
        "ofrep      1000 switches: check 10.0 us, unchanged 30.0 us; unchanged over check 3.0",
    ):
        assert line in table


def test_the_table_does_without_nginx() -> None:
    """Where nginx was not measured, nothing is set against it."""
    report = {"machine": {"description": "2 cores"}, "processor_us": compute_processor([make_round(1, "lane", 9)])}
    more = {"rates": {"lane": None}, "no_rates": {}, "ratios": {}, "conditions_a_check": 1}
    assert "lane             2.25       6.75      9.00        -         -" in render_table({**report, **more})
