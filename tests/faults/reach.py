"""How long a publication takes until the last of four workers answers with it, and how connections share the workers.

There are 16 connections, and some of them at each worker, which the workers' own counts show before and after. All ask
again and again; the last that is answered with a publication's revision says when it has reached all.
"""

import asyncio
import signal
import time
from collections.abc import Sequence
from typing import Any

import aiohttp
import orjson
import uvloop

from loadtest.errors import MeasureError
from loadtest.packager import Packager
from loadtest.program import make_document, name_program
from loadtest.report import summarize
from tests.faults.city import ADDRESS, City, Host, await_true, send
from tests.faults.device import Line
from tests.faults.editor import MAIN
from tests.faults.question import make_request
from tests.faults.truth import read_revision

Json = dict[str, Any]

WORKERS = 4
CONNECTIONS, LONG_LIVED = 16, 64
# Each connection asks so often, in seconds: a figure may be so much too large, and none is too small.
ASK_EVERY_S = 0.005
# Between two publications, in seconds: none waits for the one before it.
PAUSE_S = 0.03
REACH_TIMEOUT_S = 60.0
# How long connections may take to be shared, and how long none moves then, in seconds.
SETTLE_S, STILL_S = 120.0, 1.5
FIRST = 700
MILLI = 1_000


def measure_reach(city: City, host: Host, publishes: int) -> Json:
    """Returns the times of so many publications, in milliseconds.

    Raises:
        MeasureError: one did not arrive, or a worker had none of the connections.
    """
    return uvloop.run(_Reach(city, host).run(publishes))


def measure_shares(host: Host) -> Json:
    """Returns how 64 connections lie on the workers: at first, and after one worker was killed; ends them."""
    return uvloop.run(_measure_shares(host))


class _Reach:
    def __init__(self, city: City, host: Host) -> None:
        self._city, self._host = city, host
        self._program = name_program(FIRST)
        self._packager = Packager(MAIN, (city.keys[MAIN] / "package.key").read_bytes())
        question = {"workspace": MAIN, "device": {"id": "d", "platform": "android"}, "programs": {self._program: ""}}
        self._request = make_request(question)

    async def run(self, publishes: int) -> Json:
        headers = {"Authorization": f"Bearer {self._city.token}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(f"http://{ADDRESS}:{self._city.publisher}", headers=headers) as session:
            await self._publish(session, 0)
            lines = await open_lines(self._host, CONNECTIONS, self._request)
            before = await await_shares(self._host, CONNECTIONS)
            sent, answered = [], []
            for number in range(1, publishes + 1):
                one = await self._measure(session, lines, number)
                sent.append(one[0])
                answered.append(one[1])
                await asyncio.sleep(PAUSE_S)
            after = await await_shares(self._host, CONNECTIONS)
            if not all(before["connections"] + after["connections"]):
                raise MeasureError(f"expected connections at every worker, got {before} and {after}")
            for line in lines:
                line.close()
        return {
            "publishes": publishes,
            "from_request": summarize(sent),
            "from_answer": summarize(answered),
            "connections": {"before": before["connections"], "after": after["connections"]},
            "moved": after["moved"] - before["moved"],
        }

    async def _measure(self, session: aiohttp.ClientSession, lines: Sequence[Line], number: int) -> tuple[float, float]:
        """Milliseconds from the request to publish, and from its answer, until the last connection answers with it."""
        body = self._sign(number)
        arrived: dict[int, list[tuple[int, float]]] = {}
        stop = asyncio.Event()
        asking = [
            asyncio.create_task(self._ask(line, arrived.setdefault(place, []), stop))
            for place, line in enumerate(lines)
        ]
        began = time.perf_counter()
        revision = await self._put(session, body)
        answered = time.perf_counter()
        until = answered + REACH_TIMEOUT_S
        while not all(seen and seen[-1][0] >= revision for seen in arrived.values()):
            if time.perf_counter() > until:
                raise MeasureError(f"expected revision {revision} in every answer within {REACH_TIMEOUT_S:.0f} s")
            await asyncio.sleep(ASK_EVERY_S / 5)
        stop.set()
        await asyncio.gather(*asking)
        last = max(next(at for seen, at in found if seen >= revision) for found in arrived.values())
        return (last - began) * MILLI, max(0.0, last - answered) * MILLI

    async def _ask(self, line: Line, seen: list[tuple[int, float]], stop: asyncio.Event) -> None:
        while not stop.is_set():
            revision = read_revision(await line.ask(self._request))
            if not seen or revision > seen[-1][0]:
                seen.append((revision, time.perf_counter()))
            await asyncio.sleep(ASK_EVERY_S)

    def _sign(self, number: int) -> bytes:
        return orjson.dumps(self._packager.sign({**make_document(FIRST, number), "program": self._program}))

    async def _publish(self, session: aiohttp.ClientSession, number: int) -> None:
        await self._put(session, self._sign(number), {"If-None-Match": "*"})

    async def _put(self, session: aiohttp.ClientSession, body: bytes, condition: dict[str, str] | None = None) -> int:
        path, headers = f"/v1/documents/program/{self._program}", condition or {"If-Match": "*"}
        async with session.put(path, data=body, headers=headers) as response:
            said = orjson.loads(await response.read())
            if response.status != 200:
                raise MeasureError(f"expected 200 for a publication, got {response.status} {said}")
            revision: int = said["revision"]
            return revision


async def open_lines(host: Host, count: int, request: bytes) -> list[Line]:
    """Returns connections on which one answer has come."""
    lines = [await Line.open(0, (ADDRESS, host.port)) for _ in range(count)]
    for line in lines:
        await line.ask(request)
    return lines


async def await_shares(host: Host, count: int) -> Json:
    """Returns how many connections each worker has, and how many moved ever, when none moves any more.

    Raises:
        MeasureError: that does not come about within SETTLE_S.
    """
    until, still_since, moved = time.monotonic() + SETTLE_S, time.monotonic(), -1
    while True:
        status = await asyncio.to_thread(host.read_status)
        workers = status["workers"] if status else []
        shares = [worker["connections"] for worker in workers if worker["ready"]]
        now, found = time.monotonic(), sum(worker["moved"] for worker in workers)
        if found != moved or sum(shares) != count or len(shares) != host.workers:
            still_since, moved = now, found
        if now - still_since > STILL_S:
            return {"connections": shares, "moved": moved, "largest": round(max(shares) * host.workers / count, 2)}
        if now > until:
            raise MeasureError(f"expected {count} connections over {host.workers} workers, got {shares}")
        await asyncio.sleep(0.1)


async def _measure_shares(host: Host) -> Json:
    question = {"workspace": MAIN, "device": {"id": "d", "platform": "android"}, "programs": {"1": ""}}
    request = make_request(question)
    lines = await open_lines(host, LONG_LIVED, request)
    at_first = await await_shares(host, LONG_LIVED)
    victim = (await asyncio.to_thread(host.list_workers))[0]
    send(victim, signal.SIGKILL)
    await asyncio.to_thread(await_true, lambda: victim not in host.list_workers())
    cut = [place for place, line in enumerate(lines) if line.is_over]
    for place in cut:
        lines[place] = (await open_lines(host, 1, request))[0]
    after = await await_shares(host, LONG_LIVED)
    for line in lines:
        line.close()
    return {"at_first": at_first, "cut": len(cut), "after_a_death": after}
