"""`graywave delta`: what is to be moved from one version to the next, made, applied and measured."""

import hashlib
import json
import mmap
import shutil
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final

import click

from bundle import BundleError, Digest, apply_delta, measure_file, open_source, read_chunks, replace_file, write_archive
from bundle.delta import make_delta
from bundle.manifest import (
    MANIFEST_NAME,
    describe_delta,
    merge_transfers,
    read_manifest,
    read_package,
    write_manifest,
)
from bundle.pack import URL_PREFIX
from bundle.refinement import is_worth, name_transfer, restore_tar, write_full
from cli.exit import CommandError, Exit
from cli.home import take_json
from cli.progress import Show, make_progress
from ruleset import VersionError, parse_version

_PEAK: Final = Path("/proc/self/clear_refs")
_STATUS: Final = Path("/proc/self/status")


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two packages: its tar, and where it was packed, what package.json says."""

    tar: Path
    sha256: str
    manifest: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Cost:
    """What a work has cost: milliseconds, and the most memory above what there was before; None where none can tell."""

    ms: float
    peak_bytes: int | None


@click.command(short_help="Make and measure the difference between two packages.")
@click.argument("old", type=click.Path(path_type=Path, exists=True))
@click.argument("new", type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="Write the delta to this file too, as it is transferred.")
@take_json
def delta(old: Path, new: Path, out: Path | None, *, as_json: bool) -> None:
    """Make what brings a device from OLD to NEW, apply it, and say what it saves.

    Both are folders that graywave pack wrote, or what it packs: a folder, .zip, .tgz or .tar. Between two packed ones,
    a delta that saves a fifth of the full transfer is added to NEW's folder and package.json.
    """
    with tempfile.TemporaryDirectory() as scratch:
        try:
            told = _compare(old, new, Path(scratch), out, make_progress())
        except (BundleError, OSError) as error:
            raise CommandError(str(error)) from None
    click.echo(json.dumps(told) if as_json else _describe(told))


def _compare(old: Path, new: Path, scratch: Path, out: Path | None, show: Show | None) -> dict[str, Any]:
    before, after = _open_side(old, scratch / "old"), _open_side(new, scratch / "new")
    if before.sha256 == after.sha256:
        raise CommandError(f"expected two different packages, got {before.sha256} twice", Exit.USAGE)
    _check_order(before, after)
    plain, size = scratch / "delta", after.tar.stat().st_size
    made = _measure(partial(make_delta, before.tar, after.tar, plain, partial(show, "delta") if show else None))
    applied = _measure_alone(partial(_apply, before.tar, plain, size))
    full_size = _find_full_size(after, scratch)
    digest = name_transfer(plain, scratch, _read_key(after))
    if out is not None:
        shutil.copyfile(scratch / digest.sha256, out)
    kept = is_worth(digest.size, full_size) and _keep(before, after, digest, scratch / digest.sha256, new)
    return {
        "old_sha256": before.sha256,
        "new_sha256": after.sha256,
        "new_size": size,
        "full_size": full_size,
        "delta_size": digest.size,
        "delta_sha256": digest.sha256,
        "sealed": bool(_read_key(after)),
        "worth": is_worth(digest.size, full_size),
        "kept": str(new / digest.sha256) if kept else "",
        "make_ms": made.ms,
        "make_peak_bytes": made.peak_bytes,
        "apply_ms": applied.ms,
        "apply_peak_bytes": applied.peak_bytes,
    }


def _open_side(path: Path, scratch: Path) -> Side:
    scratch.mkdir()
    tar = scratch / "tar"
    manifest = _find_manifest(path)
    if manifest is None:
        with open_source(path, scratch) as plan:
            replace_file(tar, write_archive(plan))
        return Side(tar, measure_file(tar).sha256, None)
    package = read_package(manifest["package"])
    restore_tar(path / package.full.sha256, tar, package)
    return Side(tar, package.sha256, manifest)


def _find_manifest(path: Path) -> dict[str, Any] | None:
    """Where `pack` wrote, the manifest; None for a source, which may have a package.json of another kind."""
    if not (path / MANIFEST_NAME).is_file():
        return None
    try:
        return read_manifest(path)
    except BundleError:
        return None


def _check_order(before: Side, after: Side) -> None:
    if before.manifest is None or after.manifest is None:
        return
    if before.manifest["program"] != after.manifest["program"]:
        programs = f"{before.manifest['program']} and {after.manifest['program']}"
        raise CommandError(f"expected two versions of one program, got {programs}", Exit.USAGE)
    low, high = before.manifest["version"], after.manifest["version"]
    try:
        is_lower = parse_version(low) < parse_version(high)
    except VersionError as error:
        raise CommandError(str(error), Exit.USAGE) from None
    if not is_lower:
        raise CommandError(f"expected OLD with a lower version than NEW's {high}, got {low}", Exit.USAGE)


def _find_full_size(side: Side, scratch: Path) -> int:
    if side.manifest is not None:
        return read_package(side.manifest["package"]).full.size
    digest = write_full(side.tar, scratch)
    (scratch / digest.sha256).unlink()
    return digest.size


def _read_key(side: Side) -> str:
    return read_package(side.manifest["package"]).key if side.manifest is not None else ""


def _keep(before: Side, after: Side, digest: Digest, file: Path, folder: Path) -> bool:
    """The file is there before package.json names it."""
    if before.manifest is None or after.manifest is None:
        return False
    replace_file(folder / digest.sha256, read_chunks(file))
    transfer = describe_delta(digest, URL_PREFIX + digest.sha256, before.manifest["version"], before.sha256)
    package = after.manifest["package"]
    transfers = merge_transfers(package["transfers"], [transfer])
    write_manifest(folder, after.manifest | {"package": package | {"transfers": transfers}})
    for name in {known["sha256"] for known in package["transfers"]} - {known["sha256"] for known in transfers}:
        (folder / name).unlink(missing_ok=True)  # of the delta that this one takes the place of
    return True


def _apply(old: Path, file: Path, size: int) -> None:
    with old.open("rb") as tar, mmap.mmap(tar.fileno(), 0, access=mmap.ACCESS_READ) as content:
        digest = hashlib.sha256()
        for chunk in apply_delta(content, read_chunks(file), size):
            digest.update(chunk)


def _measure(work: Callable[[], object]) -> Cost:
    before = _reset_peak()
    started = time.perf_counter()
    work()
    ms = round((time.perf_counter() - started) * 1000, 1)
    return Cost(ms, None if before is None else _read_memory("VmHWM") - before)


def _measure_alone(work: Callable[[], object]) -> Cost:
    """Measures in a process of its own, as on a device: here, memory that making the delta has left would be used."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_measure, work).result()


def _reset_peak() -> int | None:
    """Lets the kernel count this process's highest memory from now on; returns what there is. None where it cannot."""
    try:
        _PEAK.write_text("5", "ascii")  # proc(5): reset the peak resident set size
        return _read_memory("VmRSS")
    except OSError:
        return None


def _read_memory(name: str) -> int:
    line = next(line for line in _STATUS.read_text("ascii").splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


def _describe(told: dict[str, Any]) -> str:
    share = 100 * told["delta_size"] / told["full_size"]
    times = f"made in {told['make_ms'] / 1000:.1f} s, applied in {told['apply_ms']:.0f} ms"
    size = f"delta {told['delta_size']} bytes, {share:.1f} % of the full transfer's {told['full_size']}: {times}"
    if told["kept"]:
        return f"{size}\nkept {told['kept']}"
    if not told["worth"]:
        return f"{size}\nnot kept: it saves less than a fifth"
    return f"{size}\nnot kept: only between two packages that graywave pack wrote"
