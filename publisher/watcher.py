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

from channel import NOWHERE, ChannelError, Head, Position
from publisher.errors import PublisherError
from publisher.store import StoreState

# A head is believed for 7 days; one that is an hour old shows a reader that the publisher lives.
HEAD_RENEWAL_S = 3_600
LOOK_EVERY_S = 1.0

_log = logging.getLogger("graywave.publisher")


class Act(StrEnum):
    """What the writer has to do next."""

    REST = "rest"
    ADOPT = "adopt"
    RESTORE = "restore"
    SEND = "send"
    SIGN = "sign"
    RENEW = "renew"


@dataclass(frozen=True, slots=True)
class RedisState:
    """Where Redis stands: its verified head, and how many documents its index names."""

    head: Head | None
    documents: int

    @property
    def position(self) -> Position:
        """The head's, or NOWHERE."""
        return self.head.position if self.head else NOWHERE


def decide(now: int, store: StoreState, redis: RedisState) -> Act:
    """Returns what to do next (now in seconds); after it, look again.

    1. Redis is further than was sent from here: learn what it has, and never give its revisions out again.
    2. It is empty or older, or documents are missing: put back what it had.
    3. Something was published while it was away: send it.
    4. Its head is an hour old, or from a clock that has since been set back: sign it anew.
    5. Offers are past half their life: publish their documents anew.
    """
    if redis.position > store.sent:
        return Act.ADOPT
    if redis.head is None or redis.position < store.sent or redis.documents < store.documents:
        return Act.RESTORE
    if store.pending:
        return Act.SEND
    if abs(now - redis.head.issued) >= HEAD_RENEWAL_S:
        return Act.SIGN
    if store.renew_at is not None and store.renew_at <= now:
        return Act.RENEW
    return Act.REST


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
