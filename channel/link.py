"""How a Redis is reached: addresses, timeouts, errors, and whether it keeps what it gets; not what is asked of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoPermissionError, RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError

from channel.errors import KeyNameError, LinkAwayError, LinkRefusedError, OversizedError
from channel.reply import BoundedParser, OversizedReplyError

SCHEMES = ("redis", "rediss", "unix")
POLICY = "noeviction"


def connect(url: str, timeout_s: float) -> Redis:
    """Returns a client of the Redis at an address, which it reaches for when it is first asked something.

    Nothing is tried twice here: who asks knows whether asking again is right.

    Args:
        url: `redis://`, `rediss://` (TLS, verified) or `unix://`, as redis-py takes it; may hold a password.
        timeout_s: the longest wait for a connection, and for each answer. Always given: redis-py's own 5 s have
            changed between releases.

    Raises:
        KeyNameError: the address is none; the message shows no more of it than its scheme.
    """
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        shown = f"scheme {scheme[:20]!r}" if scheme else "no scheme"
        raise KeyNameError(f"expected a redis address redis://, rediss:// or unix://, got one with {shown}")
    # RESP2 everywhere: replies have one shape, whatever redis-py takes for its default.
    options: dict[str, Any] = {"protocol": 2, "socket_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
    options["parser_class"] = BoundedParser
    if scheme != "unix":
        options["socket_connect_timeout"] = timeout_s
    try:
        return Redis.from_url(url, **options)
    except ValueError:
        raise KeyNameError(f"expected a redis address, got one of scheme {scheme!r} that cannot be read") from None


@contextmanager
def reach() -> Iterator[None]:
    """Turns whatever goes wrong while Redis is being asked into this package's errors.

    Raises:
        LinkAwayError: Redis is not there, not ready, or did not answer in time.
        LinkRefusedError: Redis answered with an error.
        OversizedError: it answered with more than MAX_REPLY_BYTES; the connection has ended.
    """
    try:
        yield
    except OversizedReplyError as error:
        raise OversizedError(f"redis refused: {error}") from error
    except (RedisConnectionError, RedisTimeoutError, OSError) as error:
        raise LinkAwayError(f"redis cannot be reached: {_describe(error)}") from error
    except RedisError as error:
        raise LinkRefusedError(f"redis refused: {_describe(error)}") from error


async def check_policy(client: Redis) -> bool:
    """Returns whether Redis said that it drops nothing to make room; False where it may not be asked.

    Raises:
        LinkRefusedError: it would drop documents; the message says what to set.
        LinkAwayError: it cannot be reached.
    """
    with reach():
        try:
            # INFO and not CONFIG, which managed servers forbid.
            policy = (await client.info("memory")).get("maxmemory_policy")
        except (NoPermissionError, ResponseError):
            return False
    if policy not in (None, POLICY):
        raise LinkRefusedError(f"expected maxmemory-policy {POLICY}, got {policy!r}: redis would drop documents")
    return policy is not None


def _describe(error: Exception) -> str:
    # A timeout has no text of its own.
    return f"{type(error).__name__}: {error}"
