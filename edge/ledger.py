"""What a host knows of a workspace's windows, on its disk: their members, and up to when everything was copied.

The syncer writes it, by replacing files, and never takes a member away; workers map the files. A member's identity is
not in it, only its fingerprint.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import secrets
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from channel import Known
from edge.errors import EdgeError

FOLDER: Final = "windows"
HOST_FILE: Final = "host"
STATE_FILE: Final = "state.json"
JOURNAL_FILE: Final = "journal"
SUFFIX: Final = ".members"
MAGIC: Final = b"gwwindow"
DIGEST_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + DIGEST_BYTES
_HOST_BYTES: Final = 8
EMPTY: Final = memoryview(b"").cast("Q")

_log = logging.getLogger("graywave.edge")


class LedgerError(EdgeError):
    """The host's list of members cannot be written; the operator must look at the data folder's disk."""


def find_folder(data: Path, workspace: str) -> Path:
    """Returns where a workspace's windows lie in an edge's data folder."""
    return data / FOLDER / workspace


def read_host(data: Path) -> str:
    """Returns the name of this host, drawn when it is first asked and kept in its data folder.

    Raises:
        LedgerError: it cannot be kept.
    """
    path = data / FOLDER / HOST_FILE
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _draw_host(path)
        return path.read_text("ascii").strip()
    except (OSError, UnicodeError) as error:
        raise LedgerError(f"{path} cannot be used: {error}") from error


class Ledger:
    """The syncer's side.

    Args:
        folder: of the workspace's windows; made where it does not exist.

    Raises:
        LedgerError: it cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise LedgerError(f"{folder} cannot be used: {error}") from error
        self._members = {path.stem: _read_members(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}
        self._unwritten: set[str] = set()
        self.known = read_known(folder)

    @property
    def windows(self) -> list[str]:
        """The windows of which somebody is known."""
        return list(self._members)

    @property
    def has_news(self) -> bool:
        """Whether there are members who are not written yet."""
        return bool(self._unwritten)

    def list_members(self, window: str) -> "array[int]":
        """Returns the fingerprints of a window's members, ascending."""
        return self._members.get(window) or array("Q")

    def add(self, window: str, fingerprints: Iterable[int]) -> None:
        """Adds members, to be written."""
        here = self.list_members(window)
        new = sorted({one for one in fingerprints if not is_among(here, one)})
        if new or window not in self._members:
            # Two ascending stretches: sorting them is merging them.
            self._members[window] = array("Q", sorted(here.tolist() + new)) if here else array("Q", new)
            self._unwritten.add(window)

    def write(self, known: Known, copied: Mapping[str, int]) -> None:
        """Writes the members, and only then up to when everything was copied, with the counts of then.

        Raises:
            LedgerError: the disk does not take it; what lay there before still lies there.
        """
        try:
            for window in sorted(self._unwritten):
                data = self._members[window].tobytes()
                _replace(self._folder / f"{window}{SUFFIX}", MAGIC + _digest(data) + data)
                self._unwritten.discard(window)
            state = {**known._asdict(), "copied": dict(copied)}
            _replace(self._folder / STATE_FILE, json.dumps(state).encode())
        except OSError as error:
            raise LedgerError(f"{self._folder} cannot be written: {error}") from error
        self.known = known


class LedgerReader:
    """The workers' side: the members of windows as they are on the disk, and which of these lists are complete.

    Args:
        folder: of the workspace's windows.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp = (0, 0)
        self._stamps: dict[str, tuple[int, int]] = {}
        self.at = 0.0
        self.copied: dict[str, int] = {}

    def has_changed(self) -> bool:
        """Reads up to when everything was copied; says whether that is news."""
        path = self._folder / STATE_FILE
        try:
            stamp = _stamp(path)
            if stamp == self._stamp:
                return False
            state = json.loads(path.read_bytes())
            self.at, self.copied, self._stamp = float(state["at"]), dict(state["copied"]), stamp
        except (OSError, ValueError, KeyError, TypeError):
            return False  # the syncer has written nothing yet, or damage, which it will write over
        return True

    def forget(self, windows: Iterable[str]) -> None:
        """Has the members of windows returned again, for whoever begins anew with them."""
        for window in windows:
            self._stamps.pop(window, None)

    def map_members(self, window: str) -> memoryview | None:
        """Returns a window's members, ascending, None where they are those that were returned last."""
        path = self._folder / f"{window}{SUFFIX}"
        try:
            stamp = _stamp(path)
            if stamp == self._stamps.get(window):
                return None
            with path.open("rb") as file:
                view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            members = view[HEADER_BYTES:].cast("Q")
        except (OSError, ValueError, TypeError):
            return None
        if bytes(view[: len(MAGIC)]) != MAGIC:
            return None
        self._stamps[window] = stamp
        return members


def is_among(members: "memoryview | array[int]", fingerprint: int) -> bool:
    """Says whether a fingerprint is among ascending ones."""
    place = bisect_left(members, fingerprint)
    return place < len(members) and members[place] == fingerprint


def read_known(folder: Path) -> Known:
    """Returns what was known when a ledger was last written, nothing where it cannot be read."""
    try:
        state = json.loads((folder / STATE_FILE).read_bytes())
        return Known(int(state["generation"]), str(state["entry"]), str(state["at"]), tuple(map(str, state["hosts"])))
    except FileNotFoundError:
        return Known()
    except (OSError, ValueError, KeyError, TypeError) as error:
        _log.error("%s cannot be read, and is begun anew: %r", folder / STATE_FILE, error)
        return Known()


def _read_members(path: Path) -> "array[int]":
    """A damaged file is as good as none: Redis and the other hosts have what was in it."""
    members = array("Q")
    try:
        found = path.read_bytes()
        data = found[HEADER_BYTES:]
        if found[:HEADER_BYTES] != MAGIC + _digest(data):
            _log.error("%s is damaged, and is copied anew", path)
            return members
        members.frombytes(data)
    except (OSError, ValueError) as error:
        _log.error("%s cannot be read, and is copied anew: %s", path, error)
    return members


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()


def _stamp(path: Path) -> tuple[int, int]:
    """Another file, or none: files are replaced."""
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _draw_host(path: Path) -> None:
    """Several processes may draw one at the same time; the first one's is kept."""
    name = secrets.token_hex(_HOST_BYTES)
    drawn = path.with_suffix(f".{name}")
    drawn.write_text(name, "ascii")
    with contextlib.suppress(FileExistsError):
        os.link(drawn, path)
    drawn.unlink()


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_suffix(".fresh")
    with fresh.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
