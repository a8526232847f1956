"""What a check costs each server's processor: the servers side by side, one under load at a time, round after round."""

import os
import resource
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from loadtest.process import list_children, pin
from loadtest.processor import read_usage
from loadtest.report import MICRO, Round
from loadtest.wrk import Supply, run_wrk

# How long each server is warmed up before the first round, in seconds.
WARM_UP_S = 1


@dataclass(frozen=True, slots=True)
class Target:
    """A server under test: the name in the report, the port, and the process that answers."""

    name: str
    port: int
    worker: int


def separate(targets: Sequence[Target], load_core: int, server_core: int) -> None:
    """Gives the answering processes a core, and everything else that belongs to the bench the other one."""
    for pid in list_family(os.getpid()):
        pin(pid, load_core)
    for target in targets:
        pin(target.worker, server_core)


def mix(cores: Sequence[int]) -> None:
    """Lets the bench and all its processes run where they like again."""
    for pid in list_family(os.getpid()):
        pin(pid, *cores)


def list_family(pid: int) -> list[int]:
    """Returns a process and all that descend from it."""
    family = [pid]
    for member in family:
        family += list_children(member)
    return family


def measure_cost(
    targets: Sequence[Target],
    supply: Supply,
    rounds: int,
    seconds: int,
    load_core: int,
    tell: Callable[[str], None],
) -> list[Round]:
    """Returns the rounds, interleaved: each server once, then each once again.

    Args:
        targets: pinned already.
        supply: the questions.
        rounds: how many.
        seconds: how long each server is under load in each.
        load_core: where wrk runs.
        tell: is told of the progress.

    Raises:
        MeasureError: requests failed.
    """
    for target in targets:
        run_wrk(supply, target.port, WARM_UP_S, load_core)
    measured = []
    for number in range(1, rounds + 1):
        for target in targets:
            one = measure_round(number, target, supply, seconds, load_core)
            tell(f"round {number} of {rounds}: {one.server:12} {one.processor_us:6.2f} us a check, core {one.core:.0%}")
            measured.append(one)
    return measured


def measure_round(number: int, target: Target, supply: Supply, seconds: int, load_core: int) -> Round:
    """Returns what one server, under load once, has cost its processor; raises MeasureError, as `run_wrk` does."""
    supply.prepare(seconds)
    load, server = _read_load(), read_usage(target.worker)
    summary = run_wrk(supply, target.port, seconds, load_core)
    used = read_usage(target.worker) - server
    return Round(
        number=number,
        server=target.name,
        requests=summary.requests,
        seconds=summary.duration_us / MICRO,
        user_s=used.user_s,
        system_s=used.system_s,
        load_s=_read_load() - load,
        p50_us=summary.p50_us,
        p99_us=summary.p99_us,
    )


def _read_load() -> float:
    """Processor seconds of the children that have ended, hence of wrk."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
