"""One piece of work on packages in a process of its own: `python -m loadtest.parcel WORK PATH...` tells its cost.

A process alone, so that its highest memory is that of this work and of nothing before it. The work is the project's own
code, called as `graywave` and the container call it; bsdiff4 stands beside it.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec

from loadtest.errors import MeasureError

# What makes the longest delta takes half a minute; a work that takes so much longer has hung, in seconds.
MAX_WORK_S = 900.0


class Cost(msgspec.Struct, frozen=True):
    """What a work has cost: the bytes that it wrote, milliseconds, and its highest memory in bytes.

    `memory` is above the interpreter with the work's libraries loaded, `process` above a bare interpreter.
    """

    size: int
    ms: float
    memory: int
    process: int


def write_tar(source: str, target: str) -> None:
    """Writes the canonical tar of a package: a folder, .zip, .tgz or .tar."""
    from bundle import open_source, replace_file, write_archive

    with open_source(Path(source), Path(target).parent) as plan:
        replace_file(Path(target), write_archive(plan))


def write_full(tar: str, target: str) -> None:
    """Writes the full transfer of a tar, at the strong level."""
    from bundle import compress, read_chunks, replace_file

    replace_file(Path(target), compress(read_chunks(Path(tar)), Path(tar).stat().st_size))


def write_delta(old: str, new: str, target: str) -> None:
    """Writes the delta between two tars, applied and compared before it is handed out."""
    from bundle.delta import make_delta

    make_delta(Path(old), Path(new), Path(target))


def write_bsdiff4(old: str, new: str, target: str) -> None:
    """Writes the patch that bsdiff4 makes between two tars."""
    import bsdiff4

    bsdiff4.file_diff(old, new, target)


def apply(folder: str, delta: str, old: str, new: str, tree: str) -> None:
    """Applies a delta to an installed package as a container does: rebuilt, applied, verified, unpacked, on disk.

    Args:
        folder: the installed package.
        delta: what has arrived.
        old: the SHA-256 of the installed package's tar.
        new: the SHA-256 and the size of the tar that it makes, with a colon between them.
        tree: the folder to unpack to.
    """
    from container.package import Arrival, Base, unpack
    from trust import PackageClaim

    sha256, _, size = new.partition(":")
    claim = PackageClaim(workspace="bench", program="20210001", version="2", sha256=sha256, size=int(size))
    unpack(Arrival(Path(delta), Base(Path(folder), old)), claim, Path(tree), Path(f"{tree}.clear"))


def pack(source: str, out: str) -> None:
    """Packs and signs a package at the quick level, as `graywave pack --level quick` does."""
    from bundle import QUICK_LEVEL
    from bundle import pack as pack_source
    from trust import PrivateKey

    pack_source(
        Path(source), Path(out), workspace="bench", program="20210001", version="1",
        keys=[PrivateKey.generate()], level=QUICK_LEVEL,
    )  # fmt: skip


WORKS: Final[Mapping[str, Callable[..., None]]] = MappingProxyType(
    {
        "tar": write_tar,
        "full": write_full,
        "delta": write_delta,
        "bsdiff4": write_bsdiff4,
        "apply": apply,
        "pack": pack,
    }
)

LIBRARIES: Final[Mapping[str, str]] = MappingProxyType({"bsdiff4": "bsdiff4", "apply": "container.package"})


def read_peak() -> int:
    """Returns the highest memory that this process has had, in bytes (VmHWM; ru_maxrss would count the parent's)."""
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def measure_alone(work: str, *arguments: Path | str) -> Cost:
    """Returns what a work has cost, done in a process of its own.

    Raises:
        MeasureError: it failed, or took longer than MAX_WORK_S; tells its last line.
    """
    command = [sys.executable, "-m", "loadtest.parcel", work, *map(str, arguments)]
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=MAX_WORK_S, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        raise MeasureError(f"{work}: expected an end within {MAX_WORK_S:.0f} s, got none") from error
    if done.returncode:
        last = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise MeasureError(f"{work} of {' '.join(map(str, arguments))} failed: {last}")
    return msgspec.json.decode(done.stdout, type=Cost)


def main(arguments: list[str]) -> None:
    """Does one work and prints what it has cost; loading libraries is not part of it."""
    work, *rest = arguments
    bare = read_peak()
    import_module(LIBRARIES.get(work, "bundle"))
    loaded, started = read_peak(), time.perf_counter()
    WORKS[work](*rest)
    took, peak = time.perf_counter() - started, read_peak()
    cost = Cost(Path(rest[-1]).stat().st_size, round(took * 1000, 1), peak - loaded, peak - bare)
    sys.stdout.buffer.write(msgspec.json.encode(cost))


if __name__ == "__main__":
    main(sys.argv[1:])
