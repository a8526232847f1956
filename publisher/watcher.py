"""Keeps Redis where the store is: what to do is decided here in pure code, when to look is the loop's below.

How it is done is the writer's matter.
"""

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from channel import MAX_SURPLUS, NOWHERE, ChannelError, FoundHead, Head, Position
from publisher.errors import FastForwardError, PublisherError
from publisher.store import StoreState

# A head is believed for 7 days; one that is an hour old shows a reader that the publisher lives.
HEAD_RENEWAL_S = 3_600
LOOK_EVERY_S = 1.0
# Another publisher of the workspace would take decades to get so far ahead, at a thousand publications a second: who
# is there has stolen a key, and would have this one use up its revisions.
MAX_LEAD = 1 << 40

_log = logging.getLogger("graywave.publisher")


class Act(StrEnum):
    """What the writer has to do next."""

    REST = "rest"
    ROOT = "root"
    DISCARD = "discard"
    ADOPT = "adopt"
    RESTORE = "restore"
    SEND = "send"
    RESIGN = "resign"
    SIGN = "sign"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class RedisState:
    """Where Redis stands.

    Args:
        head: the one that lies there, if it is believed.
        documents: how many documents its index names.
        found: what lies there as the head, believed or not.
        claimed: where a head that is not believed says to stand, if it can be read.
        has_root: whether the newest root document lies there.
    """

    head: Head | None
    documents: int
    found: FoundHead | None = None
    claimed: Position | None = None
    has_root: bool = True

    @property
    def position(self) -> Position:
        """The head's, or NOWHERE."""
        return self.head.position if self.head else NOWHERE


def decide(now: int, store: StoreState, redis: RedisState) -> Act:
    """Returns what to do next (now in seconds); after it, look again.

    1. The newest root is not there: put it there, so that readers can judge all else by it.
    2. The head is not to be believed: by a key that was replaced, of a later epoch than the root's, or of an earlier
       one that went on without this publisher. Throw it away, learning nothing from it. So too, index and all, where
       somebody has filled the index with names: edges would read it no more.
    3. Redis is further than was sent from here: learn what it has, and never give its revisions out again.
    4. It is empty or older, or documents are missing: put back what it had.
    5. Something was published while it was away: send it.
    6. Documents were signed under an earlier root: publish them anew.
    7. Its head is an hour old, or from a clock that has since been set back: sign it anew.
    8. Offers are past half their life: publish their documents anew.

    Raises:
        FastForwardError: it is so much further that nothing may be learnt from it.
    """
    if not redis.has_root:
        return Act.ROOT
    if redis.head is None:
        return Act.DISCARD if redis.found else Act.RESTORE
    if redis.position > store.sent:
        return _judge_lead(store, redis.position)
    if redis.documents > store.documents + MAX_SURPLUS:
        return Act.DISCARD
    wanted = {
        Act.RESTORE: redis.position < store.sent or redis.documents < store.documents,
        Act.SEND: store.pending > 0,
        Act.RESIGN: store.stale > 0,
        Act.SIGN: abs(now - redis.head.issued) >= HEAD_RENEWAL_S,
        Act.RENEW: store.renew_at is not None and store.renew_at <= now,
    }
    return next((act for act, is_wanted in wanted.items() if is_wanted), Act.REST)


def _judge_lead(store: StoreState, position: Position) -> Act:
    if position.epoch < store.epoch:
        return Act.DISCARD
    if position.revision > MAX_LEAD + (store.sent.revision if position.epoch == store.sent.epoch else 0):
        wanted = f"expected a head at most {MAX_LEAD} revisions beyond {store.sent}, got {position}"
        raise FastForwardError(f"{wanted}: somebody may have a channel key; a new root replaces it, in a new epoch")
    return Act.ADOPT


class Settler(Protocol):
    """What the watcher needs of the writer."""

    async def settle(self, now: int) -> None:
        """Brings Redis to where the store is; raises ChannelError or PublisherError."""


async def try_to_settle(writer: Settler, now: int) -> str:
    """Returns what was in the way of settling; empty where nothing was."""
    try:
        await writer.settle(now)
    except (ChannelError, PublisherError) as error:
        return str(error)
    except Exception:  # noqa: BLE001, a watcher that ended would never look again
        _log.exception("the watcher failed")
        return "the watcher failed"
    return ""


async def watch(writer: Settler, clock: Callable[[], int], stop: asyncio.Event, every_s: float = LOOK_EVERY_S) -> None:
    """Has the writer settle, again and again, until told to stop; trouble is logged when it begins and when it ends.

    Args:
        writer: settles.
        clock: the time in seconds.
        stop: is set to end it. Cancelling would not do: Python 3.11's `wait_for`, in redis-py, may swallow that.
        every_s: the pause between two looks.
    """
    trouble = ""
    while not stop.is_set():
        found = await try_to_settle(writer, clock())
        if found and found != trouble:
            _log.warning("redis is not up to date: %s", found)
        if trouble and not found:
            _log.info("redis is up to date again")
        trouble = found
        with suppress(TimeoutError):
            async with asyncio.timeout(every_s):
                await stop.wait()
