"""Who publishes during a soak, well and badly: through the publisher's door, and with a pen in Redis itself.

Of `main` the publisher is real; of `hand` it is the editor, who has a true channel key and misuses it. Each document is
told to the truth of its workspace when its revision is known for sure.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from random import Random
from typing import Any, Self

import aiohttp
import orjson
from redis import Redis
from redis.exceptions import RedisError

from channel import DOCUMENT_TYPE, DocumentName, Keys, Position, encode_head, make_head, seal
from loadtest.packager import Packager
from loadtest.program import make_document, name_program
from tests.end_to_end.town import Hand
from tests.faults.truth import Truth
from trust import PrivateKey

Json = dict[str, Any]

MAIN, HAND = "main", "hand"
PROGRAMS = 12
# A program that nobody but the forger says there is.
FORGED = name_program(PROGRAMS)
# The program of `hand` that stays good, and the one that is spoilt, and keeps its first document for ever.
GOOD, SPOILT = name_program(0), name_program(1)
# Every so many publications one goes to `hand`.
HAND_EVERY = 5
# How long a forged head lies there until the operator has deleted it, as the publisher asks for, in seconds.
FORGED_S = 1.0
AGAIN_S = 0.2
# How long Redis may take; and the publisher, which must not be given up while it may still publish, in seconds.
TIMEOUT_S, PUBLISHER_TIMEOUT_S = 5.0, 120.0
FAR = 1 << 39
BAD = ("refused: malformed", "refused: newer format", "forged head", "malformed", "newer format", "forged document")


@dataclass(frozen=True, slots=True)
class Desk:
    """What an editor has: where publisher and Redis are, the keys of both workspaces, and a seed."""

    publisher: int
    redis: int
    token: str
    keys: Mapping[str, str]
    seed: int

    def read_key(self, workspace: str, role: str) -> bytes:
        """Returns a private key."""
        return (Path(self.keys[workspace]) / f"{role}.key").read_bytes()


class Pen(Hand):
    """Writes `hand` into Redis, and all of it anew where Redis has lost something."""

    def __init__(self, url: str, key: PrivateKey) -> None:
        super().__init__(url, key)
        self._here: dict[str, tuple[Position, bytes]] = {}

    def write(self, program: str, envelope: bytes) -> None:
        """Writes the next revision, like a publisher; raises RedisError: then it may be there or not."""
        self.revision += 1
        self._here[program] = Position(1, self.revision), envelope
        self._send([program], is_anew=False)

    def rewrite(self) -> None:
        """Writes everything over whatever is there; raises RedisError."""
        self._send(list(self._here), is_anew=True)

    def _send(self, programs: Sequence[str], *, is_anew: bool) -> None:
        position = Position(1, self.revision)
        head = encode_head(make_head(HAND, position, len(self._here), FAR), self.key)
        with Redis.from_url(self._url, socket_timeout=TIMEOUT_S) as client, client.pipeline() as pipeline:
            if is_anew:
                pipeline.delete(self._keys.log)
            for program in programs:
                at, envelope = self._here[program]
                pipeline.set(self._keys.document(DocumentName("program", program)), envelope)
                pipeline.hset(self._keys.index, f"program:{program}", str(at))
            pipeline.xadd(self._keys.log, {"kind": "program", "id": programs[-1]}, id=str(position))
            pipeline.hset(self._keys.head, mapping={"epoch": 1, "revision": self.revision, "signed": head})
            pipeline.publish(self._keys.changed, str(position))
            pipeline.execute()


class Editor:
    """Publishes at a steady pace until cancelled; `held` while somebody must not be disturbed.

    Args:
        desk: what it has.
        truths: by workspace, told of each state.
        told: called after each publication, so that devices can ask at once.
    """

    def __init__(self, desk: Desk, truths: Mapping[str, Truth], told: Callable[[], None]) -> None:
        self._desk, self._truths, self._told = desk, truths, told
        self._random = Random(f"editor/{desk.seed}")
        self._packager = Packager(MAIN, desk.read_key(MAIN, "package"))
        self._url = f"redis://127.0.0.1:{desk.redis}"
        self._pen = Pen(self._url, PrivateKey.from_json(desk.read_key(HAND, "channel")))
        self._stranger = PrivateKey.generate()
        self._turn = 0
        self._known: dict[str, int] = {}
        self._unsure: set[str] = set()
        self._bad = cycle(BAD)
        self.done: Counter[str] = Counter()
        self.surprises: list[str] = []
        self.held = asyncio.Lock()

    async def begin(self) -> None:
        """Publishes every document for the first time."""
        for number in range(PROGRAMS):
            await self._publish(number)
        for program in (SPOILT, GOOD):
            await self._write(program, "1.0.0.0")

    async def run(self, publishes: int, bad: int, seconds: float) -> None:
        """Publishes so often in so many seconds, some of it badly, then no more."""
        loop = asyncio.get_running_loop()
        began, every = loop.time(), publishes // bad
        for number in range(publishes):
            await asyncio.sleep(began + seconds * number / publishes - loop.time())
            await self.learn()
            async with self.held:
                if number % every == every - 1:
                    await self._misbehave(next(self._bad))
                elif number % HAND_EVERY == 0:
                    await self._write(GOOD, f"1.0.{number}.0")
                else:
                    await self._publish(self._draw_program())

    async def learn(self) -> None:
        """Returns when it is known of everything under which revision it was published."""
        while self._unsure:
            async with self.held:
                await self._settle()
            await asyncio.sleep(AGAIN_S if self._unsure else 0)

    async def publish_now(self) -> None:
        """Publishes something, whatever the pace is."""
        async with self.held:
            await self._publish(self._draw_program())

    async def restore(self) -> None:
        """Puts `hand` back into a Redis that has lost it."""
        async with self.held:
            await self._insist(self._pen.rewrite)

    # Well

    def _draw_program(self) -> int:
        """One whose last revision is known: of two that are not, the first would never be."""
        return self._random.choice([n for n in range(PROGRAMS) if name_program(n) not in self._unsure])

    async def _publish(self, number: int) -> None:
        self._turn += 1
        program = name_program(number)
        document = make_document(number, self._desk.seed + self._turn)
        self._truths[MAIN].begin()
        self._unsure.add(program)
        status = await self._put(program, orjson.dumps(self._packager.sign(document)))
        if status not in (200, 202, 0):
            self.surprises.append(f"expected 200 or 202 for a good document, got {status}")
        self.done["good"] += 1
        self._told()
        await self._settle()

    async def _write(self, program: str, version: str) -> None:
        document = self._pen.make(version, program=program)
        await self._put_by_hand(program, self._pen.seal(document), {program: document})
        self.done["good"] += 1

    async def _put_by_hand(self, program: str, envelope: bytes, documents: Mapping[str, Json]) -> None:
        truth = self._truths[HAND]
        truth.begin()
        try:
            await asyncio.to_thread(self._pen.write, program, envelope)
        except RedisError:
            await self._insist(self._pen.rewrite)
        truth.note(self._pen.revision, documents)
        truth.settle()
        self._told()

    async def _insist(self, write: Callable[[], None]) -> None:
        while True:
            with suppress(RedisError):
                return await asyncio.to_thread(write)
            await asyncio.sleep(AGAIN_S)

    async def _settle(self) -> None:
        """Learns from the publisher under which revisions things are published; not while some may still change."""
        health = await self._get("/healthz")
        if not self._unsure or health is None or not health["distributed"] or health["pending"]:
            return
        listed = await self._get("/v1/documents")
        if listed is None:
            return
        revisions = {one["id"]: one["revision"] for one in listed["documents"]}
        fresh = {one: found for one, found in revisions.items() if found > self._known.get(one, 0)}
        published = {one: await self._get(f"/v1/documents/program/{one}/revisions/{fresh[one]}") for one in fresh}
        if None in published.values():
            return
        truth = self._truths[MAIN]
        for program in sorted(fresh, key=fresh.__getitem__):
            truth.note(fresh[program], {program: published[program] or {}})
        self._known |= fresh
        self._unsure.clear()
        truth.settle()

    # Badly

    async def _misbehave(self, how: str) -> None:
        self.done[how] += 1
        if how.startswith("refused"):
            await self._knock(how)
        elif how == "forged head":
            await self._insist(self._forge)
            await asyncio.sleep(FORGED_S)
            await self._insist(self._delete_head)
        else:
            await self._put_by_hand(SPOILT, self._spoil(how), {})

    def _spoil(self, how: str) -> bytes:
        """Returns what no host may take in the place of the document that it has."""
        document = self._pen.make("6.6.6.0", program=SPOILT)
        if how == "malformed":
            return self._pen.seal({**document, "releases": 7})
        if how == "newer format":
            return self._pen.seal({**document, "format": 2})
        return self._pen.seal(document, self._stranger)

    async def _knock(self, how: str) -> None:
        """Tries what the publisher has to refuse."""
        document = self._packager.sign(make_document(0, self._desk.seed))
        wrong = {**document, "format": 2} if "format" in how else {**document, "releases": [{"id": "r1"}]}
        status = await self._put(document["program"], orjson.dumps(wrong))
        if status not in (400, 422, 0):
            self.surprises.append(f"expected a document refused ({how}), got {status}")

    def _forge(self) -> None:
        """Puts a document and a head into Redis whose signatures are a stranger's, and names it in index and log."""
        keys, name = Keys.of(MAIN), DocumentName("program", FORGED)
        position = Position(1, self._truths[MAIN].newest + 1)
        fields = {"workspace": MAIN, "epoch": 1, "revision": position.revision}
        document = {**make_document(PROGRAMS, self._desk.seed), **fields}
        head = encode_head(make_head(MAIN, position, PROGRAMS, FAR), self._stranger)
        with Redis.from_url(self._url, socket_timeout=TIMEOUT_S) as client, client.pipeline() as pipeline:
            pipeline.set(keys.document(name), seal(orjson.dumps(document), self._stranger, DOCUMENT_TYPE))
            pipeline.hset(keys.index, str(name), str(position))
            pipeline.xadd(keys.log, {"kind": name.kind, "id": name.id}, id=str(position))
            pipeline.hset(keys.head, mapping={"epoch": 1, "revision": position.revision, "signed": head})
            pipeline.publish(keys.changed, str(position))
            pipeline.execute(raise_on_error=False)  # the log takes no position twice

    def _delete_head(self) -> None:
        with Redis.from_url(self._url, socket_timeout=TIMEOUT_S) as client:
            client.delete(Keys.of(MAIN).head)

    # The publisher's door

    async def _put(self, program: str, body: bytes) -> int:
        """Returns the status, 0 where there was no answer: it may be published or not."""
        condition = {"If-Match": "*"} if program in self._known else {"If-None-Match": "*"}
        try:
            async with self._session.put(f"/v1/documents/program/{program}", data=body, headers=condition) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0

    async def _get(self, path: str) -> Json | None:
        with suppress(aiohttp.ClientError, TimeoutError):
            async with self._session.get(path) as response:
                if response.status == 200:
                    found: Json = orjson.loads(await response.read())
                    return found
        return None

    async def __aenter__(self) -> Self:
        headers = {"Authorization": f"Bearer {self._desk.token}", "Content-Type": "application/json"}
        timeout = aiohttp.ClientTimeout(total=PUBLISHER_TIMEOUT_S)
        base = f"http://127.0.0.1:{self._desk.publisher}"
        self._session = aiohttp.ClientSession(base, headers=headers, timeout=timeout)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()
