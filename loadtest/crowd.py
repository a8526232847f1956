"""Many devices that ask at once: pipelined over some connections, and who of them is told of a release."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import uvloop

from loadtest.client import read_length
from loadtest.errors import MeasureError

CONNECTIONS = 64
# Questions of a connection on their way at a time.
DEPTH = 8
# How long one answer may take, in seconds, and how often a connection may end before the measurement is given up.
ANSWER_TIMEOUT_S = 30.0
MAX_ENDS = 1_000
BLANK_LINE = b"\r\n\r\n"


@dataclass(slots=True)
class Tally:
    """Who was told, by number, and whose question had no answer because a connection ended."""

    told: set[int] = field(default_factory=set)
    unanswered: int = 0


@dataclass(frozen=True, slots=True)
class Crowd:
    """Devices that ask about one program.

    Args:
        make: makes the request of a device by its number.
        mark: what an answer holds that tells of the release.
    """

    make: Callable[[int], bytes]
    mark: bytes

    def ask(self, ports: Sequence[int], count: int, watch: Callable[[int], None] | None = None) -> Tally:
        """Lets so many devices ask at once, spread over these ports; `watch` is called with how many were told so far.

        Raises:
            MeasureError: an answer did not come in time, or was none.
        """
        return uvloop.run(self._ask(ports, count, watch or (lambda _: None)))

    async def _ask(self, ports: Sequence[int], count: int, watch: Callable[[int], None]) -> Tally:
        tally = Tally()
        places = range(min(CONNECTIONS, count))
        await asyncio.gather(
            *[
                self._work(ports[place % len(ports)], iter(range(place, count, CONNECTIONS)), tally, watch)
                for place in places
            ]
        )
        return tally

    async def _work(self, port: int, numbers: Iterator[int], tally: Tally, watch: Callable[[int], None]) -> None:
        for _ in range(MAX_ENDS):
            try:
                async with asyncio.timeout(None) as limit:
                    await self._serve(port, numbers, tally, watch, limit)
            except OSError:
                await asyncio.sleep(0.01)  # the worker was killed, and its successor begins
                continue
            except TimeoutError:
                raise MeasureError(f"expected an answer within {ANSWER_TIMEOUT_S:.0f} s, got none") from None
            return
        raise MeasureError(f"expected a connection to hold, got {MAX_ENDS} that ended")

    async def _serve(
        self,
        port: int,
        numbers: Iterator[int],
        tally: Tally,
        watch: Callable[[int], None],
        limit: asyncio.Timeout,
    ) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        loop = asyncio.get_running_loop()
        waiting: list[int] = []
        try:
            while waiting := list(islice(numbers, DEPTH)):
                writer.write(b"".join(map(self.make, waiting)))
                limit.reschedule(loop.time() + ANSWER_TIMEOUT_S)
                while waiting:
                    head = await reader.readuntil(BLANK_LINE)
                    body = await reader.readexactly(read_length(head))
                    if not head.startswith(b"HTTP/1.1 200"):
                        raise MeasureError(f"expected 200, got {head[:60]!r} {body[:200]!r}")
                    number = waiting.pop(0)
                    if self.mark in body:
                        tally.told.add(number)
                        watch(len(tally.told))
        except asyncio.IncompleteReadError as error:
            tally.unanswered += len(waiting)
            raise ConnectionResetError from error
        except OSError:
            tally.unanswered += len(waiting)
            raise
        finally:
            writer.close()
