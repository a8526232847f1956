"""Starting and stopping: a publisher that cannot do its work does not start, and one that stops leaves order."""

import asyncio
import logging
import os
import signal
from typing import Any

import orjson
import pytest

from channel import DocumentName, KeyNameError, LinkRefusedError
from publisher import KeyMismatchError, RootChainError, SigningError, StoreError, main, run, serve
from publisher.main import read_clock
from trust import PrivateKey, RootError, make_root, read_root, verify_offer

NOW = 1_800_000_000


async def start(settings: Any, clock: Any) -> None:
    """Starts a publisher and stops it."""
    async with serve(settings, clock):
        pass


async def test_publisher_serves_where_it_says(workshop: Any, redis_server: Any, clock: Any, meet: Any) -> None:
    """A publisher listens at the address that it tells, on IPv4 and IPv6, and is gone afterwards."""
    for listen, prefix in (("127.0.0.1:0", "http://127.0.0.1:"), ("[::1]:0", "http://[::1]:")):
        async with serve(workshop.settings(redis_server.url, listen=listen), clock) as running:
            assert running.url.startswith(prefix)
            assert (await meet(running).ask("GET", "/healthz")).status == 200
        with pytest.raises(OSError, match="Cannot connect"):
            await meet(running).ask("GET", "/healthz")


async def test_publisher_goes_on_where_it_was(workshop: Any, redis_server: Any, clock: Any, meet: Any) -> None:
    """Stopped and started again, a publisher has what it had."""
    settings = workshop.settings(redis_server.url)
    async with serve(settings, clock) as running:
        await meet(running).put(workshop.document())
    async with serve(settings, clock) as running:
        assert (await meet(running).put(workshop.document(poll_after=1), If_Match='"1"')).json["revision"] == 2


async def test_publisher_starts_without_redis(
    *, workshop: Any, redis_server: Any, clock: Any, meet: Any, caplog: Any, eventually: Any
) -> None:
    """An absent Redis keeps nobody from publishing; once it is there, everything is brought to it."""
    redis_server.kill()
    async with serve(workshop.settings(redis_server.url), clock, look_every_s=0.05) as running:
        author = meet(running)
        answer = await author.put(workshop.document())
        assert (answer.status, answer.json["distributed"], answer.headers["ETag"]) == (202, False, '"1"')
        again = await author.put(workshop.document(), If_Match='"1"')
        assert (again.status, again.json["unchanged"]) == (202, True)
        health = (await author.ask("GET", "/healthz")).json
        assert health == {"status": "ok", "distributed": False, "pending": 1}
        redis_server.start()

        async def is_distributed() -> bool:
            return bool((await author.ask("GET", "/healthz")).json["distributed"])

        await eventually(is_distributed)
        assert (await author.put(workshop.document(), If_Match='"1"')).status == 200
    assert "starting without redis: redis cannot be reached" in caplog.text


async def test_redis_that_drops_is_refused(workshop: Any, redis_server: Any, clock: Any, client: Any) -> None:
    """A Redis that would drop documents is refused at the start."""
    await client.config_set("maxmemory-policy", "allkeys-lru")
    with pytest.raises(LinkRefusedError, match=r"^expected maxmemory-policy noeviction, got 'allkeys-lru'"):
        await start(workshop.settings(redis_server.url), clock)


async def test_redis_that_tells_nothing_is_warned_of(
    workshop: Any, redis_server: Any, clock: Any, client: Any, caplog: Any
) -> None:
    """Where Redis may not be asked whether it drops documents, the operator is told to look."""
    await client.execute_command("ACL", "SETUSER", "bare", "on", ">pw", "~*", "&*", "+@all", "-config", "-info")
    await start(workshop.settings(redis_server.url.replace("unix://", "unix://bare:pw@")), clock)
    assert "redis does not say whether it drops documents: see to maxmemory-policy noeviction" in caplog.text


async def test_wrong_address_of_redis_is_refused(workshop: Any, clock: Any) -> None:
    """A mistyped address does not become a publisher without Redis."""
    with pytest.raises(KeyNameError):
        await start(workshop.settings("localhost:6379"), clock)


async def test_workspace_that_is_none_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A workspace that Redis could not hold is refused, though a root names it."""
    workshop.write_root("root.json", workspace="a.b")
    with pytest.raises(KeyNameError):
        await start(workshop.settings(redis_server.url, workspace="a.b"), clock)


async def test_root_of_another_workspace_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """Settings and root must name the same workspace."""
    workshop.write_root("root.json", workspace="test")
    with pytest.raises(KeyMismatchError) as caught:
        await start(workshop.settings(redis_server.url), clock)
    assert str(caught.value) == "expected a root of workspace 'demo', got one of 'test'"


async def test_expired_root_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A root that no device would believe is not published under."""
    workshop.write_root("root.json", expires=NOW)
    with pytest.raises(RootError, match=r"root\.json: expected a root that has not expired"):
        await start(workshop.settings(redis_server.url), clock)


@pytest.mark.parametrize("role", ["offer", "channel"])
async def test_key_that_the_root_does_not_name_is_refused(
    workshop: Any, redis_server: Any, clock: Any, role: str
) -> None:
    """A publisher with another's key does not start."""
    (workshop.folder / f"{role}.key").write_bytes(PrivateKey.generate().to_json())
    with pytest.raises(KeyMismatchError, match=rf"^expected a key that root 1 names for {role}, got "):
        await start(workshop.settings(redis_server.url), clock)


async def test_key_that_is_none_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A file that holds no key is reported by its address."""
    (workshop.folder / "offer.key").write_bytes(b"nothing")
    with pytest.raises(SigningError, match=r"^a key cannot be had: .*offer\.key: expected a JSON Web Key"):
        await start(workshop.settings(redis_server.url), clock)


async def test_second_publisher_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """Two publishers cannot have one folder, and the first goes on."""
    async with serve(workshop.settings(redis_server.url), clock):
        with pytest.raises(StoreError, match=r"got one that another publisher uses$"):
            await start(workshop.settings(redis_server.url), clock)


async def test_token_is_read_from_its_file(workshop: Any, redis_server: Any, clock: Any, meet: Any) -> None:
    """A token may stand in a file of its own."""
    path = workshop.folder / "token"
    path.write_text("a-token-of-the-tests\n")
    async with serve(workshop.settings(redis_server.url, token="", token_file=path), clock) as running:
        assert (await meet(running).ask("GET", "/v1/documents")).status == 200


async def test_short_token_in_a_file_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A token that can be guessed is refused wherever it stands."""
    path = workshop.folder / "token"
    path.write_text("short\n")
    with pytest.raises(ValueError, match=r"^expected a token of at least 16 characters, got 5$"):
        await start(workshop.settings(redis_server.url, token="", token_file=path), clock)


async def test_fingerprint_key_that_is_none_is_named(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A publisher does not start with a key that it cannot read, and does not show what is in the file."""
    path = workshop.folder / "k1"
    path.write_text("secret\n")
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"k1: expected a key of 64 hexadecimal digits, got something else$"):
        await start(workshop.settings(redis_server.url, fingerprint_keys={"k1": path}), clock)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signal_stops_in_good_order(
    workshop: Any, redis_server: Any, caplog: Any, number: int, eventually: Any
) -> None:
    """SIGTERM and SIGINT end a publisher, which frees its folder."""
    workshop.write_root("root.json", expires=read_clock() + 1_000)
    with caplog.at_level(logging.INFO, "graywave.publisher"):
        running = asyncio.create_task(run(workshop.settings(redis_server.url)))

        async def is_running() -> bool:
            return "publishing workspace demo at http://127.0.0.1:" in caplog.text

        await eventually(is_running)
        os.kill(os.getpid(), number)
        await running
    assert "stopping" in caplog.text
    await start(workshop.settings(redis_server.url), read_clock)


def test_process_runs_on_uvloop(workshop: Any, redis_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process's own loop is uvloop's."""
    loops: list[str] = []

    async def note(_: Any) -> None:
        loops.append(type(asyncio.get_running_loop()).__module__)

    monkeypatch.setattr(main, "run", note)
    main.main(workshop.settings(redis_server.url))
    assert loops == ["uvloop"]


async def test_older_root_is_refused(workshop: Any, redis_server: Any, clock: Any) -> None:
    """Nobody starts a publisher with a root that was replaced, and the newest still works."""
    first = (workshop.folder / "root.json").read_bytes()
    keys = dict(workshop.keys)
    workshop.follow_root("offer")
    settings = workshop.settings(redis_server.url)
    await start(settings, clock)
    second = (workshop.folder / "root.json").read_bytes()
    (workshop.folder / "root.json").write_bytes(first)
    workshop.write_key("offer.key", keys["offer"])
    with pytest.raises(RootChainError) as caught:
        await start(settings, clock)
    assert str(caught.value) == "expected root 2, which this store has seen, or a later one, got 1"
    (workshop.folder / "root.json").write_bytes(second)
    workshop.write_keys()
    await start(settings, clock)


async def test_roots_between_are_found_beside(workshop: Any, redis_server: Any, clock: Any, feed: Any) -> None:
    """A publisher that missed a root takes it from the folder, and names the file where it is not there."""
    settings = workshop.settings(redis_server.url)
    await start(settings, clock)
    workshop.follow_root()
    workshop.follow_root()
    between = workshop.folder / "root.2.json"
    document = between.read_bytes()
    between.unlink()
    with pytest.raises(RootChainError, match=r"^expected root\.2\.json beside the root, found none: root 3 does not "):
        await start(settings, clock)
    between.write_bytes(document)
    await start(settings, clock)
    assert await feed.fetch_root(2) == document
    assert await feed.fetch_root(3) == (workshop.folder / "root.json").read_bytes()


async def test_root_that_does_not_work_is_not_remembered(workshop: Any, redis_server: Any, clock: Any) -> None:
    """A root that the publisher's keys do not fit can be taken back: it was never worked by."""
    first, keys = (workshop.folder / "root.json").read_bytes(), dict(workshop.keys)
    settings = workshop.settings(redis_server.url)
    await start(settings, clock)
    workshop.follow_root("channel")
    workshop.write_key("channel.key", keys["channel"])
    with pytest.raises(KeyMismatchError):
        await start(settings, clock)
    (workshop.folder / "root.json").write_bytes(first)
    await start(settings, clock)


async def test_several_offer_keys_sign(workshop: Any, redis_server: Any, clock: Any, meet: Any, feed: Any) -> None:
    """Two addresses, two signatures, as the root wants; one of them alone does not start."""
    keys = [workshop.keys["offer"], PrivateKey.generate()]
    paths = [str(workshop.write_key(f"{index}.key", key)) for index, key in enumerate(keys)]
    public = {role: [key.public] for role, key in workshop.keys.items()}
    public["offer"] = [key.public for key in keys]
    document = make_root("demo", 1, NOW + 1_000, public, [workshop.keys["root"]], thresholds={"offer": 2})
    (workshop.folder / "root.json").write_bytes(document)
    with pytest.raises(KeyMismatchError, match=r"^expected 2 or more different offer keys"):
        await start(workshop.settings(redis_server.url, offer_key=paths[0]), clock)
    async with serve(workshop.settings(redis_server.url, offer_key=", ".join(paths)), clock) as running:
        await meet(running).put(workshop.document())
    (envelope,) = await feed.fetch([DocumentName("program", "2021000000000001")])
    token = orjson.loads(envelope.split(b"\n", 1)[1])["offers"]["install"]["1.0.0.0"]
    assert verify_offer(token, read_root(document).role("offer")).version == "1.0.0.0"


async def test_key_in_a_variable(workshop: Any, redis_server: Any, clock: Any, monkeypatch: Any) -> None:
    """A key need not lie in a file."""
    monkeypatch.setenv("TEST_OFFER_KEY", workshop.keys["offer"].to_json().decode())
    await start(workshop.settings(redis_server.url, offer_key="env:TEST_OFFER_KEY"), clock)


async def test_nothing_secret_is_told(
    *, workshop: Any, redis_server: Any, clock: Any, meet: Any, client: Any, caplog: Any, monkeypatch: Any
) -> None:
    """Neither private keys nor a package's own key are in Redis beyond the document, or in the log at any level."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("TEST_OFFER_KEY", workshop.keys["offer"].to_json().decode())
    sealed = "AGE-SECRET-KEY-1" + "Q" * 58
    document = workshop.document(packages={"1.0.0.0": workshop.package(key=sealed)})
    async with serve(workshop.settings(redis_server.url, offer_key="env:TEST_OFFER_KEY"), clock) as running:
        author = meet(running)
        assert (await author.put(document)).status == 200
        wrong = workshop.document(packages={"1.0.0.0": workshop.package(key=sealed, size=1)})
        refused = await author.put(wrong, If_Match="*")
        assert refused.status == 422
        assert sealed not in refused.body.decode()
    workshop.follow_root("package")
    await start(workshop.settings(redis_server.url), clock)
    secrets = [orjson.loads(workshop.keys[role].to_json())["d"] for role in ("offer", "channel")]
    values = b"".join([await client.dump(name) for name in await client.keys("*")])
    assert not [secret for secret in secrets if secret in caplog.text or secret.encode() in values]
    assert sealed not in caplog.text
