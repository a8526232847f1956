"""Tests of edge/asker.py: checks that ask a real Redis, one that hangs, and one that is not there."""

import asyncio
import logging
import os
import signal
from array import array
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from channel import Position, Silences, Windows, connect
from cli.embedded import PrivateRedis
from edge import asker as asker_module
from edge.answer import Unanswered, Workspace
from edge.asker import DEADLINE_S, PATIENCE_S, Asker, Desk
from edge.journal import Journal, JournalKeeper
from edge.ledger import JOURNAL_FILE, Ledger, LedgerReader
from edge.metrics import Counters
from edge.question import parse_question
from edge.settings import EdgeSettings
from edge.steward import Steward
from tests.edge.press import NOW, PROGRAM, ROOT_BYTES, WORKSPACE, eventually, make_entry, make_package, make_question

FIRST, SECOND = "00000000000000aa", "00000000000000bb"
KEYS = {"k1": bytes(32)}


def make_window(id_: str, limit: int, **members: Any) -> dict[str, Any]:
    """A release's who: a window that is open."""
    return {"window": {"limit": limit, "closes_at": 1 << 39, "id": id_, "key": "k1", **members}}


class Shop:
    """A desk, a host that keeps its windows, and the checks that go there."""

    def __init__(self, folder: Path, url: str) -> None:
        self.counters = Counters()
        self.workspace = Workspace(WORKSPACE, {3: ROOT_BYTES})
        windows = Windows(connect(url, 30), WORKSPACE, Silences(settle_s=0))
        self.journal = JournalKeeper(folder / JOURNAL_FILE)
        self.steward = Steward(WORKSPACE, "host-a", windows, Ledger(folder), self.journal)
        self.desk = Desk(
            self.workspace,
            "host-a",
            Windows(connect(url, 30), WORKSPACE),
            Journal(folder / JOURNAL_FILE),
            LedgerReader(folder),
            KEYS,
            self.counters,
        )

    def publish(self, *windows: dict[str, Any]) -> None:
        """A document whose releases, the highest first, are for these windows, and the last one for everybody."""
        versions = [f"{len(windows) - place + 1}.0" for place in range(len(windows))]
        releases = [
            {"id": f"r{version}", "package": version, "who": who}
            for version, who in zip(versions, windows, strict=True)
        ]
        document = {
            "packages": {version: make_package() for version in [*versions, "1.0"]},
            "releases": [*releases, {"id": "r1.0", "package": "1.0"}],
            "offers": {"expires": 1 << 39, "install": dict.fromkeys([*versions, "1.0"], "offer")},
        }
        self.workspace.apply({PROGRAM: make_entry(**document)}, Position(1, 1))
        self.desk.follow()

    async def open(self) -> None:
        """The host admits, and the desk knows it."""
        await self.steward.beat()
        assert self.steward.state.is_open, self.steward.state.problem
        self.desk.tick()

    def start(self, device: str) -> "asyncio.Future[bytes]":
        """A device's check; the future has its answer."""
        told: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        question = make_question(device={"id": device, "platform": "android"})
        answer = self.workspace.answer(parse_question(orjson.dumps(question)), NOW)
        if isinstance(answer, Unanswered):
            answer = self.desk.ask(answer, told.set_result)
        if answer is not None:
            told.set_result(answer)
        return told

    async def check(self, *devices: str) -> list[str]:
        """The versions that these are told of, who ask in one turn of the loop."""
        answers = await asyncio.gather(*[self.start(device) for device in devices])
        return [orjson.loads(answer)["updates"][0]["version"] for answer in answers]

    async def close(self) -> None:
        """Ends everything."""
        await self.desk.close()
        await self.steward.close()


@pytest.fixture
async def shop(tmp_path: Path, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    """A host with a window for two, whose checks have time: the machine may be slow."""
    monkeypatch.setattr(asker_module, "DEADLINE_S", 30.0)
    monkeypatch.setattr(asker_module, "PATIENCE_S", 30.0)
    shop = Shop(tmp_path, redis_server.url)
    shop.publish(make_window(FIRST, 2))
    await shop.open()
    await eventually(lambda: shop.desk._task is None)
    yield shop
    await shop.close()


async def test_all_of_one_turn_ask_at_once(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of one turn are one question to Redis; who is in is known afterwards without a question."""
    asked: list[Any] = []
    admit = shop.desk._windows.admit

    async def note(host: str, entry: str, batch: Any) -> Any:
        asked.append(batch)
        return await admit(host, entry, batch)

    monkeypatch.setattr(shop.desk._windows, "admit", note)
    assert await shop.check("d-1", "d-2", "d-3", "d-1") == ["2.0", "2.0", "1.0", "2.0"]
    assert len(asked) == 1
    assert await shop.check("d-1", "d-2") == ["2.0", "2.0"]
    assert len(asked) == 1
    counters = shop.counters
    assert (counters.window_asked, counters.window_admitted, counters.window_refused) == (4, 2, 1)


async def test_first_window_can_be_asked_at_once(shop: Shop) -> None:
    """Where a document brings the first window, nobody waits for the next second or a connection."""
    shop.publish()
    assert not shop.desk._known
    shop.publish(make_window(FIRST, 2))
    assert shop.desk._task is not None
    assert await shop.check("d-1") == ["2.0"]


async def test_many_ask_in_batches(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a batch are asked one batch after the other, and all are answered."""
    monkeypatch.setattr(asker_module, "BATCH", 3)
    devices = [f"d-{number}" for number in range(10)]
    assert sorted(await shop.check(*devices)) == ["1.0"] * 8 + ["2.0"] * 2


async def test_search_goes_on_with_the_next_window(shop: Shop) -> None:
    """Who has no place in one window is asked about in the next, within the same check."""
    shop.publish(make_window(FIRST, 1), make_window(SECOND, 1))
    assert await shop.check("d-1", "d-2", "d-3") == ["3.0", "2.0", "1.0"]


async def test_full_window_needs_no_question(shop: Shop) -> None:
    """When the host's list is full, strangers are answered without Redis."""
    assert await shop.check("d-1", "d-2") == ["2.0", "2.0"]
    await shop.steward.beat()
    shop.desk.tick()
    before = shop.counters.window_asked
    assert await shop.check("d-3", "d-1") == ["1.0", "2.0"]
    assert shop.counters.window_asked == before


async def test_other_worker_hears_of_members(shop: Shop, tmp_path: Path) -> None:
    """What one worker has given is on the list that the others map, and in the journal before that."""
    assert await shop.check("d-1") == ["2.0"]
    await shop.steward.beat()
    assert len(Ledger(tmp_path).list_members(FIRST)) == 1
    reader = LedgerReader(tmp_path)
    members = reader.map_members(FIRST)
    assert members is not None
    assert members.tolist() == array("Q", [given.fingerprint for given in shop.journal.reread()]).tolist()


async def test_redis_that_hangs_costs_one_wait(
    shop: Shop, redis_server: PrivateRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who meets a Redis that has stopped is answered after the deadline, and those who come later at once."""
    assert await shop.check("d-1") == ["2.0"]
    monkeypatch.setattr(asker_module, "DEADLINE_S", DEADLINE_S)
    monkeypatch.setattr(asker_module, "PATIENCE_S", PATIENCE_S)
    assert redis_server.pid is not None
    os.kill(redis_server.pid, signal.SIGSTOP)
    try:
        loop = asyncio.get_running_loop()
        started = loop.time()
        assert await shop.check("d-2") == ["1.0"]
        assert loop.time() - started >= DEADLINE_S * 0.9
        answer = shop.start("d-3")
        assert answer.done()
        assert shop.start("d-1").done()
        assert await shop.check("d-1") == ["2.0"]
    finally:
        os.kill(redis_server.pid, signal.SIGCONT)
    assert shop.counters.window_expired == 1
    monkeypatch.setattr(asker_module, "DEADLINE_S", 30.0)
    await eventually(lambda: shop.desk._task is None)
    shop.desk.tick()
    await eventually(lambda: shop.desk._task is None)
    shop.desk.tick()
    assert await shop.check("d-2") == ["2.0"]


async def test_redis_that_is_away(shop: Shop, redis_server: PrivateRedis, caplog: pytest.LogCaptureFixture) -> None:
    """Without Redis nobody new is admitted, members stay, and the desk comes back by itself, at no check's cost."""
    assert await shop.check("d-1") == ["2.0"]
    redis_server.kill()
    assert await shop.check("d-2", "d-1") == ["1.0", "2.0"]
    assert shop.start("d-2").done()
    assert "no places in windows: redis cannot be reached" in caplog.text
    shop.desk.tick()
    assert shop.start("d-2").done()
    redis_server.start()
    await eventually(lambda: shop.desk._task is None)
    await shop.open()
    await eventually(lambda: shop.desk._task is None)
    shop.desk.tick()
    assert await shop.check("d-2") == ["2.0"]


async def test_emptied_redis_admits_nobody(shop: Shop) -> None:
    """A Redis that has lost its fence tells nobody of a place; after the recovery it does."""
    assert await shop.check("d-1") == ["2.0"]
    client = connect_to(shop)
    await client.flushall()
    assert await shop.check("d-2") == ["1.0"]
    assert shop.counters.window_fenced == 1
    assert shop.start("d-3").done()
    await shop.open()
    assert await shop.check("d-2", "d-3", "d-1") == ["2.0", "1.0", "2.0"]


def connect_to(shop: Shop) -> Any:
    """A client of the desk's Redis."""
    return shop.desk._windows._client


async def test_place_that_cannot_be_written_is_not_told(shop: Shop) -> None:
    """Without its journal a host tells nobody of a place; the place is there when the device asks again."""
    await shop.desk._windows.admit("host-a", "", [])
    entry = shop.desk._journal.read_entry()
    os.close(shop.desk._journal._file)
    shop.desk._journal._file = os.open("/dev/full", os.O_RDWR)
    shop.desk._journal.read_entry = lambda: entry
    assert await shop.check("d-1") == ["1.0"]
    del shop.desk._journal.read_entry
    shop.desk._journal.close()
    shop.desk.tick()
    assert await shop.check("d-1") == ["2.0"]


async def test_too_many_wait(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more than may wait is answered at once, without a place."""
    monkeypatch.setattr(asker_module, "MAX_WAITING", 2)
    first, second, third = (shop.start(device) for device in ("d-1", "d-2", "d-3"))
    assert third.done()
    assert not first.done()
    assert not second.done()
    await asyncio.gather(first, second)
    assert shop.counters.window_expired == 1
    await asyncio.wait_for(shop.start("d-3"), 30)


async def test_shut_journal_asks_nobody(shop: Shop) -> None:
    """While the host puts members back no question goes to Redis."""
    shop.journal.shut()
    shop.desk.tick()
    assert shop.start("d-1").done()
    assert shop.counters.window_asked == 0


async def test_unknown_key_admits_nobody(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """A window under a key that the host has not is said once, counted, and has no places."""
    with caplog.at_level(logging.ERROR):
        shop.publish(make_window(SECOND, 5, key="k9"))
        shop.desk.follow()
    assert shop.desk.keyless == 1
    assert caplog.text.count("windows under fingerprint keys that this host has not: k9") == 1
    assert await shop.check("d-1") == ["1.0"]
    shop.publish(make_window(SECOND, 5))
    assert (shop.desk.keyless, await shop.check("d-1")) == (0, ["2.0"])


async def test_members_outlive_a_document(shop: Shop) -> None:
    """A document that changes the window's limit keeps who is in; one without windows knows of none."""
    assert await shop.check("d-1", "d-2", "d-3") == ["2.0", "2.0", "1.0"]
    shop.publish(make_window(FIRST, 3))
    assert await shop.check("d-3", "d-1") == ["2.0", "2.0"]
    shop.publish()
    assert shop.workspace.around.windows == {}
    assert await shop.check("d-1") == ["1.0"]


async def test_members_are_known_again_when_a_window_comes_back(shop: Shop) -> None:
    """A release that is paused and resumed has its members as before, and its full window needs no question."""
    assert await shop.check("d-1", "d-2", "d-3") == ["2.0", "2.0", "1.0"]
    await shop.steward.beat()  # which writes the list of members
    shop.desk.tick()
    for _ in range(2):
        shop.publish()
        shop.publish(make_window(FIRST, 2))
        asked = shop.counters.window_asked
        assert await shop.check("d-1", "d-2", "d-9") == ["2.0", "2.0", "1.0"]
        assert shop.counters.window_asked == asked


async def test_window_that_goes_while_devices_wait(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits behind a question to Redis for a window that was paused meanwhile has no place there, and no fault."""
    admit, may_go_on = shop.desk._windows.admit, asyncio.Event()

    async def dawdle(*arguments: Any) -> Any:
        await may_go_on.wait()
        return await admit(*arguments)

    shop.publish(make_window(FIRST, 2), make_window(SECOND, 2))
    monkeypatch.setattr(shop.desk._windows, "admit", dawdle)
    first = shop.start("d-1")
    await eventually(lambda: not shop.desk._queue)
    second = shop.start("d-2")
    shop.publish(make_window(SECOND, 2))
    may_go_on.set()
    assert [orjson.loads(await told)["updates"][0]["version"] for told in (first, second)] == ["2.0", "2.0"]
    assert not shop.desk._is_away
    assert await shop.check("d-3") == ["1.0"]


async def test_asker_of_a_worker(settings: EdgeSettings, tmp_path: Path) -> None:
    """A worker has a desk a workspace, and counts the windows that have no key."""
    counters, workspace = Counters(), Workspace(WORKSPACE, {3: ROOT_BYTES})
    document = {"releases": [{"id": "r1", "package": "1.0.0.0", "who": make_window(FIRST, 1)}]}
    workspace.apply({PROGRAM: make_entry(**document)}, Position(1, 1))
    asker = Asker.open(settings, {WORKSPACE: workspace}, {}, counters)
    asker.follow()
    asker.tick()
    assert counters.keyless_windows == 1
    await asker.close()
    (tmp_path / "file").touch()
    broken = EdgeSettings(redis=settings.redis, workspaces=settings.workspaces, data=tmp_path / "file")
    asker = Asker.open(broken, {WORKSPACE: workspace}, {}, counters)
    asker.follow()
    answer = workspace.answer(parse_question(orjson.dumps(make_question())), NOW)
    assert isinstance(answer, bytes)
    await asker.close()
