"""What measurements amount to: medians, ratios, verdicts, and the table that people read. PURE."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

Json = dict[str, Any]

NGINX, LANE, PLAIN_EDGE, AIOHTTP_APP = SERVERS = ("nginx", "lane", "plain_edge", "aiohttp_app")
# Which processor times are set against each other: above, below.
PAIRS = ((LANE, NGINX), (LANE, AIOHTTP_APP), (PLAIN_EDGE, NGINX))
# What the project promises of them.
RATIO_LIMITS: Mapping[str, float] = {"lane/nginx": 1.8, "lane/aiohttp_app": 0.36}
LEAST_ROUNDS = 5
LEAST_COMPARED = 100_000
MAX_LOAD_MS = 2_000.0
MAX_CHANGE_MEDIAN_MS = 50.0
# A change "costs the same" where its median among 10,000 programs is at most so many times that among 100.
MAX_CHANGE_GROWTH = 1.5
MAX_BUILD_S = 60.0
MAX_AUDIENCE_BYTES = 90_000_000
MAX_AUDIENCE_RATIO = 1.15
MAX_LOOKUP_US = 2.0
# Of a question for all switches that is answered by a 304, over a check.
MAX_UNCHANGED_RATIO = 3.0
# A server that waited for questions says nothing of the rate that it can bear.
LEAST_CORE = 0.95
MICRO = MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Round:
    """One server under load once: answers, seconds by the clock, processor seconds of the server and of wrk."""

    number: int
    server: str
    requests: int
    seconds: float
    user_s: float
    system_s: float
    load_s: float
    p50_us: int
    p99_us: int

    @property
    def processor_us(self) -> float:
        """Processor microseconds a check, user and system together."""
        return (self.user_s + self.system_s) * MICRO / self.requests

    @property
    def core(self) -> float:
        """The share of its core that the server used."""
        return (self.user_s + self.system_s) / self.seconds


def compute_ratios(rounds: Sequence[Round]) -> dict[str, float]:
    """Returns for each pair the median of its ratios round by round, as far as both were measured.

    A ratio is taken within a round, whose parts are seconds apart, so that a machine that slows down slows both sides.
    """
    numbers = sorted({one.number for one in rounds})
    costs = {(one.number, one.server): one.processor_us for one in rounds}
    ratios = {}
    for above, below in PAIRS:
        found = [
            costs[number, above] / costs[number, below]
            for number in numbers
            if (number, above) in costs and (number, below) in costs
        ]
        if found:
            ratios[f"{above}/{below}"] = round(median(found), 3)
    return ratios


def compute_processor(rounds: Sequence[Round]) -> dict[str, dict[str, float]]:
    """Returns by server the median processor microseconds a check: user, system, and both together."""
    servers: dict[str, dict[str, float]] = {}
    for server in SERVERS:
        own = [one for one in rounds if one.server == server]
        if own:
            servers[server] = {
                "user": round(median(one.user_s * MICRO / one.requests for one in own), 3),
                "system": round(median(one.system_s * MICRO / one.requests for one in own), 3),
                "total": round(median(one.processor_us for one in own), 3),
            }
    return servers


def compute_rates(rounds: Sequence[Round]) -> tuple[dict[str, int | None], dict[str, str]]:
    """Returns by server the median answers a second, and why there is none.

    Only rounds count in which the server used LEAST_CORE of its core, and only where most of its rounds did.
    """
    rates: dict[str, int | None] = {}
    reasons: dict[str, str] = {}
    for server in SERVERS:
        own = [one for one in rounds if one.server == server]
        full = [one.requests / one.seconds for one in own if one.core >= LEAST_CORE]
        if not own:
            continue
        enough = 2 * len(full) > len(own)
        rates[server] = round(median(full)) if enough else None
        if not enough:
            used = median(one.core for one in own)
            reasons[server] = f"it used {used:.0%} of its core (median), less than {LEAST_CORE:.0%}"
    return rates, reasons


def find_failures(report: Json, *, is_quick: bool) -> list[str]:
    """Returns a line for each promise that a report breaks; what was not measured breaks none.

    Args:
        report: the members of the JSON report, those that there are.
        is_quick: too short a run to hold any figure against anybody; only wrong answers and repeated devices count.
    """
    failures = []
    if report.get("wrong"):
        failures.append(f"expected no wrong answer, got {report['wrong']}")
    repeated = report.get("devices", {}).get("repeated")
    if repeated:
        failures.append(f"expected no device twice, got {repeated} again")
    if is_quick:
        return failures
    return (
        failures
        + _judge_cost(report)
        + _judge_load(report)
        + _judge_change(report)
        + _judge_audience(report)
        + _judge_switches(report)
    )


def _judge_cost(report: Json) -> list[str]:
    ratios = report.get("ratios", {})
    failures = [
        f"expected {name} of at most {limit}, got {ratios[name]}"
        for name, limit in RATIO_LIMITS.items()
        if name in ratios and ratios[name] > limit
    ]
    rounds = max((one["number"] for one in report.get("rounds", [])), default=LEAST_ROUNDS)
    if rounds < LEAST_ROUNDS:
        failures.append(f"expected at least {LEAST_ROUNDS} rounds, got {rounds}")
    for server, compared in report.get("compared", {}).items():
        if server in (LANE, PLAIN_EDGE) and compared < LEAST_COMPARED:
            failures.append(f"expected at least {LEAST_COMPARED} answers of {server} compared, got {compared}")
    return failures


def _judge_load(report: Json) -> list[str]:
    took = report.get("load", {}).get("ms", 0.0)
    return [f"expected the programs loaded in under {MAX_LOAD_MS:.0f} ms, got {took}"] if took >= MAX_LOAD_MS else []


def _judge_change(report: Json) -> list[str]:
    changes = report.get("change", {})
    medians = {int(programs): one["median_ms"] for programs, one in changes.items()}
    failures = [
        f"expected a median of under {MAX_CHANGE_MEDIAN_MS:.0f} ms for a change among {programs} programs, got {took}"
        for programs, took in medians.items()
        if took >= MAX_CHANGE_MEDIAN_MS
    ]
    if len(medians) > 1:
        growth = medians[max(medians)] / medians[min(medians)]
        if growth > MAX_CHANGE_GROWTH:
            failures.append(
                f"expected a change among {max(medians)} programs to take at most {MAX_CHANGE_GROWTH} times one among "
                f"{min(medians)}, got {growth:.2f}"
            )
    return failures


def _judge_audience(report: Json) -> list[str]:
    found = report.get("audience")
    if found is None:
        return []
    limits = [
        (
            found["build_s"] < MAX_BUILD_S,
            f"expected an audience built in under {MAX_BUILD_S:.0f} s, got {found['build_s']}",
        ),
        (
            found["memory_bytes"] <= MAX_AUDIENCE_BYTES,
            f"expected at most {MAX_AUDIENCE_BYTES} bytes of memory for an audience, got {found['memory_bytes']}",
        ),
        (
            found["ratio"] <= MAX_AUDIENCE_RATIO,
            f"expected a check of an audience at most {MAX_AUDIENCE_RATIO} times one of users, got {found['ratio']}",
        ),
        *(
            (took <= MAX_LOOKUP_US, f"expected a look-up of a {who} of at most {MAX_LOOKUP_US} us, got {took}")
            for who, took in found["lookup_us"].items()
        ),
    ]
    return [failure for is_kept, failure in limits if not is_kept]


def _judge_switches(report: Json) -> list[str]:
    ratio = report.get("ofrep", {}).get("ratio", 0.0)
    message = f"expected a 304 for all switches at most {MAX_UNCHANGED_RATIO} times a check, got {ratio}"
    return [message] if ratio > MAX_UNCHANGED_RATIO else []


def list_rounds(rounds: Sequence[Round]) -> list[Json]:
    """Returns the rounds as the JSON report has them."""
    return [{**asdict(one), "processor_us": round(one.processor_us, 3), "core": round(one.core, 3)} for one in rounds]


def summarize(times_ms: Sequence[float]) -> dict[str, float]:
    """Returns median, 99th percentile and largest of some times, in milliseconds.

    The percentile is the smallest time that at least 99 of 100 do not exceed.
    """
    ordered = sorted(times_ms)
    place = -(-99 * len(ordered) // 100) - 1
    return {
        "changes": len(ordered),
        "median_ms": round(median(ordered), 2),
        "p99_ms": round(ordered[place], 2),
        "max_ms": round(ordered[-1], 2),
    }


def render_table(report: Json) -> str:
    """Returns what the bench prints: a line a figure, sections in the order in which they were measured."""
    lines = [f"machine    {report['machine']['description']}"]
    lines += _render_cost(report)
    if "compared" in report:
        counts = ", ".join(f"{count} of {server}" for server, count in report["compared"].items())
        lines.append(f"answers    {report['wrong']} wrong of {counts}")
    if "load" in report:
        load = report["load"]
        lines.append(f"load       {load['programs']} programs in {load['ms']} ms (a worker, from edge.db)")
    for programs, one in report.get("change", {}).items():
        lines.append(
            f"change     among {programs} programs: median {one['median_ms']} ms, p99 {one['p99_ms']} ms "
            f"({one['changes']} changes)"
        )
    return "\n".join(lines + _render_audience(report) + _render_switches(report))


def _render_audience(report: Json) -> list[str]:
    found = report.get("audience")
    if found is None:
        return []
    file, memory, users = found["file_bytes"] / MILLION, found["memory_bytes"] / MILLION, found["processor_us"]
    size = f"file {file:.1f} MB, memory {memory:.1f} MB for {found['workers']} workers"
    lookups = ", ".join(f"{who} {took} us" for who, took in found["lookup_us"].items())
    return [
        f"audience   of {found['ids']} ids: built in {found['build_s']} s, {size}",
        f"audience   check {users['audience']} us, with inline users {users['inline']} us, ratio {found['ratio']}",
        f"audience   look-up in {found['lists']} lists with {found['ids_in_all']} ids: {lookups}",
    ]


def _render_switches(report: Json) -> list[str]:
    found = report.get("ofrep")
    if found is None:
        return []
    told = ", ".join(f"{kind} {cost} us" for kind, cost in found["processor_us"].items())
    return [f"ofrep      {found['switches']} switches: {told}; unchanged over check {found['ratio']}"]


def _render_cost(report: Json) -> list[str]:
    if "processor_us" not in report:
        return []
    lines = ["", f"{'server':12} {'user us':>8} {'system us':>10} {'total us':>9} {'x nginx':>8} {'checks/s':>9}"]
    floor = report["processor_us"].get(NGINX, {}).get("total")
    for server, cost in report["processor_us"].items():
        times = f"{cost['total'] / floor:8.2f}" if floor else f"{'-':>8}"
        rate = report["rates"].get(server)
        lines.append(
            f"{server:12} {cost['user']:8.2f} {cost['system']:10.2f} {cost['total']:9.2f} {times} {rate or '-':>9}"
        )
    lines += [f"  no rate of {server}: {reason}" for server, reason in report["no_rates"].items()]
    lines += ["", *(f"ratio      {name:18} {value}" for name, value in report["ratios"].items())]
    lines.append(f"conditions {report['conditions_a_check']} evaluated a check, on average")
    return lines
