"""Tests of edge/main.py; what whole hosts do is tested in tests/end_to_end."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge import main, parent
from edge.metrics import PAGE_BYTES
from edge.settings import EdgeSettings
from tests.edge.press import NOW, WORKSPACE, write_root
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


def test_parent_gets_what_the_settings_say(
    settings: EdgeSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The parent is given a socket a worker and an admin socket; the log says where they are."""
    given: dict[str, Any] = {}

    class Noted:
        def __init__(self, listeners: Sequence[socket.socket], admin: socket.socket, config: str, delay: float) -> None:
            given.update(listeners=[each.getsockname() for each in listeners], admin=admin.getsockname())
            given.update(config=config, delay=delay)
            for each in (*listeners, admin):
                each.close()

        def run(self) -> None:
            given["ran"] = True

    monkeypatch.setattr(parent, "Parent", Noted)
    monkeypatch.chdir(tmp_path)
    caplog.set_level("INFO")
    some = replace(settings, listen="127.0.0.1:0", admin="127.0.0.1:0", workers=3, drain_delay_s=2.5)
    main.run_edge(some, Path("edge.toml"))
    assert given["ran"]
    assert len(given["listeners"]) == 3
    assert (given["config"], given["delay"]) == (str(tmp_path / "edge.toml"), 2.5)
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
    return subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-c", code],
        cwd=SOURCES,
        env={**os.environ, **environ},
        pass_fds=[descriptor for value in spec.values() if isinstance(value, list) for descriptor in value],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def set_edge(settings: EdgeSettings) -> dict[str, str]:
    """Settings as children read them."""
    return {
        "GRAYWAVE_EDGE_REDIS": settings.redis,
        "GRAYWAVE_EDGE_DATA": str(settings.data),
        "GRAYWAVE_EDGE_WORKSPACES": f"{WORKSPACE}={settings.workspaces[WORKSPACE]}",
    }


def test_child_whose_parent_is_gone_ends(settings: EdgeSettings) -> None:
    """A child that starts after its parent has ended does not stay for ever."""
    ended = run_child({"role": "worker", "parent": -1, "config": ""}, set_edge(settings))
    assert (ended.returncode, ended.stderr) == (1, "the parent is gone\n")


def test_signals_that_waited_for_a_child(settings: EdgeSettings) -> None:
    """An interrupt that came while a child started is the parent's business; a SIGTERM ends the child."""
    block = "import signal, os; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM])"
    spec = {"role": "worker", "parent": -1, "config": ""}
    interrupted = run_child(spec, set_edge(settings), block, "os.kill(os.getpid(), signal.SIGINT)")
    assert interrupted.stderr == "the parent is gone\n"
    asked = run_child(spec, set_edge(settings), block, "os.kill(os.getpid(), signal.SIGTERM)")
    assert asked.returncode == -signal.SIGTERM


def test_syncer_without_a_disk_says_so_in_a_line(settings: EdgeSettings, tmp_path: Path) -> None:
    """A folder that has become unusable is one line each time that the syncer starts, not a trace."""
    environ = set_edge(replace(settings, data=write_root(tmp_path) / "folder"))
    page = os.memfd_create("page")
    os.ftruncate(page, PAGE_BYTES)
    spec = {"role": "syncer", "parent": os.getpid(), "config": "", "page": page, "pages": [page], "wakes": []}
    ended = run_child(spec, environ)
    os.close(page)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 1
    assert "syncer CRITICAL" in line
    assert "edge-2.db cannot be used: [Errno 20] Not a directory" in line


def test_settings_that_were_broken_since_the_start(settings: EdgeSettings) -> None:
    """A file that somebody has edited badly is named each time that a child starts, without a trace."""
    environ = {**set_edge(settings), "GRAYWAVE_EDGE_WORKERS": "many"}
    ended = run_child({"role": "worker 1", "parent": os.getpid(), "config": ""}, environ)
    assert ended.returncode == 1
    assert "worker 1 CRITICAL GRAYWAVE_EDGE_WORKERS: expected an integer" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_spec_is_plain_json() -> None:
    """What the parent hands to `python -m edge` is read from the command line."""
    ended = subprocess.run(  # noqa: S603 - our own code
        [sys.executable, "-m", "edge", json.dumps({"role": "worker", "parent": -1})],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.stderr == "the parent is gone\n"
