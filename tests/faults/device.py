"""A device as the wire asks for: one question, and where no answer comes one retry on a new connection, and no more.

It knows the hosts' addresses, and begins with the same one each time. One that refuses a connection costs no time: the
next is tried at once, as with every name that has several addresses. The retry goes to another address.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self, cast

# How long a device waits for an answer before it asks elsewhere, and then, in seconds.
FIRST_S, RETRY_S = 0.4, 15.0
# What an attempt, the retry included, may take, in seconds.
IN_TIME_S = 1.0
# How long a connection is kept on average, in seconds: then the device is elsewhere, and comes back to its own host.
KEPT_S = 30.0
OK = b"HTTP/1.1 200 "
BLANK_LINE = b"\r\n\r\n"
LENGTH = b"Content-Length: "
LAST = b"Connection: close"


class LostError(Exception):
    """A question without its answer; says what happened: `ended`, `silent`, `refused`, or a status."""


@dataclass(frozen=True, slots=True)
class Failure:
    """What happened to a question, at which host, at which moment of the monotonic clock; `is_retry` on the retry."""

    what: str
    host: int
    at: float
    is_retry: bool = False


@dataclass(slots=True)
class Outcome:
    """What became of all attempts.

    `refusals` are connections that a host did not take, of which a device need have noticed nothing; `failures` are
    questions that got no answer. `late` were answered after IN_TIME_S, `lost` never. `older` are answers of a revision
    before that of an answer on the same connection. `seconds` has a second's attempts, retries and longest time in ms.
    """

    attempts: int = 0
    retried: int = 0
    late: int = 0
    lost: int = 0
    older: int = 0
    slowest_ms: float = 0.0
    refusals: list[Failure] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    misses: list[Failure] = field(default_factory=list)
    seconds: dict[int, list[float]] = field(default_factory=dict)

    def note(self, took_s: float, host: int, *, is_retried: bool, is_lost: bool) -> None:
        """Counts an attempt that has ended now."""
        self.attempts += 1
        self.retried += is_retried
        self.lost += is_lost
        self.late += not is_lost and took_s > IN_TIME_S
        self.slowest_ms = max(self.slowest_ms, took_s * 1_000)
        now = time.monotonic()
        if is_lost or took_s > IN_TIME_S:
            self.misses.append(Failure(f"{took_s:.3f} s", host, now, is_retried))
        second = self.seconds.setdefault(int(now), [0, 0, 0.0])
        second[0] += 1
        second[1] += is_retried
        second[2] = max(second[2], round(took_s * 1_000, 1))


class Line(asyncio.Protocol):
    """One connection, with one question on it at a time; `newest` is by workspace the revision last answered on it."""

    def __init__(self, host: int) -> None:
        self.host = host
        self.newest: dict[str, int] = {}
        self.is_over = False
        self._buffer = b""
        self._waiting: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, host: int, address: tuple[str, int]) -> Self:
        """Connects; raises OSError."""
        _, line = await asyncio.get_running_loop().create_connection(lambda: cls(host), *address)
        return line

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    async def ask(self, request: bytes) -> bytes:
        """Returns the answer's body; raises LostError where none comes, or none that is one."""
        self._waiting = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._waiting

    def data_received(self, data: bytes) -> None:
        """Bytes of an answer."""
        self._buffer += data
        head, found, body = self._buffer.partition(BLANK_LINE)
        if not found:
            return
        length = int(head.partition(LENGTH)[2].partition(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        self.is_over = LAST in head
        if self._waiting is not None and not self._waiting.done():
            if head.startswith(OK):
                self._waiting.set_result(body)
            else:
                self._waiting.set_exception(LostError(head[9:12].decode()))

    def connection_lost(self, _error: Exception | None) -> None:
        """The other end is gone."""
        self.is_over = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(LostError("ended"))

    def close(self) -> None:
        """Ends it."""
        self.is_over = True
        self._transport.abort()


class Device:
    """Asks one question at a time.

    Args:
        addresses: of the hosts.
        home: the place of the one it begins with.
        keeps: whether it keeps its connection, as long as that lives, or asks each time on a new one.
        outcome: where it counts.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], home: int, outcome: Outcome, *, keeps: bool) -> None:
        self._addresses, self._home, self._outcome, self._keeps = addresses, home, outcome, keeps
        self._host, self._line, self._ends_at = home, cast("Line | None", None), 0.0

    async def ask(self, request: bytes) -> bytes | None:
        """Returns the answer's body, None where the question is lost."""
        began, is_retried = time.monotonic(), False
        answer = await self._try(request, FIRST_S, is_retry=False)
        if answer is None:
            is_retried = True
            answer = await self._try(request, RETRY_S, is_retry=True)
        took_s = time.monotonic() - began
        self._outcome.note(took_s, self._host, is_retried=is_retried, is_lost=answer is None)
        return answer

    def note_revision(self, workspace: str, revision: int) -> None:
        """The answer was of this revision: counts it where that is older than the last on the same connection."""
        if self._line is not None:
            self._outcome.older += revision < self._line.newest.get(workspace, 0)
            self._line.newest[workspace] = revision
            if self._line.is_over or not self._keeps or time.monotonic() > self._ends_at:
                self.close()

    def close(self) -> None:
        """Ends the connection."""
        if self._line is not None:
            self._line.close()
            self._line = None

    async def _try(self, request: bytes, patience_s: float, *, is_retry: bool) -> bytes | None:
        try:
            async with asyncio.timeout(patience_s):
                if self._line is None or self._line.is_over:  # a client sees that before it asks
                    self._line = await self._connect(self._home + is_retry)
                    self._ends_at = time.monotonic() + random.expovariate(1 / KEPT_S)
                return await self._line.ask(request)
        except TimeoutError:
            what = "silent"
        except LostError as error:
            what = str(error)
        except OSError:
            what = "refused"
        self._outcome.failures.append(Failure(what, self._host, time.monotonic(), is_retry))
        self.close()
        return None

    async def _connect(self, first: int) -> Line:
        """Connects to the first address that takes it, from this one on."""
        count = len(self._addresses)
        for place in range(first, first + count - 1):
            self._host = place % count
            try:
                return await Line.open(self._host, self._addresses[self._host])
            except OSError as error:
                self._outcome.refusals.append(Failure(type(error).__name__, self._host, time.monotonic()))
        self._host = (first + count - 1) % count
        return await Line.open(self._host, self._addresses[self._host])
