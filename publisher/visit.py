"""Fetches the files that a document names, as a device will, before the document is published; it keeps nothing.

What is fetched comes from the control plane, which is trusted with documents: a publisher asks any http(s) address that
one of them names, with a plain GET, and tells of the answer no more than whether it was the file.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from typing import Any, Self

import aiohttp
from yarl import URL

from publisher.errors import BadDocumentError
from publisher.store import Place
from ruleset.audience import AudienceDocument
from ruleset.model import Program

# Files fetched at once for one publisher: more of them gain nothing on one line, and may look like an attack.
AT_ONCE = 4
CHUNK_BYTES = 64 * 1024
_SCHEMES = ("http", "https")
# No backslash, blank or control character, which readers of addresses take for different things.
_ADDRESS = re.compile(r"[!-\[\]-~]+")


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the files of one document may take in all, and each to answer and between two parts, in seconds.

    A server that trickles would keep an author waiting for ever.
    """

    total_s: float = 300.0
    silence_s: float = 10.0


def list_places(program: Program, base: str) -> Mapping[Place, str]:
    """Returns what has to be at which public address for a document, each with its JSON path.

    These are the transfers of packages that trials may give, or that a release names which has not ended.

    Args:
        program: a complete document that compiles.
        base: what devices put before an address without a host, empty if that is not known.

    Raises:
        BadDocumentError: an address that no device would ask, or one without a host and no base.
    """
    places: dict[Place, str] = {}
    given = [one.package for one in program.releases if one.state != "ended"]
    for version in dict.fromkeys([*given, *program.trials]):
        for index, transfer in enumerate(program.packages[version].transfers):
            path = f"$.packages[{version!r}].transfers[{index}].url"
            places.setdefault(Place(_locate(transfer.url, base, path), transfer.size, transfer.sha256), path)
    return places


def list_audience_places(audience: AudienceDocument, base: str) -> Mapping[Place, str]:
    """Returns where the file of an audience has to be, as `list_places` does; nothing where it has none."""
    if not audience.sha256:
        return {}
    return {Place(_locate(audience.url, base, "$.url"), audience.size, audience.sha256): "$.url"}


def check_base(base: str) -> None:
    """Returns if a base address can be one; raises ValueError."""
    if not _is_address(base) or base.endswith("/"):
        raise ValueError(f"expected files like https://cdn.example, without a slash at the end, got {base[:100]!r}")


class Visitor:
    """Fetches files, a few at a time; a context, since it keeps connections.

    Args:
        patience: how long it waits.
    """

    def __init__(self, patience: Patience = Patience()) -> None:
        self._patience = patience
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._opened = AsyncExitStack()

    async def __aenter__(self) -> Self:
        # No cookies, no proxy, no credentials of this host's: what is fetched is what everybody would get.
        self._session = await self._opened.enter_async_context(
            aiohttp.ClientSession(
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                headers={"Accept-Encoding": "identity", "User-Agent": "graywave-publisher"},
                timeout=aiohttp.ClientTimeout(
                    total=None, sock_connect=self._patience.silence_s, sock_read=self._patience.silence_s
                ),
            )
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._opened.aclose()

    async def visit(self, places: Mapping[Place, str], note: Callable[[Place], Awaitable[Any]]) -> None:
        """Returns if the right file is at every place; `note` is called for each that is, as soon as it is known.

        Args:
            places: with the JSON path of each.
            note: remembers a place, so that nobody has to go there again.

        Raises:
            BadDocumentError: names the first place that was found wrong, or that there was no time left for.
        """
        tasks = [asyncio.create_task(self._visit(place, path, note)) for place, path in places.items()]
        try:
            async with asyncio.timeout(self._patience.total_s):
                await asyncio.gather(*tasks)
        except TimeoutError:
            path = next((path for task, path in zip(tasks, places.values(), strict=True) if not _is_done(task)), "$")
            wanted = f"expected all files of the document within {self._patience.total_s:g} s"
            raise BadDocumentError(path, f"{wanted}, got not this one; those that came need not come again") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _visit(self, place: Place, path: str, note: Callable[[Place], Awaitable[Any]]) -> None:
        async with self._turns:
            found = "no answer"
            try:
                # Devices follow no redirect either, so that nobody can send them elsewhere.
                async with self._session.get(URL(place.url, encoded=True), allow_redirects=False) as answer:
                    found = "a part"
                    found = await _compare(answer, place)
            except (aiohttp.ClientError, OSError, ValueError) as error:
                found = f"{found} ({type(error).__name__})"
        if found:
            wanted = f"expected {place.size} bytes of sha256 {place.sha256} at {place.url}"
            raise BadDocumentError(path, f"{wanted}, got {found}")
        await note(place)


async def _compare(answer: aiohttp.ClientResponse, place: Place) -> str:
    """What was found in place of the file; empty where it is the file. Little more is read than the file has."""
    encoding = answer.headers.get("Content-Encoding", "identity")
    if answer.status != HTTPStatus.OK:
        return f"status {answer.status}"
    if encoding.lower() != "identity":
        return f"content encoding {encoding[:40]!r}"
    if answer.content_length not in (None, place.size):
        return f"{answer.content_length} bytes"
    digest, size = sha256(), 0
    async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
        size += len(chunk)
        if size > place.size:
            return "more bytes"
        digest.update(chunk)
    if size < place.size:
        return f"{size} bytes"
    return "" if digest.hexdigest() == place.sha256 else "other bytes"


def _is_done(task: "asyncio.Task[None]") -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


def _locate(url: str, base: str, path: str) -> str:
    if url.startswith("/") and not url.startswith("//"):
        if not base:
            raise BadDocumentError(
                path, f"expected an address with a host, since the publisher knows no files, got {url!r}"
            )
        url = base + url
    if not _is_address(url):
        raise BadDocumentError(
            path, f"expected a path or an http(s) address without user and fragment, got {url!r:.200}"
        )
    return url


def _is_address(text: str) -> bool:
    try:
        url = URL(text, encoded=True)
        is_address = url.scheme in _SCHEMES and bool(url.host) and url.port is not None
    except ValueError:
        return False
    return (
        is_address and url.user is None and url.password is None and "#" not in text and bool(_ADDRESS.fullmatch(text))
    )
