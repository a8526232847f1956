"""Roots in Redis: brought there once, watched, and never written over where somebody may follow them."""

from typing import Any

import pytest

from channel import Sender, Taken
from publisher import RootChainError
from publisher.post import RootPost
from trust import PrivateKey, add_root_signature, make_root


@pytest.fixture
def sender(client: Any) -> Sender:
    """Writes to Redis."""
    return Sender(client, "demo")


async def test_roots_are_brought_and_stay(workshop: Any, client: Any, sender: Sender, feed: Any) -> None:
    """They are not there, then they are; when the newest is lost it is noticed."""
    workshop.follow_root()
    chain = workshop.chain()
    post = RootPost(chain, sender, feed)
    assert not await post.is_there()
    await post.put()
    assert await post.is_there()
    assert {number: await feed.fetch_root(number) for number in (1, 2)} == dict(chain.documents)
    await client.delete("gw:{demo}:root:2")
    assert not await post.is_there()


async def test_roots_are_brought_at_every_start(workshop: Any, sender: Sender, feed: Any, client: Any) -> None:
    """A new publisher does not take the newest for all of them."""
    workshop.follow_root()
    await RootPost(workshop.chain(), sender, feed).put()
    await client.delete("gw:{demo}:root:1")
    assert not await RootPost(workshop.chain(), sender, feed).is_there()


async def test_same_root_with_more_signatures_stays(workshop: Any, client: Any, sender: Sender, feed: Any) -> None:
    """What says the same is left as it is, and is enough."""
    chain = workshop.chain()
    signed = add_root_signature(chain.newest, PrivateKey.generate())
    await client.set("gw:{demo}:root:1", signed)
    post = RootPost(chain, sender, feed)
    await post.put()
    assert await post.is_there()
    assert await feed.fetch_root(1) == signed


@pytest.mark.parametrize("rubbish", [b"rubbish", b"x" * 200_000])
async def test_rubbish_gives_way(
    *, workshop: Any, client: Any, sender: Sender, feed: Any, caplog: Any, rubbish: bytes
) -> None:
    """Who writes rubbish into a root's place does not keep edges from following."""
    chain = workshop.chain()
    await client.set("gw:{demo}:root:1", rubbish)
    post = RootPost(chain, sender, feed)
    assert not await post.is_there()
    await post.put()
    assert await feed.fetch_root(1) == chain.newest
    assert "redis has something as root 1 that nobody would follow: replacing it" in caplog.text


async def test_rubbish_that_comes_back_is_told(workshop: Any, sender: Sender, feed: Any, monkeypatch: Any) -> None:
    """Who writes rubbish again and again is not fought with: the operator has to find them."""
    rubbish = iter([b"one", b"another"])

    async def find_rubbish(*_: Any, **__: Any) -> Taken:
        return Taken(next(rubbish))

    monkeypatch.setattr(sender, "put_root", find_rubbish)
    with pytest.raises(RootChainError) as caught:
        await RootPost(workshop.chain(), sender, feed).put()
    assert str(caught.value) == "expected root 1 in redis, got something else again: see who writes there"


async def test_another_workspaces_root_is_an_alarm(workshop: Any, client: Any, sender: Sender, feed: Any) -> None:
    """Two workspaces of one name in one Redis do not write over each other."""
    keys = {role: PrivateKey.generate() for role in workshop.keys}
    other = make_root("demo", 1, 2_000_000_000, {role: [key.public] for role, key in keys.items()}, [keys["root"]])
    await client.set("gw:{demo}:root:1", other)
    with pytest.raises(RootChainError, match=r"^expected root 1 in redis as it is here, got another"):
        await RootPost(workshop.chain(), sender, feed).put()
    assert await feed.fetch_root(1) == other


async def test_newer_root_is_an_alarm(workshop: Any, client: Any, sender: Sender, feed: Any) -> None:
    """A publisher learns from Redis that its root is old; what only lies in the newer one's place tells nothing."""
    post = RootPost(workshop.chain(), sender, feed)
    await post.put()
    await client.set("gw:{demo}:root:2", b"rubbish")
    assert await post.is_there()
    workshop.follow_root(name="next.json")
    await client.set("gw:{demo}:root:2", (workshop.folder / "next.json").read_bytes())
    with pytest.raises(RootChainError, match=r"^expected root 2, which redis has, or a later one, got root 1: "):
        await post.is_there()
