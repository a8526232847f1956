"""Tests of edge/worker.py: how rules follow edge.db, and a worker's life on a real socket."""

import asyncio
import json
import mmap
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from channel import NOWHERE, DocumentName, Position
from edge import worker as worker_module
from edge.answer import Workspace
from edge.atlas import Atlas
from edge.audience import Opener
from edge.cache import FILE_NAME, Cache, CacheReader, Document
from edge.door import Place
from edge.errors import CacheError, FloodError, RefusedError
from edge.exchange import Rules
from edge.held import SWITCH_TOPIC, HeldCheck, Topic
from edge.listener import bind
from edge.metrics import PAGE_BYTES, Counters, read_page
from edge.proof import Prover
from edge.sender import NOBODY, Sender
from edge.settings import EdgeSettings
from edge.tally import MAX_PAGE_BYTES
from edge.worker import SLICE, Follower, Worker, make_reception
from ruleset import Device
from tests.edge.cartographer import BONN, IN_HANGZHOU, write_database
from tests.edge.press import (
    FINGERPRINT_KEY,
    NOW,
    OTHER_PROGRAM,
    PATIENCE_S,
    PROGRAM,
    ROOT_BYTES,
    WORKSPACE,
    Json,
    build_file,
    eventually,
    keep_file,
    make_audience,
    make_audience_row,
    make_document,
    make_question,
    make_row,
    make_switches,
    seal_document,
)


@pytest.fixture
def rules() -> Rules:
    """What a worker of one workspace answers from, before anything was loaded."""
    return Rules({WORKSPACE: Workspace(WORKSPACE, {3: ROOT_BYTES})}, Counters())


@pytest.fixture
def noted() -> list[int]:
    """How far the worker was, each time that it has caught up."""
    return []


@pytest.fixture
def follower(tmp_path: Path, rules: Rules, noted: list[int]) -> Follower:
    """A follower of the file in the test's folder."""
    return Follower(
        CacheReader(tmp_path),
        rules,
        Opener(tmp_path, {"k1": FINGERPRINT_KEY}),
        lambda: noted.append(rules.counters.cursor),
    )


def tell_version(rules: Rules, program: str = PROGRAM) -> str:
    """The version that a device without the program is told of now."""
    question = json.dumps(make_question(programs={program: ""})).encode()
    return str(json.loads(rules.check(question, 1_800_000_001))["updates"][0]["version"])


async def test_what_is_written_is_applied(cache: Cache, follower: Follower, rules: Rules, noted: list[int]) -> None:
    """A batch is applied with its position, and the counters say how far the worker is."""
    cache.write(WORKSPACE, [make_row("1.2.3.0", 4)], [], Position(1, 5))
    await follower.catch_up()
    assert tell_version(rules) == "1.2.3.0"
    assert rules.workspaces[WORKSPACE].position == Position(1, 5)
    assert (rules.counters.changes, noted) == (1, [cache.read_last_row()])
    await follower.catch_up()
    assert rules.counters.changes == 1


async def test_new_host_has_nothing(follower: Follower, rules: Rules) -> None:
    """Before the syncer has made the file there are no rules, and that is no error."""
    await follower.catch_up()
    assert rules.workspaces[WORKSPACE].position == NOWHERE


async def test_many_are_applied_in_one_step(cache: Cache, follower: Follower, rules: Rules) -> None:
    """However many rows a batch has, checks between the slices see nothing of it, and then all."""
    rows = [make_row(program=f"{number:016}") for number in range(SLICE * 2)]
    cache.write(WORKSPACE, rows, [], Position(1, 1))
    seen: list[int] = []
    task = asyncio.create_task(follower.catch_up())
    while not task.done():
        seen.append(len(rules.workspaces[WORKSPACE].entries))
        await asyncio.sleep(0)
    assert len(seen) > 2
    assert set(seen) <= {0, SLICE * 2}
    assert len(rules.workspaces[WORKSPACE].entries) == SLICE * 2


async def test_pages_are_applied_in_one_step(
    cache: Cache, follower: Follower, rules: Rules, noted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many pages a batch has, a check sees all of it or nothing, and the worker notes it once."""
    monkeypatch.setattr("edge.cache.PAGE", 1)
    rows = [make_row(revision=1), make_row(revision=2, program=OTHER_PROGRAM)]
    cache.write(WORKSPACE, rows, [], Position(1, 2))
    await follower.catch_up()
    assert sorted(rules.workspaces[WORKSPACE].entries) == sorted([PROGRAM, OTHER_PROGRAM])
    assert (rules.workspaces[WORKSPACE].position, len(noted)) == (Position(1, 2), 1)


async def test_switches_are_applied_with_programs(cache: Cache, follower: Follower, rules: Rules) -> None:
    """Programs and switch sets of one batch appear in one step; a set of an older source changes nothing."""
    await publish_switches(cache, 2, a={})
    await follower.catch_up()
    workspace = rules.workspaces[WORKSPACE]
    assert (set(workspace.entries), set(workspace.switches.sets)) == ({PROGRAM}, {"app"})
    first, mark = workspace.switches, workspace.switches.mark
    await publish_switches(cache, 1)
    await follower.catch_up()
    assert workspace.switches is first
    workspace.surround(audiences={}, mark=b"qa 1.7")
    assert (workspace.switches.sets, workspace.switches.mark == mark) == (first.sets, False)
    await publish_switches(cache, 3, a=None)
    await follower.catch_up()
    assert workspace.switches.sets["app"].position == Position(1, 3)
    assert rules.counters.changes == 6


async def publish_switches(cache: Cache, revision: int, **rules: Json | None) -> None:
    """Writes a program and a switch set in one batch."""
    envelope = seal_document(make_switches(revision=revision, **rules))
    switches = Document(DocumentName("switches", "app"), Position(1, revision), envelope)
    cache.write(WORKSPACE, [make_row(), switches], [], Position(1, revision))


async def test_roots_are_followed(cache: Cache, follower: Follower, rules: Rules) -> None:
    """Answers tell the newest root as soon as it is written, and what was loaded stays as it is."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    cache.write("shop", [], [], Position(1, 1))
    await follower.catch_up()
    assert json.loads(rules.check(json.dumps(make_question()).encode(), 1))["root"] == 3
    cache.write_roots(WORKSPACE, {3: ROOT_BYTES, 4: b"four"})
    cache.write_roots("shop", {9: b"nine"})
    await follower.catch_up()
    answer = json.loads(rules.check(json.dumps(make_question()).encode(), 1))
    assert (answer["root"], answer["revision"], tell_version(rules)) == (4, 1, "1.0.0.0")
    assert rules.workspaces[WORKSPACE].roots == {3: ROOT_BYTES, 4: b"four"}


async def test_first_page_loses_nothing(
    cache: Cache, follower: Follower, rules: Rules, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many documents were written later, how far another workspace has come is known, and so are its roots."""
    rules.workspaces["shop"] = Workspace("shop", {1: b"one"})
    cache.write_roots("shop", {1: b"one", 2: b"two"})
    cache.write("shop", [], [], Position(1, 7))
    rows = [make_row(program=f"{number:016}") for number in range(5)]
    cache.write(WORKSPACE, rows, [], Position(1, 5))
    monkeypatch.setattr("edge.cache.PAGE", 2)
    await follower.catch_up()
    shop = rules.workspaces["shop"]
    assert (shop.position, shop.root, len(rules.workspaces[WORKSPACE].entries)) == (Position(1, 7), 2, 5)


@pytest.mark.parametrize("damage", ["digest", "json", "rules", "surprise"])
async def test_broken_row_changes_nothing(
    cache: Cache,
    follower: Follower,
    rules: Rules,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A row that cannot be used is counted and named; what is in memory stays, and the rows beside it are applied."""
    cache.write(WORKSPACE, [make_row("1.0.0.0", 1)], [], Position(1, 1))
    await follower.catch_up()
    name, position = DocumentName("program", PROGRAM), Position(1, 2)
    bad = {
        "digest": make_row("2.0.0.0", 2),
        "json": Document(name, position, b"signature\n{"),
        "rules": Document(name, position, seal_document(make_document("2.0.0.0", 2, offers=None))),
        "surprise": make_row("2.0.0.0", 2),
    }[damage]
    cache.write(WORKSPACE, [bad], [], None)
    if damage == "digest":
        cache._db.execute("UPDATE document SET digest = x'00'")
    if damage == "surprise":
        monkeypatch.setattr(worker_module, "parse_program", fail_once())
    cache.write(WORKSPACE, [make_row("3.0.0.0", 3, OTHER_PROGRAM)], [], Position(1, 3))
    await follower.catch_up()
    assert (tell_version(rules), tell_version(rules, OTHER_PROGRAM)) == ("1.0.0.0", "3.0.0.0")
    assert rules.counters.broken_rows == 1
    assert f"{name} of demo in edge.db cannot be used: " in caplog.text


def fail_once() -> Callable[[bytes], Any]:
    """A parser that has a defect, which the first document meets."""
    parse, failed = worker_module.parse_program, []

    def fail(data: bytes) -> Any:
        if failed:
            return parse(data)
        failed.append(True)
        raise KeyError("a defect")

    return fail


async def test_file_that_was_replaced_takes_nothing_back(
    cache: Cache, follower: Follower, rules: Rules, tmp_path: Path
) -> None:
    """Where the file is another one, with older rows, programs and position stay as new as they were."""
    cache.write(WORKSPACE, [make_row("2.0.0.0", 8)], [], Position(1, 8))
    await follower.catch_up()
    cache.close()
    (tmp_path / FILE_NAME).replace(tmp_path / "old.db")
    other = Cache(tmp_path)
    other.write(WORKSPACE, [make_row("1.0.0.0", 7), make_row("1.0.0.0", 7, OTHER_PROGRAM)], [], Position(1, 7))
    await follower.catch_up()
    assert (tell_version(rules), tell_version(rules, OTHER_PROGRAM)) == ("2.0.0.0", "1.0.0.0")
    assert rules.workspaces[WORKSPACE].position == Position(1, 8)
    other.write(WORKSPACE, [make_row("3.0.0.0", 9)], [], Position(1, 9))
    await follower.catch_up()
    assert tell_version(rules) == "3.0.0.0"
    other.close()


async def test_what_is_not_for_this_worker_is_left_out(cache: Cache, follower: Follower, rules: Rules) -> None:
    """A workspace that is served no more, and kinds that workers do not answer from, are passed over."""
    weather = Document(DocumentName("weather", "staff"), Position(1, 1), b"signature\n[]")
    cache.write("shop", [make_row()], [], Position(1, 1))
    cache.write(WORKSPACE, [weather], [], Position(1, 1))
    await follower.catch_up()
    assert rules.workspaces[WORKSPACE].entries == {}
    assert rules.counters.broken_rows == 0


@pytest.mark.parametrize(
    ("topic", "change"),
    [
        (PROGRAM, make_row("2.0.0.0", 2)),
        (
            SWITCH_TOPIC,
            Document(DocumentName("switches", "app"), Position(1, 2), seal_document(make_switches(revision=2))),
        ),
        (PROGRAM, make_audience_row(make_audience(name="qa", revision=2, patterns=["u-*"]))),
        (None, make_audience_row(make_audience(name="others", revision=2, patterns=["u-*"]))),
        (OTHER_PROGRAM, make_row(revision=2, program=OTHER_PROGRAM)),
    ],
    ids=["program", "switches", "audience of a program", "other audience", "new program"],
)
async def test_held_checks_are_woken_by_what_concerns_them(
    cache: Cache, follower: Follower, rules: Rules, topic: Topic, change: Document
) -> None:
    """Whoever is held is looked at when what it wants to hear of, or an audience that this asks for, has changed."""
    document = make_document(releases=[{"id": "r1", "package": "1.0.0.0", "who": {"audiences": ["qa"]}}])
    audience = make_audience_row(make_audience(name="qa", patterns=["t-*"]))
    row = Document(DocumentName("program", PROGRAM), Position(1, 1), seal_document(document))
    cache.write(WORKSPACE, [row, audience], [], Position(1, 1))
    await follower.catch_up()
    rules.held.limit = 9
    checks = {
        each: HeldCheck(WORKSPACE, [each], b"{", NOBODY, lambda _: None)
        for each in (PROGRAM, OTHER_PROGRAM, SWITCH_TOPIC)
    }
    assert all(rules.held.hold(check) for check in checks.values())
    cache.write(WORKSPACE, [change], [], Position(1, 2))
    await follower.catch_up()
    audiences = change.name.kind == "audience"
    woken = {each for each, check in checks.items() if check.is_due}
    assert woken == {topic, *([SWITCH_TOPIC] if audiences else [])}


async def test_programs_are_compiled_when_they_are_asked_for(
    cache: Cache, follower: Follower, rules: Rules, noted: list[int]
) -> None:
    """After a start every program is known and answered right at once; the others wait until there is time."""
    rows = [make_row("1.0.0.0", 1), make_row("2.0.0.0", 2, OTHER_PROGRAM)]
    cache.write(WORKSPACE, rows, [], Position(1, 2))
    cache.write("shop", [make_row()], [], Position(1, 1))
    await follower.load()
    workspace = rules.workspaces[WORKSPACE]
    assert (workspace.entries, workspace.owed, workspace.position) == ({}, {PROGRAM, OTHER_PROGRAM}, Position(1, 2))
    assert (rules.counters.cursor, noted) == (cache.read_last_row(), [cache.read_last_row()])
    assert tell_version(rules) == "1.0.0.0"
    assert (workspace.entries.keys(), workspace.owed) == ({PROGRAM}, {OTHER_PROGRAM})
    assert (PROGRAM in workspace, OTHER_PROGRAM in workspace, "none" in workspace) == (True, True, False)
    assert not await follower.fill(-1)
    assert await follower.fill()
    assert (workspace.entries.keys(), workspace.owed) == ({PROGRAM, OTHER_PROGRAM}, set())
    assert (tell_version(rules, OTHER_PROGRAM), rules.counters.changes) == ("2.0.0.0", 2)


async def test_start_brings_all_other_kinds(cache: Cache, follower: Follower, rules: Rules) -> None:
    """Switches, audiences and roots are there before anything is answered."""
    await publish_switches(cache, 2, a={})
    cache.write(WORKSPACE, [make_audience_row(make_audience(patterns=["t-*"]))], [], Position(1, 3))
    cache.write_roots(WORKSPACE, {3: ROOT_BYTES, 4: b"four"})
    await follower.load()
    workspace = rules.workspaces[WORKSPACE]
    assert (set(workspace.switches.sets), set(workspace.around.audiences), workspace.root) == ({"app"}, {"qa"}, 4)


async def test_change_of_a_program_that_waits(cache: Cache, follower: Follower, rules: Rules) -> None:
    """What is published after the start is applied as ever, and nothing older comes after it."""
    cache.write(WORKSPACE, [make_row("1.0.0.0", 1)], [], Position(1, 1))
    await follower.load()
    cache.write(WORKSPACE, [make_row("2.0.0.0", 2)], [], Position(1, 2))
    await follower.catch_up()
    assert rules.workspaces[WORKSPACE].owed == set()
    assert await follower.fill()
    assert tell_version(rules) == "2.0.0.0"


async def test_program_that_waits_is_answered_as_it_is_now(cache: Cache, follower: Follower, rules: Rules) -> None:
    """A program that has changed before it was asked for is answered by what lies there now."""
    cache.write(WORKSPACE, [make_row("1.0.0.0", 1)], [], Position(1, 1))
    await follower.load()
    cache.write(WORKSPACE, [make_row("2.0.0.0", 2)], [], Position(1, 2))
    assert tell_version(rules) == "2.0.0.0"
    await follower.catch_up()
    assert (tell_version(rules), rules.workspaces[WORKSPACE].position) == ("2.0.0.0", Position(1, 2))


async def test_broken_program_is_unknown_after_a_start(cache: Cache, follower: Follower, rules: Rules) -> None:
    """A row that cannot be used is counted once, and the program is one that there is not."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    cache._db.execute("UPDATE document SET digest = x'00'")
    await follower.load()
    answer = json.loads(rules.check(json.dumps(make_question()).encode(), 1))
    assert (answer["unknown"], rules.counters.broken_rows) == ([PROGRAM], 1)
    assert await follower.fill()
    assert rules.counters.broken_rows == 1


async def test_program_that_cannot_be_read_now(
    cache: Cache, follower: Follower, rules: Rules, caplog: pytest.LogCaptureFixture
) -> None:
    """A check about it is refused and comes again; others are answered, and so is it once it can be read."""
    rows = [make_row("1.0.0.0", 1), make_row("2.0.0.0", 2, OTHER_PROGRAM)]
    cache.write(WORKSPACE, rows, [], Position(1, 2))
    await follower.load()
    cache._db.execute("UPDATE document SET id = 'away' WHERE id = ?", (PROGRAM,))
    with pytest.raises(RefusedError, match="the rules of '2021000000000001' cannot be read now") as caught:
        tell_version(rules)
    assert caught.value.code == "no_ruleset"
    assert not await follower.fill()
    assert tell_version(rules, OTHER_PROGRAM) == "2.0.0.0"
    assert "cannot be read now" in caplog.text
    cache._db.execute("UPDATE document SET id = ? WHERE id = 'away'", (PROGRAM,))
    assert tell_version(rules) == "1.0.0.0"


def write_with_window(cache: Cache) -> None:
    """Two programs, of which the first has a window."""
    window = {"limit": 1, "closes_at": NOW + 9, "id": "0" * 16, "key": "k1"}
    document = make_document(releases=[{"id": "r1", "package": "1.0.0.0", "who": {"window": window}}])
    row = Document(DocumentName("program", PROGRAM), Position(1, 1), seal_document(document))
    cache.write(WORKSPACE, [row, make_row(revision=2, program=OTHER_PROGRAM)], [], Position(1, 2))


async def test_windows_of_a_program_that_waits(
    cache: Cache, follower: Follower, rules: Rules, noted: list[int]
) -> None:
    """Whoever keeps windows is told of those of a program before the first check that meets them is answered."""
    write_with_window(cache)
    await follower.load()
    assert len(noted) == 1
    rules.check(json.dumps(make_question()).encode(), 1)
    assert len(noted) == 2
    assert await follower.fill()
    assert len(noted) == 2


async def test_windows_beside_a_program_that_cannot_be_read(
    cache: Cache, follower: Follower, rules: Rules, noted: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A check of two programs, of which the second cannot be read: the first one's windows are known all the same."""
    write_with_window(cache)
    await follower.load()
    read = follower._reader.read_row

    def fail(workspace: str, name: DocumentName) -> Any:
        if name.id == OTHER_PROGRAM:
            raise CacheError("input/output error")
        return read(workspace, name)

    monkeypatch.setattr(follower._reader, "read_row", fail)
    with pytest.raises(RefusedError, match="cannot be read now"):
        follower._bring(rules.workspaces[WORKSPACE], [PROGRAM, OTHER_PROGRAM])
    assert (rules.workspaces[WORKSPACE].owed, len(noted)) == ({OTHER_PROGRAM}, 2)


def count_updates(rules: Rules, user: str) -> int:
    """How many updates a user's device is told of now."""
    device = {"id": "d-1", "platform": "android", "user": user}
    answer = rules.check(json.dumps(make_question(device=device)).encode(), 1_800_000_001)
    return len(json.loads(answer)["updates"])


def write_for_audience(cache: Cache, *documents: Json) -> None:
    """A program for the audience `qa`, and documents of audiences."""
    releases = [{"id": "r1", "package": "1.0.0.0", "who": {"audiences": ["qa"]}}]
    envelope = seal_document(make_document(releases=releases))
    program = Document(DocumentName("program", PROGRAM), Position(1, 1), envelope)
    cache.write(WORKSPACE, [program, *map(make_audience_row, documents)], [], Position(1, 9))


async def test_an_audience_decides(tmp_path: Path, cache: Cache, follower: Follower, rules: Rules) -> None:
    """Its users are told of the release; another list replaces it, and a row about it alone leaves the program be."""
    first, second = build_file("u-1"), build_file("u-2")
    keep_file(tmp_path, first)
    keep_file(tmp_path, second)
    write_for_audience(cache, make_audience(first))
    await follower.catch_up()
    assert [count_updates(rules, user) for user in ("u-1", "u-2", "")] == [1, 0, 0]
    entry = rules.workspaces[WORKSPACE].entries[PROGRAM]
    cache.write(WORKSPACE, [make_audience_row(make_audience(second, revision=10))], [], Position(1, 10))
    await follower.catch_up()
    assert [count_updates(rules, user) for user in ("u-1", "u-2", "")] == [0, 1, 0]
    assert rules.workspaces[WORKSPACE].entries[PROGRAM] is entry
    assert rules.workspaces[WORKSPACE].around_proven.audiences is rules.workspaces[WORKSPACE].around.audiences


async def test_an_audience_without_its_file_is_counted(
    tmp_path: Path, cache: Cache, follower: Follower, rules: Rules
) -> None:
    """Nobody is told of the release until the file is there and somebody wakes the worker."""
    file = build_file("u-1")
    write_for_audience(cache, make_audience(file))
    await follower.catch_up()
    assert (count_updates(rules, "u-1"), rules.counters.broken_audiences) == (0, 1)
    keep_file(tmp_path, file)
    await follower.catch_up()
    assert (count_updates(rules, "u-1"), rules.counters.broken_audiences) == (1, 0)


async def test_an_audience_that_cannot_be_read_changes_nothing(cache: Cache, follower: Follower, rules: Rules) -> None:
    """The one before it stays."""
    write_for_audience(cache, make_audience(None, patterns=["u-*"]))
    await follower.catch_up()
    cache.write(WORKSPACE, [make_audience_row(make_audience(None, revision=2, colour="gray"))], [], None)
    await follower.catch_up()
    assert (count_updates(rules, "u-1"), rules.counters.broken_rows) == (1, 1)


async def test_lost_wake_up_is_made_up_for(cache: Cache, follower: Follower, rules: Rules, noted: list[int]) -> None:
    """A look finds out that the file has changed; where nothing has changed nobody is woken."""
    task = asyncio.create_task(follower.follow())
    for revision in (1, 2):
        cache.write(WORKSPACE, [make_row("1.0.0.0", revision)], [], Position(1, revision))
        follower.look()
        at = Position(1, revision)
        await eventually(lambda at=at: rules.workspaces[WORKSPACE].position == at)
    follower.look()  # the file of a first look is always another one
    await eventually(lambda: not follower._woken.is_set())
    count = len(noted)
    follower.look()
    assert not follower._woken.is_set()
    assert len(noted) == count
    task.cancel()
    await asyncio.wait([task])


class Life:
    """A worker that runs in this process, and the ends that its host holds."""

    def __init__(self, settings: EdgeSettings, page: mmap.mmap) -> None:
        (self.listener,) = bind("127.0.0.1", 0, 1)
        self.waker, wake = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.page = page
        self.worker = Worker(settings, Place.alone(self.listener.fileno(), page), wake, page)
        self.task = asyncio.create_task(self.worker.run())

    async def is_ready(self) -> None:
        """Returns when the worker serves."""
        await eventually(lambda: self.task.done() or read_page(self.page)["ready"])
        assert not self.task.done(), self.task

    async def check(self) -> Any:
        """Asks as a device would; returns the answer's head and JSON."""
        return await self.post("/v1/check", make_question())

    async def post(self, target: str, value: Any) -> Any:
        """Sends JSON over a connection of its own; returns the answer's head and JSON, None where there is none."""
        reader, writer = await asyncio.open_connection(*self.listener.getsockname())
        body = json.dumps(value).encode()
        head = f"POST {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        head_bytes, _, answer = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        return head_bytes, json.loads(answer or b"null")


@pytest.fixture
async def life(settings: EdgeSettings, page: mmap.mmap) -> AsyncIterator[Life]:
    """A worker that serves."""
    life = Life(settings, page)
    yield life
    if not life.task.done():
        life.worker._stop.set()
    await asyncio.wait([life.task])
    life.listener.close()
    life.waker.close()
    asyncio.get_running_loop().remove_reader(life.worker._wake)
    life.worker._wake.close()


async def test_worker_serves_and_follows(life: Life, cache: Cache) -> None:
    """A worker answers that it has no rules, is woken, and answers by them."""
    await life.is_ready()
    head, answer = await life.check()
    assert head.startswith(b"HTTP/1.1 503 ")
    assert answer["error"]["code"] == "no_ruleset"
    cache.write(WORKSPACE, [make_row("1.0.0.0", 1)], [], Position(1, 1))
    life.waker.send(b"!")
    await eventually(lambda: read_page(life.page)["cursor"] == cache.read_last_row())
    head, answer = await life.check()
    assert head.startswith(b"HTTP/1.1 200 ")
    assert answer["updates"][0]["version"] == "1.0.0.0"
    counters = read_page(life.page)
    assert counters["pid"] == os.getpid()
    assert 0 < counters["beat"] <= time.monotonic()


async def test_worker_says_how_busy_it_is(life: Life) -> None:
    """Who decides on costly work is told what the loop's thread used, again and again, and so is the operator."""
    await life.is_ready()
    told: list[tuple[float, float]] = []
    life.worker._rules.budget.pulse = lambda *figures: told.append(figures)
    life.worker._rules.budget.busy = 0.123
    await eventually(lambda: len(told) > 2)
    assert all(elapsed > 0 and wanted >= 0 for elapsed, wanted in told)
    assert life.worker._rules.budget._target == 0.9
    await eventually(lambda: read_page(life.page)["busy_percent"] == 12)


@pytest.mark.parametrize("name", ["workspace_rates", "workspace_connections"])
def test_limits_of_a_workspace(settings: EdgeSettings, page: mmap.mmap, name: str) -> None:
    """Either limit is held by requests and connections alike; without one nothing is counted."""
    with socket.socket() as listener, socket.socket() as wake:
        place = Place.alone(listener.fileno(), page)
        assert Worker(settings, place, wake, page)._rules.quota is None
        worker = Worker(replace(settings, **{name: {WORKSPACE: 1}}), place, wake, page)
        quota = worker._rules.quota
        assert quota is not None
        assert worker._connections._quota is quota
        quota.admit(WORKSPACE, object(), 5)
        with pytest.raises(FloodError):
            quota.admit(WORKSPACE, object(), 5)


async def test_flood_of_wake_ups_is_heeded_once(life: Life, cache: Cache) -> None:
    """Wake-ups that have piled up are taken together, and none is left in the socket."""
    await life.is_ready()
    life.waker.settimeout(0)
    sent = 0
    while sent < 1_000:
        try:
            life.waker.send(b"!")
        except BlockingIOError:
            break
        sent += 1
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    await eventually(lambda: read_page(life.page)["cursor"] == cache.read_last_row())
    with pytest.raises(BlockingIOError):
        life.worker._wake.recv(1, socket.MSG_DONTWAIT)


async def test_reports_reach_the_syncer(life: Life, cache: Cache) -> None:
    """What a device reports to run is told on the socket that the worker is woken by."""
    await life.is_ready()
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    life.waker.send(b"!")
    await eventually(lambda: read_page(life.page)["cursor"] == cache.read_last_row())
    event = {"program": PROGRAM, "to": "2.0", "outcome": "activated", "at": 1, "nonce": "n"}
    body = {"workspace": WORKSPACE, "device": {"id": "d-1", "platform": "ios"}, "events": [event]}
    head, _ = await life.post("/v1/report", body)
    assert head.startswith(b"HTTP/1.1 202 ")
    life.waker.settimeout(0)
    page = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(life.waker, MAX_PAGE_BYTES), PATIENCE_S)
    ((workspace, program, version, _),) = json.loads(page)
    assert (workspace, program, version) == (WORKSPACE, PROGRAM, "2.0.0.0")


async def test_worker_drains(life: Life) -> None:
    """Asked to stop, a worker goes unready, answers who still asks, and returns; its socket stays with the parent."""
    await life.is_ready()
    reader, writer = await asyncio.open_connection(*life.listener.getsockname())
    await eventually(lambda: len(life.worker._connections))
    os.kill(os.getpid(), signal.SIGTERM)
    await eventually(lambda: read_page(life.page)["ready"] == 0)
    later, _ = await life.check()
    assert later.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in later + b"\r\n"
    body = json.dumps(make_question()).encode()
    head = b"POST /v1/check HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    writer.write(head % len(body) + body)
    answer = await reader.read()
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nConnection: close\r\n" in answer
    writer.close()
    await asyncio.wait_for(life.task, 30)
    assert read_page(life.page)["ready"] == 0 or not life.worker._rules.ready
    assert life.listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)


async def test_draining_worker_answers_whom_it_holds(life: Life, cache: Cache) -> None:
    """Asked to stop, a worker goes unready, has what it holds answered, and then its connections end."""
    cache.write(WORKSPACE, [make_row()], [], Position(1, 1))
    await life.is_ready()
    await eventually(lambda: life.worker._rules.workspaces[WORKSPACE].entries)
    reader, writer = await asyncio.open_connection(*life.listener.getsockname())
    body = json.dumps(make_question(programs={PROGRAM: "1.0.0.0"})).encode()
    head = b"POST /v1/check HTTP/1.1\r\nHost: a\r\nPrefer: wait=50\r\nContent-Type: application/json\r\n"
    writer.write(head + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    await eventually(lambda: read_page(life.page)["held"] == 1)
    os.kill(os.getpid(), signal.SIGTERM)
    answer = await reader.read()
    assert read_page(life.page)["ready"] == 0
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nPreference-Applied: wait=50\r\n" in answer
    assert b"\r\nConnection: close\r\n" in answer
    writer.close()
    await asyncio.wait_for(life.task, 30)


@pytest.mark.parametrize("part", ["follow", "look"])
async def test_worker_that_fails_inside_ends(life: Life, monkeypatch: pytest.MonkeyPatch, part: str) -> None:
    """A worker that could follow no more does not stay behind for ever: it ends with the error, and has a successor."""

    async def fail_async(_: Follower) -> None:
        raise ZeroDivisionError

    def fail(_: Follower) -> None:
        raise ZeroDivisionError

    await life.is_ready()
    monkeypatch.setattr(Follower, "catch_up" if part == "follow" else "look", fail_async if part == "follow" else fail)
    life.waker.send(b"!")
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(life.task, 30)


@pytest.mark.parametrize(("held", "connections", "limit"), [(100, 1_000, 100), (900, 1_000, 800), (0, 1_000, 0)])
def test_held_checks_leave_room(settings: EdgeSettings, held: int, connections: int, limit: int) -> None:
    """However many may be held, a fifth of the connections is for those who just ask."""
    bounded = replace(settings, max_held=held, max_connections=connections, held_spread_s=0.5)
    page = mmap.mmap(-1, PAGE_BYTES)
    with socket.socket() as listener, socket.socket() as wake:
        worker = Worker(bounded, Place.alone(listener.fileno(), page), wake, page)
        assert (worker._rules.held.limit, worker._rules.held.spread_s) == (limit, 0.5)


def test_reception_is_there_where_it_is_needed(settings: EdgeSettings, tmp_path: Path) -> None:
    """Where no setting asks for more than devices say, nothing is done for it at a check."""
    atlas = Atlas("en")
    assert make_reception(settings, {}, atlas) is None
    assert make_reception(replace(settings, trusted_proxies=("10.0.0.0/8",)), {}, atlas) is None
    proving = make_reception(settings, {WORKSPACE: Prover("issuer", "audience")}, atlas)
    headers = replace(settings, trusted_proxies=("10.0.0.0/8",), place_headers={"city": "X-City"})
    database = replace(settings, place_database=tmp_path / "city.mmdb")
    found = [proving, *[make_reception(each, {}, atlas) for each in (headers, database)]]
    assert [each.wanted if each else None for each in found] == [
        (b"authorization",),
        (b"x-city",),
        (b"x-forwarded-for",),
    ]


def test_database_is_followed(settings: EdgeSettings, tmp_path: Path) -> None:
    """A worker reads its database at the first tick, and again when it has changed; a bad one is counted."""
    path = write_database(tmp_path / "city.mmdb")
    device, sender = Device(id="d1", platform="ios"), Sender({}, IN_HANGZHOU)
    page = mmap.mmap(-1, PAGE_BYTES)
    with socket.socket() as listener, socket.socket() as wake:
        place = Place.alone(listener.fileno(), page)
        worker = Worker(replace(settings, place_database=path), place, wake, page)

        def read_city() -> str | None:
            worker._look_at_atlas()
            assert worker._rules.reception
            return worker._rules.reception.receive(WORKSPACE, device, sender, 0)[0].city

        assert read_city() == "Hangzhou"
        write_database(path, {"203.0.113.0/24": BONN})
        assert (read_city(), worker._counters.place_database_problem) == ("Bonn", 0)
        (tmp_path / "bad").write_bytes(b"no database")
        (tmp_path / "bad").rename(path)
        assert (read_city(), worker._counters.place_database_problem) == ("Bonn", 1)
