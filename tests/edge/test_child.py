"""Tests of edge/child.py, with real processes that are no edges."""

import mmap
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from edge.child import FIRST_PAUSE_S, LONGEST_PAUSE_S, START_S, STEADY_S, Adopted, Child, make_page
from edge.metrics import Counters

LONG = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]
PATIENCE_S = 30.0
NOW = 1_000.0


@pytest.fixture
def own_page() -> Iterator[int]:
    """The descriptor of a child's page."""
    descriptor = make_page("page")
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def children(own_page: int) -> Iterator[Callable[..., Child]]:
    """Makes children; those that still run are killed when the test ends."""
    made: list[Child] = []

    def make(command: list[str] = LONG, hang_s: float = 10.0) -> Child:
        made.append(Child("worker 0", command, (), own_page, hang_s))
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


def test_child_starts_with_an_empty_page(children: Callable[..., Child]) -> None:
    """A successor does not inherit the counters of the dead."""
    child = children()
    beat(child.counters, NOW)
    child.start(NOW)
    assert child.counters[:] == bytes(len(child.counters))
    assert child.process is not None
    assert child.process.poll() is None


def test_child_inherits_its_descriptors_and_no_others(own_page: int, capfd: pytest.CaptureFixture[str]) -> None:
    """A child has what it is handed, by its number, and nothing else that is open here."""
    handed, kept = socket.socketpair()
    code = f"import os; print([os.path.exists(f'/proc/self/fd/{{n}}') for n in ({handed.fileno()}, {kept.fileno()})])"
    child = Child("worker 0", [sys.executable, "-c", code], [handed.fileno()], own_page, 10.0)
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
        beat(child.counters, now)
        child.note_end(now)
        assert child.process is None
        assert child.counters[:] == bytes(len(child.counters))  # who reads it must not take the dead for alive
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


def test_hang_is_seen_in_the_page(children: Callable[..., Child]) -> None:
    """A child that has not copied its counters for too long hangs; so does one that never does."""
    child = children()
    assert not child.has_hung(NOW + 1_000)
    child.start(NOW)
    assert not child.has_hung(NOW + START_S)
    assert child.has_hung(NOW + START_S + 1)
    beat(child.counters, NOW + 100)
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


@pytest.mark.parametrize(("wake", "field"), [(None, "beat"), ((7, 8), "ready")], ids=["syncer", "worker"])
def test_child_is_ready_when_its_page_says_so(own_page: int, wake: tuple[int, int] | None, field: str) -> None:
    """A worker is ready when it serves; a syncer when it beats: it waits for its turn then."""
    child, counters = Child("any", (), (), own_page, 10.0, wake), Counters()
    assert not child.is_ready()
    counters.pid = 5
    counters.write(child.counters)
    assert not child.is_ready()
    setattr(counters, field, 1)
    counters.write(child.counters)
    assert child.is_ready()


def test_nudge_never_waits(own_page: int) -> None:
    """A worker that heeds no nudge holds up nobody, and a child that cannot be woken takes none."""
    waker, heeding = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    child = Child("worker 0", (), (), own_page, 10.0, (waker.fileno(), heeding.fileno()))
    for _ in range(2_000):
        child.nudge()
    assert heeding.recv(4) == b"!"
    waker.close()
    heeding.close()
    Child("syncer", (), (), own_page, 10.0).nudge()


def test_child_without_a_successor_leaves_nothing_open() -> None:
    """The page and both ends of the wake-up are closed."""
    waker, heeding = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    page = make_page("page")
    wake = (waker.detach(), heeding.detach())
    Child("worker 0", (), (), page, 10.0, wake).close()
    for descriptor in (page, *wake):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(descriptor)


def test_another_image_of_the_parent_goes_on_with_a_child(children: Callable[..., Child]) -> None:
    """What was saved is the same process, with its page, to be looked after and ended as before."""
    child = children()
    child.start(NOW)
    beat(child.counters, NOW + 7)
    loaded = Child.load(child.save())
    assert isinstance(loaded.process, Adopted)
    assert loaded.process.pid == child.save()["pid"]
    assert (loaded.role, loaded.started_at, loaded.hang_s) == (child.role, NOW, child.hang_s)
    assert loaded.has_hung(NOW + 18)
    assert not loaded.has_ended()
    with pytest.raises(subprocess.TimeoutExpired):
        loaded.process.wait(0.02)
    loaded.send(signal.SIGTERM)
    assert loaded.process.wait(PATIENCE_S) == -signal.SIGTERM
    assert loaded.has_ended()
    loaded.send(signal.SIGTERM)  # which nobody gets: the number may be another's by now
    assert child.process is not None
    child.process.returncode = -signal.SIGTERM  # it has been waited for, which this object does not know


def test_adopted_child_that_is_waited_for_without_an_end() -> None:
    """Its exit code is told, however long it takes."""
    process = subprocess.Popen([sys.executable, "-S", "-c", "raise SystemExit(3)"])
    assert Adopted(process.pid).wait() == 3
    process.returncode = 3  # it has been waited for, which this object does not know


def test_adopted_child_whose_end_was_seen_before() -> None:
    """An older image may have waited for a child and not told the next one: it has ended, and that is all."""
    process = subprocess.Popen([sys.executable, "-S", "-c", ""])
    process.wait(PATIENCE_S)
    assert Adopted(process.pid).poll() == 0
