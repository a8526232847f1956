"""Somebody who publishes the bench's documents: through the publisher's HTTP, with genuine package signatures."""

import asyncio
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Any, Self

import aiohttp
import orjson

from loadtest.errors import MeasureError
from loadtest.packager import Packager

Json = dict[str, Any]

# How many documents are under way at a time.
PUTS = 8


class Author:
    """Puts documents to a publisher, with genuine package signatures; used as an asynchronous context.

    Args:
        port: the publisher's.
        token: what it wants to see.
        packager: signs.
    """

    def __init__(self, port: int, token: str, packager: Packager) -> None:
        self._url = f"http://127.0.0.1:{port}/v1/documents/"
        self._headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        self._packager = packager

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(headers=self._headers)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    def sign(self, document: Json) -> bytes:
        """Returns an author's document, with genuine package signatures, as it is sent."""
        return orjson.dumps(self._packager.sign(document))

    async def put(self, name: str, body: bytes, *, is_new: bool, kind: str = "program") -> None:
        """Publishes a document.

        Raises:
            MeasureError: the publisher did not distribute it at once.
        """
        condition = {"If-None-Match": "*"} if is_new else {"If-Match": "*"}
        async with self._session.put(f"{self._url}{kind}/{name}", data=body, headers=condition) as response:
            if response.status != HTTPStatus.OK:  # 202 is published, but not distributed
                text = await response.text()
                raise MeasureError(f"expected 200 for document {name}, got {response.status} {text[:500]!r}")


async def publish_all(author: Author, documents: Sequence[Json]) -> None:
    """Publishes documents that were not there before; raises what `Author.put` raises."""
    waiting = iter(documents)
    async with author:
        await asyncio.gather(*[_put_each(author, waiting) for _ in range(PUTS)])


async def _put_each(author: Author, waiting: Iterator[Json]) -> None:
    for document in waiting:
        await author.put(document["program"], author.sign(document), is_new=True)
