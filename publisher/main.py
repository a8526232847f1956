"""Puts a publisher together from its settings and serves until it is told to stop; what it does is known elsewhere."""

import asyncio
import logging
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import uvloop
from aiohttp import web
from redis.asyncio import Redis

import trust
from channel import Feed, LinkAwayError, Patience, Sender, check_policy, connect
from custody import CustodyError, open_signer
from publisher.api import Api
from publisher.chain import Chain, link_roots, name_root
from publisher.errors import KeyMismatchError, SigningError
from publisher.settings import Settings, check_token
from publisher.signer import Signer
from publisher.store import Store
from publisher.visit import Visitor
from publisher.watcher import LOOK_EVERY_S, try_to_settle, watch
from publisher.writer import Files, Writer
from settings.address import split_address
from settings.key import read_keys
from trust import RootError

# The longest wait for an answer of Redis, in seconds: an author waits meanwhile.
REDIS_TIMEOUT_S = 0.5
# How long an orderly stop waits for requests that are under way, in seconds.
STOP_TIMEOUT_S = 10.0

Clock = Callable[[], int]

_log = logging.getLogger("graywave.publisher")


@dataclass(frozen=True, slots=True)
class Running:
    """A publisher that serves, and where: `http://127.0.0.1:8082`."""

    url: str


def read_clock() -> int:
    """Returns the time in seconds since 1970."""
    return int(time.time())


def main(settings: Settings) -> None:
    """Runs a publisher in this process, on uvloop, until it is told to stop; raises what `serve` raises."""
    uvloop.run(run(settings))


async def run(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then stops in good order; raises what `serve` raises."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(settings) as running:
        _log.info("publishing workspace %s at %s", settings.workspace, running.url)
        await stop.wait()
        _log.info("stopping")


@asynccontextmanager
async def serve(
    settings: Settings, clock: Clock = read_clock, look_every_s: float = LOOK_EVERY_S
) -> AsyncIterator[Running]:
    """Serves for as long as the context lasts.

    Args:
        settings: what the operator has set.
        clock: the time in seconds.
        look_every_s: the watcher's pause between two looks at Redis.

    Raises:
        PublisherError: the store, the keys or the chain of roots cannot be used.
        TrustError: the root cannot be read, or has expired.
        ChannelError: the address of Redis is none, or it would drop documents.
        OSError: a file cannot be read, or the address not be listened on.
        ValueError: the token file holds none, or a fingerprint key's file no key.
    """
    async with AsyncExitStack() as stack:
        token = read_token(settings)
        read_keys(settings.fingerprint_keys)
        writer = await _open_writer(settings, stack, clock())
        # Before the first author comes, so that what is published at once is also distributed at once.
        await try_to_settle(writer, clock())
        await stack.enter_async_context(_watching(writer, clock, look_every_s))
        yield Running(await _listen(Api(writer, token, clock).make_app(), settings, stack))


def load_chain(settings: Settings, seen: Mapping[int, bytes], now: int) -> Chain:
    """Returns the chain of roots that ends with the one in the settings.

    Raises:
        OSError: a root file cannot be read.
        TrustError, RootChainError: as `link_roots`.
        KeyMismatchError: it is another workspace's.
    """

    def find(number: int) -> bytes | None:
        path = name_root(settings.root, number)
        return path.read_bytes() if path.exists() else None

    try:
        chain = link_roots(settings.root.read_bytes(), seen, find, now)
    except RootError as error:
        raise RootError(f"{settings.root}: {error}") from error
    got = chain.root.workspace
    if got != settings.workspace:
        raise KeyMismatchError(f"expected a root of workspace {settings.workspace!r}, got one of {got!r}")
    return chain


def read_token(settings: Settings) -> str:
    """Returns the token, from its file where it has one; raises OSError, or ValueError for one that is too short."""
    if settings.token_file is None:
        return settings.token
    token = settings.token_file.read_text("utf-8").strip()
    check_token(token)
    return token


async def _open_writer(settings: Settings, stack: AsyncExitStack, now: int) -> Writer:
    store = stack.enter_context(Store(settings.folder, settings.workspace))
    chain = load_chain(settings, store.read_roots(), now)
    offer_keys = [_open_key(address) for address in settings.offer_keys]
    signer = Signer(chain.root, offer_keys, _open_key(settings.channel_key), settings.offer_days)
    client = connect(settings.redis, REDIS_TIMEOUT_S, settings.workspace)
    stack.push_async_callback(client.aclose)
    await _check_redis(client)
    keys, patience = chain.root.keys("channel"), Patience(answer_s=REDIS_TIMEOUT_S)
    feed = Feed(settings.redis, settings.workspace, keys, epoch=chain.root.epoch, patience=patience)
    stack.push_async_callback(feed.close)
    sender = Sender(client, settings.workspace)
    # Only now: a root that was seen once cannot be gone back behind, so it has to be one that works.
    store.follow(chain.documents, chain.root.epoch)
    visitor = None if settings.unchecked_files else await stack.enter_async_context(Visitor())
    files = Files(settings.files, visitor) if visitor else None
    writer = Writer(store, chain, signer, sender, feed, files=files, keys=tuple(settings.fingerprint_keys))
    stack.callback(writer.close)
    return writer


def _open_key(address: str) -> trust.Signer:
    try:
        return open_signer(address)
    except CustodyError as error:
        raise SigningError(f"a key cannot be had: {error}") from error


async def _check_redis(client: Redis) -> None:
    try:
        if not await check_policy(client):
            _log.warning("redis does not say whether it drops documents: see to maxmemory-policy noeviction")
    except LinkAwayError as error:
        _log.warning("starting without redis: %s", error)


@asynccontextmanager
async def _watching(writer: Writer, clock: Clock, every_s: float) -> AsyncIterator[None]:
    stop = asyncio.Event()
    watching = asyncio.create_task(watch(writer, clock, stop, every_s))
    try:
        yield
    finally:
        stop.set()
        await watching


async def _listen(app: web.Application, settings: Settings, stack: AsyncExitStack) -> str:
    """The address at which the application is served, until the stack ends."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    host, port = split_address(settings.listen)
    await web.TCPSite(runner, host, port).start()
    host, port, *_ = runner.addresses[0]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
