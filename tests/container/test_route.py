"""Which edge is asked next: at most two attempts, jitter between them, and nobody asked who wants to be left alone."""

import math
from collections.abc import Callable

import pytest

from container.errors import EdgeError, NetworkError, OverloadedError, StorageError
from container.route import JITTER_S, MAX_TRIES, MAX_WAIT_S, Route


class Scene:
    """Edges that fail as told, a clock that moves by sleeping, and dice that always show the most."""

    def __init__(self, **failures: Exception) -> None:
        self.time = 1000.0
        self.asked: list[str] = []
        self.failures = failures
        self.route = Route(["a", "b", "c"], lambda: self.time, self.sleep, self)

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def uniform(self, a: float, b: float) -> float:
        assert a == 0
        return b

    def getrandbits(self, k: int) -> int:
        raise NotImplementedError(k)

    def run(self, tries: int = MAX_TRIES, until: float = math.inf) -> str:
        def ask(edge: str) -> str:
            self.asked.append(edge)
            if edge in self.failures:
                raise self.failures[edge]
            return edge

        return self.route.run(ask, tries, until)


def overloaded(seconds: int) -> OverloadedError:
    return OverloadedError("later", 503, "overloaded", seconds)


def test_first_edge_is_asked_while_it_answers() -> None:
    """The configured order is the operator's wish."""
    scene = Scene()
    assert [scene.run() for _ in range(3)] == ["a", "a", "a"]
    assert scene.time == 1000.0


def test_failed_edge_goes_last() -> None:
    """An edge that could not be reached is asked again when all others have failed."""
    scene = Scene(a=NetworkError("down"), b=NetworkError("down"))
    with pytest.raises(NetworkError):
        scene.run()
    assert [scene.run(), scene.run()] == ["c", "c"]
    assert scene.asked == ["a", "b", "c", "c"]


def test_retry_waits_a_jittered_moment() -> None:
    """Between the attempts lies at most JITTER_S."""
    scene = Scene(a=NetworkError("down"))
    assert scene.run() == "b"
    assert scene.time == 1000.0 + JITTER_S


@pytest.mark.parametrize("make", [lambda: EdgeError("no", 404), lambda: ValueError("bug")])
def test_other_errors_pass_at_once(make: Callable[[], Exception]) -> None:
    """A refusal, or a bug, is no reason to ask elsewhere."""
    scene = Scene(a=make())
    with pytest.raises((EdgeError, ValueError)):
        scene.run()
    assert scene.asked == ["a"]


def test_edge_that_refuses_goes_last() -> None:
    """Who refuses is asked again after all others: a hostile edge keeps nobody from an honest one."""
    scene = Scene(a=EdgeError("no", 404))
    with pytest.raises(EdgeError):
        scene.run()
    assert [scene.run(), scene.run()] == ["b", "b"]


def test_trouble_of_the_device_is_not_the_edges() -> None:
    """A full disk is no reason to ask elsewhere."""
    scene = Scene(a=StorageError("full"))
    for _ in range(2):
        with pytest.raises(StorageError):
            scene.run()
    assert scene.asked == ["a", "a"]


def test_more_tries_wait_longer() -> None:
    """Where more attempts are allowed, pauses double, and the edges take turns."""
    scene = Scene(a=NetworkError("down"), b=NetworkError("down"), c=NetworkError("down"))
    with pytest.raises(NetworkError):
        scene.run(tries=4)
    assert scene.asked == ["a", "b", "c", "a"]
    assert scene.time == 1000.0 + JITTER_S * (1 + 2 + 4)


def test_overloaded_edges_are_asked_twice_at_most() -> None:
    """However many attempts are allowed, edges that cannot answer now meet two."""
    scene = Scene(a=overloaded(0), b=overloaded(0), c=overloaded(0))
    with pytest.raises(OverloadedError):
        scene.run(tries=9)
    assert scene.asked == ["a", "b"]


def test_nothing_is_tried_beyond_its_time() -> None:
    """Where a pause would end too late, the failure is told at once."""
    scene = Scene(a=NetworkError("down"), b=NetworkError("down"))
    with pytest.raises(NetworkError):
        scene.run(until=1000.0 + JITTER_S)
    assert (scene.asked, scene.time) == (["a"], 1000.0)


def test_clock_set_back_ends_a_wait() -> None:
    """A wait longer than was asked for is the clock's doing."""
    scene = Scene(a=overloaded(60), b=overloaded(60), c=overloaded(60))
    for _ in range(2):
        with pytest.raises((OverloadedError, NetworkError)):
            scene.run()
    scene.failures.clear()
    scene.time -= 10_000
    assert scene.run() in "abc"


def test_short_wait_is_waited() -> None:
    """Where all edges ask for a short while, it is waited for, from when they asked."""
    scene = Scene(a=overloaded(5), b=overloaded(5), c=overloaded(5))
    for _ in range(2):
        with pytest.raises(OverloadedError):
            scene.run()
    assert scene.asked == ["a", "b", "c", "a"]
    assert scene.time == 1000.0 + JITTER_S + max(JITTER_S, 5 - JITTER_S)


def test_long_wait_is_told() -> None:
    """Where all edges ask for longer than MAX_WAIT_S, the caller is told for how long, and nobody is asked."""
    scene = Scene(a=overloaded(60), b=overloaded(60), c=overloaded(60))
    for _ in range(2):
        with pytest.raises((OverloadedError, NetworkError)):
            scene.run()
    with pytest.raises(NetworkError, match=r"every edge asks to be left alone, try again in \d\d s"):
        scene.run()
    assert scene.asked == ["a", "b", "c"]
    scene.failures.clear()
    scene.time += 60 - MAX_WAIT_S
    assert scene.run() == "a"
