"""The store's files on the wire: found by their hash, sent whole or in part, never held in memory.

aiohttp's own answer for files names them by their time of change, which differs from host to host: a download that was
broken off at one host could not go on at another.
"""

import asyncio
import os
import re
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from edge.errors import RefusedError
from edge.exchange import JSON
from edge.range import Part, choose_part

# A file never changes: its name is its hash.
IMMUTABLE: Final = "public, max-age=31536000, immutable"
# Read and written at once: two of them a download are in memory, however slowly its client reads.
CHUNK_BYTES: Final = 256 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")
_CONDITIONS: Final = ("If-Match", "If-None-Match", "If-Range", "Range")


class Store:
    """The folder of transfers, each under its own hash; None where this host serves none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def find(self, digest: str) -> Path | None:
        """Returns the file of that SHA-256 in hex, None where there is none."""
        if self._folder is None or not _DIGEST.fullmatch(digest):
            return None
        path = self._folder / digest[:2] / digest
        return path if path.is_file() else None


class FileAnswer(web.StreamResponse):
    """An answer with a file's bytes, as its request's conditions and range have it.

    Args:
        path: the file.
        digest: its SHA-256 in hex, which is its entity tag.
        fields: what its head has besides.
    """

    def __init__(self, path: Path, digest: str, fields: Mapping[str, str]) -> None:
        super().__init__(headers=fields)
        self._path = path
        self._tag = f'"{digest}"'

    async def prepare(self, request: web.BaseRequest) -> AbstractStreamWriter | None:
        """Writes head and bytes.

        Raises:
            ConnectionResetError: the client has gone, or the file is not what it was: the answer stays unfinished.
        """
        if self.prepared:
            return await super().prepare(request)
        try:
            # Not in a thread: a client that goes away meanwhile would leave the file open for ever.
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:  # it was removed a moment ago
            return await self._refuse(request, RefusedError("not_found", f"no file {self._tag} is here"))
        try:
            size = os.fstat(file).st_size
            part = choose_part(request.method, _join_fields(request), self._tag, size)
            self._tell(part, size)
            writer = await super().prepare(request)
            if request.method != "HEAD":
                await self._send(file, part)
        finally:
            os.close(file)
        return writer

    def _tell(self, part: Part, size: int) -> None:
        self.set_status(part.status)
        self.headers.update({"ETag": self._tag, "Accept-Ranges": "bytes"})
        if part.status == HTTPStatus.PARTIAL_CONTENT:
            self.headers["Content-Range"] = f"bytes {part.start}-{part.start + part.count - 1}/{size}"
        elif part.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            self.headers["Content-Range"] = f"bytes */{size}"
        self.content_length = part.count

    async def _send(self, file: int, part: Part) -> None:
        loop = asyncio.get_running_loop()
        at, end = part.start, part.start + part.count
        while at < end:
            chunk = await loop.run_in_executor(None, os.pread, file, min(CHUNK_BYTES, end - at), at)
            if not chunk:
                raise ConnectionResetError(f"{self._path} has {at} bytes, expected {end}")
            await self.write(chunk)
            at += len(chunk)

    async def _refuse(self, request: web.BaseRequest, error: RefusedError) -> AbstractStreamWriter | None:
        self.set_status(error.status)
        self.headers.clear()
        self.content_type, self.content_length = JSON, len(error.body)
        writer = await super().prepare(request)
        if request.method != "HEAD":
            await self.write(error.body)
        return writer


def _join_fields(request: web.BaseRequest) -> dict[str, str]:
    """The fields that decide, by their usual names."""
    return {name: ", ".join(request.headers.getall(name)) for name in _CONDITIONS if name in request.headers}
