"""The one seam to the network: a protocol, and urllib3 behind it. What is asked and answered is not known here."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

import urllib3

from container.errors import NetworkError

# How much of a body is handed on at once.
CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Response:
    """An answer whose body has not been read: header names in lower case; whoever got it calls `close`."""

    status: int
    headers: Mapping[str, str]
    stream: Iterator[bytes]
    close: Callable[[], None]


class Fetcher(Protocol):
    """What a container needs of the network. Any failure, also while the stream is read, is a NetworkError."""

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """Sends a request, waits `timeout` seconds at most for a connection and each part; follows no redirect."""


class HttpFetcher:
    """HTTP/1.1 through urllib3, connections kept; TLS is verified against the system's authorities."""

    def __init__(self) -> None:
        # No retries, which is also no redirects: whom to ask next is the route's to say.
        self._pool = urllib3.PoolManager(num_pools=16, maxsize=1, retries=False)

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """Sends a request; see `Fetcher`."""
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, timeout=timeout, preload_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NetworkError(f"{url}: expected an answer, try again later: {error}") from error
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, names, _stream(url, answer), answer.close)


def _stream(url: str, answer: urllib3.BaseHTTPResponse) -> Iterator[bytes]:
    try:
        # As sent: a package must not be unpacked by a middle box's idea of a content encoding.
        yield from answer.stream(CHUNK_BYTES, decode_content=False)
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NetworkError(f"{url}: expected the rest of the body, try again later: {error}") from error
