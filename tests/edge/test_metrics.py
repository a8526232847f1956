"""Tests of edge/metrics.py."""

import asyncio
import mmap
import os
import time

import pytest

from edge.metrics import FIELDS, PAGE_BYTES, Counters, keep_beating, open_page, read_page
from tests.edge.press import eventually


def test_counters_are_read_as_written(page: mmap.mmap) -> None:
    """Every counter is read by its own name, large ones too."""
    counters = Counters()
    for number, field in enumerate(FIELDS):
        setattr(counters, field, (1 << 60) + number)
    counters.write(page)
    assert read_page(page) == {field: (1 << 60) + number for number, field in enumerate(FIELDS)}


def test_new_page_is_all_zero(page: mmap.mmap) -> None:
    """Of a worker that has not copied anything yet, everything is 0."""
    assert set(read_page(page).values()) == {0}


def test_page_is_shared_by_descriptor() -> None:
    """What one process writes another reads, through the descriptor that it inherits."""
    descriptor = os.memfd_create("page")
    os.ftruncate(descriptor, PAGE_BYTES)
    ours, theirs = open_page(descriptor), open_page(descriptor)
    counters = Counters()
    counters.checks = 7
    counters.write(ours)
    assert read_page(theirs)["checks"] == 7
    os.close(descriptor)


def test_beat_is_of_the_monotonic_clock() -> None:
    """A beat cannot be made older or younger by setting the clock."""
    counters = Counters()
    before = int(time.monotonic())
    counters.mark_beat()
    assert before <= counters.beat <= time.monotonic()


async def test_beating_goes_on(page: mmap.mmap, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process shows who it is and, again and again, that its loop turns."""
    monkeypatch.setattr("edge.metrics.BEAT_S", 0.001)
    task = asyncio.create_task(keep_beating(page))
    for _ in range(2):
        page[:] = bytes(len(page))
        await eventually(lambda: read_page(page)["beat"])
        assert read_page(page)["pid"] == os.getpid()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
