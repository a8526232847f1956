"""`graywave windows`: the windows of releases, how full they are, and the word that a host is gone for good."""

import asyncio
import json
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import click

from channel import ChannelError, Windows, connect
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.http import ask, escape
from cli.moment import show_moment
from cli.publishing import open_publisher
from cli.refine import take_publisher

# The longest wait for an answer of Redis, in seconds.
REDIS_TIMEOUT_S: Final = 10.0

Json = dict[str, Any]

_take_workspace = click.option("--workspace", default="demo", show_default=True, help="Whose windows.")


@click.group(short_help="See how full windows are.")
def windows() -> None:
    """See how full windows are, and let hosts go on without one that is gone."""


@windows.command("list", short_help="Show each release's window, and how full it is.")
@_take_workspace
@click.option("--admin", "admin_url", help="An edge's admin listener.  [default: the one of the data folder]")
@take_publisher
@take_json
@take_home
def list_windows(
    workspace: str, admin_url: str | None, url: str | None, token_file: Path | None, home: Home, *, as_json: bool
) -> None:
    """Show each release with a window: places given, as a host knows them, and the state of the window."""
    stand = _read_stand(admin_url or home.read_address("admin"), workspace)
    publisher = open_publisher(home, url, token_file)
    documents = [publisher.get(id_)[0] for kind, id_ in publisher.list_names() if kind == "program"]
    rows = [
        row for document in documents if document for row in find_windows(document, stand["members"], int(time.time()))
    ]
    if as_json:
        click.echo(json.dumps({"problem": stand["problem"], "waiting_for": stand["waiting_for"], "windows": rows}))
        return
    for row in rows:
        given = f"{row['admitted']:,} of {row['limit']:,}"
        click.echo(
            escape(
                f"{row['program']}  {row['release']}  {given}  {row['state']}  until {show_moment(row['closes_at'])}"
            )
        )
    if stand["problem"]:
        click.echo(f"nobody is admitted now: {escape(stand['problem'])}", err=True)
    for host in stand["waiting_for"]:
        click.echo(f"waiting for host {escape(host)}: start it, or see graywave windows gone --help", err=True)


def _read_stand(admin: str, workspace: str) -> Json:
    served = ask("GET", f"{admin.rstrip('/')}/status").body["workspaces"]
    if workspace not in served:
        raise CommandError(f"expected a workspace that is served there, one of {', '.join(served)}, got {workspace!r}")
    stand: Json = served[workspace]["windows"]
    return stand


def find_windows(document: Json, members: Mapping[str, int], now: int) -> Iterator[Json]:
    """Yields the windows of a program's releases, with how many places are given and what that makes of them."""
    for release in document["releases"]:
        window = (release.get("who") or {}).get("window")
        if window:
            admitted = members.get(window["id"], 0)
            yield {
                "program": document["program"],
                "release": release["id"],
                "id": window["id"],
                "admitted": admitted,
                "limit": window["limit"],
                "closes_at": window["closes_at"],
                "state": _judge(release.get("state", "live"), window, admitted, now),
            }


def _judge(state: str, window: Json, admitted: int, now: int) -> str:
    """What keeps somebody new out, first of all the release itself; `open` where nothing does."""
    if state != "live":
        return state
    if now >= window["closes_at"]:
        return "closed"
    if now < window.get("opens_at", 0):
        return f"opens {show_moment(window['opens_at'])}"
    return "full" if admitted >= window["limit"] else "open"


@windows.command("gone", short_help="Let hosts go on without one that is gone for good.")
@click.argument("host")
@_take_workspace
@click.option(
    "--redis", required=True, envvar="GRAYWAVE_REDIS", show_envvar=True, help="Where; an edge's rights are enough."
)
def give_up(host: str, workspace: str, redis: str) -> None:
    """Say that HOST, for which windows wait after Redis has lost something, will not come back.

    Places that it gave in its last second, and that no other host has copied, are given again then. A host that comes
    back all the same keeps those whom it told. It is refused for a host that nobody waits for.
    """
    try:
        is_done = asyncio.run(_give_up(host, workspace, redis))
    except ChannelError as error:
        raise CommandError(f"{error}", Exit.UNREACHABLE) from None
    if not is_done:
        raise CommandError(f"expected a host that windows of {workspace!r} wait for, got {host!r}", Exit.REFUSED)
    click.echo(f"windows of {workspace} wait for {host} no longer")


async def _give_up(host: str, workspace: str, redis: str) -> bool:
    asked = Windows(connect(redis, REDIS_TIMEOUT_S, workspace), workspace)
    try:
        return await asked.give_up(host)
    finally:
        await asked.close()
