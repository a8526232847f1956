"""`scripts/bench deltas OLD NEW [OLD NEW]...`: what a delta moves, takes and needs, with bsdiff4 beside it.

Each side is a local folder, .zip, .tgz or .tar, or `name@version`, fetched through npm. Exit status as the bench's.
"""

import argparse
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from loadtest.delivery import deliver, tell
from loadtest.errors import LoadtestError, MeasureError, ToolError
from loadtest.machine import describe_machine
from loadtest.parcel import Cost, measure_alone
from loadtest.process import find_tool

Json = dict[str, Any]

# What the prototype moved for these packages, as npm names their files: a delta may have 2 % and a header more.
PROTOTYPE: Final[Mapping[str, int]] = MappingProxyType(
    {"vant-weapp-1.11.5": 433, "vue-3.4.1": 7_455, "lodash-4.17.21": 12_410, "tarojs-components-3.6.21": 5_839}
)
HEADER_BYTES: Final = 100
# RFC 9842's header: bsdiff4 names no old version, so that it may be so much smaller.
DCZ_HEADER_BYTES: Final = 40
LEAST_SAVING: Final = 10
FETCH_TIMEOUT_S: Final = 120.0
MEBI: Final = 1024 * 1024


def parse_arguments(arguments: Sequence[str]) -> tuple[list[tuple[str, str]], Path | None]:
    """Returns the pairs, and the file that takes the JSON report; ends the process with 2 where they are wrong."""
    parser = argparse.ArgumentParser(prog="scripts/bench deltas", description="Measures deltas between packages.")
    parser.add_argument("sides", nargs="+", metavar="OLD NEW", help="a local package, or name@version through npm")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report there")
    given = parser.parse_args(arguments)
    if len(given.sides) % 2:
        parser.error(f"expected pairs of OLD and NEW, got {len(given.sides)} packages")
    return list(zip(given.sides[::2], given.sides[1::2], strict=True)), given.json


def find_source(side: str, folder: Path) -> Path:
    """Returns the local package that a side names, fetched into `folder` where it is none.

    Raises:
        ToolError: it is to be fetched, and there is no npm.
        MeasureError: it is neither there nor fetched.
    """
    local = Path(side)
    if local.exists():
        return local
    if "@" not in side[1:] or side.startswith(("-", ".", "/")):
        raise MeasureError(f"expected a file, a folder or name@version, got {side!r}")
    npm = find_tool("npm", "npm")
    # Only packed, as published: nothing of it is run.
    command = [npm, "pack", side, "--pack-destination", str(folder), "--ignore-scripts", "--silent"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=FETCH_TIMEOUT_S, cwd=folder)
    names = done.stdout.split()
    if done.returncode or not names:
        raise MeasureError(f"npm could not fetch {side!r}: {done.stderr.strip()[-200:]}")
    return folder / names[-1]


def measure_pair(old: str, new: str, folder: Path) -> Json:
    """Returns what moving from one package to another costs; everything is written into `folder`."""
    tell(f"{old} -> {new}")
    tars, names = {}, {}
    for name, side in (("old", old), ("new", new)):
        place = folder / name
        place.mkdir()
        source = find_source(side, place)
        names[name], tars[name] = source.name.removesuffix(".tgz"), folder / f"{name}.tar"
        measure_alone("tar", source, tars[name])
    full = measure_alone("full", tars["new"], folder / "full")
    delta = measure_alone("delta", tars["old"], tars["new"], folder / "delta")
    bsdiff4 = measure_alone("bsdiff4", tars["old"], tars["new"], folder / "bsdiff4")
    applied = measure_applying(tars["old"], folder / "delta", tars["new"], folder)
    return {
        **names,
        "tar": tars["new"].stat().st_size,
        "full": full.size,
        "delta": delta.size,
        "bsdiff4": bsdiff4.size,
        **{
            f"{name}_{member}": value
            for name, cost in (("full", full), ("delta", delta), ("bsdiff4", bsdiff4), ("apply", applied))
            for member, value in (("ms", cost.ms), ("memory", cost.memory))
        },
    }


def measure_applying(old: Path, delta: Path, new: Path, folder: Path) -> Cost:
    """Returns what a container needs to come from the tar `old` to the tar `new` by a delta.

    Raises:
        MeasureError: what it comes to is something else.
    """
    installed, tree, again = folder / "installed", folder / "tree", folder / "again.tar"
    shutil.rmtree(tree, ignore_errors=True)
    if not installed.exists():
        shutil.unpack_archive(old, installed, "tar", filter="data")
    said = f"{digest_file(new)}:{new.stat().st_size}"
    cost = measure_alone("apply", installed, delta, digest_file(old), said, tree)
    measure_alone("tar", tree, again)
    if digest_file(again) != digest_file(new):
        raise MeasureError(f"expected the delta to make {new.name}, got other files")
    return cost


def digest_file(path: Path) -> str:
    """Returns the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def find_failures(pairs: Sequence[Json]) -> list[str]:
    """Returns the promises that are broken, a sentence each."""
    return [f"{pair['new']}: {words}" for pair in pairs for words in _judge(pair)]


def _judge(pair: Json) -> Iterator[str]:
    """What is promised is promised of the prototype's packages; of others the figures are told."""
    delta, limit = pair["delta"], PROTOTYPE.get(pair["new"])
    if limit is None:
        return
    if delta > limit * 1.02 + HEADER_BYTES:
        yield f"expected a delta of at most {limit} bytes, 2 % and {HEADER_BYTES}, got {delta}"
    if delta >= pair["bsdiff4"] + DCZ_HEADER_BYTES:
        yield f"expected a delta below bsdiff4's {pair['bsdiff4']} and {DCZ_HEADER_BYTES}, got {delta}"
    if delta * LEAST_SAVING > pair["full"]:
        yield f"expected a delta of at most 1/{LEAST_SAVING} of the full transfer's {pair['full']}, got {delta}"


def render_table(pairs: Sequence[Json]) -> str:
    """Returns the pairs as people read them: bytes to move, milliseconds, and memory above a bare interpreter's."""
    head = (
        f"{'package':28} {'tar':>11} {'full':>10} {'delta':>8} {'bsdiff4':>8}   {'make':>9} {'bsdiff4':>9} {'apply':>8}"
    )
    units = (
        f"{'':28} {'bytes':>11} {'bytes':>10} {'bytes':>8} {'bytes':>8}   {'ms, MiB':>9} {'ms, MiB':>9} {'ms, MiB':>8}"
    )
    rows = [
        f"{pair['new'][-28:]:28} {pair['tar']:>11,} {pair['full']:>10,} {pair['delta']:>8,} {pair['bsdiff4']:>8,}"
        f"   {_show(pair, 'delta'):>9} {_show(pair, 'bsdiff4'):>9} {_show(pair, 'apply'):>8}"
        for pair in pairs
    ]
    return "\n".join([head, units, *rows])


def _show(pair: Json, name: str) -> str:
    return f"{pair[f'{name}_ms']:.0f} {pair[f'{name}_memory'] / MEBI:.0f}"


def main(arguments: Sequence[str]) -> int:
    """Runs the bench of deltas; returns its exit status."""
    sides, path = parse_arguments(arguments)
    pairs = []
    try:
        for old, new in sides:
            with tempfile.TemporaryDirectory(prefix="graywave-bench-") as folder:
                pairs.append(measure_pair(old, new, Path(folder)))
    except ToolError as error:
        tell(str(error))
        return 3
    except (LoadtestError, OSError, subprocess.SubprocessError) as error:
        tell(f"failed: {error}")
        return 4
    report = {"machine": describe_machine(), "pairs": pairs, "failures": find_failures(pairs)}
    return deliver(report, render_table(pairs), path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
