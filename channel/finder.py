"""Which server to connect to, where an address names several: sentinels, or a cluster's nodes, are asked each time.

All keys of a workspace hold one hash tag, so that in a cluster, too, one server has them all; and a hint that is
published by one node is heard at each. So nobody here needs more than one connection to one server.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Connection, ConnectionPool, Redis, SSLConnection
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError, ReadOnlyError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError

from channel.address import Address, Form, Seat


@dataclass(frozen=True, slots=True)
class Finder:
    """Asks all who may know where the server is, at once, and believes most of those that answer.

    One that the network has cut off from the others may still name the server of yesterday.

    Args:
        seats: whom to ask.
        options: what redis-py takes for the connections to them.
        timeout_s: the longest wait for an answer.
        question: what to ask.
        read: takes the answer and who gave it, returns the server, None where it is not known there.
    """

    seats: tuple[Seat, ...]
    options: dict[str, Any]
    timeout_s: float
    question: tuple[str, ...]
    read: Callable[[Any, Seat], Seat | None]

    async def find(self) -> Seat:
        """Returns where the server is now; raises redis-py's ConnectionError where nobody says."""
        answers = await asyncio.gather(*map(self._ask, self.seats), return_exceptions=True)
        votes = Counter(answer for answer in answers if isinstance(answer, Seat))
        if votes:
            return max(votes, key=lambda seat: votes[seat])
        reasons = (
            f"{seat.host}:{seat.port}: {type(answer).__name__}: {answer}"
            for seat, answer in zip(self.seats, answers, strict=True)
        )
        raise RedisConnectionError(f"nobody tells where the server is: {'; '.join(reasons)}")

    async def _ask(self, seat: Seat) -> Seat:
        client = Redis.from_pool(ConnectionPool(**self.options, host=seat.host, port=seat.port))
        try:
            async with asyncio.timeout(self.timeout_s):
                answer = await client.execute_command(*self.question)  # type: ignore[no-untyped-call]
            found = self.read(answer, seat)
        finally:
            await client.aclose()
        if found is None:
            raise RedisConnectionError("it does not know")
        return found


class FoundConnection(Connection):
    """A connection to the server that a finder finds, whenever it is made; ends where that is no longer the one."""

    def __init__(self, *, finder: Finder, **options: Any) -> None:
        self._finder = finder
        super().__init__(**options)

    async def _connect(self) -> None:
        self.host, self.port = (seat := await self._finder.find()).host, seat.port
        await super()._connect()  # type: ignore[no-untyped-call]

    async def read_response(self, *arguments: Any, **options: Any) -> Any:
        """Returns the next answer; raises redis-py's ConnectionError where the server is another one by now."""
        try:
            return await super().read_response(*arguments, **options)
        except ResponseError as error:
            if not _is_elsewhere(error):
                raise
            await self.disconnect()
            raise RedisConnectionError(f"the server is another one by now: {error}") from error


class FoundTlsConnection(FoundConnection, SSLConnection):
    """The same with TLS."""


def connect_found(address: Address, options: dict[str, Any], timeout_s: float, key: str) -> Redis:
    """Returns a client of the server that has a key, for an address of sentinels or of a cluster's nodes.

    Args:
        address: what names them.
        options: what redis-py takes for each connection, besides what the address says.
        timeout_s: how long they may take to say where the server is.
        key: any of those that the client will ask for; all have to lie in one server.
    """
    given = dict(address.options)
    is_tls = given.pop("connection_class", Connection) is SSLConnection
    kind = FoundTlsConnection if is_tls else FoundConnection
    finder = _make_finder(address, options, timeout_s, key)
    return Redis.from_pool(ConnectionPool(connection_class=kind, finder=finder, **{**given, **options}))


def _make_finder(address: Address, options: dict[str, Any], timeout_s: float, key: str) -> Finder:
    if address.form is Form.SENTINEL:
        question: tuple[str, ...] = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.service)
        read: Callable[[Any, Seat], Seat | None] = read_master
    else:
        slot = key_slot(key.encode())
        question = ("CLUSTER", "SLOTS")

        def read(answer: Any, asked: Seat) -> Seat | None:
            return read_slots(answer, asked, slot)

    return Finder(address.seats, {**address.asking, **options}, timeout_s, question, read)


def read_master(answer: Any, _: Seat) -> Seat | None:
    """Returns the server that a sentinel names; None where it knows none of that name."""
    return Seat(answer[0].decode(), int(answer[1])) if answer else None


def read_slots(answer: Any, asked: Seat, slot: int) -> Seat | None:
    """Returns the server that a node names for a slot; None for a slot that nobody has."""
    for first, last, (host, port, *_), *_ in answer:
        if first <= slot <= last:
            # A node that does not know its own address leaves it out: it is where it was asked.
            return Seat(host.decode() if host else asked.host, port)
    return None


def _is_elsewhere(error: ResponseError) -> bool:
    # Redis 6.2 tells of a script that would write into a replica within a longer text.
    return isinstance(error, MovedError | ReadOnlyError | ClusterDownError) or "READONLY" in str(error)
