"""The fuzzers' command line: which one, how many inputs, and what to do with what is found.

    scripts/fuzz lane|documents [--inputs N] [--seed N] [--jobs N] [--json FILE] [--findings FOLDER] [--begin N]
    scripts/fuzz lane|documents --seed N --block N
    scripts/fuzz lane|documents --again FILE

Exit status: 0 every promise was kept, 1 one was broken, 2 wrong arguments.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, TextIO

import orjson

from tests.fuzz.campaign import Tally, Target, judge_again, report, run_block, run_blocks
from tests.fuzz.document import DocumentTarget
from tests.fuzz.lane import LaneTarget

TARGETS: Final[dict[str, Callable[[Path], Target]]] = {"lane": LaneTarget, "documents": DocumentTarget}
INPUTS: Final = 10_000_000
SEED: Final = 20_261_126


def main(arguments: Sequence[str]) -> int:
    """Runs a fuzzer; returns its exit status."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Gives made-up bytes to the edge's own doors.")
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--inputs", type=int, default=INPUTS, metavar="N", help=f"how many (default {INPUTS})")
    parser.add_argument("--seed", type=int, default=SEED, metavar="N", help="the same seed, the same inputs")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--findings", type=Path, default=Path("findings"), metavar="FOLDER", help="where each is kept")
    parser.add_argument("--begin", type=int, default=0, metavar="N", help="the first block, to go on with a run")
    parser.add_argument("--block", type=int, metavar="N", help="only this block, in this process")
    parser.add_argument("--again", type=Path, metavar="FILE", help="only the input of a finding's file")
    given = parser.parse_args(arguments)
    make_target = TARGETS[given.target]
    started = time.monotonic()
    if given.again:
        with tempfile.TemporaryDirectory() as folder:
            _tell(judge_again(make_target(Path(folder)), given.again) or "every promise is kept")
        return 0
    if given.block is not None:
        with tempfile.TemporaryDirectory() as folder:
            total = run_block(make_target(Path(folder)), given.seed, given.block)
        _keep(total, given.findings)
    else:
        note = partial(_note, given.inputs, given.findings)
        total = run_blocks(make_target, given.seed, given.inputs, given.jobs, note, begin=given.begin)
    told = report(given.target, given.seed, total, time.monotonic() - started)
    text = orjson.dumps(told, option=orjson.OPT_INDENT_2).decode()
    _tell(text)
    if given.json:
        given.json.write_text(text + "\n")
    return int(bool(total.findings))


def _note(inputs: int, folder: Path, total: Tally, seconds: float) -> None:
    _keep(total, folder)
    rate = total.inputs / seconds
    _tell(f"{total.inputs:,} of {inputs:,}, {rate:,.0f} a second, {len(total.findings)} findings", sys.stderr)


def _tell(line: str, stream: TextIO | None = None) -> None:
    (stream or sys.stdout).write(line + "\n")
    (stream or sys.stdout).flush()


def _keep(total: Tally, folder: Path) -> None:
    if total.findings:
        folder.mkdir(parents=True, exist_ok=True)
    for finding in total.findings:
        finding.write(folder)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
