"""The files of audiences on a host's disk: brought there, verified, and removed when nothing needs them any more.

There is one on a host, in the syncer. A file lies at `<data>/audiences/<sha256>`, whole and well formed, or not at all;
processes map it from there. Which documents there are is not known here, only what file each of them needs.
"""

import asyncio
import hashlib
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import aiohttp
from yarl import URL

from edge.audience import FOLDER, Opener, map_fingerprints
from edge.errors import EdgeError
from edge.file import Store
from edge.jitter import vary
from ruleset import AudienceDocument, FingerprintError

# Read and written at once: what a thread does between two looks at whether it is still wanted.
CHUNK_BYTES: Final = 1 << 20
# Files brought at the same time: more would share the same wire.
MAX_AT_ONCE: Final = 4
# How long a server may say nothing, in seconds, and how few bytes a second it may send on the whole: a slow one would
# hold its turn for ever.
SILENCE_S: Final = 10.0
MIN_BYTES_A_SECOND: Final = 64 * 1024
# The pause after a failure, in seconds: doubled each time, spread so that hosts do not come in step.
FIRST_PAUSE_S: Final = 1.0
MAX_PAUSE_S: Final = 60.0
PAUSE_JITTER: Final = 0.3
# Files are looked through this often, in seconds, and leave when nothing has needed them for as long: whoever reads a
# document of a moment ago still finds its file.
SWEEP_S: Final = 60.0
_PART: Final = ".part-"

_log = logging.getLogger("graywave.edge")


class FileError(EdgeError):
    """A file that could not be had, or is not what the document says; it is tried again."""


@dataclass(frozen=True, slots=True)
class File:
    """What a document says of its file."""

    sha256: str
    size: int
    count: int
    url: str

    @classmethod
    def of(cls, document: AudienceDocument) -> "File | None":
        """Returns the file of a document, None where it has none."""
        return cls(document.sha256, document.size, document.count, document.url) if document.sha256 else None


class Need(NamedTuple):
    """Who needs a file: a document of a workspace that is in edge.db, or one that waits for its file to get there."""

    workspace: str
    id: str
    is_waiting: bool


@dataclass(frozen=True, slots=True)
class Source:
    """Where files come from: this host's store of package files, else their address.

    Args:
        store: the host's own.
        base: what stands before an address without a host; empty for nothing.
    """

    store: Store
    base: str

    def locate(self, file: File) -> str:
        """Returns a file's address.

        Raises:
            FileError: it has no host, and there is no base.
        """
        if not file.url.startswith("/"):
            return file.url
        if not self.base:
            raise FileError(f"{file.url} has no host: name one in the setting files, or the folder in store")
        return self.base + file.url


class Library:
    """Keeps the files that documents need on this host.

    Args:
        folder: the host's data folder.
        source: where files come from.
        opener: opens audiences from where files are kept.
        tell: called when a file has come, or is known not to come for now.
    """

    def __init__(self, folder: Path, source: Source, opener: Opener, tell: Callable[[], None]) -> None:
        self.opener = opener
        self._folder = folder / FOLDER
        self._source = source
        self._tell = tell
        self._needs: dict[Need, File] = {}
        self._good: set[File] = set()
        self._problems: dict[str, str] = {}
        self._coming: set[File] = set()
        self._unneeded: dict[str, float] = {}
        self._asked = asyncio.Event()
        self._turns = asyncio.Semaphore(MAX_AT_ONCE)

    def need(self, need: Need, file: File | None) -> None:
        """Says which file is needed from now on for a document, None for none any more."""
        if file is None:
            self._needs.pop(need, None)
        else:
            self._needs[need] = file
            self._asked.set()

    def has(self, file: File) -> bool:
        """Says whether a file is here and right."""
        return file in self._good

    def explain(self, file: File) -> str:
        """Returns why a file is not here."""
        return self._problems.get(file.sha256, "it is being brought")

    async def run(self) -> None:
        """Brings what is needed and clears away what is not, for ever."""
        await asyncio.to_thread(self._clear_parts)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_sweeping())
            while True:
                for file in set(self._needs.values()) - self._good - self._coming:
                    self._coming.add(file)
                    group.create_task(self._bring(file))
                await self._asked.wait()
                self._asked.clear()

    def sweep(self, now: float) -> list[str]:
        """Removes the files that nothing has needed for SWEEP_S, at a time in seconds; returns their names."""
        needed = {file.sha256 for file in self._needs.values()}
        # A part is a file on its way, however long that takes.
        files = (path for path in self._list() if not path.name.startswith(_PART))
        unneeded = {path.name: path for path in files if path.name not in needed}
        self._unneeded = {name: self._unneeded.get(name, now) for name in unneeded}
        gone = [name for name, since in self._unneeded.items() if now - since >= SWEEP_S]
        for name in gone:
            self._good = {file for file in self._good if file.sha256 != name}
            unneeded[name].unlink(missing_ok=True)
        return gone

    async def _keep_sweeping(self) -> None:
        while True:
            await asyncio.sleep(SWEEP_S)
            try:
                gone = self.sweep(time.monotonic())
            except OSError as error:
                _log.warning("%s cannot be cleared: %s", self._folder, error)
                gone = []
            if gone:
                _log.info("removed %d files of audiences that nothing needs", len(gone))

    def _list(self) -> Iterator[Path]:
        return self._folder.iterdir() if self._folder.is_dir() else iter(())

    def _clear_parts(self) -> None:
        """What an end in the middle of a file has left."""
        for path in self._list():
            if path.name.startswith(_PART):
                path.unlink(missing_ok=True)

    async def _bring(self, file: File) -> None:
        """Tries until a file is here, or nothing needs it any more."""
        pause_s = FIRST_PAUSE_S
        while file in self._needs.values():
            async with self._turns:
                problem = await self._try(file)
            if not problem:
                self._good.add(file)
                self._problems.pop(file.sha256, None)
                self._tell()
                break
            if problem != self._problems.get(file.sha256):
                self._problems[file.sha256] = problem
                _log.warning("file %s of an audience cannot be had: %s", file.sha256, problem)
                self._tell()
            await asyncio.sleep(vary(pause_s, PAUSE_JITTER))
            pause_s = min(pause_s * 2, MAX_PAUSE_S)
        self._coming.discard(file)

    async def _try(self, file: File) -> str:
        """Why a file is not here now, empty where it is."""
        try:
            if not await asyncio.to_thread(self._is_there, file):
                await self._fetch(file)
        except (FileError, aiohttp.ClientError, TimeoutError) as error:
            return str(error) or type(error).__name__
        except OSError as error:
            return f"it cannot be kept here: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - one file that surprises must not keep out all others
            return repr(error)
        return ""

    def _is_there(self, file: File) -> bool:
        """Whether a file is here from before; a damaged one is removed. Its form was judged before it was kept."""
        path = self._folder / file.sha256
        try:
            with path.open("rb") as opened:
                digest = hashlib.file_digest(opened, "sha256").hexdigest()
        except FileNotFoundError:
            return False
        if digest == file.sha256:
            return True
        _log.error("%s is damaged: removed, to be brought anew", path)
        path.unlink(missing_ok=True)
        return False

    async def _fetch(self, file: File) -> None:
        await asyncio.to_thread(partial(self._folder.mkdir, parents=True, exist_ok=True))
        kept = await asyncio.to_thread(self._source.store.find, file.sha256)
        with _open_part(self._folder, file) as part:
            if kept:
                await asyncio.to_thread(part.copy, kept)
            else:
                await _download(self._source.locate(file), file, part)
            await asyncio.to_thread(part.finish)


class _Part:
    """A file on its way: what does not fit the document never gets its name.

    Args:
        path: where it is until it is whole; its place is beside it.
        descriptor: of that.
        file: what it has to be.
    """

    def __init__(self, path: Path, descriptor: int, file: File) -> None:
        self._path, self._descriptor, self._file = path, descriptor, file
        self._digest = hashlib.sha256()
        self._left = file.size

    def write(self, chunk: bytes) -> None:
        """Takes bytes; raises FileError for more than the file has."""
        self._left -= len(chunk)
        if self._left < 0:
            raise FileError(f"expected {self._file.size} bytes, got more")
        self._digest.update(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]

    def copy(self, path: Path) -> None:
        """Takes a whole file."""
        with path.open("rb") as source:
            while chunk := source.read(CHUNK_BYTES):
                self.write(chunk)

    def finish(self) -> None:
        """Puts the file in its place, on disk also after a power cut.

        Raises:
            FileError: it is not what the document says.
        """
        if self._left:
            raise FileError(f"expected {self._file.size} bytes, got {self._file.size - self._left}")
        if self._digest.hexdigest() != self._file.sha256:
            raise FileError("expected other bytes, by their sha256")
        os.fsync(self._descriptor)
        self._check()
        self._path.chmod(0o600)
        self._path.replace(self._path.with_name(self._file.sha256))
        _sync(self._path.parent)

    def _check(self) -> None:
        try:
            fingerprints = map_fingerprints(self._path)
            fingerprints.check()
        except (FingerprintError, ValueError) as error:
            raise FileError(f"it has the right sha256 and is none of an audience: {error}") from error
        if fingerprints.count != self._file.count:
            raise FileError(f"expected {self._file.count} fingerprints, got {fingerprints.count}")


@contextmanager
def _open_part(folder: Path, file: File) -> Iterator[_Part]:
    descriptor, name = tempfile.mkstemp(dir=folder, prefix=_PART)
    try:
        yield _Part(Path(name), descriptor, file)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def _download(url: str, file: File, part: _Part) -> None:
    timeout = aiohttp.ClientTimeout(
        total=SILENCE_S + file.size / MIN_BYTES_A_SECOND, sock_connect=SILENCE_S, sock_read=SILENCE_S
    )
    try:
        # No redirects, as for packages: nobody can send a host elsewhere.
        async with (
            aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session,
            session.get(URL(url, encoded=True), allow_redirects=False) as answer,
        ):
            if answer.status != HTTPStatus.OK:
                raise FileError(f"{url} answered with status {answer.status}")
            async for chunk in answer.content.iter_chunked(CHUNK_BYTES):
                await asyncio.to_thread(part.write, chunk)
    except (aiohttp.ClientError, ValueError, TimeoutError) as error:
        raise FileError(f"{url} cannot be reached: {_name(error)}") from error


def _name(error: Any) -> str:
    return str(error) or type(error).__name__
