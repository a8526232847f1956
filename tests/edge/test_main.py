"""Tests of edge/main.py; what whole hosts do is tested in tests/end_to_end."""

import asyncio
import fcntl
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import pytest

from edge import main, parent
from edge.cache import FILE_NAME
from edge.control import HeldError, hold_folder
from edge.generation import STATE_FORMAT, Held
from edge.metrics import PAGE_BYTES, open_page, read_page
from edge.refuge import make_refuge, name_refuge, remove_refuge
from edge.settings import EdgeSettings, freeze_settings, thaw_settings
from tests.edge.press import NOW, WORKSPACE, eventually, write_root
from trust import ROLES, PrivateKey, make_root

SOURCES = Path(__file__).parents[2]


def test_root_that_is_none_is_named(settings: EdgeSettings, tmp_path: Path) -> None:
    """A file that is no root is named, with what is wrong."""
    (tmp_path / "root.json").write_text("{}", "utf-8")
    with pytest.raises(ValueError, match=r"root\.json: "):
        main.run_edge(settings, None)


def test_root_of_another_workspace_is_refused(settings: EdgeSettings, tmp_path: Path) -> None:
    """A workspace is pinned to its own root."""
    key = PrivateKey.generate()
    (tmp_path / "root.json").write_bytes(make_root("shop", 1, NOW, {role: [key.public] for role in ROLES}, [key]))
    with pytest.raises(ValueError, match=r"root\.json: expected the root of workspace 'demo', got that of 'shop'"):
        main.run_edge(settings, None)


def test_admin_token_that_is_none(settings: EdgeSettings, tmp_path: Path) -> None:
    """A file of the admin token that is not there is told before anything starts."""
    with pytest.raises(ValueError, match=r"admin_token_file .*nowhere: expected a file that can be read"):
        main.run_edge(replace(settings, admin_token_file=tmp_path / "nowhere"), None)


def test_fingerprint_key_that_is_none_is_named(settings: EdgeSettings, tmp_path: Path) -> None:
    """A file that is no key is named before anything is started: an audience that nobody can open holds nobody."""
    (tmp_path / "k1").write_text("secret", "utf-8")
    (tmp_path / "k1").chmod(0o600)
    with pytest.raises(ValueError, match=r"k1: expected a key of 64 hexadecimal digits, got something else"):
        main.run_edge(replace(settings, fingerprint_keys={"k1": tmp_path / "k1"}), None)


def test_key_set_that_is_none(settings: EdgeSettings, tmp_path: Path) -> None:
    """A file of a back end's keys that is none is told before anything starts."""
    (tmp_path / "keys.json").write_text("{}", "utf-8")
    tables = {f"proof_{name}": {WORKSPACE: "a"} for name in ("issuers", "audiences")}
    with pytest.raises(ValueError, match=r"keys\.json: \$\.keys: expected a JWKS"):
        main.run_edge(replace(settings, proof_keys={WORKSPACE: tmp_path / "keys.json"}, **tables), None)


def test_database_that_is_none(settings: EdgeSettings, tmp_path: Path) -> None:
    """A file that is no MaxMind database is told before anything starts."""
    (tmp_path / "city.mmdb").write_bytes(b"no database")
    with pytest.raises(ValueError, match=r"city\.mmdb: expected a MaxMind database"):
        main.run_edge(replace(settings, place_database=tmp_path / "city.mmdb"), None)


def test_folder_that_cannot_be_made(settings: EdgeSettings, tmp_path: Path) -> None:
    """A data folder that cannot be made is found out before anything is started."""
    with pytest.raises(NotADirectoryError):
        main.run_edge(replace(settings, data=tmp_path / "root.json" / "folder"), None)


def test_one_address_for_both_is_refused(settings: EdgeSettings) -> None:
    """Devices and operators cannot be told the same address, wildcards included."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    both = replace(settings, listen=f"0.0.0.0:{port}", admin=f"127.0.0.1:{port}", workers=1)
    with pytest.raises(OSError, match=f"127.0.0.1:{port} cannot be listened on"):
        main.run_edge(both, None)


def test_second_edge_of_a_folder_is_refused(settings: EdgeSettings) -> None:
    """Two edges would write to one edge.db; the first has it until it ends, however it ends."""
    held = hold_folder(settings.data)
    with pytest.raises(HeldError, match=f"another edge runs in {settings.data}: each needs a data folder of its own"):
        main.run_edge(settings, None)
    os.close(held)


def test_parent_gets_what_the_settings_say(
    settings: EdgeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The parent is given a slot a worker, an admin socket, the held folder and all settings; the log says where."""
    given: dict[str, Any] = {}

    class Noted:
        @classmethod
        def begin(cls, held: Held, config: str, frozen: bytes) -> Self:
            given.update(listeners=[slot.listener.getsockname() for slot in held.slots], config=config)
            given.update(admin=held.admin.getsockname(), settings=thaw_settings(frozen))
            with pytest.raises(HeldError):
                hold_folder(tmp_path)
            assert held.control is not None
            for each in (*held.slots, held.control, held.admin):
                each.close()
            return cls()

        def run(self) -> None:
            given["ran"] = True

    monkeypatch.setattr(parent, "Parent", Noted)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    some = replace(settings, listen="127.0.0.1:0", admin="127.0.0.1:0", workers=3, drain_delay_s=2.5)
    main.run_edge(some, Path("edge.toml"))
    assert given["ran"]
    assert len(given["listeners"]) == 3
    assert (given["config"], given["settings"]) == (str(tmp_path / "edge.toml"), some)
    devices, operators = (f"{host}:{port}" for host, port in (given["listeners"][0], given["admin"]))
    assert f"devices at {devices}, operators at {operators}" in caplog.text


def test_tasks_that_swallow_a_cancellation_are_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A library that swallows a cancellation, below a task group, does not keep the syncer from ending."""
    monkeypatch.setattr(main, "CANCEL_EVERY_S", 0.01)
    swallowed: list[bool] = []

    async def swallow() -> None:
        while True:
            try:
                await asyncio.sleep(600)
            except asyncio.CancelledError:
                if swallowed:
                    raise
                swallowed.append(True)

    async def group_them() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(swallow())

    async def run() -> "asyncio.Task[None]":
        task = asyncio.create_task(group_them())
        await asyncio.sleep(0.01)
        await main._end_all()
        return task

    assert asyncio.run(run()).cancelled()
    assert swallowed == [True]


def test_full_wake_up_is_skipped() -> None:
    """A worker that does not heed its wake-ups does not hold up the syncer, nor the workers after it."""
    full, idle = (socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(2))
    wake = main._make_wake([full[0], idle[0]])
    for _ in range(2_000):
        wake()
        idle[1].recv(1)
    assert full[1].recv(1) == b"!"
    for end in (*full, *idle):
        end.close()


def run_child(spec: dict[str, Any], environ: dict[str, str], *before: str) -> subprocess.CompletedProcess[str]:
    """Runs a child as the parent would, after some lines of its own; returns what came of it."""
    code = "\n".join([*before, f"from edge.main import run_child; import os; run_child({spec!r}, os.environ)"])
    numbers = [value for value in spec.values() if isinstance(value, int) and value > 2]
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=SOURCES,
        env={**os.environ, **environ},
        pass_fds=[number for number in numbers if number != os.getpid()] + spec.get("pages", []),
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def descriptors() -> Iterator[Callable[[bytes], int]]:
    """Makes files that no file system has, as the parent hands them; they are closed when the test ends."""
    with ExitStack() as stack:

        def make(content: bytes) -> int:
            descriptor = os.memfd_create("test")
            stack.callback(os.close, descriptor)
            os.pwrite(descriptor, content, 0)
            return descriptor

        yield make


def test_child_whose_parent_is_gone_ends() -> None:
    """A child that starts after its parent has ended does not stay for ever."""
    ended = run_child({"role": "worker", "parent": -1}, {})
    assert (ended.returncode, ended.stderr) == (1, "the parent is gone\n")


def test_signals_that_waited_for_a_child() -> None:
    """What a terminal sent while a child started is the parent's business; a SIGTERM ends the child."""
    block = "import os; from signal import *; pthread_sigmask(SIG_BLOCK, [SIGINT, SIGHUP, SIGTERM])"
    spec = {"role": "worker", "parent": -1}
    for name in ("SIGINT", "SIGHUP"):
        interrupted = run_child(spec, {}, block, f"os.kill(os.getpid(), {name})")
        assert interrupted.stderr == "the parent is gone\n"
    asked = run_child(spec, {}, block, "os.kill(os.getpid(), SIGTERM)")
    assert asked.returncode == -signal.SIGTERM


def test_syncer_without_a_disk_says_so_in_a_line(
    settings: EdgeSettings, tmp_path: Path, descriptors: Callable[[bytes], int]
) -> None:
    """A folder that has become unusable, and no place in memory, is one line each time that the syncer starts."""
    data = write_root(tmp_path) / "folder"
    frozen = freeze_settings(replace(settings, data=data))
    taken = Path("/dev/shm") / name_refuge(data).name
    taken.write_bytes(b"")
    page = descriptors(bytes(PAGE_BYTES))
    spec = {"role": "syncer", "parent": os.getpid(), "page": page, "pages": [page], "wakes": []}
    ended = run_child({**spec, "settings": descriptors(frozen), "turn": descriptors(b"")}, {})
    taken.unlink()
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert "syncer CRITICAL" in line
    assert "nor is there one in memory: [Errno 17] File exists" in line
    assert "edge-2.db cannot be used: [Errno 20] Not a directory" in line


def judge(descriptors: Callable[[bytes], int], environ: dict[str, str], **more: Any) -> tuple[int, bytes]:
    """Lets a child judge what is set; returns its exit code and what it has found."""
    found = descriptors(b"")
    spec = {"role": "judge", "parent": os.getpid(), "config": "", "found": found, "format": STATE_FORMAT, **more}
    ended = run_child(spec, environ)
    assert ended.stderr == ""
    return ended.returncode, os.pread(found, 10_000, 0)


def set_edge(settings: EdgeSettings) -> dict[str, str]:
    """Settings as an operator sets them."""
    return {
        "GRAYWAVE_EDGE_REDIS": settings.redis,
        "GRAYWAVE_EDGE_DATA": str(settings.data),
        "GRAYWAVE_EDGE_WORKSPACES": f"{WORKSPACE}={settings.workspaces[WORKSPACE]}",
    }


def test_judge_reads_what_is_set_now(settings: EdgeSettings, descriptors: Callable[[bytes], int]) -> None:
    """Good settings are found as children will get them, from the environment and from a file."""
    (settings.data / FILE_NAME).touch()
    code, found = judge(descriptors, set_edge(settings))
    assert (code, thaw_settings(found)) == (0, settings)
    toml = settings.data / "edge.toml"
    toml.write_text("[edge]\nworkers = 7\n", "utf-8")
    code, found = judge(descriptors, set_edge(settings), config=str(toml))
    assert (code, thaw_settings(found)) == (0, replace(settings, workers=7))


def test_judge_finds_rules_in_memory(settings: EdgeSettings, descriptors: Callable[[bytes], int]) -> None:
    """A host whose disk takes nothing has its edge.db elsewhere, and can be reloaded all the same."""
    refuge = Path("/dev/shm") / name_refuge(settings.data).name
    make_refuge(refuge)
    (refuge / FILE_NAME).touch()
    try:
        assert judge(descriptors, set_edge(settings))[0] == 0
    finally:
        remove_refuge(refuge)


def test_judge_says_all_that_is_wrong(settings: EdgeSettings, descriptors: Callable[[bytes], int]) -> None:
    """Settings, the files that they name, and what this code cannot go on with: another edge.db, another parent."""
    good = set_edge(settings)
    code, found = judge(descriptors, good)
    said = f"only a restart brings this code: its rules are in {FILE_NAME}, which is not in {settings.data} yet"
    assert (code, found.decode()) == (1, said)
    code, found = judge(descriptors, {**good, "GRAYWAVE_EDGE_WORKERS": "many", "GRAYWAVE_EDGE_LANE": "perhaps"})
    assert code == 1
    assert [line.partition(b":")[0] for line in found.splitlines()] == [
        b"GRAYWAVE_EDGE_LANE",
        b"GRAYWAVE_EDGE_WORKERS",
    ]
    code, found = judge(descriptors, good, format=STATE_FORMAT + 1)
    said = f"expected a parent that saves format {STATE_FORMAT}, got {STATE_FORMAT + 1}"
    assert (code, found.decode()) == (1, f"only a restart brings this code: {said}")
    settings.workspaces[WORKSPACE].write_text("{}", "utf-8")
    code, found = judge(descriptors, good)
    assert code == 1
    assert b"root.json: " in found


async def test_one_syncer_at_a_time(descriptors: Callable[[bytes], int]) -> None:
    """A second one stands by, which its page tells, until the first has ended."""
    turn, page = descriptors(b""), descriptors(bytes(PAGE_BYTES))
    spec = {"turn": turn, "page": page}
    first = os.open(f"/proc/self/fd/{turn}", os.O_RDWR)
    fcntl.flock(first, fcntl.LOCK_EX)
    standing = asyncio.create_task(main._await_turn(spec))
    await eventually(lambda: read_page(open_page(page))["beat"])
    assert not standing.done()
    os.close(first)
    second = await asyncio.wait_for(standing, 30)
    os.close(second)


def test_spec_is_plain_json() -> None:
    """What the parent hands to `python -m edge` is read from the command line."""
    ended = subprocess.run(
        [sys.executable, "-m", "edge", json.dumps({"role": "worker", "parent": -1})],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == "the parent is gone\n"


async def test_worker_has_no_more_connections_than_descriptors(
    settings: EdgeSettings, page: mmap.mmap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a worker is started with leaves descriptors for all else."""
    started: list[EdgeSettings] = []

    class Noting:
        def __init__(self, settings: EdgeSettings, _place: object, wake: socket.socket, _page: mmap.mmap) -> None:
            started.append(settings)
            wake.close()

        async def run(self) -> None:
            pass

    monkeypatch.setattr(main, "Worker", Noting)
    monkeypatch.setattr(main, "raise_limit", lambda: 2_048)
    monkeypatch.setattr(main, "open_page", lambda _: page)
    ours, theirs = socket.socketpair()
    with ours:
        await main._run_worker(settings, {"pages": [0], "index": 0, "slots": [], "wake": theirs.detach()})
    assert [one.max_connections for one in started] == [1_024]
