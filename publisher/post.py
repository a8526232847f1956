"""Keeps the workspace's root documents in Redis, where edges find the next one; who may follow whom is the chain's."""

import logging

from channel import Feed, Sender, Taken
from publisher.chain import Chain, accept_found_root, is_successor
from publisher.errors import RootChainError

_log = logging.getLogger("graywave.publisher")


class RootPost:
    """Brings a chain of roots to Redis.

    Args:
        chain: the roots that this publisher knows.
        sender: writes to Redis.
        feed: reads from Redis.
    """

    def __init__(self, chain: Chain, sender: Sender, feed: Feed) -> None:
        self._chain, self._sender, self._feed = chain, sender, feed
        # What Redis has for the newest root: this chain's document, or one with other signatures.
        self._accepted = b""

    async def is_there(self) -> bool:
        """Returns whether the newest root lies in Redis, and has been brought there together with all before it.

        Raises:
            RootChainError: a newer one lies there: readers go by that, and by nothing that this publisher signs.
            LinkError: Redis is away or refuses.
        """
        newest = self._chain.root
        if is_successor(await self._feed.fetch_root(newest.number + 1), newest):
            wanted = f"expected root {newest.number + 1}, which redis has, or a later one, got root {newest.number}"
            raise RootChainError(f"{wanted}: this publisher needs the newest root")
        found = await self._feed.fetch_root(newest.number)
        return found is not None and found == self._accepted

    async def put(self) -> None:
        """Puts every root there; what nobody would follow gives way to it.

        Raises:
            RootChainError: another root of one of these numbers lies there.
            LinkError: Redis is away or refuses.
        """
        for number, document in self._chain.documents.items():
            self._accepted = await self._put(number, document)

    async def _put(self, number: int, document: bytes) -> bytes:
        outcome = await self._sender.put_root(number, document)
        if not isinstance(outcome, Taken):
            return document
        if accept_found_root(outcome.found, number, self._chain):
            return outcome.found
        _log.error("redis has something as root %d that nobody would follow: replacing it", number)
        if isinstance(await self._sender.put_root(number, document, instead_of=outcome.found), Taken):
            raise RootChainError(f"expected root {number} in redis, got something else again: see who writes there")
        return document
