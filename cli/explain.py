"""`graywave explain`: why a device gets what it gets of a program, as an edge explains it, readable in a terminal."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from cli.admin import open_admin, take_admin
from cli.device import take_device, tell_device
from cli.home import Home, take_home, take_json
from cli.http import escape
from cli.moment import show_moment, take_moment
from cli.publishing import open_publisher
from cli.refine import take_publisher
from container import Device

# Of a condition's values that are shown; a list may have a thousand.
MAX_SHOWN: Final = 5
_MARKS: Final = {"decided": ">"}
_VERDICTS: Final = {"unreached": "not reached"}
_NOTHING: Final = "nothing"


@click.command(short_help="Say why a device gets what it gets.")
@click.argument("program")
@click.option("--installed", default="", metavar="VERSION", help="The version that the device has.  [default: none]")
@click.option("--trial", default="", metavar="VERSION", help="The version that a trial of the user gives.")
@click.option("--revision", type=click.IntRange(1), help="By this earlier revision of the program's document.")
@click.option(
    "--at",
    callback=take_moment,
    metavar="TIME",
    help="As of this time, by the document of then: 2026-01-31T09:00 (UTC), seconds.",
)
@click.option("--workspace", default="demo", show_default=True, help="The workspace asked in.")
@take_device
@take_admin
@take_publisher
@take_json
@take_home
def explain(
    program: str, installed: str, trial: str, revision: int | None, at: int | None, workspace: str, device: Device,
    admin_url: str | None, admin_token: Path | None, url: str | None, token_file: Path | None, home: Home, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Say for each release of PROGRAM, in order, whether it decides for a device, and if not what failed first.

    An edge answers, by what it has now; earlier documents come from the publisher.
    """
    question: dict[str, Any] = {
        "workspace": workspace, "program": program, "device": tell_device(device), "installed": installed,
    }  # fmt: skip
    if trial:
        question["trial"] = trial
    if at is not None:
        question["at"] = at
    if revision is not None:
        question["document"] = open_publisher(home, url, token_file).get_revision(program, revision)
    elif at is not None:
        question["document"] = open_publisher(home, url, token_file).get_past(program, at)
    told = open_admin(home, admin_url, admin_token).post("/v1/explain", question)
    if as_json:
        click.echo(json.dumps(told))
        return
    for line in describe(told):
        click.echo(line)


def describe(told: dict[str, Any]) -> Iterator[str]:
    """Yields an explanation as lines for a terminal."""
    position = f"revision {told['revision']} (epoch {told['epoch']})"
    has = told["installed"] or _NOTHING
    yield f"{escape(told['program'])}, {position}, as of {show_moment(told['now'])}, installed: {has}"
    yield f"{_describe_decision(told)}"
    yield from _describe_offers(told)
    rows = [_list_cells(release) for release in told["releases"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    for release, cells in zip(told["releases"], rows, strict=True):
        mark = _MARKS.get(release["verdict"], " ")
        aligned = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
        yield f"{mark} {aligned}".rstrip()
        yield from (f"      {line}" for line in _describe_parts(release))


def _describe_decision(told: dict[str, Any]) -> str:
    reason = told["reason"]
    if told["release"] is None:
        return f"decision: {reason}"
    return f"decision: {reason} {told['version']} by release {escape(told['release'])}"


def _describe_offers(told: dict[str, Any]) -> Iterator[str]:
    """A decision is told to devices under an offer only."""
    expire = told["offers_expire"]
    if told["reason"] not in ("current", "no_release", "gone") and expire is not None and expire <= told["now"]:
        yield f"the device is told nothing: the offers have expired, {show_moment(expire)}"


def _list_cells(release: dict[str, Any]) -> list[str]:
    verdict = _VERDICTS.get(release["verdict"], release["verdict"])
    return [escape(release["id"]), escape(release["version"]), release["state"], verdict, _describe_failure(release)]


def _describe_failure(release: dict[str, Any]) -> str:
    failed = release["failed"]
    if failed is None:
        return "" if release["verdict"] == "decided" else "would decide"
    if failed["step"] == 6:  # noqa: PLR2004 - the contract's number of who, whose parts follow
        return f"step 6, {escape(failed['path'])}: the device is in no part of it"
    asked = [escape(value) for value in failed["asked"]]
    shown = ", ".join(asked[:MAX_SHOWN]) + (f", … ({len(asked)} in all)" if len(asked) > MAX_SHOWN else "")
    wanted = f"{escape(failed['attribute'])} {failed['op'].replace('_', ' ')} {shown}"
    return f"step {failed['step']}, {escape(failed['path'])}: wants {wanted}; the device has {_describe_seen(failed)}"


def _describe_seen(failed: dict[str, Any]) -> str:
    """What was said, and what was read from it where that is something else."""
    said, seen = failed["said"], failed["seen"]
    if said is None:
        return "none"
    if seen is None:
        return f"{escape(said)!r}, which says nothing that can be read"
    return escape(said) if said == seen else f"{escape(said)!r}, read as {escape(seen)}"


def _describe_parts(release: dict[str, Any]) -> Iterator[str]:
    for part in release["who"]:
        name = f" {escape(part['name'])}" if part.get("name") and part["kind"] != "window" else ""
        yield f"{part['kind']}{name}: {part['standing']}, {escape(part['why'])}"
