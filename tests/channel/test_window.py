"""The windows in Redis: who is admitted, and by whom."""

import itertools
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from channel import Answer, Asked, Known, LinkAwayError, LinkRefusedError, Silences, Windows, connect
from channel.window import MAX_WINDOWS, PAGE
from cli.embedded import PrivateRedis

NOW = 1_800_000_040
WINDOW, OTHER = "00000000000000aa", "00000000000000bb"
FENCE = "gw:{demo}:windows"
HOST = "host-a"


class Clock:
    """Redis' time."""

    now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    """A time that the test says."""
    return Clock()


@pytest.fixture
async def windows(client: Redis, clock: Clock) -> Windows:
    """The windows of a workspace, where nobody waits for hosts that may still come."""
    return Windows(client, "demo", Silences(settle_s=0), clock)


@pytest.fixture
async def entry(windows: Windows) -> str:
    """The windows are open to a host that is alone."""
    stand = await windows.beat(HOST, Known(), "")
    assert not stand.is_open
    stand = await windows.beat(HOST, Known(), stand.entry)
    assert stand.is_open
    assert stand.hosts[HOST].is_known
    return stand.entry


@pytest.fixture
async def nobody() -> AsyncIterator[Windows]:
    """Windows in a Redis that is not there."""
    client = connect("unix:///nowhere/redis.sock", 1)
    yield Windows(client, "demo")
    await client.aclose()


async def ask(
    windows: Windows, entry: str, *prints: int, limit: int = 3, rate: int | None = None, window: str = WINDOW
) -> str:
    """The letters that these are told."""
    (answers,) = await windows.admit(HOST, entry, [Asked(window, limit, NOW - 10, NOW + 1_000, rate, prints)])
    return "".join(answer.value for answer in answers)


async def test_never_more_than_the_limit(windows: Windows, entry: str) -> None:
    """The first so many are admitted, in their order, and stay; somebody who asks twice takes one place."""
    assert await ask(windows, entry, 1, 2, 1) == "aam"
    assert await ask(windows, entry, 3, 4, 2) == "afm"
    assert await ask(windows, entry, 4, limit=4) == "a"
    assert await ask(windows, entry, 5, 1, limit=2) == "fm"


async def test_fingerprints_of_all_bytes(windows: Windows, entry: str) -> None:
    """Every fingerprint is somebody of his own, zero bytes and all."""
    prints = [0, 1, 1 << 63, (1 << 64) - 1, 0x0A000D00]
    assert await ask(windows, entry, *prints, limit=9) == "aaaaa"
    assert await ask(windows, entry, *prints, limit=9) == "mmmmm"
    stand = await windows.beat(HOST, Known(), entry)
    assert await windows.copy(stand, WINDOW, 0) == prints


async def test_opening_and_closing_times(windows: Windows, entry: str, clock: Clock) -> None:
    """Admission is from the opening time on, until the closing time; members stay members."""
    for now, letters in ((NOW - 11, "c"), (NOW - 10, "a"), (NOW + 999, "m"), (NOW + 1_000, "m")):
        clock.now = now
        await windows.beat(HOST, Known(), entry)
        assert await ask(windows, entry, 1) == letters
    assert await ask(windows, entry, 2) == "c"


async def test_places_a_minute(windows: Windows, entry: str, clock: Clock) -> None:
    """Within a minute of the clock no more than the rate are admitted; the others may come again."""
    clock.now = 1_800_000_000.0 + 60 - 1
    await windows.beat(HOST, Known(), entry)
    assert await ask(windows, entry, 1, 2, 3, limit=9, rate=2) == "aal"
    assert await ask(windows, entry, 1, 3, limit=9, rate=2) == "ml"
    clock.now += 1
    assert await ask(windows, entry, 3, 4, 5, limit=9, rate=2) == "aal"


async def test_windows_of_one_batch(windows: Windows, entry: str) -> None:
    """Several windows are asked in one step, each for itself."""
    asked = [Asked(WINDOW, 1, 0, NOW + 10, None, [1, 2]), Asked(OTHER, 2, 0, NOW + 10, None, [1, 2])]
    assert await windows.admit(HOST, entry, asked) == [
        [Answer.ADMITTED, Answer.FULL],
        [Answer.ADMITTED, Answer.ADMITTED],
    ]
    stand = await windows.beat(HOST, Known(), entry)
    assert stand.windows == {WINDOW: 1, OTHER: 2}


async def test_nobody_is_admitted_under_another_entry(windows: Windows, entry: str) -> None:
    """A worker that does not know of a recovery admits nobody, and tells nobody of a place."""
    assert await ask(windows, entry, 1) == "a"
    for other in ("", "1:x", f"2{entry}"):
        assert await ask(windows, other, 1, 2) == "xx"


async def test_silent_host_admits_nobody(windows: Windows, entry: str, clock: Clock) -> None:
    """A host whose syncer has said nothing for too long may be taken for lost, and admits nobody."""
    clock.now += 10
    assert await ask(windows, entry, 1) == "a"
    clock.now += 0.1
    assert await ask(windows, entry, 2) == "x"
    await windows.beat(HOST, Known(), entry)
    assert await ask(windows, entry, 2) == "a"


async def test_long_lists_go_in_pages(windows: Windows, entry: str, client: Redis) -> None:
    """More members than a page are given back and copied, in their order and each once."""
    prints = list(range(7, 7 + 2 * PAGE + 3))
    assert await windows.give_back(entry, WINDOW, prints[:5])
    assert await windows.give_back(entry, WINDOW, prints)
    stand = await windows.beat(HOST, Known(), entry)
    assert await windows.copy(stand, WINDOW, 0) == prints
    assert await windows.copy(stand, WINDOW, len(prints) - 2) == prints[-2:]
    assert await client.zcard(f"gw:{{demo}}:window:{WINDOW}") == len(prints)


async def test_another_recovery_is_no_place_to_give_back(windows: Windows, entry: str, client: Redis) -> None:
    """What is given back, or copied, under an entry that has passed says so and changes nothing."""
    stand = await windows.beat(HOST, Known(), entry)
    await client.flushall()
    assert not await windows.give_back(entry, WINDOW, [1])
    stand.windows[WINDOW] = 1
    assert await windows.copy(stand, WINDOW, 0) is None
    assert await client.keys("*") == []


async def test_redis_that_is_away(nobody: Windows) -> None:
    """Whatever is asked, a Redis that is not there is an error of the link."""
    for asked in (
        nobody.admit(HOST, "", []),
        nobody.beat(HOST, Known(), ""),
        nobody.give_back("", WINDOW, [1]),
    ):
        with pytest.raises(LinkAwayError):
            await asked


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 16, "0" * 15, ""])
async def test_names_that_are_no_windows(windows: Windows, entry: str, client: Redis, name: str) -> None:
    """Windows whose names would lead elsewhere are not heard of."""
    await client.hset(FENCE, f"window:{name or ' '}", "1")
    with pytest.raises(LinkRefusedError, match="windows of known names"):
        await windows.beat(HOST, Known(), entry)


async def test_too_many_windows(windows: Windows, entry: str, client: Redis) -> None:
    """A Redis that somebody has filled with windows does not fill the host's disk."""
    names = itertools.islice(itertools.count(), MAX_WINDOWS + 1)
    await client.hset(FENCE, mapping={f"window:{name:016x}": 0 for name in names})
    with pytest.raises(LinkRefusedError, match=f"at most {MAX_WINDOWS} windows"):
        await windows.beat(HOST, Known(), entry)


async def test_answers_that_are_none(redis_server: PrivateRedis) -> None:
    """A Redis that answers something else is refused, not believed."""
    client = connect(redis_server.url, 5)
    windows = Windows(client, "demo")

    async def babble(**_: object) -> object:
        return [b"q"]

    windows._admit = windows._beat = babble
    with pytest.raises(LinkRefusedError, match="expected a letter for each"):
        await ask(windows, "", 1)
    with pytest.raises(LinkRefusedError, match="expected how the windows stand"):
        await windows.beat(HOST, Known(), "")
    await windows.close()


async def test_keys_have_one_slot(windows: Windows, entry: str, client: Redis) -> None:
    """Every key has the workspace's hash tag, so that a cluster runs the scripts too."""
    await ask(windows, entry, 1)
    assert sorted(await client.keys("*")) == [f"gw:{{demo}}:window:{WINDOW}".encode(), FENCE.encode()]


async def test_older_members_are_set_aside(windows: Windows, entry: str, client: Redis) -> None:
    """Members of a server that hosts have left behind may be some whom nobody was told of: they take no places."""
    await ask(windows, entry, 1)
    stand = await windows.beat(HOST, Known(7, "7:another", str(NOW), (HOST,)), "")
    assert (stand.is_open, stand.generation, stand.needed, stand.windows) == (False, 8, (HOST,), {})
    assert await windows.give_back(stand.entry, WINDOW, [2])
    stand = await windows.beat(HOST, Known(7, "7:another", str(NOW), (HOST,)), stand.entry)
    assert (stand.is_open, await windows.copy(stand, WINDOW, 0)) == (True, [2])
    assert await client.zcard(f"gw:{{demo}}:window:{WINDOW}") == 1
    assert await ask(windows, stand.entry, 1, 2) == "am"
    assert await client.hget(FENCE, "lineage") == b"8"
