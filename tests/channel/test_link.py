"""The link: addresses, errors that say who must act, and a Redis that may drop what it is given."""

import asyncio

import pytest
from redis.asyncio import Redis

from channel import KeyNameError, LinkAwayError, LinkRefusedError, check_policy, connect
from channel.link import reach
from cli.embedded import PrivateRedis

WANTED = "redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://"


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/1", "rediss://u:p@example.org", "unix:///run/redis.sock"])
async def test_address_is_taken(url: str) -> None:
    """Addresses of the three schemes make a client, which connects to nothing yet."""
    await connect(url, 1).aclose()


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:geheim@host", "scheme 'http'"),
        ("geheim@host:6379", "no scheme"),
        ("", "no scheme"),
        ("geheim" * 9 + "://host", "scheme 'geheimgeheimgeheimge'"),
    ],
)
def test_other_address_is_refused(url: str, shown: str) -> None:
    """An address of another scheme is refused, and its password is not shown."""
    with pytest.raises(KeyNameError) as caught:
        connect(url, 1)
    assert str(caught.value) == f"expected a redis address {WANTED}, got one with {shown}"


def test_unreadable_address_is_refused() -> None:
    """An address that cannot be read is refused, and its password is not shown."""
    with pytest.raises(KeyNameError) as caught:
        connect("redis://user:geheim@host:port", 1)
    assert str(caught.value) == "expected a redis address, got one of scheme 'redis' that cannot be read"


async def test_timeouts_are_set(redis_server: PrivateRedis) -> None:
    """No wait is left to redis-py's defaults, and nothing is tried twice."""
    for client in (connect("redis://127.0.0.1:1", 0.25), connect(redis_server.url, 0.25)):
        options = client.connection_pool.connection_kwargs
        assert options["socket_timeout"] == 0.25
        assert options.get("socket_connect_timeout", 0.25) == 0.25
        assert options["retry"].get_retries() == 0
        await client.aclose()


async def test_absent_redis_is_away(redis_server: PrivateRedis, client: Redis) -> None:
    """A Redis that is not there is away."""
    redis_server.kill()
    with pytest.raises(LinkAwayError, match=r"^redis cannot be reached: "), reach():
        await client.ping()


async def test_silent_redis_is_away() -> None:
    """A Redis that accepts and never answers is away."""
    release = asyncio.Event()

    async def swallow(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await release.wait()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    client = connect(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}", 0.05)
    with pytest.raises(LinkAwayError), reach():
        await client.ping()
    await client.aclose()
    release.set()
    server.close()
    await server.wait_closed()


async def test_error_of_redis_is_a_refusal(client: Redis) -> None:
    """A Redis that answers with an error has refused."""
    await client.set("text", "x")
    with pytest.raises(LinkRefusedError, match=r"^redis refused: .*WRONGTYPE"), reach():
        await client.hgetall("text")


async def test_policy_that_keeps_everything_is_confirmed(client: Redis) -> None:
    """A Redis that drops nothing is fine."""
    assert await check_policy(client)


async def test_policy_that_drops_is_refused(client: Redis) -> None:
    """A Redis that would drop documents to make room is refused, and the message says what to set."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(LinkRefusedError) as caught:
        await check_policy(client)
    wanted = "expected maxmemory-policy noeviction, got 'allkeys-lru': redis would drop documents"
    assert str(caught.value) == wanted


async def test_policy_is_read_where_config_is_forbidden(client: Redis, redis_server: PrivateRedis) -> None:
    """A managed Redis, which forbids CONFIG, still says its policy."""
    await client.execute_command("ACL", "SETUSER", "managed", "on", ">pw", "~*", "&*", "+@all", "-config")
    managed = connect(redis_server.url.replace("unix://", "unix://managed:pw@"), 1)
    assert await check_policy(managed)
    await managed.aclose()


async def test_policy_that_may_not_be_asked_is_unknown(client: Redis, redis_server: PrivateRedis) -> None:
    """Where INFO is forbidden too, the answer is that nobody knows."""
    await client.execute_command("ACL", "SETUSER", "bare", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
    bare = connect(redis_server.url.replace("unix://", "unix://bare:pw@"), 1)
    assert not await check_policy(bare)
    await bare.aclose()


async def test_policy_of_an_absent_redis_is_no_answer(redis_server: PrivateRedis, client: Redis) -> None:
    """An absent Redis is reported as that."""
    redis_server.kill()
    with pytest.raises(LinkAwayError):
        await check_policy(client)
