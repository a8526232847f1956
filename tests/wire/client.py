"""A client that sends bytes as they are given, and reads answers: no more of HTTP than tests need."""

import contextlib
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import orjson

from contract.vector import load_vectors
from tests.wire.server import WireServer

# A question with an update for an answer, and the rules that give it.
USUAL = next(vector for vector in load_vectors() if vector.id == "rollback/from_a_named_version")
QUESTION = USUAL.body
REPORT = (
    b'{"workspace":"demo","device":{"id":"device-1","platform":"android"},'
    b'"events":[{"program":"2021000000000001","to":"2.3.0","outcome":"confirmed","at":1,"nonce":"%b"}]}'
)
_find_length = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE).search
_find_type = re.compile(rb"\r\ncontent-type: ([^\r]*)\r\n", re.IGNORECASE).search


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; `head` has its lines and is not compared, since only status, type and body are promised."""

    status: int
    type: str
    body: bytes

    @property
    def code(self) -> str:
        """The error's code, empty in an answer that is none."""
        found = re.match(rb'{"error":{"code":"([a-z_]+)"', self.body)
        return found[1].decode() if found else ""


# The answer to QUESTION.
GOOD = Answer(200, "application/json", orjson.dumps(USUAL.answer))


class Client:
    """One connection.

    Args:
        server: where to.
    """

    def __init__(self, server: WireServer) -> None:
        self.socket = server.connect()
        self._held = b""
        self.heads: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Sends the parts one after the other; a server that has closed already is no fault of the client's."""
        with contextlib.suppress(ConnectionError):
            for part in parts:
                self.socket.sendall(part)

    def end(self) -> None:
        """Says that no more will be sent."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)

    def read(self, *, is_head: bool = False) -> Answer | None:
        """Returns the next answer, None where the connection has ended; `is_head` for one to a HEAD."""
        head = self._read_until(b"\r\n\r\n")
        if head is None:
            return None
        self.heads.append(head)
        status = int(head.split(b" ", 2)[1])
        if status == 100:
            return Answer(100, "", b"")
        length, type_ = _find_length(head), _find_type(head)
        body = b"" if is_head or not length else self._read_exactly(int(length[1]))
        return Answer(status, type_[1].decode() if type_ else "", body)

    def read_all(self) -> list[Answer]:
        """Returns the answers that come until the server ends the connection."""
        return list(self._read_on())

    def _read_on(self) -> Iterable[Answer]:
        while (answer := self.read()) is not None:
            yield answer

    def _read_until(self, mark: bytes) -> bytes | None:
        while mark not in self._held:
            if not self._receive():
                assert not self._held, f"the connection ended within an answer: {self._held!r}"
                return None
        head, _, self._held = self._held.partition(mark)
        return head + mark

    def _read_exactly(self, size: int) -> bytes:
        while len(self._held) < size:
            assert self._receive(), f"the connection ended within a body: {self._held!r}"
        body, self._held = self._held[:size], self._held[size:]
        return body

    def _receive(self) -> bool:
        try:
            data = self.socket.recv(1 << 16)
        except ConnectionError:
            return False
        self._held += data
        return bool(data)


def make_check(
    body: bytes = QUESTION,
    fields: bytes = b"",
    *,
    line: bytes = b"POST /v1/check HTTP/1.1",
    host: bytes = b"Host: edge\r\n",
    content_type: bytes = b"Content-Type: application/json\r\n",
    length: bytes | None = None,
) -> bytes:
    """Returns the bytes of a check; `fields` are further ones, and each part of its head can be another or empty."""
    if length is None:
        length = b"Content-Length: %d\r\n" % len(body)
    return b"%b\r\n%b%b%b%b\r\n%b" % (line, host, content_type, length, fields, body)


def ask(server: WireServer, *parts: bytes) -> list[Answer]:
    """Returns all answers to what is sent on one connection by a client that then sends no more."""
    with Client(server) as client:
        client.send(*parts)
        client.end()
        return client.read_all()
