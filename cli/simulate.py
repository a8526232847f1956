"""`graywave simulate`: which devices a changed document would move, and to which release; nothing is published."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Final

import click
import msgspec

from cli.document import read_document
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.http import escape
from cli.moment import show_moment, take_moment
from cli.publishing import open_publisher
from cli.refine import take_publisher
from ruleset import CompiledProgram, DocumentError, Sample, Simulation, compile_program, parse_program, simulate
from ruleset.model import Device
from ruleset.simulation import Move, Outcome

_FACTS: Final = ("platform", "os", "app", "manufacturer", "model", "network", "country", "region", "city", "locale")


class _File(msgspec.Struct):
    """What `graywave samples` writes."""

    samples: list[Sample]


@click.command("simulate", short_help="Say whom a changed document would move.")
@click.argument("file", type=click.File("rb"))
@click.option(
    "--samples", "paths", required=True, multiple=True, type=click.Path(path_type=Path, dir_okay=False),
    help="What `graywave samples` wrote; several times for several hosts.",
)  # fmt: skip
@click.option(
    "--current", type=click.File("rb"), metavar="FILE",
    help="Compare with this complete document, and ask no publisher.  [default: what is published]",
)  # fmt: skip
@click.option(
    "--at", callback=take_moment, metavar="TIME", help="As of this time: a date, seconds, +2h.  [default: now]"
)
@take_publisher
@take_json
@take_home
def simulate_change(
    file: BinaryIO, paths: tuple[Path, ...], current: BinaryIO | None, at: int | None, url: str | None,
    token_file: Path | None, home: Home, *, as_json: bool,
) -> None:  # fmt: skip
    """Say how many of the sampled devices the document in FILE (- for standard input) would move, and where to.

    The publisher judges the document as if it were published, and nothing is. A window is asked by nobody: who is not
    in it, and would have to be asked for, is shown as such. Users that a document names are found in no sample.
    """
    changed, before, warnings = read_document(file), None, []
    if current is not None:
        before = read_document(current)
    else:
        publisher = open_publisher(home, url, token_file)
        before, revision = publisher.get(str(changed.get("program")))
        preview = publisher.put(changed, revision, dry_run=True).body
        changed, warnings = preview["document"], preview["warnings"]
    samples = [sample for path in paths for sample in read_samples(path)]
    now = int(time.time()) if at is None else at
    after = _compile(changed)
    simulation = simulate(None if before is None else _compile(before), after, samples, now)
    told = {"program": after.id, "at": now, "samples": len(samples), **tell(simulation), "warnings": warnings}
    if as_json:
        click.echo(json.dumps(told, ensure_ascii=False))
        return
    for warning in warnings:
        click.echo(f"warning: {escape(warning['path'])}: {escape(warning['message'])}", err=True)
    for line in describe(simulation, after.id, len(samples), now):
        click.echo(line)


def read_samples(path: Path) -> list[Sample]:
    """Returns the samples in a file.

    Raises:
        CommandError: it cannot be read, or has none.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).samples
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror}", Exit.USAGE) from None
    except (ValueError, RecursionError) as error:
        raise CommandError(f"{path}: expected what graywave samples writes: {error}", Exit.USAGE) from None


def _compile(document: dict[str, Any]) -> CompiledProgram:
    try:
        return compile_program(parse_program(json.dumps(document).encode()))
    except DocumentError as error:
        raise CommandError(f"the document is none that can be published: {escape(str(error))}", Exit.USAGE) from None


def tell(simulation: Simulation) -> dict[str, Any]:
    """Returns a simulation for scripts."""
    moves = [
        {
            "from": move.before._asdict(),
            "to": move.after._asdict(),
            "count": move.count,
            "share": move.count / simulation.asked,
            "moves": move.is_one,
            "examples": [_list_facts(device) for device in move.examples],
        }
        for move in simulation.moves
    ]
    return {"asked": simulation.asked, "moved": simulation.moved, "moves": moves}


def describe(simulation: Simulation, program: str, samples: int, now: int) -> Iterator[str]:
    """Yields a simulation as lines for a terminal."""
    yield f"{program}, as of {show_moment(now)}: {simulation.asked:,} of {samples:,} samples ask about it"
    if not simulation.asked:
        return
    head = ("from", "to", "questions", "share")
    rows = [head, *(_list_cells(move, simulation.asked) for move in simulation.moves)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row, move in zip(rows, (None, *simulation.moves), strict=True):
        mark = ">" if move is not None and move.is_one else " "
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:2], widths[:2], strict=True))
        right = "  ".join(cell.rjust(width) for cell, width in zip(row[2:], widths[2:], strict=True))
        yield f"{mark} {left}  {right}"
        if move is not None and move.is_one:
            yield f"      such as {_show_device(move.examples[0])}"
    yield f"{simulation.moved:,} of {simulation.asked:,} would move ({simulation.moved / simulation.asked:.1%})"


def _list_cells(move: Move, asked: int) -> tuple[str, str, str, str]:
    return _show(move.before), _show(move.after), f"{move.count:,}", f"{move.count / asked:.1%}"


def _show(outcome: Outcome) -> str:
    if outcome.reason is None:
        return "not published"
    if outcome.release is None:
        return outcome.reason
    action = "asks the window of" if outcome.reason == "ask" else outcome.reason
    return f"{action} {escape(outcome.release)} {outcome.version}"


def _list_facts(device: Device) -> dict[str, Any]:
    facts = {name: getattr(device, name) for name in ("id", "user", *_FACTS, "tags")}
    return {name: value for name, value in facts.items() if value}


def _show_device(device: Device) -> str:
    facts = [f"{name}={value}" for name, value in _list_facts(device).items() if name in _FACTS]
    return escape(", ".join(facts))
