"""Carries questions to edges and packages back: bounded in bytes and time; what they say is not known here."""

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import TypeVar
from urllib.parse import urlsplit

from container.errors import EdgeError, NetworkError, OverloadedError
from container.fetcher import Fetcher, Response
from container.journey import Journey, Watch
from container.part import Part
from container.route import Route
from container.wire import MAX_ANSWER_BYTES, MAX_ERROR_BYTES, Transfer, explain_status, is_success

# How long an edge may take to accept a connection, and for each part of an answer, in seconds.
TIMEOUT_S = 10.0
# How long a whole answer, and a whole package, may take: an edge that sends a byte now and then would hold a device.
MAX_ANSWER_S = 60.0
MAX_TRANSFER_S = 3600.0
# What a transfer has to bring after a start, on average: an edge that sends less is left, and another asked for the
# rest. The slowest mobile networks bring five times as much.
MIN_BYTES_A_S = 1024
START_S = 30.0
# How often the rest of a transfer is asked for, where connections break, before the next update goes on with it.
MAX_TRIES = 5

_HEADERS = {"Accept-Encoding": "identity", "User-Agent": "graywave-container"}
_JSON = {**_HEADERS, "Content-Type": "application/json"}

_Result = TypeVar("_Result")


class Courier:
    """Asks edges by a route; `elsewhere` builds a route to another server, such as a CDN.

    `moved` counts the bytes of transfers that came, of whatever worth.
    """

    def __init__(
        self, fetcher: Fetcher, route: Route, elsewhere: Callable[[str], Route], now: Callable[[], float]
    ) -> None:
        self._fetcher = fetcher
        self._route = route
        self._elsewhere = elsewhere
        self._now = now
        self._until = math.inf
        self._answered = ""
        self.moved = 0

    @property
    def has_another(self) -> bool:
        """Whether there is another edge to ask than the last one."""
        return self._route.has_another

    def turn_away(self) -> None:
        """Asks the edge that answered last behind all others from now on."""
        self._route.put_last(self._answered)

    @contextmanager
    def within(self, limit_s: float) -> Iterator[None]:
        """Gives up whatever is not done within so many seconds."""
        self._until = self._now() + limit_s
        try:
            yield
        finally:
            self._until = math.inf

    def post(self, path: str, body: bytes, read: Callable[[bytes], _Result], proof: str = "") -> _Result:
        """Returns what `read` makes of a successful answer's body.

        Args:
            path: what is asked.
            body: JSON.
            read: makes a result of the answer, or raises EdgeError.
            proof: proves the user; it goes to edges, and to nobody that they name.

        Raises:
            NetworkError, OverloadedError: no edge could be asked, or none could answer; later one may.
            EdgeError: the edge refused, or its answer has no end; or `read` raised it.
        """

        def ask(edge: str) -> _Result:
            result = read(self._request("POST", edge + path, body, MAX_ANSWER_BYTES, proof))
            self._answered = edge
            return result

        return self._route.run(ask, until=self._until)

    def get(self, path: str, limit: int) -> bytes:
        """Returns the body, of at most `limit` bytes, of a successful answer; raises as `post`."""
        return self._route.run(lambda edge: self._request("GET", edge + path, None, limit), until=self._until)

    def carry(self, transfer: Transfer, part: Part, watch: Watch) -> None:
        """Completes the part of a transfer, from where it is.

        Args:
            transfer: what to get, and from where.
            part: what is there of it; whole when this returns, and kept for the next time where connections break.
            watch: called with the bytes that are there.

        Raises:
            NetworkError, OverloadedError, EdgeError: as for `post`; asked MAX_TRIES times where connections break.
            VerificationError: "transfer_refused": the bytes are not those that were offered.
        """
        route, rest = self._resolve(transfer.url)
        until = min(self._until, self._now() + MAX_TRANSFER_S)
        journey = Journey(transfer, part, watch)

        def ask(base: str) -> None:
            while not journey.is_over:
                self._go_on(base + rest, journey, until)

        try:
            if not journey.is_over:
                route.run(ask, MAX_TRIES, until)
        finally:
            self.moved += journey.moved

    def _resolve(self, url: str) -> tuple[Route, str]:
        if url.startswith("/") and not url.startswith("//"):
            return self._route, url
        try:
            base = "://".join(urlsplit(url)[:2])
        except ValueError:
            base = ""
        if not url.startswith(("https://", "http://")) or not base:
            raise EdgeError(f"expected the url of a transfer to be a path or http(s), got {url!r:.200}")
        return self._elsewhere(base), url.removeprefix(base)

    def _request(self, method: str, url: str, body: bytes | None, limit: int, proof: str = "") -> bytes:
        until = min(self._until, self._now() + MAX_ANSWER_S)
        headers = {**(_JSON if body else _HEADERS), **({"Authorization": f"Bearer {proof}"} if proof else {})}
        with closing(self._fetch(method, url, headers, body, until)) as response:
            chunks = self._until_then(until, url, response)
            if is_success(response.status):
                return _read_all(chunks, limit)
            raise explain_status(response.status, response.headers, _read_start(chunks))

    def _go_on(self, url: str, journey: Journey, until: float) -> None:
        """Asks for what is missing, once, and takes in what comes of it."""
        until = min(until, self._now() + START_S + journey.missing / MIN_BYTES_A_S)
        with closing(self._fetch("GET", url, {**_HEADERS, **journey.ask()}, None, until)) as response:
            chunks = self._until_then(until, url, response)
            if not journey.may_take(response):
                error = explain_status(response.status, response.headers, _read_start(chunks))
                if isinstance(error, OverloadedError) or not journey.start_over():
                    raise error
                return
            journey.take(response, chunks)

    def _fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, until: float) -> Response:
        left_s = until - self._now()
        if left_s <= 0:
            raise NetworkError(f"{url}: expected to be done by now, got no further; try again later")
        return self._fetcher.fetch(method, url, headers, body, min(TIMEOUT_S, left_s))

    def _until_then(self, until: float, url: str, response: Response) -> Iterator[bytes]:
        for chunk in response.stream:
            if self._now() > until:
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
