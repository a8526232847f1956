"""Tests of edge/library.py: where files come from, what is kept of them, and when they go."""

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from edge import library as library_module
from edge.library import SWEEP_S, File, Library, Need
from ruleset import parse_audience
from tests.edge.press import build_file, eventually, keep_file, make_audience, make_library

FILE = build_file("u-1", "u-2")
NEED = Need("demo", "qa", is_waiting=True)

Serve = Callable[..., Awaitable[str]]


def describe(file: bytes, **members: Any) -> File:
    """What a document says of a file."""
    described = File.of(parse_audience(orjson.dumps(make_audience(file, **members))))
    assert described
    return described


@pytest.fixture
def told() -> list[bool]:
    """How often the library has told of something."""
    return []


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Serve]:
    """Starts a server that answers each request with what the test gives, the last of it for ever."""
    monkeypatch.setattr(library_module, "FIRST_PAUSE_S", 0.01)
    async with contextlib.AsyncExitStack() as stack:

        async def serve(*answers: Any) -> str:
            left = list(answers)

            async def answer(_request: web.Request) -> web.StreamResponse:
                given = left.pop(0) if len(left) > 1 else left[0]
                return given if isinstance(given, web.Response) else web.Response(body=given)

            app = web.Application()
            app.router.add_get("/{path:.*}", answer)
            server = await stack.enter_async_context(TestServer(app))
            return str(server.make_url("")).rstrip("/")

        yield serve


@contextlib.asynccontextmanager
async def running(library: Library) -> AsyncIterator[None]:
    task = asyncio.create_task(library.run())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_file_comes_over_http(tmp_path: Path, serve: Serve, told: list[bool]) -> None:
    """It is put in its place, whole, for its owner alone, and whoever waits is told."""
    library = make_library(tmp_path, base=await serve(FILE), tell=lambda: told.append(True))
    wanted = describe(FILE)
    assert (library.has(wanted), library.explain(wanted)) == (False, "it is being brought")
    async with running(library):
        library.need(NEED, wanted)
        await eventually(lambda: library.has(wanted))
    (path,) = (tmp_path / "audiences").iterdir()
    assert (path.name, path.read_bytes(), path.stat().st_mode & 0o777) == (wanted.sha256, FILE, 0o600)
    assert told == [True]


async def test_an_address_with_a_host_needs_no_base(tmp_path: Path, serve: Serve) -> None:
    """It is asked as it stands."""
    library = make_library(tmp_path)
    wanted = describe(FILE, url=f"{await serve(FILE)}/some/where")
    async with running(library):
        library.need(NEED, wanted)
        await eventually(lambda: library.has(wanted))


async def test_a_file_of_the_own_store_is_copied(tmp_path: Path) -> None:
    """Where the host serves package files itself, nothing goes over the wire."""
    wanted = describe(FILE)
    store = tmp_path / "store" / wanted.sha256[:2]
    store.mkdir(parents=True)
    (store / wanted.sha256).write_bytes(FILE)
    library = make_library(tmp_path, store=tmp_path / "store")
    async with running(library):
        library.need(NEED, wanted)
        await eventually(lambda: library.has(wanted))
    assert (tmp_path / "audiences" / wanted.sha256).read_bytes() == FILE


async def test_a_file_that_is_here_is_taken_again(tmp_path: Path) -> None:
    """After a restart with its source away nothing has to be brought."""
    keep_file(tmp_path, FILE)
    library = make_library(tmp_path)
    async with running(library):
        library.need(NEED, describe(FILE))
        await eventually(lambda: library.has(describe(FILE)))


async def test_a_damaged_file_is_brought_anew(tmp_path: Path, serve: Serve) -> None:
    """What the disk has changed is removed, and replaced by a whole one."""
    path = keep_file(tmp_path, FILE)
    path.write_bytes(FILE[:-1] + b"x")
    library = make_library(tmp_path, base=await serve(FILE))
    async with running(library):
        library.need(NEED, describe(FILE))
        await eventually(lambda: library.has(describe(FILE)))
    assert path.read_bytes() == FILE


NOT_ONE = b"gwprints" + b"x" * 40
CASES: list[tuple[str, Any, bytes, dict[str, Any], str]] = [
    ("status", web.Response(status=404), FILE, {}, "answered with status 404"),
    ("redirect", web.Response(status=302, headers={"Location": "/x"}), FILE, {}, "answered with status 302"),
    ("short", FILE[:-1], FILE, {}, f"expected {len(FILE)} bytes, got {len(FILE) - 1}"),
    ("long", FILE + b"x", FILE, {}, f"expected {len(FILE)} bytes, got more"),
    ("other", FILE[:-1] + b"x", FILE, {}, "expected other bytes, by their sha256"),
    ("encoded", web.Response(body=b"x" * 9, headers={"Content-Encoding": "gzip"}), FILE, {}, "bytes, got 9"),
    ("count", FILE, FILE, {"count": 3}, "expected 3 fingerprints, got 2"),
]


@pytest.mark.parametrize(
    ("answer", "file", "members", "problem"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
async def test_what_is_not_the_file_is_not_kept(
    tmp_path: Path, serve: Serve, answer: Any, file: bytes, members: dict[str, Any], problem: str
) -> None:
    """The reason is told, nothing of it stays, and it is tried again until it is right."""
    library = make_library(tmp_path, base=await serve(answer))
    wanted = describe(file, **members)
    async with running(library):
        library.need(NEED, wanted)
        await eventually(lambda: problem in library.explain(wanted))
        assert not library.has(wanted)
    assert list((tmp_path / "audiences").iterdir()) == []


async def test_a_file_that_is_none_is_not_kept(tmp_path: Path, serve: Serve) -> None:
    """Bytes with the right digest that are no fingerprints would break what maps them."""
    wanted = File(hashlib.sha256(NOT_ONE).hexdigest(), len(NOT_ONE), 1, "/x")
    library = make_library(tmp_path, base=await serve(NOT_ONE))
    async with running(library):
        library.need(NEED, wanted)
        await eventually(lambda: "it has the right sha256 and is none of an audience" in library.explain(wanted))
    assert list((tmp_path / "audiences").iterdir()) == []


async def test_a_failure_is_tried_again(tmp_path: Path, serve: Serve, told: list[bool]) -> None:
    """Each new reason is told once, and so is that it has come."""
    base = await serve(web.Response(status=503), web.Response(status=503), web.Response(status=500), FILE)
    library = make_library(tmp_path, base=base, tell=lambda: told.append(True))
    async with running(library):
        library.need(NEED, describe(FILE))
        await eventually(lambda: library.has(describe(FILE)))
    assert len(told) == 3


async def test_one_that_cannot_come_keeps_no_other(tmp_path: Path, serve: Serve) -> None:
    """While one has no address and another nobody at its address, a third one comes."""
    library = make_library(tmp_path)
    lost, dead = describe(build_file("a")), describe(build_file("b"), url="http://127.0.0.1:1/x")
    good = describe(FILE, url=await serve(FILE))
    async with running(library):
        for number, file in enumerate((lost, dead, good)):
            library.need(Need("demo", str(number), is_waiting=True), file)
        await eventually(lambda: library.has(good))
        await eventually(lambda: "cannot be reached" in library.explain(dead))
    assert library.explain(lost).endswith("has no host: name one in the setting files, or the folder in store")


async def test_nobody_brings_what_is_not_needed_any_more(tmp_path: Path, serve: Serve) -> None:
    """A document that is replaced before its file could be had takes its file with it."""
    library = make_library(tmp_path, base=await serve(web.Response(status=503)))
    async with running(library):
        library.need(NEED, describe(FILE))
        await eventually(lambda: "503" in library.explain(describe(FILE)))
        library.need(NEED, None)
        await eventually(lambda: not library._coming)


async def test_parts_of_a_crash_are_cleared(tmp_path: Path) -> None:
    """A file that was under way when the process ended is nothing."""
    part = keep_file(tmp_path, FILE).with_name(".part-abc")
    part.write_bytes(FILE[:10])
    async with running(make_library(tmp_path)):
        await eventually(lambda: not part.exists())


async def test_what_nothing_needs_goes_after_a_while(tmp_path: Path) -> None:
    """Not at once, since workers may be about to open it; what a document of any workspace needs stays."""
    kept, gone = keep_file(tmp_path, FILE), keep_file(tmp_path, build_file("z"))
    library = make_library(tmp_path)
    library.need(Need("other", "qa", is_waiting=False), describe(FILE))
    assert library.sweep(0.0) == []
    assert library.sweep(SWEEP_S - 1) == []
    assert library.sweep(SWEEP_S) == [gone.name]
    assert (kept.exists(), gone.exists()) == (True, False)


async def test_a_file_on_its_way_stays(tmp_path: Path) -> None:
    """A download may take longer than the time after which an unneeded file goes."""
    part = keep_file(tmp_path, FILE).with_name(".part-abc")
    part.write_bytes(FILE[:10])
    library = make_library(tmp_path)
    library.sweep(0.0)
    library.sweep(SWEEP_S * 2)
    assert [path.name for path in (tmp_path / "audiences").iterdir()] == [part.name]


async def test_what_is_needed_again_stays(tmp_path: Path) -> None:
    """The time begins anew each time that nothing needs a file."""
    path = keep_file(tmp_path, FILE)
    library = make_library(tmp_path)
    library.sweep(0.0)
    library.need(NEED, describe(FILE))
    library.sweep(SWEEP_S - 1)
    library.need(NEED, None)
    assert library.sweep(SWEEP_S) == []
    assert path.exists()


async def test_sweeping_a_host_without_audiences(tmp_path: Path) -> None:
    """There is no folder, and nothing to do."""
    assert make_library(tmp_path).sweep(SWEEP_S) == []
