"""The soak's command line: faults of all kinds under a steady stream of questions, then how fast a publication arrives.

    scripts/soak MINUTES [--json FILE] [--png FILE] [--seed N]

It takes some three minutes more than it is told. Exit status: 0 every promise is kept, 1 one is broken, 2 wrong
arguments, 3 the machine lacks something, 4 the measurement itself failed.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

import aiohttp
import orjson
import redis

from loadtest.bench import end_on_signals
from loadtest.errors import LoadtestError, ToolError
from loadtest.machine import describe_machine
from tests.faults.city import City, Host
from tests.faults.conductor import Conductor, tell
from tests.faults.plan import make_plan
from tests.faults.reach import WORKERS, measure_reach, measure_shares
from tests.faults.verdict import assess, draw, judge_answers, judge_times, render

Json = dict[str, Any]

SEED = 20_261_126
HOSTS, WORKERS_A_HOST = 2, 2
# How many publications are measured: as many as the promise is about in a run of ten minutes or more.
REACH, REACH_A_MINUTE = 1_000, 100
WARM_S = 2.0


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """Returns the options; ends the process with 2 where they are wrong."""
    parser = argparse.ArgumentParser(prog="scripts/soak", description="Faults under load, and what devices notice.")
    parser.add_argument("minutes", type=_positive, metavar="MINUTES", help="how long; the promises are about 20")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the run there")
    parser.add_argument("--seed", type=int, default=SEED, help=f"of order, victims and questions (default {SEED})")
    return parser.parse_args(arguments)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number <= 24 * 60:
        raise argparse.ArgumentTypeError(f"expected minutes, at most a day's, got {text}")
    return number


def play(city: City, hosts: Sequence[Host], minutes: float, seed: int) -> tuple[Json, Json, list[Json]]:
    """Returns the figures of the main part, by the second what devices saw, and the faults."""
    plan = make_plan(minutes, seed)
    pace = {"publishes": plan.publishes, "bad": plan.bad, "seconds": minutes * 60}
    crowd = city.start_crowd(hosts, seed, **pace)
    crowd.tell("begin")
    for host in hosts:
        host.await_ready()
    crowd.tell("ask")
    conductor = Conductor(city, crowd, plan, Random(f"victims/{seed}"))
    conductor.run()
    told = crowd.tell("end")
    crowd.close()
    events = [asdict(event) for event in conductor.events]
    return assess(told, events, [asdict(one) for one in conductor.healings]), told["seconds"], events


def measure(folder: Path, cleanup: ExitStack, minutes: float, seed: int) -> tuple[Json, bytes]:
    """Returns the report and its picture.

    Raises:
        LoadtestError: the machine lacks something, a server failed, or a measurement.
    """
    report: Json = {"machine": describe_machine(), "minutes": minutes, "seed": seed}
    city = City(folder, cleanup)
    hosts = [city.add_host(WORKERS_A_HOST) for _ in range(HOSTS)]
    report["main"], seconds, events = play(city, hosts, minutes, seed)
    for host in hosts:
        host.kill()
    tell("how fast a publication reaches the last of four workers")
    host = city.add_host(WORKERS)
    host.await_ready()
    reach = measure_reach(city, host, min(REACH, max(20, round(REACH_A_MINUTE * minutes))))
    report["reach"] = {**reach, "workers": WORKERS}
    report["shares"] = measure_shares(host)
    report["failures"] = judge_answers(report["main"]) + judge_times(report["main"], report["reach"], report["shares"])
    picture = draw(report, seconds, events)
    report["events"] = events
    return report, picture


def main(arguments: Sequence[str]) -> int:
    """Runs the soak; returns its exit status."""
    given = parse_arguments(arguments)
    try:
        with ExitStack() as cleanup:
            end_on_signals(cleanup, round(given.minutes * 120) + 600)
            folder = cleanup.enter_context(tempfile.TemporaryDirectory(prefix="graywave-soak-"))
            report, picture = measure(Path(folder), cleanup, given.minutes, given.seed)
    except ToolError as error:
        tell(str(error))
        return 3
    except (LoadtestError, OSError, aiohttp.ClientError, redis.RedisError, subprocess.SubprocessError) as error:
        tell(f"failed: {str(error) or type(error).__name__}")
        return 4
    if given.json:
        given.json.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    if given.png:
        given.png.write_bytes(picture)
    sys.stdout.write(render(report) + "\n")
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
