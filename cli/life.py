"""`graywave release pause`, `move`, `ramp` and so on: what becomes of releases that are out, each one publication."""

import functools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from cli.draft import Json, change_release, count_parts, move_release, name_release, ramp_release, read_ramp, roll_back
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.http import escape
from cli.moment import show_moment, take_moment
from cli.publishing import Publisher, open_publisher
from cli.refine import take_publisher

# How often devices ask in an urgent time, in seconds, unless told otherwise: a million are 3,333 checks a second.
URGENT_POLL_S = 300
SECONDS_A_MINUTE = 60

_Function = TypeVar("_Function", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Desk:
    """Where a command changes documents: the publisher, and how it says what it has done."""

    publisher: Publisher
    is_dry: bool
    as_json: bool

    def read(self, program: str) -> tuple[Json, str]:
        """Returns a program's document and its revision; raises CommandError where it is not published."""
        document, revision = self.publisher.get(program)
        if document is None:
            raise CommandError(f"no document of program {program!r} is published", Exit.REFUSED)
        return document, revision

    def change(self, program: str, edit: Callable[[Json], Json], said: str) -> None:
        """Publishes what `edit` makes of a program's document, and says so; raises CommandError."""
        document, revision = self.read(program)
        answer = self.publisher.put(edit(document), revision, dry_run=self.is_dry).body
        if self.as_json:
            click.echo(json.dumps({name: value for name, value in answer.items() if name != "document"}))
            return
        show_warnings(answer)
        verb = "would have " if self.is_dry else ""
        unchanged = ", as it was already" if answer["unchanged"] else ""
        click.echo(f"{verb}{said} of {program}, revision {answer['revision']}{unchanged}")


def show_warnings(answer: Json) -> None:
    """Shows what a publisher finds hardly meant."""
    for warning in answer.get("warnings", []):
        click.echo(f"warning: {escape(warning['path'])}: {escape(warning['message'])}", err=True)


def take_desk(function: _Function) -> _Function:
    """Gives a command the options of one that changes a document, as the argument `desk`."""

    @functools.wraps(function)
    def run(*, url: str | None, token_file: Path | None, home: Home, dry_run: bool, as_json: bool, **rest: Any) -> None:
        function(desk=Desk(open_publisher(home, url, token_file), dry_run, as_json), **rest)

    dry_run = click.option("--dry-run", is_flag=True, help="Say what would happen, and publish nothing.")
    wrapped: Any = dry_run(take_publisher(take_json(take_home(run))))
    taken: _Function = wrapped
    return taken


@click.command(short_help="Show a program's releases, in order.")
@click.argument("program")
@take_publisher
@take_json
@take_home
def list_releases(program: str, url: str | None, token_file: Path | None, home: Home, *, as_json: bool) -> None:
    """Show the releases of PROGRAM in order: the first that fits a device decides."""
    document, revision = Desk(open_publisher(home, url, token_file), is_dry=True, as_json=as_json).read(program)
    if as_json:
        click.echo(json.dumps(document["releases"]))
        return
    state = ", taken down" if document.get("taken_down") else ""
    click.echo(f"{program}, revision {revision}{state}")
    rows = [_list_cells(release, int(time.time())) for release in document["releases"]]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        click.echo("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _list_cells(release: Json, now: int) -> tuple[str, str, str, str]:
    return escape(release["id"]), escape(release["package"]), release["state"], escape(_describe(release, now))


def _describe(release: Json, now: int) -> str:
    """Whom a release is for, and until when, in a few words."""
    words = [*_describe_who(release.get("who"), now)]
    if release.get("when"):
        words.append(f"{len(release['when'])} condition{'s' if len(release['when']) > 1 else ''}")
    if release.get("clients"):
        words.append("on " + ", ".join(release["clients"]))
    if release.get("rollback"):
        words.append("back from " + ", ".join(release["rollback"]["from"]))
    for member, word in (("opens_at", "from"), ("closes_at", "until")):
        if release.get(member) is not None:
            words.append(f"{word} {show_moment(release[member])}")
    return "; ".join(words)


def _describe_who(who: Json | None, now: int) -> list[str]:
    if not who:
        return ["everybody"]
    words = [f"{len(who['users'])} users"] if who.get("users") else []
    words += [f"audience {name}" for name in who.get("audiences") or ()]
    percent, window = who.get("percent"), who.get("window")
    if percent:
        steps = percent.get("steps") or ()
        parts = next((step["parts"] for step in reversed(steps) if step["at"] <= now), percent["parts"])
        words.append(f"{parts / 10_000:g} % by {percent.get('by', 'device')}")
        words += [f"{step['parts'] / 10_000:g} % at {show_moment(step['at'])}" for step in steps if step["at"] > now]
    if window:
        words.append(f"a window of {window['limit']:,} until {show_moment(window['closes_at'])}")
    return words


def _make_state(name: str, state: str, done: str, words: str) -> click.Command:
    @click.command(name, short_help=words, help=f"{words[:-1]} RELEASE of PROGRAM.")
    @click.argument("program")
    @click.argument("release")
    @take_desk
    def change(program: str, release: str, desk: Desk) -> None:
        desk.change(program, lambda document: change_release(document, release, {"state": state}), f"{done} {release}")

    return change


pause = _make_state("pause", "paused", "paused", "Pause.")
resume = _make_state("resume", "live", "resumed", "Resume.")
end = _make_state("end", "ended", "ended", "End.")


@click.command(short_help="Put a release on top, or below another one.")
@click.argument("program")
@click.argument("release")
@click.option("--below", metavar="OTHER", help="Below this release.  [default: on top]")
@take_desk
def move(program: str, release: str, below: str | None, desk: Desk) -> None:
    """Put RELEASE of PROGRAM on top, or below another one: the first that fits a device decides."""
    place = f"below {below}" if below else "on top"
    desk.change(program, lambda document: move_release(document, release, below), f"put {release} {place}")


@click.command(short_help="Raise a percentage, now or by itself at given times.")
@click.argument("program")
@click.argument("release")
@click.argument("steps", required=False, metavar="[PERCENT@TIME,…]")
@click.option("--percent", metavar="PERCENT", help="From now on.  [default: what it has come to]")
@click.option("--hold", is_flag=True, help="Hold it where it is, without further steps.")
@take_desk
def ramp(program: str, release: str, steps: str | None, percent: str | None, desk: Desk, *, hold: bool) -> None:
    """Raise the percentage of RELEASE of PROGRAM, such as `5%@+1h,20%@2026-01-31T09:00`; who is in stays in.

    The steps replace those that it has. Nothing is published again when their times come.
    """
    now = int(time.time())
    if hold + bool(steps or percent) != 1:
        raise CommandError("expected steps, --percent or both, or --hold alone", Exit.USAGE)
    parts = None if percent is None else count_parts(percent)
    made = read_ramp(steps, now) if steps else []
    desk.change(program, lambda document: ramp_release(document, release, parts, made, now), f"ramped {release}")


@click.command(short_help="Set when a release opens and closes.")
@click.argument("program")
@click.argument("release")
@click.option("--opens", callback=take_moment, metavar="TIME", help="Nobody gets it before.")
@click.option(
    "--closes", callback=take_moment, metavar="TIME", help="Nobody gets it from then on; who has it keeps it."
)
@take_desk
def schedule(program: str, release: str, opens: int | None, closes: int | None, desk: Desk) -> None:
    """Set when RELEASE of PROGRAM opens and closes; what is not given stays.

    A TIME is a date such as 2026-01-31T09:00 (UTC unless it says otherwise), seconds, or from now on: +30m, +2h, +3d.
    """
    given = {name: at for name, at in (("opens_at", opens), ("closes_at", closes)) if at is not None}
    if not given:
        raise CommandError("expected --opens, --closes or both", Exit.USAGE)
    desk.change(program, lambda document: change_release(document, release, given), f"scheduled {release}")


@click.command(short_help="Take devices back to an older version.")
@click.argument("program")
@click.argument("version")
@click.option("--from", "sources", required=True, multiple=True, metavar="VERSION", help="From this; several times.")
@click.option("--id", "name", help="The release's id.  [default: rN, the next number]")
@click.option("--below", metavar="OTHER", help="Put it below this release instead of on top.")
@take_desk
def rollback(
    program: str, version: str, sources: tuple[str, ...], name: str | None, below: str | None, desk: Desk
) -> None:
    """Take all devices of PROGRAM back to VERSION, which it has a package of, from the versions that are given.

    The release that gives those has to be paused or ended, or stand below.
    """

    def edit(document: Json) -> Json:
        return roll_back(document, version, sources, {"id": name or name_release(document)}, below)

    desk.change(program, edit, f"rolled back to {version} from {', '.join(sources)}")


@click.command(short_help="Take a program off the devices.")
@click.argument("program")
@click.option("--undo", is_flag=True, help="Let devices have it again.")
@take_desk
def take_down(program: str, desk: Desk, *, undo: bool) -> None:
    """Take PROGRAM off the devices that have it, all its versions."""
    said = "brought back all" if undo else "took down all"
    desk.change(program, lambda document: {**document, "taken_down": not undo}, said)


@click.command(short_help="Set the version below which nobody opens a program.")
@click.argument("program")
@click.argument("version")
@take_desk
def floor(program: str, version: str, desk: Desk) -> None:
    """Set the VERSION below which devices do not open PROGRAM any more; an empty one ('') for none."""
    desk.change(program, lambda document: {**document, "floor": version}, f"set the floor {version or 'none'}")


@click.command(short_help="Let devices ask more often for some minutes.")
@click.argument("program")
@click.argument("minutes", type=click.IntRange(0))
@click.option(
    "--poll-after", default=URGENT_POLL_S, show_default=True, type=click.IntRange(0), metavar="SECONDS",
    help="How often.",
)  # fmt: skip
@take_desk
def urgent(program: str, minutes: int, poll_after: int, desk: Desk) -> None:
    """Let devices ask about PROGRAM more often for so many MINUTES, then as before by themselves; 0 ends it now.

    Devices learn of it when they ask next, at their pace of before.
    """
    made = make_urgent(minutes, poll_after, int(time.time()))
    said = f"made urgent for {minutes} minutes all" if made else "ended the urgent time"
    desk.change(program, lambda document: {**document, "urgent": made}, said)


def make_urgent(minutes: int, poll_after: int, now: int) -> Json | None:
    """Returns a document's `urgent` for so many minutes from now (seconds); None for none."""
    return {"poll_after": poll_after, "until": now + minutes * SECONDS_A_MINUTE} if minutes else None


COMMANDS = {
    "list": list_releases,
    "pause": pause,
    "resume": resume,
    "end": end,
    "move": move,
    "ramp": ramp,
    "schedule": schedule,
    "rollback": rollback,
    "take-down": take_down,
    "floor": floor,
    "urgent": urgent,
}
