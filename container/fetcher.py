"""The one seam to the network: a protocol, and urllib3 behind it. What is asked and answered is not known here."""

import http.client
import io
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

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
        """Sends a request; a connection, the head and each part of the body may take `timeout` seconds at most.

        It follows no redirect, and hands on what has come as soon as it has.
        """


class HttpFetcher:
    """HTTP/1.1 through urllib3, connections kept; TLS is verified against the system's authorities."""

    def __init__(self) -> None:
        # No retries, which is also no redirects: whom to ask next is the route's to say.
        self._pool = urllib3.PoolManager(num_pools=16, maxsize=1, retries=False)
        self._pool.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """Sends a request; see `Fetcher`."""
        _PATIENCE.part_s = timeout
        try:
            answer = self._pool.request(method, url, body=body, headers=headers, timeout=timeout, preload_content=False)
        except (urllib3.exceptions.HTTPError, OSError, ValueError) as error:
            raise NetworkError(f"{url}: expected an answer, try again later: {error}") from error
        names = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status, names, _stream(url, answer, timeout), answer.close)


def _stream(url: str, answer: urllib3.BaseHTTPResponse, timeout: float) -> Iterator[bytes]:
    try:
        while True:
            _PATIENCE.begin(timeout)
            # As sent: a package must not be unpacked by a middle box's idea of a content encoding.
            chunk = answer.read1(CHUNK_BYTES, decode_content=False)
            if not chunk:
                return
            yield chunk
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise NetworkError(f"{url}: expected the rest of the body, try again later: {error}") from error


class _Patience(threading.local):
    """How long this thread waits for what it is reading: a socket's own timeout begins anew with each byte."""

    part_s = math.inf
    deadline = math.inf

    def begin(self, part_s: float) -> None:
        self.part_s = part_s
        self.deadline = time.monotonic() + part_s

    def left_s(self) -> float:
        left_s = min(self.deadline - time.monotonic(), self.part_s)
        if left_s <= 0:
            raise TimeoutError(f"expected the next part within {self.part_s} s, got a few bytes of it")
        return left_s


_PATIENCE = _Patience()


class _PatientReader(io.RawIOBase):
    """A socket's bytes, waited for until the thread's patience ends, however many pieces they come in."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._raw = connection.makefile("rb", buffering=0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._connection.settimeout(_PATIENCE.left_s())
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    """An answer whose head, too, is waited for as one part: a byte now and then does not hold a device."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self.fp.close()
        self.fp = io.BufferedReader(_PatientReader(sock))

    def begin(self) -> None:
        _PATIENCE.begin(_PATIENCE.part_s)
        super().begin()


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection
