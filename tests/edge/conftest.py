"""The fixtures of the edge's tests."""

import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge import refuge
from edge.cache import Cache
from edge.metrics import PAGE_BYTES
from edge.settings import EdgeSettings
from tests.edge.press import WORKSPACE, write_root


@pytest.fixture(autouse=True)
def memory(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where this process's caches go when the disk takes nothing: a folder of the test's own."""
    folder = tmp_path_factory.mktemp("memory")
    monkeypatch.setattr(refuge, "BASE", folder)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Cache]:
    """A new edge.db, open to be written."""
    cache = Cache(tmp_path)
    yield cache
    cache.close()


@pytest.fixture
def page() -> Iterator[mmap.mmap]:
    """A page of counters that a child of the parent might have."""
    descriptor = os.memfd_create("page")
    os.ftruncate(descriptor, PAGE_BYTES)
    page = mmap.mmap(descriptor, PAGE_BYTES)
    yield page
    page.close()
    os.close(descriptor)


@pytest.fixture
def settings(tmp_path: Path) -> EdgeSettings:
    """Settings of an edge whose folder is the test's."""
    return EdgeSettings(redis="unix:///nowhere.sock", workspaces={WORKSPACE: write_root(tmp_path)}, data=tmp_path)
