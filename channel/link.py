"""How a Redis is reached: timeouts, errors, and whether it keeps what it gets; not what is asked of it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, ClusterDownError, NoPermissionError, RedisError, ResponseError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from channel.address import Form, read_address
from channel.errors import KeyNameError, LinkAwayError, LinkRefusedError, OversizedError
from channel.finder import connect_found
from channel.keys import Keys
from channel.reply import BoundedParser, OversizedReplyError

POLICY = "noeviction"


def connect(url: str, timeout_s: float, workspace: str | None = None) -> Redis:
    """Returns a client of the Redis at an address, which it reaches for when it is first asked something.

    Nothing is tried twice here: who asks knows whether asking again is right.

    Args:
        url: as `read_address` takes it.
        timeout_s: the longest wait for a connection, and for each answer. Always given: redis-py's own 5 s have
            changed between releases.
        workspace: whose keys will be asked for; in a cluster they say which of its servers is meant.

    Raises:
        KeyNameError: the address is none; the message shows no more of it than its scheme. Or it is a cluster's, and
            there is no workspace, or none of that name.
    """
    address = read_address(url)
    # RESP2 everywhere: replies have one shape, whatever redis-py takes for its default.
    options: dict[str, Any] = {"protocol": 2, "socket_timeout": timeout_s, "retry": Retry(NoBackoff(), 0)}
    options["parser_class"] = BoundedParser
    if not url.startswith("unix:"):
        options["socket_connect_timeout"] = timeout_s
    if address.form is Form.SERVER:
        return Redis.from_pool(ConnectionPool(**{**address.options, **options}))
    if workspace is None and address.form is Form.CLUSTER:
        raise KeyNameError("expected a workspace, whose keys a server of the cluster has, got none")
    return connect_found(address, options, timeout_s, Keys.of(workspace).head if workspace else "")


@contextmanager
def reach(place: str = "") -> Iterator[None]:
    """Turns whatever goes wrong while Redis is being asked into this package's errors.

    Args:
        place: the key or channel that is asked for, told where somebody has put too much there.

    Raises:
        LinkAwayError: Redis is not there, not ready, just moving the keys elsewhere, or did not answer in time.
        LinkRefusedError: Redis answered with an error.
        OversizedError: it answered with more than MAX_REPLY_BYTES; the connection has ended.
    """
    try:
        yield
    except OversizedReplyError as error:
        raise OversizedError(f"redis holds too much{place and f' at {place}'}: {error}") from error
    except (RedisConnectionError, RedisTimeoutError, OSError, AskError, TryAgainError, ClusterDownError) as error:
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
