"""Carries questions to edges and packages back: bounded in bytes and time; what they say is not known here."""

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import TypeVar
from urllib.parse import urlsplit

from bundle import BundleError, verify_bytes
from container.errors import EdgeError, NetworkError, VerificationError
from container.fetcher import Fetcher, Response
from container.route import Route
from container.wire import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, Transfer, explain_status, is_success

# How long an edge may take to accept a connection, and for each part of an answer, in seconds.
TIMEOUT_S = 10.0
# How long a whole answer, and a whole package, may take: an edge that sends a byte now and then would hold a device.
MAX_ANSWER_S = 60.0
MAX_TRANSFER_S = 3600.0

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "graywave-container"}
_JSON = {**_HEADERS, "Content-Type": "application/json"}

_Result = TypeVar("_Result")


class Courier:
    """Asks edges by a route; `elsewhere` builds a route to another server, such as a CDN."""

    def __init__(
        self, fetcher: Fetcher, route: Route, elsewhere: Callable[[str], Route], now: Callable[[], float]
    ) -> None:
        self._fetcher = fetcher
        self._route = route
        self._elsewhere = elsewhere
        self._now = now

    def post(self, path: str, body: bytes) -> bytes:
        """Returns the body of a successful answer.

        Raises:
            NetworkError, OverloadedError: no edge could be asked, or none could answer; later one may.
            EdgeError: the edge refused, or its answer has no end.
        """

        def ask(edge: str) -> bytes:
            return self._fetch("POST", edge + path, body, MAX_ANSWER_S, partial(_read_all, limit=MAX_ANSWER_BYTES))

        return self._route.run(ask)

    def carry(self, transfer: Transfer, take: Callable[[Iterator[bytes]], _Result]) -> _Result:
        """Returns what `take` makes of the transfer's bytes, which are verified as they pass; it may be asked again.

        Raises:
            NetworkError, OverloadedError, EdgeError: as for `post`.
            VerificationError: "transfer_refused": the bytes are not those that were offered.
        """
        route, rest = self._resolve(transfer.url)

        def read(chunks: Iterator[bytes]) -> _Result:
            return take(_verify(chunks, transfer))

        return route.run(lambda base: self._fetch("GET", base + rest, None, MAX_TRANSFER_S, read))

    def _resolve(self, url: str) -> tuple[Route, str]:
        if url.startswith("/") and not url.startswith("//"):
            return self._route, url
        if not url.startswith(("https://", "http://")):
            raise EdgeError(f"expected the url of a transfer to be a path or http(s), got {url!r:.200}")
        base = "://".join(urlsplit(url)[:2])
        return self._elsewhere(base), url.removeprefix(base)

    def _fetch(
        self, method: str, url: str, body: bytes | None, limit_s: float, read: Callable[[Iterator[bytes]], _Result]
    ) -> _Result:
        deadline = self._now() + limit_s
        response = self._fetcher.fetch(method, url, _JSON if body else _HEADERS, body, TIMEOUT_S)
        with closing(response):
            chunks = self._until(deadline, url, response)
            if is_success(response.status):
                return read(chunks)
            raise explain_status(response.status, response.headers, _read_start(chunks))

    def _until(self, deadline: float, url: str, response: Response) -> Iterator[bytes]:
        for chunk in response.stream:
            if self._now() > deadline:
                raise NetworkError(f"{url}: expected the whole answer by now, got a part; try again later")
            yield chunk


def _read_all(chunks: Iterator[bytes], limit: int) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > limit:
            raise EdgeError(f"expected an answer of at most {limit} bytes, got more")
    return bytes(body)


def _read_start(chunks: Iterator[bytes]) -> bytes:
    body = bytearray()
    for chunk in chunks:
        body += chunk
        if len(body) > MAX_ERROR_BYTES:
            break
    return bytes(body[:MAX_ERROR_BYTES])


def _verify(chunks: Iterator[bytes], transfer: Transfer) -> Iterator[bytes]:
    try:
        yield from verify_bytes(chunks, transfer.sha256, transfer.size, "the transfer")
    except BundleError as error:
        raise VerificationError(f"{transfer.url[:200]!r}: {error}", "transfer_refused") from error
