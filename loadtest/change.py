"""How long a change takes to reach a device: from the moment it is sent to the publisher until an answer shows it."""

import asyncio
import time
from dataclasses import dataclass
from random import Random
from typing import Any

import orjson

from loadtest.author import Author
from loadtest.client import Connection
from loadtest.errors import MeasureError
from loadtest.market import draw_profile
from loadtest.population import ID_CHARS, fill_template, make_address, make_template
from loadtest.program import make_document

Json = dict[str, Any]

# The number of the program that changes; it lies above all that are published for load.
PROBE = 900_000
# How long a change may take before the measurement is given up, in seconds.
CHANGE_TIMEOUT_S = 10.0
# Between two changes, in milliseconds: so far apart that none waits for the one before it, and in step with no timer.
PAUSE_MS = (40, 110)
MILLI = 1_000


@dataclass(frozen=True, slots=True)
class Change:
    """One change: milliseconds from sending it until the publisher's answer, and until a device's answer showed it."""

    published_ms: float
    reached_ms: float


def make_probe(seed: int, turn: int) -> Json:
    """Returns the document of the program that changes; each turn has an official release of its own on top."""
    document = make_document(PROBE, seed)
    newest = document["releases"][0]["package"]
    return {**document, "releases": [{"id": name_turn(turn), "package": newest}, *document["releases"][1:]]}


def name_turn(turn: int) -> str:
    """Returns the id of the release by which a turn is known."""
    return f"turn-{turn}"


def make_question(seed: int) -> bytes:
    """Returns the request of a device that has nothing of the changing program, hence is told of its newest release."""
    template = make_template(draw_profile(Random(seed)), {make_probe(seed, 0)["program"]: ""})
    return fill_template(template, b"0" * ID_CHARS, make_address(0))


async def measure_changes(author: Author, port: int, seed: int, first: int, count: int) -> list[Change]:
    """Changes a published program again and again, and asks without a pause until each change shows.

    Args:
        author: changes the document.
        port: the edge's.
        seed: of documents and pauses.
        first: the first turn; none may have been published before.
        count: how many.

    Raises:
        MeasureError: a change did not show within CHANGE_TIMEOUT_S.
    """
    random = Random(seed)
    question = make_question(seed)
    changes = []
    async with author, await Connection.open(port) as device:
        for turn in range(first, first + count):
            changes.append(await _measure_change(author, device, question, make_probe(seed, turn), name_turn(turn)))
            await asyncio.sleep(random.uniform(*PAUSE_MS) / MILLI)
    return changes


async def _measure_change(author: Author, device: Connection, question: bytes, document: Json, turn: str) -> Change:
    body = author.sign(document)
    began = time.perf_counter()

    async def publish() -> float:
        await author.put(document["program"], body, is_new=False)
        return time.perf_counter() - began

    publishing = asyncio.create_task(publish())
    try:
        async with asyncio.timeout(CHANGE_TIMEOUT_S):
            while read_release((await device.ask(question)).body) != turn:
                pass
            reached = time.perf_counter() - began
            return Change(await publishing * MILLI, reached * MILLI)
    except TimeoutError:
        raise MeasureError(f"expected {turn} in an answer within {CHANGE_TIMEOUT_S:.0f} s, it did not come") from None
    finally:
        publishing.cancel()


def read_release(body: bytes) -> str:
    """Returns the release that an answer about one program names, empty where there is nothing to do."""
    updates = orjson.loads(body).get("updates") or [{}]
    release: str = updates[0].get("release", "")
    return release
