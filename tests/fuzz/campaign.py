"""One run of a fuzzer: inputs by blocks, over processes, and a report. What an input is, the target knows.

A block is the unit of reproduction: all that chance decides in it follows from the seed and its number, and what inputs
share is made anew at its beginning.
"""

import multiprocessing
import resource
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from tests.fuzz.dice import Dice
from tests.fuzz.finding import BrokenError, Finding, read_parts

BLOCK: Final = 2_000
# A target may set a worker otherwise in each of so many blocks.
WAYS: Final = 6
# A run that breaks on everything need not say so ten million times.
MAX_FINDINGS: Final = 50
# How often progress is told, in seconds.
TELL_S: Final = 15.0


class Target(Protocol):
    """Whatever can be fuzzed."""

    name: str

    def begin(self, block: int) -> None:
        """Makes anew what inputs share."""

    def make(self, dice: Dice) -> list[bytes]:
        """Returns an input."""

    def judge(self, parts: list[bytes], dice: Dice) -> str:
        """Returns what became of an input; raises BrokenError where a promise was broken."""

    def close(self) -> None:
        """Ends what was begun."""


@dataclass(slots=True)
class Tally:
    """What became of the inputs of some blocks; `slowest` is the seconds of one input, its block and its number."""

    inputs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    slowest: tuple[float, int, int] = (0.0, 0, 0)
    memory_kb: int = 0

    def add(self, other: "Tally") -> None:
        """Takes in another one."""
        self.inputs += other.inputs
        self.outcomes += other.outcomes
        self.findings += other.findings
        self.slowest = max(self.slowest, other.slowest)
        self.memory_kb = max(self.memory_kb, other.memory_kb)


def run_block(target: Target, seed: int, block: int, count: int = BLOCK) -> Tally:
    """Returns what became of the inputs of one block."""
    tally, dice = Tally(count), Dice(f"{seed}/{block}")
    target.begin(block)
    clock, outcomes, slowest = time.perf_counter, tally.outcomes, (0.0, block, 0)
    for number in range(count):
        parts = target.make(dice)
        before = clock()
        try:
            outcomes[target.judge(parts, dice)] += 1
        except BrokenError as error:
            tally.findings.append(Finding(target.name, seed, block, number, parts, str(error)))
        except Exception:  # noqa: BLE001 - just what is looked for
            tally.findings.append(Finding(target.name, seed, block, number, parts, traceback.format_exc()))
        spent = clock() - before
        if spent > slowest[0]:
            slowest = spent, block, number
    tally.slowest = slowest
    tally.memory_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return tally


_target: Target


def _prepare(make_target: Callable[[Path], Target]) -> None:
    global _target  # noqa: PLW0603 - one a process
    _target = make_target(Path(tempfile.mkdtemp(prefix="graywave-fuzz-")))


def _run(seed: int, block: int, count: int) -> Tally:
    return run_block(_target, seed, block, count)


def run_blocks(
    make_target: Callable[[Path], Target],
    seed: int,
    inputs: int,
    jobs: int,
    note: Callable[[Tally, float], None],
    *,
    begin: int = 0,
) -> Tally:
    """Returns what became of so many inputs; ends early where everything breaks.

    Args:
        make_target: makes what is fuzzed, in each process, with a folder of its own.
        seed: the same seed, the same inputs.
        inputs: how many.
        jobs: how many processes.
        note: is told what became of all so far, and in how many seconds, now and then and with each finding.
        begin: the first block: a long run may be made of several.
    """
    total, started, told = Tally(), time.monotonic(), 0.0
    context = multiprocessing.get_context("spawn")
    sizes = list(_divide(inputs))
    with ProcessPoolExecutor(jobs, context, _prepare, (make_target,)) as pool:
        for ready in as_completed([pool.submit(_run, seed, block, size) for block, size in enumerate(sizes, begin)]):
            found = ready.result()
            total.add(found)
            seconds = time.monotonic() - started
            if found.findings or seconds - told >= TELL_S:
                told = seconds
                note(total, seconds)
            if len(total.findings) >= MAX_FINDINGS:
                pool.shutdown(wait=False, cancel_futures=True)
                break
    return total


def _divide(inputs: int) -> Iterator[int]:
    for done in range(0, inputs, BLOCK):
        yield min(BLOCK, inputs - done)


def report(target: str, seed: int, total: Tally, seconds: float) -> dict[str, Any]:
    """Returns a run's figures."""
    slowest, block, number = total.slowest
    return {
        "target": target,
        "seed": seed,
        "inputs": total.inputs,
        "seconds": round(seconds, 1),
        "outcomes": dict(total.outcomes.most_common()),
        "findings": len(total.findings),
        "slowest_ms": round(slowest * 1e3, 2),
        "slowest_at": {"block": block, "number": number},
        "memory_mb": round(total.memory_kb / 1024, 1),
    }


def judge_again(target: Target, path: Path) -> str:
    """Returns what the input of a file still breaks, in any of the ways a worker is set; empty where nothing."""
    parts = read_parts(path)
    for block in range(WAYS):
        target.begin(block)
        try:
            target.judge(parts, Dice(path.name))
        except BrokenError as error:
            return str(error)
        except Exception:  # noqa: BLE001 - just what is looked for
            return traceback.format_exc()
    return ""
