"""What a soak amounts to: which failures a fault explains, which promises held, in words and as a picture. PURE."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from tests.faults.picture import Colour, Picture

Json = dict[str, Any]

# What is promised.
IN_TIME: Final = 0.99999
HEAL_S, SILENT_HEAL_S = 5.0, 15.0
REACH_MEDIAN_MS, REACH_P99_MS = 50.0, 250.0
MOST_SHARE: Final = 1.5
# A device notices a fault so long after it happened or was over, in seconds: what it waits, and what a machine takes.
NOTICED_S: Final = 1.0
# Which failures of a question a fault at the same host explains, beside a new connection's refusal by a dead host.
EXPLAINED: Final[Mapping[str, frozenset[str]]] = {
    "kill worker": frozenset({"ended"}),
    "stop worker": frozenset({"silent", "ended"}),
    "kill host": frozenset({"ended", "silent", "refused"}),
}


def explain(failure: Json, events: Sequence[Json]) -> str:
    """Returns the fault by which a question got no answer or a connection was refused; empty where none explains it."""
    for event in events:
        is_near = event["began"] - 0.1 <= failure["at"] <= event["ended"] + NOTICED_S
        what = "refused" if failure["what"].endswith("Error") else failure["what"]
        if is_near and failure["host"] == event["host"] and what in EXPLAINED.get(event["fault"], ()):
            return str(event["fault"])
    return ""


def assess(crowd: Json, events: Sequence[Json], healings: Sequence[Json]) -> Json:
    """Returns the figures of the main part of a run."""
    failures, refusals = crowd["failures"], crowd["refusals"]
    causes = Counter(explain(one, events) for one in failures)
    unexplained = [one for one in [*failures, *refusals] if not explain(one, events)]
    attempts = crowd["attempts"]
    in_time = attempts - crowd["late"] - crowd["lost"] - crowd["wrong"]
    return {
        "attempts": attempts,
        "in_time": in_time,
        "availability": in_time / max(1, attempts),
        "wrong": crowd["wrong"],
        "wrong_examples": crowd["wrong_examples"],
        "older": crowd["older"],
        "judged": crowd["judged"],
        "retried": crowd["retried"],
        "failed_retries": sum(one["is_retry"] for one in failures),
        "late": crowd["late"],
        "lost": crowd["lost"],
        "slowest_ms": round(crowd["slowest_ms"], 1),
        "misses": crowd["misses"],
        "failed_by_fault": {cause or "none": count for cause, count in causes.items()},
        "unexplained": unexplained,
        "refused_by_dead_hosts": len(refusals) - sum(one in unexplained for one in refusals),
        "refused_otherwise": sum(one in unexplained for one in refusals),
        "published": crowd["published"],
        "surprises": crowd["surprises"],
        "faults": dict(Counter(event["fault"] for event in events)),
        "healings": healings,
        "slowest_heal_s": max((one["took_s"] for one in healings if not one["is_silent"]), default=0.0),
        "slowest_silent_heal_s": max((one["took_s"] for one in healings if one["is_silent"]), default=0.0),
    }


def judge_answers(main: Json) -> list[str]:
    """Returns a line for each promise that does not hang on how fast the machine is, and is broken."""
    promises = {
        "wrong": "no wrong answer",
        "older": "no answer older than the last one on its connection",
        "lost": "every retry answered",
        "failed_retries": "every retry to succeed",
        "refused_otherwise": "no connection refused but by dead hosts",
    }
    failures = [f"expected {what}, got {main[name]}" for name, what in promises.items() if main[name]]
    if main["unexplained"]:
        got = f"{len(main['unexplained'])}, the first {main['unexplained'][0]}"
        failures.append(f"expected no failed request but those open on what was killed, got {got}")
    failures += main["surprises"]
    return failures


def judge_times(main: Json, reach: Json, shares: Json) -> list[str]:
    """Returns a line for each promise about times and shares that is broken."""
    found = [
        (main["availability"] >= IN_TIME, f"{IN_TIME:.3%} of attempts right within 1 s", f"{main['availability']:.4%}"),
        (main["slowest_heal_s"] <= HEAL_S, f"every worker well within {HEAL_S:.0f} s", f"{main['slowest_heal_s']} s"),
        (
            main["slowest_silent_heal_s"] <= SILENT_HEAL_S,
            f"every worker well within {SILENT_HEAL_S:.0f} s without a signal",
            f"{main['slowest_silent_heal_s']} s",
        ),
        (
            reach["from_request"]["median_ms"] < REACH_MEDIAN_MS,
            f"a median reach under {REACH_MEDIAN_MS:.0f} ms",
            f"{reach['from_request']['median_ms']} ms",
        ),
        (
            reach["from_request"]["p99_ms"] < REACH_P99_MS,
            f"a 99th percentile of reach under {REACH_P99_MS:.0f} ms",
            f"{reach['from_request']['p99_ms']} ms",
        ),
        *(
            (one["largest"] <= MOST_SHARE, f"the largest share at most {MOST_SHARE} times the mean", one["largest"])
            for one in (shares["at_first"], shares["after_a_death"])
        ),
    ]
    return [f"expected {what}, got {got}" for is_kept, what, got in found if not is_kept]


def render(report: Json) -> str:
    """Returns the report as text: a line a figure."""
    main, reach, shares = report["main"], report["reach"], report["shares"]
    faults = ", ".join(f"{name} {count}" for name, count in main["faults"].items())
    good, bad = main["published"].get("good", 0), sum(main["published"].values()) - main["published"].get("good", 0)
    causes = ", ".join(f"{name} {count}" for name, count in main["failed_by_fault"].items()) or "none"
    times = "{median_ms} ms median, {p99_ms} ms p99, {max_ms} ms at most"
    slow = f"{main['late']} late, {main['lost']} lost, slowest {main['slowest_ms']} ms"
    reached = f"{reach['publishes']} publications, last of {reach['workers']} workers"
    largest = [shares[when]["largest"] for when in ("at_first", "after_a_death")]
    lines = [
        f"machine    {report['machine']['description']}",
        f"run        {report['minutes']:g} minutes, seed {report['seed']}",
        f"faults     {faults}",
        f"published  {good + bad}, of which {bad} bad",
        f"answers    {main['judged']} compared, {main['wrong']} wrong, {main['older']} older than the last",
        f"attempts   {main['attempts']}, right within 1 s {main['availability']:.5%} ({slow})",
        f"failed     {main['retried']} requests failed once ({causes}), {main['failed_retries']} retries failed",
        f"refused    {main['refused_by_dead_hosts']} connections by dead hosts, {main['refused_otherwise']} otherwise",
        f"healed     within {main['slowest_heal_s']} s, {main['slowest_silent_heal_s']} s after a black hole",
        f"reach      {reached}: {times.format(**reach['from_request'])} from the request",
        f"reach      {times.format(**reach['from_answer'])} from the publisher's answer",
        f"shares     largest {largest[0]} times the mean, {largest[1]} after a worker died",
    ]
    return "\n".join([*lines, *(f"broken     {failure}" for failure in report["failures"])])


WIDTH, LEFT, TOP, FLOOR, ROW = 1_300, 130, 40, 330, 14
BLACK, GREY, BLUE, RED, ORANGE = (0, 0, 0), (170, 170, 170), (60, 110, 200), (200, 30, 30), (240, 150, 40)
_COLOURS: Final[Mapping[str, Colour]] = {"kill host": RED, "black hole": GREY, "publisher away": GREY}


def draw(report: Json, seconds: Mapping[str, Sequence[float]], events: Sequence[Json]) -> bytes:
    """Returns the PNG: by the second the slowest attempt (a second is full height) and retries, below it the faults."""
    names = list(dict.fromkeys(event["fault"] for event in events))
    height = FLOOR + 10 + ROW * len(names) + 20
    picture = Picture(WIDTH, height)
    times = sorted(map(int, seconds))
    first, count = times[0], times[-1] - times[0] + 1
    scale = (WIDTH - LEFT - 10) / count
    main = report["main"]
    head = f"{report['minutes']:g} min: {main['attempts']} attempts, {main['wrong']} wrong, {main['late']} late, "
    picture.write(LEFT, 10, f"{head}{main['lost']} lost, {main['retried']} retried", BLACK)
    for place, label in ((0.0, "0 ms"), (0.5, "500 ms"), (1.0, "1 s")):
        y = round(FLOOR - place * (FLOOR - TOP))
        picture.fill(LEFT, y, WIDTH, 1, GREY)
        picture.write(4, y - 5, label, BLACK)
    for second, (_, retried, slowest_ms) in seconds.items():
        x, wide = LEFT + round((int(second) - first) * scale), max(1, round(scale))
        tall = round(min(1.0, slowest_ms / 1_000) * (FLOOR - TOP))
        picture.fill(x, FLOOR - tall, wide, tall, RED if slowest_ms > 1_000 else ORANGE if retried else BLUE)
    for place, name in enumerate(names):
        picture.write(4, FLOOR + 10 + ROW * place, name, BLACK)
    for event in events:
        x = LEFT + round((event["began"] - first) * scale)
        wide = max(2, round((event["ended"] - event["began"]) * scale))
        y = FLOOR + 10 + ROW * names.index(event["fault"])
        picture.fill(x, y, wide, 10, _COLOURS.get(event["fault"], BLACK))
    picture.write(LEFT, height - 14, "slowest attempt a second. orange: with retries. below: the faults", BLACK)
    return picture.encode()
