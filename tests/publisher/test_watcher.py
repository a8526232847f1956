"""The watcher: what Redis needs is decided by where both stand, and looking never ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from channel import MAX_SURPLUS, FoundHead, LinkAwayError, Position, make_head
from publisher import FastForwardError, StoreError
from publisher.store import StoreState
from publisher.watcher import HEAD_RENEWAL_S, MAX_LEAD, Act, RedisState, decide, try_to_settle, watch

NOW = 100_000
AT = Position(1, 7)


FOUND = FoundHead(b"1", b"7", b"signed")


def store(
    sent: Position = AT, documents: int = 3, pending: int = 0, renew_at: int | None = NOW + 1, **more: int
) -> StoreState:
    """A store that has nothing to do, unless told otherwise."""
    return StoreState(sent, documents, pending, renew_at, **more)


def redis(position: Position = AT, documents: int = 3, issued: int = NOW) -> RedisState:
    """A Redis that has everything, unless told otherwise."""
    return RedisState(make_head("demo", position, documents, issued), documents, FOUND, position)


@pytest.mark.parametrize(
    ("store_state", "redis_state", "act"),
    [
        (store(), redis(), Act.REST),
        (store(renew_at=None), redis(), Act.REST),
        (store(), redis(documents=4), Act.REST),
        (store(), redis(documents=3 + MAX_SURPLUS), Act.REST),
        (store(), redis(documents=4 + MAX_SURPLUS), Act.DISCARD),
        (store(), redis(Position(1, 8), documents=4 + MAX_SURPLUS), Act.ADOPT),
        (store(pending=1), redis(Position(1, 6), documents=4 + MAX_SURPLUS), Act.DISCARD),
        (store(), redis(Position(1, 8)), Act.ADOPT),
        (store(), redis(Position(2, 0)), Act.ADOPT),
        (store(pending=1), redis(Position(1, 8)), Act.ADOPT),
        (store(), RedisState(None, 0), Act.RESTORE),
        (store(Position(1, 0), 0, renew_at=None), RedisState(None, 0), Act.RESTORE),
        (store(), redis(Position(1, 6)), Act.RESTORE),
        (store(Position(2, 0)), redis(Position(1, 9)), Act.RESTORE),
        (store(), redis(documents=2), Act.RESTORE),
        (store(pending=1), redis(Position(1, 6)), Act.RESTORE),
        (store(pending=1), redis(), Act.SEND),
        (store(pending=1, renew_at=NOW), redis(issued=0), Act.SEND),
        (store(), redis(issued=NOW - HEAD_RENEWAL_S + 1), Act.REST),
        (store(), redis(issued=NOW - HEAD_RENEWAL_S), Act.SIGN),
        (store(), redis(issued=NOW + HEAD_RENEWAL_S), Act.SIGN),
        (store(renew_at=NOW), redis(issued=0), Act.SIGN),
        (store(renew_at=NOW), redis(), Act.RENEW),
        (store(stale=1), redis(), Act.RESIGN),
        (store(stale=1, renew_at=NOW), redis(issued=0), Act.RESIGN),
        (store(stale=1, pending=1), redis(), Act.SEND),
        (store(stale=1), redis(Position(1, 8)), Act.ADOPT),
        (store(stale=1), redis(Position(1, 6)), Act.RESTORE),
        (store(stale=1, epoch=2), redis(), Act.RESIGN),
        (store(epoch=2), redis(Position(1, 8)), Act.DISCARD),
        (store(epoch=2), redis(Position(2, 8)), Act.ADOPT),
        (store(epoch=2), redis(Position(1, 6)), Act.RESTORE),
        (store(), RedisState(None, 3, FOUND, AT), Act.DISCARD),
        (store(pending=1, stale=1), RedisState(None, 0, FOUND), Act.DISCARD),
        (store(), redis(Position(1, 7 + MAX_LEAD)), Act.ADOPT),
        (store(epoch=2), redis(Position(1, 8 + MAX_LEAD)), Act.DISCARD),
        (store(), replace(redis(), has_root=False), Act.ROOT),
        (store(), RedisState(None, 3, FOUND, AT, has_root=False), Act.ROOT),
        (store(), replace(redis(Position(1, 8)), has_root=False), Act.ROOT),
    ],
)
def test_what_to_do_is_decided(store_state: StoreState, redis_state: RedisState, act: Act) -> None:
    """Roots first, then learn, then mend, then send, then sign, then renew; else rest."""
    assert decide(NOW, store_state, redis_state) is act


@pytest.mark.parametrize(
    ("store_state", "position"),
    [(store(), Position(1, 8 + MAX_LEAD)), (store(epoch=2), Position(2, 1 + MAX_LEAD))],
)
def test_absurd_lead_is_an_alarm(store_state: StoreState, position: Position) -> None:
    """Nobody has come so far by publishing: nothing is learnt, and the operator is told."""
    with pytest.raises(FastForwardError) as caught:
        decide(NOW, store_state, redis(position))
    wanted = f"expected a head at most {MAX_LEAD} revisions beyond 1-7, got {position}"
    assert str(caught.value) == f"{wanted}: somebody may have a channel key; a new root replaces it, in a new epoch"


class Settler:
    """A writer that settles as it is told, one look after the other."""

    def __init__(self, *outcomes: Exception | None) -> None:
        self.outcomes = list(outcomes)
        self.asked_at: list[int] = []

    async def settle(self, now: int) -> None:
        self.asked_at.append(now)
        outcome = self.outcomes.pop(0) if self.outcomes else None
        if outcome:
            raise outcome


@pytest.mark.parametrize(
    ("outcome", "found"),
    [
        (None, ""),
        (LinkAwayError("redis cannot be reached"), "redis cannot be reached"),
        (StoreError("the store failed"), "the store failed"),
        (ZeroDivisionError("a bug"), "the watcher failed"),
    ],
)
async def test_trouble_is_returned(outcome: Exception | None, found: str) -> None:
    """What is in the way of settling is said, whatever it is."""
    assert await try_to_settle(Settler(outcome), NOW) == found


async def test_watching_goes_on_and_tells_changes_only(
    caplog: pytest.LogCaptureFixture, eventually: Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]
) -> None:
    """Trouble does not end the watch; it is logged when it begins, changes and ends, and not at every look."""
    away, other = LinkAwayError("away"), LinkAwayError("other")
    settler, stop = Settler(away, away, other, None, None), asyncio.Event()
    with caplog.at_level(logging.INFO, "graywave.publisher"):
        watching = asyncio.create_task(watch(settler, lambda: NOW, stop, every_s=0))

        async def has_looked() -> bool:
            return len(settler.asked_at) > 5

        await eventually(has_looked)
        stop.set()
        await watching
    assert set(settler.asked_at) == {NOW}
    assert [record.getMessage() for record in caplog.records] == [
        "redis is not up to date: away",
        "redis is not up to date: other",
        "redis is up to date again",
    ]


async def test_watching_stops_while_it_waits() -> None:
    """A watcher that is told to stop does not wait for its next look."""
    stop = asyncio.Event()
    watching = asyncio.create_task(watch(Settler(), lambda: NOW, stop, every_s=3_600))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(30):
        await watching
