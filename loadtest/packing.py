"""`scripts/bench packing`: packing a large package in flat memory, and applying deltas to packages of 10 and 50 MB.

The packages are made here, from a seed: files of words, a tenth of which changes from one version to the next. Its exit
status is the bench's.
"""

import argparse
import hashlib
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

from loadtest.delivery import deliver, tell
from loadtest.deltas import MEBI
from loadtest.deltas import measure_applying as apply_delta
from loadtest.errors import LoadtestError
from loadtest.machine import describe_machine
from loadtest.parcel import measure_alone

Json = dict[str, Any]

SEED: Final = 20_261_120
MEGA: Final = 1_000_000
# The large package, and one of a tenth: flat memory does not grow with the package.
LARGE: Final = (150 * MEGA, 10_000)
SMALL: Final = (15 * MEGA, 1_000)
MAX_PACK_MS: Final = 30_000.0
# Lists of names and hashes grow with the files, contents must not: of ten times the package, so much more memory.
MAX_GROWTH: Final = 24 * MEBI
# Megabytes of a package: the highest memory above a bare interpreter's, and milliseconds, of applying a delta to it.
APPLIED: Final = {10: (32 * MEBI, None), 50: (160 * MEBI, 1_000.0)}
CHANGED_EVERY: Final = 10
_WORDS: Final = [hashlib.sha256(b"%d" % number).hexdigest()[: 3 + number % 9] for number in range(4_000)]


def make_package(folder: Path, size: int, files: int, version: int) -> None:
    """Writes a package of about `size` bytes; version 2 has other words in every CHANGED_EVERYth file."""
    each = size // files
    for number in range(files):
        changed = version if number % CHANGED_EVERY == 0 else 1
        draw = random.Random(f"{SEED} {number}")
        words = draw.choices(_WORDS, k=each // 8)
        if changed > 1:
            words[len(words) // 2] = f"changed-{changed}"
        path = folder / f"pages/{number % 100:02}/{number}.js"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(" ".join(words)[:each].ljust(each), "ascii")


def measure_packing(folder: Path, *, is_quick: bool) -> Json:
    """Returns what packing costs at the quick level, twice, and for a package of a tenth."""
    report: Json = {}
    for name, (size, files) in (("small", SMALL), ("large", LARGE)):
        shrunk = 10 if is_quick else 1
        tell(f"packing {size // shrunk // MEGA} MB in {files // shrunk} files, twice")
        source = folder / name
        make_package(source, size // shrunk, files // shrunk, 1)
        costs = [measure_alone("pack", source, folder / f"{name}.{turn}") for turn in (1, 2)]
        first, second = (find_transfer(folder / f"{name}.{turn}") for turn in (1, 2))
        shutil.rmtree(source)
        report[name] = {
            "bytes": size // shrunk,
            "files": files // shrunk,
            "moved": first.stat().st_size,
            "ms": max(cost.ms for cost in costs),
            "memory": max(cost.memory for cost in costs),
            "same_twice": first.read_bytes() == second.read_bytes(),
        }
    return report


def find_transfer(packed: Path) -> Path:
    """Returns the one transfer in a folder that a package was packed to."""
    (transfer,) = (path for path in packed.iterdir() if path.name != "package.json")
    return transfer


def measure_applying(folder: Path, megabytes: int) -> Json:
    """Returns what applying a delta to an installed package of so many megabytes costs."""
    tell(f"making a delta of a package of {megabytes} MB, and applying it")
    for version in (1, 2):
        make_package(folder / f"v{version}", megabytes * MEGA, megabytes * 20, version)
        measure_alone("tar", folder / f"v{version}", folder / f"v{version}.tar")
    made = measure_alone("delta", folder / "v1.tar", folder / "v2.tar", folder / "delta")
    old, new = folder / "v1.tar", folder / "v2.tar"
    applied = [apply_delta(old, folder / "delta", new, folder) for _ in range(3)]
    return {
        "tar": new.stat().st_size,
        "delta": made.size,
        "make_ms": made.ms,
        "make_memory": made.memory,
        "ms": median(cost.ms for cost in applied),
        "all_ms": [cost.ms for cost in applied],
        "memory": max(cost.memory for cost in applied),
        "process": max(cost.process for cost in applied),
    }


def find_failures(report: Json) -> list[str]:
    """Returns the promises that are broken, a sentence each."""
    large, small = report["packing"]["large"], report["packing"]["small"]
    judged = [
        (large["same_twice"], "expected the same bytes twice, got others"),
        (large["ms"] <= MAX_PACK_MS, f"expected packing within {MAX_PACK_MS:.0f} ms, got {large['ms']}"),
        (
            large["memory"] - small["memory"] <= MAX_GROWTH,
            f"expected memory that does not grow with the package, got {small['memory']} and {large['memory']}",
        ),
    ]
    for megabytes, applied in report["applying"].items():
        memory, most_ms = APPLIED[int(megabytes)]
        judged += [
            (applied["memory"] <= memory, f"{megabytes} MB: expected at most {memory} bytes, got {applied['memory']}"),
            (
                most_ms is None or applied["ms"] <= most_ms,
                f"{megabytes} MB: expected at most {most_ms} ms, got {applied['ms']}",
            ),
        ]
    return [words for is_kept, words in judged if not is_kept]


def render_table(report: Json) -> str:
    """Returns the figures as people read them; memory is above the interpreter's with its libraries loaded."""
    lines = [
        f"pack   {part['bytes'] / MEGA:>5.0f} MB, {part['files']:>6} files {part['ms']:>8.0f} ms"
        f" {part['memory'] / MEBI:>6.1f} MiB   {part['moved']:>11,} bytes to move"
        for part in report["packing"].values()
    ]
    lines += [
        f"apply  {int(size):>5} MB               {part['ms']:>8.0f} ms {part['memory'] / MEBI:>6.1f} MiB"
        f"   {part['delta']:>11,} bytes, made in {part['make_ms'] / 1000:.1f} s, {part['make_memory'] / MEBI:.0f} MiB"
        for size, part in report["applying"].items()
    ]
    return "\n".join(lines)


def parse_arguments(arguments: Sequence[str]) -> tuple[Path | None, bool]:
    """Returns the file that takes the JSON report, and whether the run is a quick one."""
    parser = argparse.ArgumentParser(prog="scripts/bench packing", description="Measures packing and applying.")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    parser.add_argument("--quick", action="store_true", help="packages of a tenth, to see that all works")
    given = parser.parse_args(arguments)
    return given.json, given.quick


def main(arguments: Sequence[str]) -> int:
    """Runs the bench of packing; returns its exit status."""
    path, is_quick = parse_arguments(arguments)
    report: Json = {"machine": describe_machine(), "quick": is_quick, "applying": {}}
    try:
        with tempfile.TemporaryDirectory(prefix="graywave-bench-") as folder:
            report["packing"] = measure_packing(Path(folder), is_quick=is_quick)
        for megabytes in [10] if is_quick else APPLIED:
            with tempfile.TemporaryDirectory(prefix="graywave-bench-") as folder:
                report["applying"][str(megabytes)] = measure_applying(Path(folder), megabytes)
    except (LoadtestError, OSError, subprocess.SubprocessError) as error:
        tell(f"failed: {error}")
        return 4
    report["failures"] = find_failures(report)
    return deliver(report, render_table(report), path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
