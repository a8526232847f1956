"""Tests of loadtest/hostile.py."""

import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from loadtest.hostile import CROWDS, ENDLESS, FLOOD, OVERSIZED, PIECE, SLOWLY, Mob
from loadtest.stage import HOME, make_environment

PATIENCE_S = 30.0


@pytest.fixture
def cleanup() -> Iterator[ExitStack]:
    """What ends with the test."""
    with ExitStack() as cleanup:
        yield cleanup


@pytest.fixture
def listener(cleanup: ExitStack) -> socket.socket:
    """Where crowds come to; it only takes what comes."""
    listener = cleanup.enter_context(socket.create_server(("127.0.0.1", 0)))
    listener.settimeout(PATIENCE_S)
    return listener


Invite = Callable[[str, int], tuple[Mob, list[socket.socket]]]


@pytest.fixture
def come(listener: socket.socket, cleanup: ExitStack) -> Invite:
    """So many of a crowd, and their connections as a server has them; turns come as fast as they can."""

    def come(name: str, count: int) -> tuple[Mob, list[socket.socket]]:
        crowd = CROWDS[name]
        mob = Mob(replace(crowd, pause_s=0.01) if crowd.pause_s else crowd, listener.getsockname()[1], count)
        cleanup.callback(mob.close)
        work(mob, lambda: mob.has_come)
        found = [cleanup.enter_context(listener.accept()[0]) for _ in range(count)]
        for each in found:
            each.settimeout(0)
        return mob, found

    return come


def work(mob: Mob, is_done: Callable[[], object]) -> None:
    """Lets a crowd do its worst until something is so."""
    deadline = time.monotonic() + PATIENCE_S
    while not is_done():
        assert time.monotonic() < deadline
        mob.tick(time.monotonic())


def read(mob: Mob, connection: socket.socket, count: int) -> bytes:
    """The first bytes that come from a member."""
    got = b""

    def has_enough() -> bool:
        nonlocal got
        try:
            got += connection.recv(count - len(got))
        except BlockingIOError:
            return False
        return len(got) == count

    work(mob, has_enough)
    return got


def test_slow_ones_send_byte_after_byte(come: Invite) -> None:
    """Each sends one at its turn, and all have their turn."""
    mob, found = come("slow", 3)
    for each in found:
        assert read(mob, each, 10) == SLOWLY[:10]


def test_bodies_do_not_end(come: Invite) -> None:
    """Half of them promise too much, half promise nothing, and all send on and on."""
    mob, found = come("bodies", 2)
    heads = sorted((ENDLESS, OVERSIZED), key=len)
    said = sorted(read(mob, each, len(heads[1]) + len(PIECE)) for each in found)
    assert {text.startswith(ENDLESS + PIECE[:20]) for text in said} == {True, False}
    assert {text.startswith(OVERSIZED + PIECE[:20]) for text in said} == {True, False}


def test_flood_asks_as_soon_as_it_is_answered(come: Invite) -> None:
    """One question at a time on a connection."""
    mob, (only,) = come("flood", 1)
    for _ in range(3):
        assert read(mob, only, len(FLOOD)) == FLOOD
        only.sendall(b"HTTP/1.1 429")


def test_who_is_thrown_out_comes_again(listener: socket.socket, come: Invite) -> None:
    """After a second, and is counted."""
    mob, (only,) = come("idle", 1)
    only.close()
    work(mob, lambda: mob.ended)
    listener.settimeout(0)

    def is_back() -> bool:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    work(mob, is_back)
    assert mob.ended == 1


def test_crowd_is_a_process(listener: socket.socket) -> None:
    """It says when all have come, and at the end how many were thrown out."""
    command = [sys.executable, "-m", "loadtest.hostile", "idle", str(listener.getsockname()[1]), "5"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=make_environment({}), cwd=HOME
    ) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"ready\n"
        assert crowd.communicate(timeout=PATIENCE_S)[0] == b"0\n"
