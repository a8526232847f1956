"""`edge.db`, the last good rule set of a host: the syncer writes it, workers read it, nobody else is asked.

A row is a signed document as it came, with a digest that is checked when it is read. Rows are numbered as they are
written, over all workspaces, so that a worker asks for what is newer than the last row it has. Documents of a batch
and how far the workspace has come are written in one transaction, hence seen together. So are the root documents of a
workspace, which follow each other; who reads them to believe them verifies them again.
"""

import hashlib
import logging
import sqlite3
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from channel import NOWHERE, DocumentName, Position
from edge.errors import CacheDamageError, CacheError, DiskError
from edge.refuge import is_safe, make_refuge, name_refuge, remove_refuge

# Another layout is another file: old and new code on one host do not meet in one.
FILE_NAME = "edge-2.db"
DIGEST_BYTES = 16
# How long a reader waits for the writer's lock (it never should: WAL), in seconds.
BUSY_S = 5.0
# Documents read at once: a transaction stays short, and what is not yet compiled takes little memory.
PAGE = 500

# What SQLite says of a disk or a neighbour, not of the file: that may be good, and Redis away. Anything else is damage.
_PASSING = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
_PRIMARY_CODE = 0xFF
# Those of them that a disk says which takes nothing: it is not waited for.
_DISK = frozenset(
    {
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_READONLY,
    }
)
# How often a cache in memory tries to go back to the disk, at most, in seconds.
RETURN_S = 60.0

_log = logging.getLogger("graywave.edge")

# In one transaction: who finds a `user_version` of 0 comes before the tables.
_SCHEMA = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS document (
    workspace TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL,
    epoch INTEGER NOT NULL, revision INTEGER NOT NULL,
    row INTEGER NOT NULL UNIQUE, envelope BLOB NOT NULL, digest BLOB NOT NULL,
    PRIMARY KEY (workspace, kind, id)
);
CREATE TABLE IF NOT EXISTS progress (
    workspace TEXT PRIMARY KEY, epoch INTEGER NOT NULL, revision INTEGER NOT NULL, row INTEGER NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS refused (
    workspace TEXT NOT NULL, kind TEXT NOT NULL, id TEXT NOT NULL, position TEXT NOT NULL, reason TEXT NOT NULL,
    PRIMARY KEY (workspace, kind, id)
);
CREATE TABLE IF NOT EXISTS root (
    workspace TEXT NOT NULL, number INTEGER NOT NULL, row INTEGER NOT NULL UNIQUE, document BLOB NOT NULL,
    digest BLOB NOT NULL, PRIMARY KEY (workspace, number)
);
CREATE TABLE IF NOT EXISTS head (workspace TEXT PRIMARY KEY, signed BLOB NOT NULL);
PRAGMA user_version = 2;
COMMIT;
"""


class Document(NamedTuple):
    """A verified document on its way into the cache."""

    name: DocumentName
    position: Position
    envelope: bytes


class Refusal(NamedTuple):
    """A document that was not taken, and why; the last good one of that name stays."""

    name: DocumentName
    position: Position
    reason: str


class Row(NamedTuple):
    """A document as a worker reads it; `envelope` is None where the row's digest does not fit its bytes."""

    row: int
    workspace: str
    name: DocumentName
    envelope: bytes | None


class Batch(NamedTuple):
    """What is newer than a worker's last row: documents, how far workspaces have come, and the last row now.

    `roots` are all the root documents of a workspace, by their numbers, where one of them is new. Where there are more
    documents than a page, the batch is not whole and ends with the last of them; how far a workspace has come is true
    with the last page only.
    """

    rows: list[Row]
    progress: dict[str, Position]
    roots: dict[str, dict[int, bytes]]
    last: int
    is_whole: bool = True


class Start(NamedTuple):
    """What a worker that has nothing begins with: the documents of all kinds but one, and of that one which there are.

    `late` are the ids of that kind's documents by workspace: they are read one by one, with `CacheReader.read_row`.
    """

    batch: Batch
    late: dict[str, list[str]]


class Cache:
    """The writer's side; there is one on a host, the syncer.

    Where the disk takes nothing it goes on in memory (`edge.refuge`), with all that it has, and tries the disk again
    with later writes. `problem` says so, and is empty otherwise.

    Args:
        folder: where the file is; made where it does not exist.

    Raises:
        CacheError: the file can be neither used nor replaced, nor one in memory be made.
    """

    def __init__(self, folder: Path) -> None:
        self._home, self._refuge = folder / FILE_NAME, name_refuge(folder)
        self.path, self.problem = self._home, ""
        self._tried_at = 0.0
        try:
            self._db = self._open_home(folder)
        except DiskError as error:
            self._db = self._open_refuge(error)
        else:
            self._bring_home()

    def _open_home(self, folder: Path) -> sqlite3.Connection:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with _using(self.path):
                return _open_to_write(self.path)
        except CacheDamageError as error:
            return self._start_anew(error)
        except OSError as error:
            raise DiskError(f"{self.path} cannot be used: {error}") from error

    def _open_refuge(self, problem: DiskError) -> sqlite3.Connection:
        """Opens what an earlier syncer has left in memory, else a copy of what can be read of the disk."""
        path = self._refuge / FILE_NAME
        try:
            if not (is_safe(self._refuge) and path.exists()):
                make_refuge(self._refuge)
                _copy_readable(self._home, path)
            db = _open_to_write(path)
        except (OSError, sqlite3.Error) as error:
            raise CacheError(f"{problem}; nor is there one in memory: {error}") from error
        self._settle_in_refuge(problem)
        return db

    def _settle_in_refuge(self, problem: DiskError) -> None:
        self.path, self.problem, self._tried_at = self._refuge / FILE_NAME, str(problem), time.monotonic()
        _log.error("%s: going on in memory, at %s", problem, self.path)

    def _bring_home(self) -> None:
        """Takes over what an earlier syncer had come to in memory."""
        path = self._refuge / FILE_NAME
        if not (is_safe(self._refuge) and path.exists()):
            return
        try:
            db = _open_to_write(path)
        except sqlite3.Error as error:
            _log.warning("%s is thrown away: %s", path, error)
            remove_refuge(self._refuge)
            return
        try:
            if _read_last_row(db) > _read_last_row(self._db):
                db.backup(self._db)
        except sqlite3.Error as error:  # a disk that can be opened and is still full
            self._db.close()
            self._db = db
            self._settle_in_refuge(DiskError(f"{self._home} cannot be used: {error}"))
        else:
            db.close()
            remove_refuge(self._refuge)

    def _flee(self, problem: DiskError) -> None:
        """Goes on in memory with a copy of the file, which can be read where it cannot be written."""
        try:
            make_refuge(self._refuge)
            db = _open_to_write(self._refuge / FILE_NAME)
            self._db.backup(db)
        except (OSError, sqlite3.Error) as error:
            remove_refuge(self._refuge)
            raise CacheError(f"{problem}; nor can it be copied into memory: {error}") from problem
        self._db.close()
        self._db = db
        self._settle_in_refuge(problem)

    def _try_to_return(self) -> None:
        """Goes back to the disk, if it takes everything again."""
        if not self.problem or time.monotonic() - self._tried_at < RETURN_S:
            return
        self._tried_at = time.monotonic()
        try:
            with _using(self._home):
                db = _open_to_write(self._home)
                try:
                    self._db.backup(db)
                except BaseException:
                    db.close()
                    raise
        except (CacheError, OSError) as error:
            self.problem = str(error)
            return
        self._db.close()
        self._db, self.path, self.problem = db, self._home, ""
        remove_refuge(self._refuge)
        _log.info("%s is used again", self.path)

    def _keep(self, write: Callable[[], None]) -> None:
        """Writes, on the disk or, where that takes nothing, in memory."""
        self._try_to_return()
        try:
            write()
        except DiskError as error:
            if self.problem:
                raise
            self._flee(error)
            write()

    def _start_anew(self, damage: CacheDamageError) -> sqlite3.Connection:
        """Sets a damaged file aside and starts an empty one: Redis has it all.

        There is one file aside, the newest: on a disk that damages each, they must not fill it.
        """
        aside = self.path.with_suffix(".broken")
        try:
            self.path.replace(aside)
            for suffix in ("-wal", "-shm"):  # or workers that have the old file open would share them with the new
                Path(f"{self.path}{suffix}").unlink(missing_ok=True)
            _log.error("%s: set aside as %s, loading anew", damage, aside.name)
            return _open_to_write(self.path)
        except (OSError, sqlite3.Error) as error:
            raise CacheError(f"{damage}, nor replaced: {error}") from error

    def read_positions(self, workspace: str) -> dict[DocumentName, Position]:
        """Returns the position of every document of a workspace; like every read here it raises CacheError."""
        query = "SELECT kind, id, epoch, revision FROM document WHERE workspace = ?"
        rows = self._read(query, workspace)
        return {DocumentName(kind, id_): Position(epoch, revision) for kind, id_, epoch, revision in rows}

    def read_sizes(self, workspace: str) -> dict[DocumentName, int]:
        """Returns how many bytes every document of a workspace has."""
        rows = self._read("SELECT kind, id, length(envelope) FROM document WHERE workspace = ?", workspace)
        return {DocumentName(kind, id_): size for kind, id_, size in rows}

    def read_position(self, workspace: str, name: DocumentName) -> Position | None:
        """Returns the position of one document, None where it is not there."""
        query = "SELECT epoch, revision FROM document WHERE workspace = ? AND kind = ? AND id = ?"
        found = self._read(query, workspace, *name)
        return Position(*found[0]) if found else None

    def read_envelope(self, workspace: str, name: DocumentName) -> bytes | None:
        """Returns the signed bytes of one document; None where it is not there, or damaged."""
        query = "SELECT envelope, digest FROM document WHERE workspace = ? AND kind = ? AND id = ?"
        found = self._read(query, workspace, *name)
        return found[0][0] if found and _fits(*found[0]) else None

    def read_envelopes(self, workspace: str, kind: str) -> list[tuple[str, bytes]]:
        """Returns the id and the signed bytes of every document of a kind; damaged ones are left out."""
        query = "SELECT id, envelope, digest FROM document WHERE workspace = ? AND kind = ? ORDER BY id"
        rows = self._read(query, workspace, kind)
        return [(id_, envelope) for id_, envelope, digest in rows if _fits(envelope, digest)]

    def read_progress(self, workspace: str) -> Position:
        """Returns how far a workspace has come, 0-0 where nothing was ever written."""
        found = self._read("SELECT epoch, revision FROM progress WHERE workspace = ?", workspace)
        return Position(*found[0]) if found else NOWHERE

    def read_refused(self, workspace: str) -> list[dict[str, str]]:
        """Returns the documents that were last refused, with their reasons, for people to read."""
        query = "SELECT kind, id, position, reason FROM refused WHERE workspace = ? ORDER BY kind, id"
        rows = self._read(query, workspace)
        return [{"kind": kind, "id": id_, "position": at, "reason": reason} for kind, id_, at, reason in rows]

    def read_roots(self, workspace: str) -> dict[int, bytes]:
        """Returns the root documents of a workspace by their numbers, oldest first."""
        query = "SELECT workspace, number, document, digest FROM root WHERE workspace = ? ORDER BY number"
        return _gather_roots(self._read(query, workspace)).get(workspace, {})

    def write_roots(self, workspace: str, roots: Mapping[int, bytes]) -> None:
        """Replaces the root documents of a workspace, which are verified, by their numbers.

        Raises:
            CacheError: the disk does not take it; the ones before stay.
        """
        self._keep(lambda: self._write_roots(workspace, roots))

    def _write_roots(self, workspace: str, roots: Mapping[int, bytes]) -> None:
        with _using(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            last = _read_last_row(self._db)
            self._db.execute("DELETE FROM root WHERE workspace = ?", (workspace,))
            rows = [
                (workspace, number, last + i, document, _digest_root(number, document))
                for i, (number, document) in enumerate(roots.items(), 1)
            ]
            self._db.executemany("INSERT INTO root VALUES (?, ?, ?, ?, ?)", rows)

    def read_head(self, workspace: str) -> bytes:
        """Returns the signed head that this host came to last, as it lay in Redis; empty where there is none."""
        found = self._read("SELECT signed FROM head WHERE workspace = ?", workspace)
        return found[0][0] if found else b""

    def write_head(self, workspace: str, signed: bytes) -> None:
        """Keeps the signed head of a position that the workspace has come to, so that Redis can be refilled from here.

        Raises:
            CacheError: the disk does not take it; the one before stays.
        """
        self._keep(lambda: self._write_head(workspace, signed))

    def _write_head(self, workspace: str, signed: bytes) -> None:
        with _using(self.path), self._db:
            self._db.execute("REPLACE INTO head VALUES (?, ?)", (workspace, signed))

    def read_last_row(self) -> int:
        """Returns the number of the row that was written last."""
        with _using(self.path):
            return _read_last_row(self._db)

    def _read(self, query: str, *values: str) -> list[Any]:
        with _using(self.path):
            return self._db.execute(query, values).fetchall()

    def write(
        self,
        workspace: str,
        documents: Sequence[Document],
        refused: Sequence[Refusal],
        progress: Position | None,
        settled: Sequence[DocumentName] = (),
    ) -> None:
        """Writes a batch in one transaction.

        Args:
            workspace: whose.
            documents: verified ones; each ends what was refused under its name.
            refused: what to tell of.
            progress: the new position, where the workspace has come to one with this batch.
            settled: names under which nothing has to be told of any more.

        Raises:
            CacheError: the disk does not take it; nothing of the batch is written.
        """
        ended = [(workspace, *name) for name in (*settled, *(document.name for document in documents))]
        told = [(workspace, *name, str(position), reason) for name, position, reason in refused]
        self._keep(lambda: self._write(workspace, documents, progress, ended, told))

    def _write(
        self,
        workspace: str,
        documents: Sequence[Document],
        progress: Position | None,
        ended: Sequence[tuple[str, ...]],
        told: Sequence[tuple[str, ...]],
    ) -> None:
        with _using(self.path), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            last = _read_last_row(self._db)
            rows = [_make_row(workspace, document, last + i) for i, document in enumerate(documents, 1)]
            self._db.executemany("REPLACE INTO document VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
            self._db.executemany("DELETE FROM refused WHERE workspace = ? AND kind = ? AND id = ?", ended)
            self._db.executemany("REPLACE INTO refused VALUES (?, ?, ?, ?, ?)", told)
            if progress is not None:
                row = last + len(rows) + 1
                self._db.execute("REPLACE INTO progress VALUES (?, ?, ?, ?)", (workspace, *progress, row))

    def close(self) -> None:
        """Closes the file."""
        self._db.close()


class CacheReader:
    """The workers' side: reads what is newer than a row, and notices when there is something.

    Args:
        folder: where the file is, or will be as soon as the syncer has made it.
    """

    def __init__(self, folder: Path) -> None:
        self._home, self._refuge = folder / FILE_NAME, name_refuge(folder)
        self._db: sqlite3.Connection | None = None
        self._inode, self._version = (-1, -1), -1

    @property
    def _path(self) -> Path:
        """The file in memory where the syncer has gone there, since the disk takes nothing."""
        path = self._refuge / FILE_NAME
        return path if is_safe(self._refuge) and path.exists() else self._home

    def has_changed(self) -> bool:
        """Says whether somebody has written since the last call; cheap, for asking once a second."""
        try:
            inode = _identify(self._path)
            if inode == self._inode and self._db is not None:
                version = int(self._db.execute("PRAGMA data_version").fetchone()[0])
                changed, self._version = version != self._version, version
                return changed
        except (OSError, sqlite3.Error):
            return False
        return True

    def read(self, after: int) -> Batch:
        """Returns what is newer than a row, a page at most; from the start where the file is not the one before."""
        try:
            if self._db is None or _identify(self._path) != self._inode:
                self._open()
                after = 0
            assert self._db is not None  # noqa: S101 - _open has raised otherwise
            return _read_batch(self._db, after)
        except FileNotFoundError:
            return Batch([], {}, {}, 0)  # a new host: the syncer has not made it yet
        except (OSError, sqlite3.Error) as error:
            _log.error("%s cannot be read: %s", self._path, error)
            return Batch([], {}, {}, after)

    def read_start(self, kind: str) -> Start:
        """Returns all that is there, but of one kind the names alone: what it has of them may take long to read."""
        try:
            self._open()
            assert self._db is not None  # noqa: S101 - _open has raised otherwise
            return _read_start(self._db, kind)
        except FileNotFoundError:
            return _NOTHING  # a new host: the syncer has not made it yet
        except (OSError, sqlite3.Error) as error:
            _log.error("%s cannot be read: %s", self._path, error)
            return _NOTHING

    def read_row(self, workspace: str, name: DocumentName) -> Row:
        """Returns one document as it is now.

        Raises:
            CacheError, CacheDamageError: it is not there, or the file cannot be read.
        """
        query = f"SELECT {_COLUMNS} FROM document WHERE workspace = ? AND kind = ? AND id = ?"  # noqa: S608 - our own
        with _using(self._path):
            found = self._db and self._db.execute(query, (workspace, *name)).fetchone()
        if not found:
            raise CacheError(f"{self._path} has no {name} of {workspace} any more")
        return _read_row(*found)

    def read_head(self, workspace: str) -> bytes:
        """Returns a workspace's signed head; empty where there is none, or the file is of an edge that kept none.

        Raises:
            CacheError, CacheDamageError: the file cannot be read.
        """
        with _using(self._path):
            try:
                self._open()
            except OSError as error:
                raise CacheError(f"{self._path} cannot be used: {error}") from error
            assert self._db is not None  # noqa: S101 - _open has raised otherwise
            if not self._db.execute("SELECT 1 FROM sqlite_master WHERE name = 'head'").fetchone():
                return b""
            found = self._db.execute("SELECT signed FROM head WHERE workspace = ?", (workspace,)).fetchone()
            return bytes(found[0]) if found else b""

    def _open(self) -> None:
        self.close()
        self._inode = _identify(self._path)
        self._db = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_S)

    def close(self) -> None:
        """Closes the file."""
        if self._db is not None:
            self._db.close()
            self._db = None


@contextmanager
def _using(path: Path) -> Iterator[None]:
    """Turns SQLite's errors into this package's; raises CacheError, CacheDamageError where the file itself is bad."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & _PRIMARY_CODE
        kind = DiskError if code in _DISK else CacheError if code in _PASSING else CacheDamageError
        raise kind(f"{path} cannot be used: {error}") from error


def _open_to_write(path: Path) -> sqlite3.Connection:
    # Documents hold the keys of sealed packages; SQLite gives its log the mode of the file.
    path.touch(mode=0o600)
    db = sqlite3.connect(path, isolation_level=None, timeout=BUSY_S)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        # A crash of the machine may lose the last commits, never the file; Redis has them.
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        _refuse_damage(db)
        _mark_damaged_rows(db)
    except BaseException:
        db.close()
        raise
    return db


def _identify(path: Path) -> tuple[int, int]:
    """What no other file has while this one is there."""
    found = path.stat()
    return found.st_dev, found.st_ino


def _copy_readable(source: Path, target: Path) -> None:
    """Copies what can be read of a file that cannot be written; where that is nothing, Redis has it all."""
    for how in ("mode=ro", "immutable=1"):  # the second without a log that there may be, for folders of no writing
        try:
            with closing(sqlite3.connect(target)) as copy:
                with closing(sqlite3.connect(f"file:{source}?{how}", uri=True)) as db:
                    db.backup(copy)
                _refuse_damage(copy)
        except sqlite3.Error:
            target.unlink(missing_ok=True)
        else:
            return


def _refuse_damage(db: sqlite3.Connection) -> None:
    found = db.execute("PRAGMA quick_check").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(f"quick_check found {found}")


def _mark_damaged_rows(db: sqlite3.Connection) -> None:
    """Forgets the position of rows whose digest does not fit, and tells of them: so they are fetched again."""
    db.create_function("fits", 2, _fits, deterministic=True)
    with db:
        db.execute("BEGIN IMMEDIATE")
        db.execute(
            "REPLACE INTO refused SELECT workspace, kind, id, epoch || '-' || revision, 'its row in edge.db is damaged'"
            " FROM document WHERE NOT fits(envelope, digest) AND epoch > 0"
        )
        db.execute("UPDATE document SET epoch = 0, revision = 0 WHERE NOT fits(envelope, digest) AND epoch > 0")


_COLUMNS = "row, workspace, kind, id, envelope, digest"
_NOTHING = Start(Batch([], {}, {}, 0), {})


@contextmanager
def _reading(db: sqlite3.Connection) -> Iterator[sqlite3.Cursor]:
    """One moment of the file, whatever is written meanwhile."""
    with closing(db.cursor()) as cursor:
        cursor.execute("BEGIN")
        try:
            yield cursor
        finally:
            cursor.execute("COMMIT")


def _is_made(cursor: sqlite3.Cursor) -> bool:
    """Whether the syncer is not just making the file."""
    return bool(cursor.execute("PRAGMA user_version").fetchone()[0])


def _read_batch(db: sqlite3.Connection, after: int) -> Batch:
    with _reading(db) as cursor:
        if not _is_made(cursor):
            return Batch([], {}, {}, 0)
        query = f"SELECT {_COLUMNS} FROM document WHERE row > ? ORDER BY row LIMIT ?"  # noqa: S608 - our own columns
        rows = [_read_row(*found) for found in cursor.execute(query, (after, PAGE))]
        is_whole = len(rows) < PAGE
        last = _read_last_row(db) if is_whole else rows[-1].row
        return Batch(rows, _read_progress(cursor, after), _read_roots(cursor, after), last, is_whole)


def _read_start(db: sqlite3.Connection, kind: str) -> Start:
    with _reading(db) as cursor:
        if not _is_made(cursor):
            return _NOTHING
        late: dict[str, list[str]] = defaultdict(list)
        # The index alone answers it, so that no document is touched.
        for workspace, id_ in cursor.execute("SELECT workspace, id FROM document WHERE kind = ?", (kind,)):
            late[workspace].append(id_)
        others = "SELECT rowid FROM document WHERE kind <> ?"
        query = f"SELECT {_COLUMNS} FROM document WHERE rowid IN ({others}) ORDER BY row"  # noqa: S608 - as above
        rows = [_read_row(*found) for found in cursor.execute(query, (kind,))]
        return Start(Batch(rows, _read_progress(cursor, 0), _read_roots(cursor, 0), _read_last_row(db)), late)


def _read_progress(cursor: sqlite3.Cursor, after: int) -> dict[str, Position]:
    query = "SELECT workspace, epoch, revision FROM progress WHERE row > ?"
    return {name: Position(*position) for name, *position in cursor.execute(query, (after,))}


def _read_roots(cursor: sqlite3.Cursor, after: int) -> dict[str, dict[int, bytes]]:
    # Those of a workspace are written together, with the same news or none.
    query = "SELECT workspace, number, document, digest FROM root WHERE row > ? ORDER BY number"
    return _gather_roots(cursor.execute(query, (after,)))


def _gather_roots(rows: Iterable[tuple[str, int, bytes, bytes]]) -> dict[str, dict[int, bytes]]:
    """The root documents of workspaces; what the disk has damaged is left out."""
    roots: dict[str, dict[int, bytes]] = defaultdict(dict)
    for workspace, number, document, digest in rows:
        if isinstance(document, bytes) and isinstance(number, int) and _digest_root(number, document) == digest:
            roots[workspace][number] = document
    return dict(roots)


def _digest_root(number: int, document: bytes) -> bytes:
    return _digest(b"%d:%b" % (number, document))


def _read_row(row: int, workspace: str, kind: str, id_: str, envelope: bytes, digest: bytes) -> Row:
    return Row(row, workspace, DocumentName(kind, id_), envelope if _fits(envelope, digest) else None)


def _read_last_row(db: sqlite3.Connection) -> int:
    # Each maximum from its index: a union of the tables would be read through.
    query = (
        "SELECT max((SELECT coalesce(max(row), 0) FROM document), (SELECT coalesce(max(row), 0) FROM progress),"
        " (SELECT coalesce(max(row), 0) FROM root))"
    )
    return int(db.execute(query).fetchone()[0])


def _make_row(workspace: str, document: Document, row: int) -> tuple[object, ...]:
    envelope = document.envelope
    return (workspace, *document.name, *document.position, row, envelope, _digest(envelope))


def _fits(envelope: object, digest: object) -> bool:
    """Damage may have made another type of either."""
    return isinstance(envelope, bytes) and _digest(envelope) == digest


def _digest(envelope: bytes) -> bytes:
    return hashlib.blake2b(envelope, digest_size=DIGEST_BYTES).digest()
