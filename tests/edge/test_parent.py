"""Tests of edge/parent.py, with real processes that are no edges."""

import json
import logging
import mmap
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from edge import parent as parent_module
from edge.child import FIRST_PAUSE_S, Child
from edge.control import MAX_BYTES
from edge.generation import Held, list_descriptors
from edge.listener import OwnSlot, bind
from edge.metrics import Counters
from edge.parent import Parent

# Unblocks what the parent blocks, as an edge's children do.
LONG = [
    sys.executable,
    "-S",
    "-c",
    "import signal, time; signal.pthread_sigmask(signal.SIG_SETMASK, ()); time.sleep(600)",
]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)",
]
PATIENCE_S = 30.0
NOW = 1_000.0
SETTINGS = {"workers": 2, "drain_delay_s": 0.0, "listen": "127.0.0.1:0", "admin": "127.0.0.1:0", "data": "/data"}


def wait_until(is_true: Callable[[], object]) -> None:
    """Waits until something becomes true, and not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def beat(page: mmap.mmap, at: float) -> None:
    """Lets the child of a page show that it is alive."""
    counters = Counters()
    counters.beat = int(at)
    counters.write(page)


def make_held(tmp_path: Path) -> Held:
    """What a host of two workers keeps."""
    listeners, (admin,) = bind("127.0.0.1", 0, 2), bind("127.0.0.1", 0, 1)
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    slots = [OwnSlot.make(listener) for listener in listeners]
    return Held(folder, os.memfd_create("turn"), None, admin, slots)


def close_all(parent: Parent) -> None:
    """Ends what a parent runs, and closes what it has open."""
    children = [
        *parent.current.children,
        *parent.leaving,
        *(parent.reload.next.children if parent.reload and parent.reload.next else ()),
    ]
    for child in children:
        child.send(signal.SIGKILL)
        if child.process is not None:
            child.process.wait(PATIENCE_S)
        child.close()
    os.close(parent.current.snapshot)
    os.close(parent.held.folder)
    os.close(parent.held.turn)
    for opened in (parent.held.admin, *parent.held.slots):
        opened.close()


@pytest.fixture
def parent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parent]:
    """A parent of one syncer and two workers, which are processes that only sleep."""
    monkeypatch.setattr("edge.generation.make_command", lambda _spec: LONG)
    parent = Parent.begin(make_held(tmp_path), "", json.dumps(SETTINGS).encode())
    yield parent
    close_all(parent)


def list_open() -> set[str]:
    """What this process has open, by number."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def list_pids(parent: Parent) -> list[int]:
    """The processes that run now."""
    return [child.process.pid for child in parent.current.children if child.process is not None]


def hear(worker: Child) -> bytes:
    """What a worker would be woken by."""
    assert worker.wake is not None
    return os.read(worker.wake[1], 10)


def test_dead_child_is_started_again_alone(parent: Parent) -> None:
    """What ends is started again when its pause is over, and the others are left alone."""
    parent._start_due(NOW)
    before = list_pids(parent)
    descriptors = list_open()
    os.kill(before[1], signal.SIGKILL)
    wait_until(lambda: parent.current.workers[0].process is None or parent._look_after(NOW))
    assert list_pids(parent) == [before[0], before[2]]
    assert [hear(worker) for worker in parent.current.workers] == [b"!", b"!"]  # one of them helps, now
    parent._look_after(NOW + FIRST_PAUSE_S)
    after = list_pids(parent)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert not Path(f"/proc/{before[1]}").exists()
    assert list_open() == descriptors


def test_stopped_worker_is_replaced(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that hangs is killed, even where it cannot be asked, and has a successor."""
    parent._start_due(NOW)
    worker = parent.current.workers[1]
    assert worker.process is not None
    pid = worker.process.pid
    for child in parent.current.children:
        beat(child.counters, NOW + 100)
    os.kill(pid, signal.SIGSTOP)
    beat(worker.counters, NOW + 80)
    wait_until(lambda: parent._look_after(NOW + 100) or (worker.process and worker.process.pid != pid))
    assert "worker 1 shows no sign of life: killing it" in caplog.text
    assert caplog.text.count("killing it") == caplog.text.count("worker 1 shows")


def test_host_that_was_paused_kills_nobody(parent: Parent) -> None:
    """Where all stood still the children have their turn before they are judged; who hangs then is killed."""
    parent._start_due(NOW)
    before = list_pids(parent)
    for child in parent.current.children:
        beat(child.counters, NOW)
    parent._look_after(NOW + 100, was_paused=True)
    assert all(child.process is not None and child.process.poll() is None for child in parent.current.children)
    wait_until(lambda: parent._look_after(NOW + 101) or list_pids(parent) != before)


def test_clock_that_is_set_kills_nobody(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the wall clock by an hour is none of the parent's business."""
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    parent._start_due(time.monotonic())
    before = list_pids(parent)
    for child in parent.current.children:
        counters = Counters()
        counters.mark_beat()
        counters.write(child.counters)
    parent._look_after(time.monotonic())
    assert list_pids(parent) == before
    assert all(child.process is not None and child.process.poll() is None for child in parent.current.children)


def test_stop_tells_the_syncer_first_and_ends_it_last(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness goes, then the delay, then the workers, then the syncer."""
    told: list[tuple[str, str]] = []
    send = Child.send

    def note(child: Child, what: signal.Signals) -> None:
        told.append((child.role, what.name))
        if what is not signal.SIGUSR1:
            send(child, what)

    def note_sleep(delay: float) -> None:
        if delay == parent.current.settings["drain_delay_s"]:  # Popen.wait sleeps too
            told.append(("sleep", str(delay)))

    monkeypatch.setattr(Child, "send", note)
    monkeypatch.setattr(time, "sleep", note_sleep)
    parent.current.settings["drain_delay_s"] = 7.0
    parent._start_due(NOW)
    parent._stop()
    assert told == [
        ("syncer", "SIGUSR1"),
        ("sleep", "7.0"),
        ("worker 0", "SIGTERM"),
        ("worker 1", "SIGTERM"),
        ("syncer", "SIGTERM"),
    ]
    assert [child.process and child.process.returncode for child in parent.current.children] == [-signal.SIGTERM] * 3


def test_child_that_does_not_end_is_killed(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A child that ignores SIGTERM does not keep the host from stopping, nor one that waits for its next start."""
    monkeypatch.setattr(parent_module, "STOP_S", 0.05)
    stubborn, resting = parent.current.workers
    stubborn.command = STUBBORN
    resting.start_at = NOW + 1_000
    parent._start_due(NOW)
    wait_until(lambda: capfd.readouterr().out)
    parent._stop()
    assert "worker 0 did not end within 0 s: killing it" in caplog.text
    assert stubborn.process is not None
    assert stubborn.process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_run_ends_with_a_signal(parent: Parent, number: signal.Signals, caplog: pytest.LogCaptureFixture) -> None:
    """The parent starts its children, looks after them, and stops in good order when it is asked to."""
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    caplog.set_level(logging.INFO)
    main = threading.main_thread().ident
    assert main is not None

    def act() -> None:
        wait_until(lambda: len(list_pids(parent)) == 3)
        first = list_pids(parent)[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: len(list_pids(parent)) == 3 and list_pids(parent)[0] != first)
        signal.pthread_kill(main, number)

    helper = threading.Thread(target=act)
    helper.start()
    try:
        parent.run()
    finally:
        helper.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    assert "syncer" in caplog.text
    assert caplog.messages[-1] == "stopped"
    assert all(child.process is not None and child.process.returncode is not None for child in parent.current.children)


class Stop(Exception):  # noqa: N818 - ends a test's parent where exec would
    """The parent has become another."""


@pytest.fixture
def become(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What a parent hands to the new code: noted, for this process has to stay what it is."""
    states: list[dict[str, Any]] = []

    def note(_path: str, command: list[str]) -> None:
        descriptor = json.loads(command[-1])["state"]
        states.append(json.loads(os.pread(descriptor, 100_000, 0)))
        os.close(descriptor)
        raise Stop

    monkeypatch.setattr(os, "execv", note)
    del parent
    return states


def judge_by(monkeypatch: pytest.MonkeyPatch, code: str, children: list[str] = LONG) -> None:
    """Lets this code judge settings: `found` is where it writes; its children run the other command."""

    def make(spec: str) -> list[str]:
        read = json.loads(spec)
        if read["role"] == "judge":
            return [sys.executable, "-c", f"import json, os, sys, time; found = {read['found']}; {code}"]
        return [*children[:-1], children[-1].replace("{page}", str(read.get("page")))] if "page" in read else [spec]

    monkeypatch.setattr("edge.generation.make_command", make)
    monkeypatch.setattr(parent_module, "make_command", make)


def say(settings: dict[str, Any]) -> str:
    """The code of a judge that finds these settings good."""
    return f"os.write(found, {json.dumps(settings)!r}.encode())"


READY = [
    sys.executable,
    "-c",
    (
        "import mmap, time; from edge.metrics import Counters; counters = Counters(); counters.mark_beat(); "
        "counters.ready = 1; counters.write(mmap.mmap({page}, 4096)); time.sleep(600)"
    ),
]


def ask(parent: Parent) -> socket.socket:
    """Begins a reload for somebody, who waits for what is said."""
    asker, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent._begin_reload(other)
    return asker


def hear_outcome(parent: Parent, asker: socket.socket) -> dict[str, Any]:
    """What one who has asked is told, in the end."""
    asker.settimeout(0)
    said: list[bytes] = []

    def look() -> bool:
        parent._look_after(time.monotonic())
        try:
            said.append(asker.recv(MAX_BYTES))
        except BlockingIOError:
            return False
        return True

    wait_until(look)
    asker.close()
    outcome: dict[str, Any] = json.loads(said[0])
    return outcome


AS_BEFORE = "as at the start, got 'x': restart to change it"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("os.write(found, b'edge.toml: edge.workers: expected'); sys.exit(1)", "edge.toml: edge.workers: expected"),
        ("sys.exit(3)", "the new code ended with code 3, see the edge's log"),
        (say({**SETTINGS, "listen": "x"}), f"listen: expected '127.0.0.1:0' {AS_BEFORE}"),
        (say({**SETTINGS, "admin": "x"}), f"admin: expected '127.0.0.1:0' {AS_BEFORE}"),
        (say({**SETTINGS, "data": "x"}), f"data: expected '/data' {AS_BEFORE}"),
        (say({**SETTINGS, "workers": 4}), "the new one ended before it was ready, see the edge's log"),
    ],
    ids=["wrong settings", "code that fails", "listen", "admin", "data", "children that end"],
)
def test_reload_that_is_refused_changes_nothing(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, code: str, reason: str
) -> None:
    """Whoever asked is told why, the log says so, and the same processes run as before; nothing is left open."""
    parent._start_due(NOW)
    for child in parent.current.children:
        beat(child.counters, time.monotonic())
    before, descriptors = list_pids(parent), list_open()
    judge_by(monkeypatch, code, [sys.executable, "-S", "-c", "raise SystemExit(4)"])
    outcome = hear_outcome(parent, ask(parent))
    assert not outcome["done"]
    assert re.sub(r"the new (syncer|worker \d) ", "the new one ", outcome["message"]) == reason
    assert f"reload refused, everything stays as it is: {outcome['message']}" in caplog.text
    wait_until(lambda: not parent.leaving or parent._look_after(time.monotonic()))
    assert parent.reload is None
    assert len(parent.held.slots) == 2
    assert list_pids(parent) == before
    assert list_open() == descriptors


def test_judge_that_takes_too_long(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """New code that hangs is given up, and ended."""
    monkeypatch.setattr(parent_module, "JUDGE_S", 0.0)
    judge_by(monkeypatch, "time.sleep(600)")
    asker = ask(parent)
    assert parent.reload is not None
    judge = parent.reload.judge
    assert hear_outcome(parent, asker)["message"] == "the new code did not read the settings within 0 s"
    assert judge.returncode == -signal.SIGKILL


def test_children_that_do_not_get_ready(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """New processes that never serve are told to leave, and those that serve stay."""
    parent._start_due(NOW)
    before = list_pids(parent)
    for child in parent.current.children:
        beat(child.counters, time.monotonic())
    monkeypatch.setattr(parent_module, "START_S", 0.0)
    judge_by(monkeypatch, say(SETTINGS))
    assert hear_outcome(parent, ask(parent))["message"] == "the new processes were not ready within 0 s"
    assert list_pids(parent) == before
    assert len(parent.leaving) == 3


def test_one_reload_at_a_time(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A second one is refused, and disturbs nothing; so is one that is under way when the host stops."""
    judge_by(monkeypatch, "time.sleep(600)")
    first, second = ask(parent), ask(parent)
    parent._begin_reload(None)
    assert json.loads(second.recv(MAX_BYTES)) == {"done": False, "message": "another reload is under way"}
    assert caplog.text.count("another reload is under way") == 2
    parent._stop()
    assert json.loads(first.recv(MAX_BYTES)) == {"done": False, "message": "the edge is stopping"}
    first.close()
    second.close()


def test_new_code_that_cannot_be_started(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that is gone is told, and changes nothing."""
    monkeypatch.setattr(parent_module, "make_command", lambda _: ["/nowhere/python"])
    with ask(parent) as asker:
        said = json.loads(asker.recv(MAX_BYTES))
    assert not said["done"]
    assert said["message"].startswith("the new code cannot be started: [Errno 2]")
    parent._begin_reload(None)
    assert parent.reload is None


def test_reload(
    parent: Parent, become: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """New processes, one more of them, get ready; the old ones are told to leave; the parent becomes the new code.

    That one goes on with the same sockets, the new processes and those that leave, and tells whoever waits.
    """
    caplog.set_level(logging.INFO)
    parent._start_due(NOW)
    old = parent.current
    for child in old.children:
        beat(child.counters, time.monotonic())
    judge_by(monkeypatch, say({**SETTINGS, "workers": 3}), READY)
    asker, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    parent._begin_reload(other)
    with pytest.raises(Stop):
        wait_until(lambda: parent._look_after(time.monotonic()))
    (state,) = become
    assert parent.current is not old
    assert all(os.get_inheritable(each) for each in list_descriptors(state))
    assert len(parent.held.slots) == 3
    told = [child.process.wait(PATIENCE_S) for child in parent.leaving if child.process]
    assert told == [-signal.SIGTERM, -signal.SIGUSR1, -signal.SIGUSR1]

    resumed = Parent.resume(state)
    assert not any(os.get_inheritable(each) for each in list_descriptors(state))
    assert list_pids(resumed) == list_pids(parent)
    assert [child.role for child in resumed.leaving] == [child.role for child in parent.leaving]
    assert resumed.current.settings["workers"] == 3
    assert resumed.held.save() == parent.held.save()
    assert [child.role for child in resumed.current.children] == ["syncer", "worker 0", "worker 1", "worker 2"]
    assert state["asker"] == other.detach()
    parent_module.tell_reloaded(socket.socket(fileno=state["asker"]))
    assert json.loads(asker.recv(MAX_BYTES)) == {"done": True, "message": "reloaded"}
    asker.close()
    assert caplog.messages[-1] == "reloaded"

    # The dead of the one are not the other's: each of these objects has what it has opened itself.
    with ExitStack() as stack:
        for slot in resumed.held.slots:
            for each in (slot.listener, slot.giving, slot.taking):
                stack.callback(each.detach)
        stack.callback(resumed.held.admin.detach)
    for child in (*resumed.current.children, *resumed.leaving):
        child.counters.close()


def test_new_code_that_fails_at_the_last(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the parent cannot become the new code it goes on as it is: the new processes run all the same."""
    caplog.set_level(logging.INFO)

    def refuse(*_: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(os, "execv", refuse)
    parent._start_due(NOW)
    for child in parent.current.children:
        beat(child.counters, time.monotonic())
    judge_by(monkeypatch, say(SETTINGS), READY)
    assert hear_outcome(parent, ask(parent)) == {"done": True, "message": "reloaded"}
    assert "the new code cannot be started, the parent goes on with the old" in caplog.text
    assert not os.get_inheritable(parent.held.admin.fileno())
    wait_until(lambda: not parent.leaving or parent._look_after(time.monotonic()))


def test_hung_process_that_leaves_is_killed(parent: Parent) -> None:
    """A process of a former generation that hangs does not stay for ever."""
    parent._start_due(NOW)
    worker = parent.current.workers.pop()
    parent.leaving.append(worker)
    for child in parent.current.children:
        beat(child.counters, NOW + 100)
    beat(worker.counters, NOW + 80)
    wait_until(lambda: not parent.leaving or parent._look_after(NOW + 100))
