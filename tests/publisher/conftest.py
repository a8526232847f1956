"""What the publisher's tests share: keys and a root, documents with true signatures, and authors who speak HTTP."""

import asyncio
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import aiohttp
import orjson
import pytest
from redis.asyncio import Redis

from channel import Feed, connect
from cli.embedded import PrivateRedis
from publisher import Running, Settings, serve
from publisher.chain import Chain
from publisher.main import load_chain
from publisher.signer import Signer
from trust import ROLES, PackageClaim, PrivateKey, Root, make_root, read_root, sign_package

Json = dict[str, Any]

WORKSPACE = "demo"
PROGRAM = "2021000000000001"
TOKEN = "a-token-of-the-tests"
SHA256 = "5e" * 32
NOW = 1_800_000_000
YEAR_S = 366 * 86_400


class Workshop:
    """A workspace's keys and root in a folder, and what is made with them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {role: PrivateKey.generate() for role in ROLES}
        self.root = self.write_root("root.json")
        self.write_keys()

    def write_keys(self) -> None:
        """Writes the publisher's keys into their files."""
        for role in ("offer", "channel"):
            self.write_key(f"{role}.key", self.keys[role])

    def write_key(self, name: str, key: PrivateKey) -> Path:
        """Writes a private key into a file that nobody else can read."""
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(key.to_json())
        return path

    def write_root(self, name: str, workspace: str = WORKSPACE, expires: int = NOW + YEAR_S, **keys: Any) -> Root:
        """Writes a first root of these keys, or of others for some roles."""
        public = {role: [key.public] for role, key in {**self.keys, **keys}.items()}
        data = make_root(workspace, 1, expires, public, [self.keys["root"]])
        (self.folder / name).write_bytes(data)
        return read_root(data)

    def follow_root(self, *replaced: str, epoch: int = 1, name: str = "root.json", **thresholds: int) -> Root:
        """Makes the next root, in which some roles have new keys, and goes on with it: in the folder as operators do.

        The root that was the newest stays beside it, under its number.
        """
        before, signer = self.root, self.keys["root"]
        (self.folder / f"root.{before.number}.json").write_bytes((self.folder / "root.json").read_bytes())
        self.keys = {role: PrivateKey.generate() if role in replaced else key for role, key in self.keys.items()}
        public = {role: [key.public] for role, key in self.keys.items()}
        signers = [signer, self.keys["root"]] if "root" in replaced else [signer]
        number = before.number + 1
        data = make_root(WORKSPACE, number, NOW + YEAR_S, public, signers, thresholds=thresholds, epoch=epoch)
        (self.folder / name).write_bytes(data)
        self.root = read_root(data)
        self.write_keys()
        return self.root

    def chain(self, seen: Mapping[int, bytes] = MappingProxyType({})) -> Chain:
        """The roots in the folder, for a store that has seen these."""
        return load_chain(self.settings("unix:///nowhere"), seen, NOW)

    def package(self, version: str = "1.0.0.0", program: str = PROGRAM, **members: Any) -> Json:
        """A package with a true signature."""
        claim = PackageClaim(workspace=WORKSPACE, program=program, version=version, sha256=SHA256, size=700)
        transfer = {"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}
        signature = sign_package(claim, self.keys["package"])
        return {"sha256": SHA256, "size": 700, "signature": signature, "transfers": [transfer], **members}

    def document(self, *releases: Json, versions: Sequence[str] = ("1.0.0.0",), **members: Any) -> Json:
        """An author's document with these releases, by default one for everybody."""
        program = members.get("program", PROGRAM)
        return {
            "format": 1,
            "program": program,
            "packages": {version: self.package(version, program) for version in versions},
            "releases": list(releases) or [{"id": "r1", "package": versions[0]}],
            **members,
        }

    def settings(self, redis: str, name: str = "store", **members: Any) -> Settings:
        """Settings of a publisher on a free port, with a store of this name."""
        given: Json = {
            "workspace": WORKSPACE,
            "redis": redis,
            "folder": self.folder / name,
            "root": self.folder / "root.json",
            "offer_key": str(self.folder / "offer.key"),
            "channel_key": str(self.folder / "channel.key"),
            "listen": "127.0.0.1:0",
            "token": TOKEN,
            "unchecked_files": True,
        }
        return Settings(**{**given, **members})

    def signer(self) -> Signer:
        """A signer with these keys."""
        return Signer(self.root, [self.keys["offer"]], self.keys["channel"], 30)

    def feed(self, redis: str) -> Feed:
        """A reader of what is published."""
        return Feed(redis, WORKSPACE, self.root.keys("channel"), epoch=self.root.epoch)


class Answer:
    """An HTTP answer, read: status, headers, and the JSON of the body."""

    def __init__(self, status: int, headers: Any, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self) -> Any:
        return orjson.loads(self.body)

    @property
    def error(self) -> tuple[int, str, str]:
        """Status, code and message."""
        return self.status, self.json["error"]["code"], self.json["error"]["message"]


class Author:
    """A control plane that speaks to one publisher."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self.url = session, url

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Sends a request with the token, unless another Authorization is given; `_` in a header's name is `-`."""
        sent = {
            "Authorization": f"Bearer {TOKEN}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        data = None if body is None else io.BytesIO(body if isinstance(body, bytes) else orjson.dumps(body))
        async with self._session.request(method, self.url + path, data=data, headers=sent) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def put(self, document: Json, query: str = "", **headers: str) -> Answer:
        """Publishes a document under its own name."""
        return await self.ask("PUT", f"/v1/documents/program/{document['program']}{query}", document, **headers)

    async def get(self, program: str = PROGRAM) -> Answer:
        """Reads a document back."""
        return await self.ask("GET", f"/v1/documents/program/{program}")


class Clock:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A clock that stands until it is set."""
    return Clock()


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A workspace's keys, root and documents."""
    return Workshop(tmp_path)


@pytest.fixture
async def client(redis_server: PrivateRedis) -> AsyncIterator[Redis]:
    """A client of the real Redis, for looking and for breaking things."""
    client = connect(redis_server.url, 5)
    yield client
    await client.aclose()


@pytest.fixture
async def feed(workshop: Workshop, redis_server: PrivateRedis) -> AsyncIterator[Feed]:
    """What an edge reads of what is published."""
    feed = workshop.feed(redis_server.url)
    yield feed
    await feed.close()


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client."""
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.fixture
async def publisher(workshop: Workshop, redis_server: PrivateRedis, clock: Clock) -> AsyncIterator[Running]:
    """A publisher that looks at Redis often."""
    async with serve(workshop.settings(redis_server.url), clock, look_every_s=0.05) as running:
        yield running


@pytest.fixture
def author(session: aiohttp.ClientSession, publisher: Running) -> Author:
    """A control plane of that publisher."""
    return Author(session, publisher.url)


@pytest.fixture
def meet(session: aiohttp.ClientSession) -> Callable[[Running], Author]:
    """Makes a control plane of any publisher."""
    return lambda running: Author(session, running.url)


@pytest.fixture
def eventually() -> Callable[[Callable[[], Awaitable[bool]]], Awaitable[None]]:
    """Waits until something becomes true; a test that waits in vain fails instead of hanging."""

    async def wait(is_true: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(30):
            while not await is_true():  # noqa: ASYNC110, what is waited for happens in another process
                await asyncio.sleep(0.01)

    return wait
