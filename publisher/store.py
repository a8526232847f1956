"""The truth of what is published, in SQLite: each method is one transaction that is on disk when it returns.

It gives out revisions and never one twice; how documents are signed, and what Redis is, it does not know. Its methods
block: one thread calls them, one after the other.
"""

import fcntl
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Self

from channel import FIRST_EPOCH, MAX_COUNTER, DocumentName, Position
from publisher import schema
from publisher.errors import EpochExhaustedError, StoreError

FILE_NAME = "publisher.db"
LOCK_NAME = "publisher.lock"
# A new epoch goes on with the numbers of the one before, so that no entity tag comes twice, unless these are used up.
MAX_CONTINUED_REVISION = MAX_COUNTER // 2
# Revisions kept of each document, for explaining what a device got.
HISTORY_LENGTH = 1_000

_COLUMNS = (
    "SELECT d.kind, d.id, r.epoch, r.revision, r.author, r.envelope, r.renew_at, r.root"
    " FROM document d JOIN revision r ON r.kind = d.kind AND r.id = d.id"
)
_CURRENT = f"{_COLUMNS} AND r.epoch = d.epoch AND r.revision = d.revision"
_SENT = f"{_COLUMNS} AND r.epoch = d.sent_epoch AND r.revision = d.sent_revision"
_NEWEST_ROOT = "coalesce((SELECT max(number) FROM root), 0)"
_IS_STALE = f"d.root <> {_NEWEST_ROOT}"
_IS_PENDING = "(d.epoch <> d.sent_epoch OR d.revision <> d.sent_revision)"


@dataclass(frozen=True, slots=True)
class Signed:
    """A document, ready to be kept: as its author wrote it, as it is published, and when to renew it (seconds).

    `root` is the number of the root under which it was signed.
    """

    author: bytes
    envelope: bytes
    renew_at: int
    root: int = 0


@dataclass(frozen=True, slots=True)
class Record:
    """A document at a position."""

    name: DocumentName
    position: Position
    signed: Signed


@dataclass(frozen=True, slots=True)
class StoreState:
    """Where the store stands.

    Args:
        sent: where Redis was last known to stand.
        documents: how many documents Redis was last known to hold.
        pending: how many documents have a revision that Redis was never known to hold.
        renew_at: when the first document has to be renewed (seconds); None without documents.
        epoch: the one that is published in.
        stale: how many documents were signed under an earlier root than the newest.
    """

    sent: Position
    documents: int
    pending: int
    renew_at: int | None
    epoch: int = FIRST_EPOCH
    stale: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """A file at a public address, and what it has to be."""

    url: str
    size: int
    sha256: str


# Signs what comes next for a document: gets its current record and the position to sign for; None leaves it as it is.
Build = Callable[[Record | None, Position], Signed | None]
# Signs a record's document anew for another position.
Resign = Callable[[Record, Position], Signed]


class Store:
    """The store of one workspace in one folder, which no other process may have open.

    Raises:
        StoreError: the folder is in use, the file cannot be used, has another schema or is another workspace's.
    """

    def __init__(self, folder: Path, workspace: str) -> None:
        with _report():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with ExitStack() as opened:
                self._lock = opened.enter_context(_lock_folder(folder))
                self._db = opened.enter_context(closing(_connect(folder / FILE_NAME)))
                self._check(workspace)
                self._opened = opened.pop_all()

    def close(self) -> None:
        """Closes the file and frees the folder."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def read_state(self) -> StoreState:
        """Returns where the store stands."""
        with _report():
            documents, renew_at = self._row("SELECT coalesce(sum(sent_epoch > 0), 0), min(renew_at) FROM document")
            (pending,) = self._row(f"SELECT count(*) FROM document d WHERE {_IS_PENDING}")  # noqa: S608, a constant
            (stale,) = self._row(f"SELECT count(*) FROM document d WHERE {_IS_STALE}")  # noqa: S608, a constant
            return StoreState(self._read_sent(), documents, pending, renew_at, self._read_last().epoch, stale)

    def read_roots(self) -> dict[int, bytes]:
        """Returns the root documents that this store has seen, by number."""
        with _report():
            return dict(self._db.execute("SELECT number, document FROM root ORDER BY number"))

    def follow(self, roots: Mapping[int, bytes], epoch: int) -> None:
        """Keeps a chain of root documents and begins the epoch of its last one, if that is not this one already.

        Raises:
            StoreError: this store has published in a later epoch: the root is not this store's.
        """
        with self._transaction():
            last = self._read_last()
            if last.epoch > epoch:
                raise StoreError(f"expected a root of epoch {last.epoch}, which this store has come to, got {epoch}")
            self._db.executemany("INSERT OR IGNORE INTO root (number, document) VALUES (?, ?)", roots.items())
            if last.epoch < epoch:
                revision = last.revision if last.revision <= MAX_CONTINUED_REVISION else 0
                self._raise_last(Position(epoch, revision))

    def find_unseen(self, places: Iterable[Place], since: int) -> list[Place]:
        """Returns those of the places that were not found to be right since a time in seconds."""
        sql = "SELECT count(*) FROM visit WHERE url = ? AND size = ? AND sha256 = ? AND at >= ?"
        with _report():
            return [one for one in places if self._row(sql, one.url, one.size, one.sha256, since) == (0,)]

    def note_visit(self, place: Place, now: int) -> None:
        """Remembers that the file at a place is what it has to be."""
        with self._transaction():
            self._db.execute(
                "INSERT OR REPLACE INTO visit (url, size, sha256, at) VALUES (?, ?, ?, ?)",
                (place.url, place.size, place.sha256, now),
            )

    def read_target(self, name: DocumentName) -> tuple[Position, int]:
        """Returns where Redis was last known to stand, and how many documents it holds once it holds this one too."""
        with _report():
            (count,) = self._row("SELECT count(*) FROM document WHERE sent_epoch > 0 OR (kind = ? AND id = ?)", *name)
            return self._read_sent(), count

    def read_next(self, name: DocumentName) -> tuple[Record | None, Position]:
        """Returns a document's current record and the position that the next publication would get."""
        with _report():
            return self._find(name), self._read_next()

    def find(self, name: DocumentName) -> tuple[Record, bool] | None:
        """Returns a document's current record, and whether Redis was ever known to hold it; None without one."""
        with _report():
            record = self._find(name)
            return (record, self._is_sent(record)) if record else None

    def read_all(self) -> list[tuple[DocumentName, Position]]:
        """Returns the name and current position of every document, by name."""
        with _report():
            rows = self._db.execute("SELECT kind, id, epoch, revision FROM document ORDER BY kind, id")
            return [(DocumentName(kind, id_), Position(epoch, revision)) for kind, id_, epoch, revision in rows]

    def read_kind(self, kind: str) -> list[Record]:
        """Returns the current records of all documents of a kind, by id."""
        with _report():
            return self._records(f"{_CURRENT} WHERE d.kind = ? ORDER BY d.id", kind)

    def read_history(self, name: DocumentName) -> list[Record]:
        """Returns what is kept of a document's revisions, newest first."""
        columns = "kind, id, epoch, revision, author, envelope, renew_at, root"
        with _report():
            return self._records(
                f"SELECT {columns} FROM revision WHERE kind = ? AND id = ? ORDER BY epoch DESC, revision DESC",  # noqa: S608
                *name,
            )

    def find_revision(self, name: DocumentName, revision: int) -> Record | None:
        """Returns a document as it was published under a revision, in the newest epoch that has it, if any."""
        with _report():
            return self._find_past(name, "revision = ?", "epoch DESC", revision)

    def find_past(self, name: DocumentName, at: int) -> Record | None:
        """Returns a document as it was published last at a time in seconds; None where that is not kept (any more)."""
        with _report():
            return self._find_past(name, "at <= ?", "epoch DESC, revision DESC", at)

    def read_pending(self, limit: int = -1) -> list[Record]:
        """Returns the documents with a revision that Redis was never known to hold, oldest first."""
        with _report():
            return self._records(f"{_CURRENT} WHERE {_IS_PENDING} ORDER BY r.epoch, r.revision LIMIT ?", limit)

    def read_sent(self) -> list[Record]:
        """Returns what Redis was last known to hold."""
        with _report():
            return self._records(_SENT)

    def read_due(self, now: int, limit: int) -> list[Record]:
        """Returns documents that have to be renewed by now (seconds), the most urgent first."""
        with _report():
            return self._records(f"{_CURRENT} WHERE d.renew_at <= ? ORDER BY d.renew_at LIMIT ?", now, limit)

    def read_stale(self, limit: int) -> list[Record]:
        """Returns documents that were signed under an earlier root than the newest, oldest first."""
        with _report():
            return self._records(f"{_CURRENT} WHERE {_IS_STALE} ORDER BY r.epoch, r.revision LIMIT ?", limit)

    def commit(self, name: DocumentName, build: Build, now: int) -> Record | None:
        """Keeps what `build` returns as the document's new revision, at the next position; None if it returns None.

        Whatever `build` raises leaves the store as it was.
        """
        with self._transaction():
            position = self._read_next()
            signed = build(self._find(name), position)
            if signed is None:
                return None
            record = Record(name, position, signed)
            self._raise_last(position)
            self._keep(record, now)
            self._point(record)
            return record

    def withdraw(self, record: Record) -> None:
        """Takes back a revision that Redis does not hold, so that the one that it holds is current again.

        Its number is not given out again.
        """
        with self._transaction():
            self._forget(record)
            sent = next(iter(self._records(f"{_SENT} WHERE d.kind = ? AND d.id = ?", *record.name)), None)
            if sent:
                self._point(sent)
            else:
                self._db.execute("DELETE FROM document WHERE kind = ? AND id = ?", record.name)

    def postpone(self, record: Record, renew_at: int) -> None:
        """Leaves a current record that cannot be signed anew as it is until a later time (seconds)."""
        with self._transaction():
            for table in ("document", "revision"):
                self._db.execute(
                    f"UPDATE {table} SET renew_at = ?, root = {_NEWEST_ROOT}"  # noqa: S608, constants
                    " WHERE kind = ? AND id = ? AND epoch = ? AND revision = ?",
                    (renew_at, *record.name, *record.position),
                )

    def pass_by(self, position: Position) -> None:
        """Gives out no position up to this one any more: somebody has been seen there."""
        with self._transaction():
            self._raise_last(position)

    def acknowledge(self, record: Record) -> None:
        """Notes that Redis holds a record, and stands at its position."""
        with self._transaction():
            self._mark_sent(record.name, record.position)
            self._move_sent(record.position)

    def adopt(self, found: Sequence[Record], head: Position, resign: Resign, now: int) -> None:
        """Takes over what Redis holds beyond what was sent from here, and stands where Redis stands.

        A document that waits here to be sent stays current, and gets a new revision where Redis has passed its own.
        """
        with self._transaction():
            self._raise_last(max([head, *(record.position for record in found)]))
            ours = {(record.name, record.position) for record in found if self._has_kept(record)}
            for record in self._records(f"{_CURRENT} WHERE {_IS_PENDING}"):
                if record.position <= head and (record.name, record.position) not in ours:
                    self._renumber(record, resign, now)
            for record in found:
                self._take_over(record, now)
            self._move_sent(head)

    def _check(self, workspace: str) -> None:
        """Makes the tables where there are none yet, and refuses those of another release or workspace."""
        (version,) = self._row("PRAGMA user_version")
        if version == 0:
            self._db.executescript(schema.CREATE)
        while version in schema.MIGRATIONS:
            self._db.executescript(schema.MIGRATIONS[version])
            (version,) = self._row("PRAGMA user_version")
        if version not in (0, schema.VERSION):
            raise StoreError(f"expected a store of schema {schema.VERSION}, got {version}: it is another release's")
        self._db.execute(
            "INSERT INTO workspace SELECT ?, ?, 0, ?, 0 WHERE NOT EXISTS (SELECT * FROM workspace)",
            (workspace, FIRST_EPOCH, FIRST_EPOCH),
        )
        (name,) = self._row("SELECT name FROM workspace")
        if name != workspace:
            raise StoreError(f"expected a store of workspace {workspace!r}, got one of {name!r}")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with _report():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _row(self, sql: str, *values: Any) -> tuple[Any, ...]:
        row: tuple[Any, ...] = self._db.execute(sql, values).fetchone()
        return row

    def _records(self, sql: str, *values: Any) -> list[Record]:
        return [
            Record(DocumentName(kind, id_), Position(epoch, revision), Signed(author, envelope, renew_at, root))
            for kind, id_, epoch, revision, author, envelope, renew_at, root in self._db.execute(sql, values)
        ]

    def _find(self, name: DocumentName) -> Record | None:
        return next(iter(self._records(f"{_CURRENT} WHERE d.kind = ? AND d.id = ?", *name)), None)

    def _find_past(self, name: DocumentName, where: str, order: str, value: int) -> Record | None:
        columns = "kind, id, epoch, revision, author, envelope, renew_at, root"
        sql = f"SELECT {columns} FROM revision WHERE kind = ? AND id = ? AND {where} ORDER BY {order} LIMIT 1"  # noqa: S608, constants
        return next(iter(self._records(sql, *name, value)), None)

    def _is_sent(self, record: Record) -> bool:
        sql = "SELECT sent_epoch, sent_revision FROM document WHERE kind = ? AND id = ?"
        return self._row(sql, *record.name) == record.position

    def _read_last(self) -> Position:
        return Position(*self._row("SELECT epoch, revision FROM workspace"))

    def _read_next(self) -> Position:
        last = self._read_last()
        if last.revision >= MAX_COUNTER:
            wanted = f"expected a revision below {MAX_COUNTER} to go on from, got {last}"
            raise EpochExhaustedError(f"{wanted}: begin a new epoch, with a new root")
        return last.next

    def _read_sent(self) -> Position:
        return Position(*self._row("SELECT sent_epoch, sent_revision FROM workspace"))

    def _raise_last(self, position: Position) -> None:
        last = max(self._read_last(), position)
        self._db.execute("UPDATE workspace SET epoch = ?, revision = ?", last)

    def _move_sent(self, position: Position) -> None:
        self._db.execute("UPDATE workspace SET sent_epoch = ?, sent_revision = ?", position)

    def _mark_sent(self, name: DocumentName, position: Position) -> None:
        self._db.execute(
            "UPDATE document SET sent_epoch = ?, sent_revision = ? WHERE kind = ? AND id = ?", position + name
        )

    def _keep(self, record: Record, now: int) -> None:
        signed = record.signed
        self._db.execute(
            "INSERT OR REPLACE INTO revision (kind, id, epoch, revision, at, renew_at, author, envelope, root)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (*record.name, *record.position, now, signed.renew_at, signed.author, signed.envelope, signed.root),
        )
        self._cut_history(record.name)

    def _cut_history(self, name: DocumentName) -> None:
        """Forgets what is older than the last revisions, but never what Redis holds: it may have to be put back."""
        self._db.execute(
            "DELETE FROM revision WHERE rowid IN (SELECT rowid FROM revision WHERE kind = ?1 AND id = ?2"
            " AND (epoch, revision) NOT IN (SELECT sent_epoch, sent_revision FROM document WHERE kind = ?1 AND id = ?2)"
            " ORDER BY epoch DESC, revision DESC LIMIT -1 OFFSET ?3)",
            (*name, HISTORY_LENGTH),
        )

    def _forget(self, record: Record) -> None:
        self._db.execute(
            "DELETE FROM revision WHERE kind = ? AND id = ? AND epoch = ? AND revision = ?",
            (*record.name, *record.position),
        )

    def _point(self, record: Record) -> None:
        self._db.execute(
            "INSERT INTO document (kind, id, epoch, revision, renew_at, root, sent_epoch, sent_revision)"
            " VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (kind, id) DO UPDATE SET epoch = excluded.epoch,"
            " revision = excluded.revision, renew_at = excluded.renew_at, root = excluded.root",
            (*record.name, *record.position, record.signed.renew_at, record.signed.root),
        )

    def _has_kept(self, record: Record) -> bool:
        found = self._db.execute(
            "SELECT envelope FROM revision WHERE kind = ? AND id = ? AND epoch = ? AND revision = ?",
            (*record.name, *record.position),
        ).fetchone()
        return bool(found == (record.signed.envelope,))

    def _renumber(self, record: Record, resign: Resign, now: int) -> None:
        position = self._read_next()
        renumbered = Record(record.name, position, resign(record, position))
        self._raise_last(position)
        self._forget(record)
        self._keep(renumbered, now)
        self._point(renumbered)

    def _take_over(self, record: Record, now: int) -> None:
        current = self._find(record.name)
        is_waiting = current is not None and not self._is_sent(current) and current.position != record.position
        self._keep(record, now)
        if not is_waiting:
            self._point(record)
        self._mark_sent(record.name, record.position)


def _connect(path: Path) -> sqlite3.Connection:
    # Documents hold the keys of sealed packages, and a folder that was there before may be open to others; SQLite gives
    # its log the mode of the file.
    path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    return connection


def _lock_folder(folder: Path) -> IO[str]:
    lock = (folder / LOCK_NAME).open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise StoreError(f"expected the folder {folder} for itself, got one that another publisher uses") from None
    return lock


@contextmanager
def _report() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"the store failed: {error}") from error
