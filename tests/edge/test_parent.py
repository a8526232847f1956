"""Tests of edge/parent.py, with real processes that are no edges."""

import logging
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from edge import parent as parent_module
from edge.metrics import Counters
from edge.parent import FIRST_PAUSE_S, LONGEST_PAUSE_S, START_S, STEADY_S, Child, Parent, bind

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


def wait_until(is_true: Callable[[], object]) -> None:
    """Waits until something becomes true, and not for ever."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def children(page: mmap.mmap) -> Iterator[Callable[..., Child]]:
    """Makes children; those that still run are killed when the test ends."""
    made: list[Child] = []

    def make(command: list[str] = LONG, hang_s: float = 10.0) -> Child:
        made.append(Child("worker 0", command, (), page, hang_s))
        return made[-1]

    yield make
    for child in made:
        if child.process is not None:
            child.process.kill()
            child.process.wait()


def beat(page: mmap.mmap, at: float) -> None:
    """Lets the child of a page show that it is alive."""
    counters = Counters()
    counters.beat = int(at)
    counters.write(page)


def test_child_starts_with_an_empty_page(children: Callable[..., Child], page: mmap.mmap) -> None:
    """A successor does not inherit the counters of the dead."""
    beat(page, NOW)
    child = children()
    child.start(NOW)
    assert page[:] == bytes(len(page))
    assert child.process is not None
    assert child.process.poll() is None


def test_child_inherits_its_descriptors_and_no_others(page: mmap.mmap, capfd: pytest.CaptureFixture[str]) -> None:
    """A child has what it is handed, by its number, and nothing else that is open here."""
    handed, kept = socket.socketpair()
    code = f"import os; print([os.path.exists(f'/proc/self/fd/{{n}}') for n in ({handed.fileno()}, {kept.fileno()})])"
    child = Child("worker 0", [sys.executable, "-c", code], [handed.fileno()], page, 10.0)
    child.start(NOW)
    assert child.process is not None
    child.process.wait(PATIENCE_S)
    assert capfd.readouterr().out == "[True, False]\n"
    handed.close()
    kept.close()


def test_short_lives_are_followed_by_longer_pauses(
    children: Callable[..., Child], caplog: pytest.LogCaptureFixture
) -> None:
    """A child that ends at once is started later and later, up to a bound; after a steady life at once."""
    child, now, pauses = children([sys.executable, "-S", "-c", "raise SystemExit(3)"]), NOW, []
    for _ in range(8):
        child.start(now)
        assert child.process is not None
        child.process.wait(PATIENCE_S)
        child.note_end(now)
        assert child.process is None
        pauses.append(child.start_at - now)
        now = child.start_at
    assert pauses[:3] == pytest.approx([FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])
    assert pauses[-1] == LONGEST_PAUSE_S
    assert re.search(r"worker 0 \(process \d+\) ended with code 3; next start in 5\.0 s", caplog.text)
    child.start(now)
    assert child.process is not None
    child.process.wait(PATIENCE_S)
    child.note_end(now + STEADY_S)
    assert child.start_at == now + STEADY_S


def test_child_that_cannot_be_started(
    children: Callable[..., Child], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the system has no process to give, the parent lives on and tries again."""

    def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    child = children()
    with monkeypatch.context() as patch:
        patch.setattr(subprocess, "Popen", refuse)
        child.start(NOW)
    assert child.process is None
    assert child.start_at == NOW + FIRST_PAUSE_S
    assert (
        "worker 0 cannot be started: [Errno 11] Resource temporarily unavailable; next attempt in 0.1 s" in caplog.text
    )
    child.send(signal.SIGTERM)
    child.start(NOW + FIRST_PAUSE_S)
    assert child.process is not None


def test_hang_is_seen_in_the_page(children: Callable[..., Child], page: mmap.mmap) -> None:
    """A child that has not copied its counters for too long hangs; so does one that never does."""
    child = children()
    assert not child.has_hung(NOW + 1_000)
    child.start(NOW)
    assert not child.has_hung(NOW + START_S)
    assert child.has_hung(NOW + START_S + 1)
    beat(page, NOW + 100)
    assert not child.has_hung(NOW + 110)
    assert child.has_hung(NOW + 111)


def test_child_that_is_gone_takes_no_signal(children: Callable[..., Child]) -> None:
    """A signal to a process that has just ended is no error."""
    child = children([sys.executable, "-S", "-c", ""])
    child.start(NOW)
    assert child.process is not None
    os.waitid(os.P_PID, child.process.pid, os.WEXITED | os.WNOWAIT)
    child.send(signal.SIGTERM)
    child.process.wait(PATIENCE_S)
    child.send(signal.SIGTERM)


@pytest.fixture
def parent() -> Iterator[Parent]:
    """A parent of one syncer and two workers, which are processes that only sleep."""
    listeners, (admin,) = bind("127.0.0.1", 0, 2), bind("127.0.0.1", 0, 1)
    parent = Parent(listeners, admin, "", 0.0)
    for child in parent._children():
        child.command = LONG
    yield parent
    for child in parent._children():
        if child.process is not None:
            child.process.kill()
            child.process.wait()
    for opened in (*parent._sockets, *(end for pair in parent._wakes for end in pair)):
        opened.close()


def list_descriptors() -> set[str]:
    """What this process has open, by number."""
    return {path.name for path in Path("/proc/self/fd").iterdir()}


def list_pids(parent: Parent) -> list[int]:
    """The processes that run now."""
    return [child.process.pid for child in parent._children() if child.process is not None]


def test_children_are_handed_what_they_need() -> None:
    """The syncer gets the admin socket and all pages and wake-ups, each worker its own; every number is inheritable."""
    listeners, (admin,) = bind("127.0.0.1", 0, 2), bind("127.0.0.1", 0, 1)
    parent = Parent(listeners, admin, "/etc/edge.toml", 0.0)
    specs = [parent_module.json.loads(child.command[-1]) for child in parent._children()]
    assert [spec["role"] for spec in specs] == ["syncer", "worker 0", "worker 1"]
    assert {(spec["config"], spec["parent"]) for spec in specs} == {("/etc/edge.toml", os.getpid())}
    assert specs[0]["admin"] == admin.fileno()
    assert specs[0]["pages"] == [spec["page"] for spec in specs[1:]]
    assert [spec["listener"] for spec in specs[1:]] == [listener.fileno() for listener in listeners]
    assert len({*specs[0]["wakes"], *(spec["wake"] for spec in specs[1:])}) == 4
    for child, spec in zip(parent._children(), specs, strict=True):
        numbers = [value for value in spec.values() if isinstance(value, int)] + spec.get("pages", [])
        assert {*numbers, *spec.get("wakes", [])} == {*child.descriptors, os.getpid()}
    for opened in (*parent._sockets, *(end for pair in parent._wakes for end in pair)):
        opened.close()


def test_dead_child_is_started_again_alone(parent: Parent) -> None:
    """What ends is started again when its pause is over, and the others are left alone."""
    parent._start_due(NOW)
    before = list_pids(parent)
    descriptors = list_descriptors()
    os.kill(before[1], signal.SIGKILL)
    wait_until(lambda: parent._workers[0].process is None or parent._look_after(NOW))
    assert list_pids(parent) == [before[0], before[2]]
    parent._look_after(NOW + FIRST_PAUSE_S)
    after = list_pids(parent)
    assert (after[0], after[2]) == (before[0], before[2])
    assert after[1] != before[1]
    assert not Path(f"/proc/{before[1]}").exists()
    assert list_descriptors() == descriptors


def test_stopped_worker_is_replaced(parent: Parent, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that hangs is killed, even where it cannot be asked, and has a successor."""
    parent._start_due(NOW)
    worker = parent._workers[1]
    assert worker.process is not None
    pid = worker.process.pid
    for child in parent._children():
        beat(child.page, NOW + 100)
    os.kill(pid, signal.SIGSTOP)
    beat(worker.page, NOW + 80)
    wait_until(lambda: parent._look_after(NOW + 100) or (worker.process and worker.process.pid != pid))
    assert "worker 1 shows no sign of life: killing it" in caplog.text
    assert caplog.text.count("killing it") == caplog.text.count("worker 1 shows")


def test_clock_that_is_set_kills_nobody(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step of the wall clock by an hour is none of the parent's business."""
    monkeypatch.setattr("time.time", lambda: 4_000_000_000.0)
    parent._start_due(time.monotonic())
    before = list_pids(parent)
    for child in parent._children():
        counters = Counters()
        counters.mark_beat()
        counters.write(child.page)
    parent._look_after(time.monotonic())
    assert list_pids(parent) == before
    assert all(child.process is not None and child.process.poll() is None for child in parent._children())


def test_stop_tells_the_syncer_first_and_ends_it_last(parent: Parent, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness goes, then the delay, then the workers, then the syncer."""
    told: list[tuple[str, str]] = []
    send = Child.send

    def note(child: Child, what: signal.Signals) -> None:
        told.append((child.role, what.name))
        if what is not signal.SIGUSR1:
            send(child, what)

    def note_sleep(delay: float) -> None:
        if delay == parent._drain_delay_s:  # Popen.wait sleeps too
            told.append(("sleep", str(delay)))

    monkeypatch.setattr(Child, "send", note)
    monkeypatch.setattr(time, "sleep", note_sleep)
    parent._drain_delay_s = 7.0
    parent._start_due(NOW)
    parent._stop()
    assert told == [
        ("syncer", "SIGUSR1"),
        ("sleep", "7.0"),
        ("worker 0", "SIGTERM"),
        ("worker 1", "SIGTERM"),
        ("syncer", "SIGTERM"),
    ]
    assert [child.process and child.process.returncode for child in parent._children()] == [-signal.SIGTERM] * 3


def test_child_that_does_not_end_is_killed(
    parent: Parent, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """A child that ignores SIGTERM does not keep the host from stopping, nor one that waits for its next start."""
    monkeypatch.setattr(parent_module, "STOP_S", 0.05)
    stubborn, resting = parent._workers
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
    assert all(child.process is not None and child.process.returncode is not None for child in parent._children())


def test_sockets_share_an_address() -> None:
    """Every worker has a socket of its own on one address, and each of them listens."""
    listeners = bind("127.0.0.1", 0, 3)
    assert len({listener.getsockname() for listener in listeners}) == 1
    assert all(listener.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) for listener in listeners)
    for listener in listeners:
        listener.close()


def test_address_of_ipv6() -> None:
    """An address of IPv6 is one like any other."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("this machine has no IPv6")
    (listener,) = bind("::1", 0, 1)
    assert listener.family == socket.AF_INET6
    listener.close()


@pytest.mark.parametrize("shares", [False, True])
def test_taken_address_is_refused(shares: bool) -> None:  # noqa: FBT001 - a case
    """Where somebody listens, even one who would share the address, nothing is bound, and the address is named."""
    with socket.socket() as taken:
        if shares:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=rf"127.0.0.1:{port} cannot be listened on: Address already in use"):
            bind("127.0.0.1", port, 2)


def test_foreign_address_is_refused() -> None:
    """An address that is not this machine's is named."""
    with pytest.raises(OSError, match=r"192\.0\.2\.1:80 cannot be listened on: Cannot assign requested address"):
        bind("192.0.2.1", 80, 1)
