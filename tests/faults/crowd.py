"""The crowd of a soak, a process of its own: devices that ask at a steady pace, and the editor whose work they ask for.

Commands come as lines on standard input, each is answered by a line of JSON on standard output; `end` by the report.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from random import Random
from typing import Any

import orjson
import uvloop

from loadtest.program import name_program
from tests.faults.device import Device, Outcome
from tests.faults.editor import FORGED, GOOD, HAND, MAIN, PROGRAMS, SPOILT, Desk, Editor
from tests.faults.question import draw_questions, make_request
from tests.faults.truth import Said, Truth, read_revision

Json = dict[str, Any]

# Devices that keep their connection, that make a new one each time, and that ask as soon as something was published.
KEEPING, FRESH, EAGER = 96, 16, 8
ASKS_A_SECOND = 300
QUESTIONS = 48
# How long the editor may take to publish what is left when the devices have gone, in seconds.
EDITING_S = 180.0
# Of so many devices one asks the workspace that is written by hand.
HAND_EVERY = 6


class Crowd:
    """Devices, editor, and what is true.

    Args:
        spec: what the parent says: the desk, the hosts' addresses, publishes, bad, seconds.
    """

    def __init__(self, spec: Json) -> None:
        self._spec, self._random = spec, Random(f"crowd/{spec['desk']['seed']}")
        named = {MAIN: [*map(name_program, range(PROGRAMS)), FORGED], HAND: [GOOD, SPOILT]}
        questions = {name: draw_questions(name, programs, QUESTIONS, self._random) for name, programs in named.items()}
        self._requests = {name: [make_request(one) for one in asked] for name, asked in questions.items()}
        self._truths = {name: Truth(asked) for name, asked in questions.items()}
        self._outcome = Outcome()
        self._told = asyncio.Event()
        self._editor = Editor(Desk(**spec["desk"]), self._truths, self._told.set)
        self._tasks: list[asyncio.Task[None]] = []

    async def run(self) -> None:
        """Heeds commands until the end."""
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        acts: dict[str, Callable[[], Awaitable[Any]]] = {
            "begin": self._editor.begin,
            "ask": self._ask,
            "hold": self._editor.held.acquire,
            "go": self._go,
            "restore": self._editor.restore,
            "publish": self._editor.publish_now,
            "end": self._end,
        }
        async with self._editor:
            while line := (await reader.readline()).decode().strip():
                told = await acts[line]()
                _say({"done": line, "told": told})
                if line == "end":
                    return

    async def _ask(self) -> None:
        spec = self._spec
        pause_s = (KEEPING + FRESH) / ASKS_A_SECOND
        hosts = [(host, port) for host, port in spec["hosts"]]
        works = [self._ask_on(number, hosts, pause_s) for number in range(KEEPING + FRESH)]
        works += [self._ask_eagerly(number, hosts) for number in range(EAGER)]
        works.append(self._editor.run(spec["publishes"], spec["bad"], spec["seconds"]))
        self._tasks = [asyncio.create_task(work) for work in works]

    async def _go(self) -> None:
        self._editor.held.release()

    async def _ask_on(self, number: int, hosts: list[tuple[str, int]], pause_s: float) -> None:
        device = Device(hosts, number % len(hosts), self._outcome, keeps=number >= FRESH)
        workspace = HAND if number % HAND_EVERY == 0 else MAIN
        while True:
            await asyncio.sleep(self._random.expovariate(1 / pause_s))
            await self._ask_once(device, workspace)

    async def _ask_eagerly(self, number: int, hosts: list[tuple[str, int]]) -> None:
        device = Device(hosts, number % len(hosts), self._outcome, keeps=True)
        while True:
            await self._told.wait()
            await self._ask_once(device, MAIN)
            self._told.clear()
            await self._ask_once(device, HAND)

    async def _ask_once(self, device: Device, workspace: str) -> None:
        number, asked_at = self._random.randrange(QUESTIONS), int(time.time())
        answer = await device.ask(self._requests[workspace][number])
        if answer is not None:
            revision = read_revision(answer)
            device.note_revision(workspace, revision)
            self._truths[workspace].hear(Said(number, revision, answer, asked_at, int(time.time())))

    async def _end(self) -> Json:
        """Ends everything that is asked and published; what then is unknown to the truth never was true."""
        *devices, editing = self._tasks
        for task in devices:
            task.cancel()
        failed = [one for one in await asyncio.gather(*devices, return_exceptions=True) if isinstance(one, Exception)]
        try:
            await asyncio.wait_for(editing, EDITING_S)
            await asyncio.wait_for(self._editor.learn(), EDITING_S)
        except Exception as error:  # noqa: BLE001 - whatever it was, the run proves nothing then
            failed.append(error)
        for truth in self._truths.values():
            truth.settle()
        wrong = [one for truth in self._truths.values() for one in truth.wrong]
        return {
            "judged": sum(truth.judged for truth in self._truths.values()),
            "wrong": len(wrong),
            "wrong_examples": [one for one in wrong if one],
            "published": dict(self._editor.done),
            "surprises": self._editor.surprises + [repr(error) for error in failed],
            **asdict(self._outcome),
        }


def _say(what: Json) -> None:
    sys.stdout.buffer.write(orjson.dumps(what, option=orjson.OPT_NON_STR_KEYS) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    uvloop.run(Crowd(orjson.loads(sys.argv[1])).run())
