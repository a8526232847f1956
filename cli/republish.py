"""`graywave republish`: a Redis that has lost everything gets it back, from the publisher or from what an edge has."""

import asyncio
import json
import time
from pathlib import Path
from typing import Final

import click

from channel import ChannelError
from cli.exit import CommandError, Exit
from cli.home import take_json

# How long a publisher may take to bring Redis to where its store is, and the pause between two looks at it, in seconds.
PATIENCE_S: Final = 60.0
LOOK_EVERY_S: Final = 0.5
# The longest wait for an answer of Redis, in seconds.
REDIS_TIMEOUT_S: Final = 10.0


@click.command(short_help="Refill an emptied Redis.")
@click.option("--publisher", metavar="URL", help="A publisher that runs: it refills its Redis by itself; wait for it.")
@click.option(
    "--edge",
    "folder",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Data folder of an edge, where the publisher is gone.",
)
@click.option(
    "--root", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="The root that the edge has pinned."
)
@click.option(
    "--redis", envvar="GRAYWAVE_REDIS", show_envvar=True, help="Where to; needs the publisher's rights: docs/redis.md."
)
@take_json
def republish(
    publisher: str | None, folder: Path | None, root: Path | None, redis: str | None, *, as_json: bool
) -> None:
    """Put into a Redis what it has lost: signed bytes as they were, and nothing over what is newer there.

    A publisher that runs does so by itself, within seconds: --publisher waits until it says so. Where there is none,
    --edge takes the documents, the roots and the signed head from the folder of an edge that has followed it; best of
    the one whose /status shows the highest revision. That host may go on meanwhile. Give as --root the one that its
    settings name.
    """
    if publisher and not (folder or root or redis):
        found = _wait_for(publisher)
    elif folder and root and redis and not publisher:
        found = _refill(folder, root, redis)
    else:
        raise CommandError("expected either --publisher, or --edge with --root and --redis", Exit.USAGE)
    click.echo(json.dumps(found) if as_json else found["said"])


def _wait_for(publisher: str) -> dict[str, object]:
    from cli.http import ask

    url = f"{publisher.rstrip('/')}/healthz"
    deadline = time.monotonic() + PATIENCE_S
    while True:
        health = ask("GET", url).body
        if health.get("distributed"):
            return {"said": "the publisher says that redis has all that it has published"}
        if time.monotonic() > deadline:
            said = f"the publisher could not bring redis to where it is within {PATIENCE_S:.0f} s: its log says why"
            raise CommandError(said)
        time.sleep(LOOK_EVERY_S)


def _refill(folder: Path, root: Path, redis: str) -> dict[str, object]:
    from edge.chain import Chain
    from edge.errors import CacheError, RefillError
    from edge.refill import refill, take_stock
    from trust import TrustError

    try:
        stock = take_stock(folder, Chain.pin(root.read_bytes()))
        done = asyncio.run(refill(stock, redis, REDIS_TIMEOUT_S))
    except (CacheError, OSError) as error:
        raise CommandError(f"{error}") from None
    except (RefillError, TrustError) as error:
        raise CommandError(f"{error}", Exit.UNVERIFIED) from None
    except ChannelError as error:
        raise CommandError(f"{error}", Exit.UNREACHABLE) from None
    for refusal in stock.left:
        click.echo(f"left out {refusal.name} at {refusal.position}: {refusal.reason}", err=True)
    for number in done.strangers:
        click.echo(
            f"root {number} is another one in redis, and stays: edges refuse it, a publisher replaces it", err=True
        )
    if done.is_ahead:
        raise CommandError(
            f"redis is at {done.found}, further than {stock.head.position} here: left as it is", Exit.REFUSED
        )
    expires = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(stock.head.expires))
    said = f"redis has {len(stock.documents)} documents at {stock.head.position}; the head is good until {expires}"
    return {
        "said": said,
        "documents": len(stock.documents),
        "position": str(stock.head.position),
        "head_expires": stock.head.expires,
    }
