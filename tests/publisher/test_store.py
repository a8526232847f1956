"""The store: what was kept stays, no revision is given out twice, and what Redis holds is known."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from channel import MAX_COUNTER, DocumentName, Position
from publisher import EpochExhaustedError, StoreError
from publisher import store as module
from publisher.store import FILE_NAME, HISTORY_LENGTH, MAX_CONTINUED_REVISION, Build, Place, Record, Signed, Store

P1, P2, P3 = (DocumentName("program", f"p{i}") for i in (1, 2, 3))
START = Position(1, 0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A new store."""
    with Store(tmp_path / "store", "demo") as store:
        yield store


def test_nobody_else_reads_it(tmp_path: Path) -> None:
    """Documents hold the keys of sealed packages; the folder may have been there before, and be open to others."""
    folder = tmp_path / "open"
    folder.mkdir(mode=0o755)
    with Store(folder, "demo") as store:
        commit(store, P1)
        modes = {path.name: path.stat().st_mode & 0o777 for path in folder.glob(f"{FILE_NAME}*")}
    assert modes == {FILE_NAME: 0o600, f"{FILE_NAME}-wal": 0o600, f"{FILE_NAME}-shm": 0o600}


def sign(_: Record | None, position: Position) -> Signed:
    """What a signer would make for a position."""
    return Signed(b"author", f"sealed at {position}".encode(), renew_at=1_000 + position.revision)


def commit(store: Store, name: DocumentName) -> Record:
    """Keeps a new revision of a document."""
    record = store.commit(name, sign, now=1_000)
    assert record is not None
    return record


def send(store: Store, name: DocumentName) -> Record:
    """Keeps a new revision that Redis has too."""
    record = commit(store, name)
    store.acknowledge(record)
    return record


def found(name: DocumentName, revision: int, text: str = "theirs") -> Record:
    """A record that another publisher has brought to Redis."""
    return Record(name, Position(1, revision), Signed(b"their author", text.encode(), renew_at=2_000))


def current(store: Store, name: DocumentName) -> Position:
    """A document's current position."""
    entry = store.find(name)
    assert entry is not None
    return entry[0].position


def test_new_store_is_empty(store: Store) -> None:
    """Nothing is there, and Redis should stand at the beginning of the first epoch."""
    state = store.read_state()
    assert (state.sent, state.documents, state.pending, state.renew_at) == (START, 0, 0, None)
    assert store.find(P1) is None
    assert store.read_all() == store.read_pending() == store.read_sent() == store.read_history(P1) == []


def test_revisions_count_up_over_all_documents(store: Store) -> None:
    """A workspace has one counter."""
    assert [commit(store, name).position for name in (P1, P2, P1)] == [Position(1, 1), Position(1, 2), Position(1, 3)]
    assert store.read_all() == [(P1, Position(1, 3)), (P2, Position(1, 2))]
    assert store.read_next(P1)[1] == Position(1, 4)


def test_builder_sees_what_it_replaces(store: Store) -> None:
    """What is kept next is judged against the current record and its position to be."""
    first = commit(store, P1)
    seen: list[tuple[Record | None, Position]] = []
    assert store.commit(P1, lambda record, position: seen.append((record, position)), now=1_000) is None
    assert seen == [(first, Position(1, 2))]
    assert current(store, P1) == Position(1, 1)


def test_refused_document_leaves_no_trace(store: Store) -> None:
    """Whatever the builder raises, the store is as it was, and the number is still to be given."""

    def refuse(_: Record | None, __: Position) -> Signed:
        raise KeyError

    commit(store, P1)
    with pytest.raises(KeyError):
        store.commit(P1, refuse, now=1_000)
    assert store.read_all() == [(P1, Position(1, 1))]
    assert commit(store, P2).position == Position(1, 2)


def test_failed_adoption_leaves_no_trace(store: Store) -> None:
    """What fails half-way is undone: neither the counter nor what Redis has is moved."""

    def fail(_: Record, __: Position) -> Signed:
        raise KeyError

    waiting = commit(store, P1)
    with pytest.raises(KeyError):
        store.adopt([found(P2, 5)], Position(1, 5), fail, now=1_000)
    assert store.read_pending() == [waiting]
    assert store.read_state().sent == START
    assert commit(store, P2).position == Position(1, 2)


def test_everything_survives_a_restart(store: Store, tmp_path: Path) -> None:
    """Documents, history, counter and what Redis has are the same after the store was opened again."""
    send(store, P1)
    commit(store, P1)
    before = (store.read_state(), store.find(P1), store.read_history(P1), store.read_sent())
    store.close()
    with Store(tmp_path / "store", "demo") as again:
        assert (again.read_state(), again.find(P1), again.read_history(P1), again.read_sent()) == before
        assert commit(again, P1).position == Position(1, 3)


def test_acknowledged_document_is_not_pending(store: Store) -> None:
    """What Redis has confirmed is not sent again, and its position is where Redis stands."""
    record = commit(store, P1)
    assert store.read_pending() == [record]
    assert store.find(P1) == (record, False)
    assert store.read_target(P1) == (START, 1)
    store.acknowledge(record)
    assert store.read_pending() == []
    assert store.find(P1) == (record, True)
    commit(store, P2)
    assert store.read_target(P2) == (Position(1, 1), 2)
    assert store.read_state().documents == 1


def test_pending_documents_come_oldest_first(store: Store) -> None:
    """Only the current revision of each waiting document is sent, in the order of the revisions."""
    for name in (P1, P2, P1):
        commit(store, name)
    assert [record.position.revision for record in store.read_pending()] == [2, 3]
    assert [record.position.revision for record in store.read_pending(1)] == [2]


def test_what_redis_has_is_known_while_more_is_pending(store: Store) -> None:
    """A document that waits in a new revision can still be put back in the one that was sent."""
    sent = send(store, P1)
    commit(store, P1)
    assert store.read_sent() == [sent]
    state = store.read_state()
    assert (state.sent, state.documents, state.pending) == (sent.position, 1, 1)


def test_withdrawn_revision_gives_way_to_the_sent_one(store: Store) -> None:
    """What another publisher was faster than is as if it had never been, but for its number."""
    sent = send(store, P1)
    store.withdraw(commit(store, P1))
    assert store.find(P1) == (sent, True)
    assert store.read_history(P1) == [sent]
    assert store.read_due(sent.signed.renew_at, 9) == [sent]
    assert commit(store, P1).position == Position(1, 3)


def test_withdrawn_creation_leaves_nothing(store: Store) -> None:
    """A document that was never sent is gone when it is withdrawn, and its number is used up."""
    store.withdraw(commit(store, P1))
    assert store.read_all() == store.read_history(P1) == []
    assert commit(store, P1).position == Position(1, 2)


def test_due_documents_come_most_urgent_first(store: Store) -> None:
    """What is due by a time is found, and nothing that is not."""
    records = [commit(store, name) for name in (P1, P2, P3)]
    assert store.read_state().renew_at == 1_001
    assert store.read_due(1_000, 9) == []
    assert store.read_due(1_002, 9) == records[:2]
    assert store.read_due(1_003, 1) == records[:1]


def test_history_is_kept_newest_first(store: Store) -> None:
    """Earlier revisions can be looked at."""
    records = [commit(store, P1) for _ in range(3)]
    assert store.read_history(P1) == records[::-1]


def test_a_revision_is_found(store: Store) -> None:
    """A revision that is kept is found by its number, that of the newest epoch where there are several."""
    first, other, second = (commit(store, name) for name in (P1, P2, P1))
    assert [store.find_revision(P1, n) for n in (1, 2, 3, 4)] == [first, None, second, None]
    assert store.find_revision(P2, 2) == other
    adopted = Record(P1, Position(2, 1), Signed(b"author", b"sealed", renew_at=2_000))
    store.adopt([adopted], Position(2, 1), lambda *_: sign(None, START), 2_000)
    assert store.find_revision(P1, 1) == adopted


def test_what_was_published_at_a_time_is_found(store: Store) -> None:
    """The last revision that had been published by then; none before the first."""
    records = [store.commit(P1, sign, now=now) for now in (1_000, 2_000, 2_000)]
    found = [store.find_past(P1, at) for at in (999, 1_000, 1_999, 2_000, 9_999)]
    assert found == [None, records[0], records[0], records[2], records[2]]
    assert store.find_past(P2, 9_999) is None


def test_history_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the last revisions are kept, a document at a time, and what Redis has in any case."""
    assert HISTORY_LENGTH == 1_000
    monkeypatch.setattr(module, "HISTORY_LENGTH", 3)
    other = commit(store, P2)
    sent = send(store, P1)
    records = [commit(store, P1) for _ in range(5)]
    assert store.read_history(P1) == [*records[:1:-1], sent]
    assert store.read_history(P2) == [other]
    assert store.read_sent() == [sent]


def test_foreign_documents_are_adopted(store: Store) -> None:
    """What another publisher has written is known here from then on, and no number is given out twice."""
    send(store, P1)
    theirs = [found(P1, 5), found(P2, 6)]
    store.adopt(theirs, Position(1, 6), sign, now=1_000)
    assert store.read_pending() == []
    assert store.read_sent() == theirs
    assert store.read_state().sent == Position(1, 6)
    assert commit(store, P3).position == Position(1, 7)


def test_own_document_is_recognized(store: Store) -> None:
    """What was sent without an answer is found to have arrived, and keeps its revision."""
    record = commit(store, P1)
    store.adopt([record], record.position, sign, now=1_000)
    assert store.find(P1) == (record, True)
    assert store.read_pending() == []


def test_waiting_document_gets_a_new_revision(store: Store) -> None:
    """A revision that another publisher has used meanwhile is not used again; the document waits under a new one."""
    commit(store, P1)
    store.adopt([found(P2, 1), found(P3, 2)], Position(1, 2), sign, now=1_000)
    (pending,) = store.read_pending()
    assert (pending.name, pending.position) == (P1, Position(1, 3))
    assert pending.signed.envelope == b"sealed at 1-3"
    assert store.read_history(P1) == [pending]


def test_waiting_document_beyond_redis_keeps_its_revision(store: Store) -> None:
    """A revision that nobody else has used stays."""
    send(store, P1)
    commit(store, P1)
    waiting = commit(store, P1)
    store.adopt([found(P2, 2)], Position(1, 2), sign, now=1_000)
    assert store.read_pending() == [waiting]


def test_waiting_change_outlives_a_foreign_one(store: Store) -> None:
    """A change that was promised here is sent after the other publisher's of the same document; both are in history."""
    send(store, P1)
    commit(store, P1)
    theirs = found(P1, 2)
    store.adopt([theirs], Position(1, 2), sign, now=1_000)
    (pending,) = store.read_pending()
    assert pending.position == Position(1, 3)
    assert store.read_sent() == [theirs]
    assert store.read_history(P1)[:2] == [pending, theirs]


def test_adopting_lowers_nothing(store: Store) -> None:
    """The counter stays above all that was given out here."""
    for _ in range(9):
        store.withdraw(commit(store, P1))
    store.adopt([found(P2, 3)], Position(1, 3), sign, now=1_000)
    assert commit(store, P1).position == Position(1, 10)


def test_higher_epoch_is_adopted(store: Store) -> None:
    """A workspace goes on in the epoch that it has come to."""
    store.adopt([], Position(2, 0), sign, now=1_000)
    assert commit(store, P1).position == Position(2, 1)


def test_second_publisher_is_refused(store: Store, tmp_path: Path) -> None:
    """Two publishers cannot have one store."""
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "store", "demo")
    wanted = f"expected the folder {tmp_path / 'store'} for itself, got one that another publisher uses"
    assert str(caught.value) == wanted
    store.close()
    Store(tmp_path / "store", "demo").close()


def test_store_of_another_workspace_is_refused(store: Store, tmp_path: Path) -> None:
    """A mistyped folder does not mix two workspaces."""
    store.close()
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "store", "test")
    assert str(caught.value) == "expected a store of workspace 'test', got one of 'demo'"
    Store(tmp_path / "store", "demo").close()


def test_store_of_another_release_is_refused(store: Store, tmp_path: Path) -> None:
    """Tables of a version that is not known are not touched."""
    store.close()
    database = sqlite3.connect(tmp_path / "store" / FILE_NAME)
    database.execute("PRAGMA user_version = 9")
    database.close()
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "store", "demo")
    assert str(caught.value) == "expected a store of schema 2, got 9: it is another release's"


def test_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    """A file that is no database is reported, and left alone."""
    (tmp_path / FILE_NAME).write_bytes(b"something else" * 100)
    with pytest.raises(StoreError) as caught:
        Store(tmp_path, "demo")
    assert str(caught.value) == "the store failed: file is not a database"
    assert (tmp_path / FILE_NAME).read_bytes() == b"something else" * 100


def test_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """A folder that cannot be is the operator's to mend."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match=r"^the store failed: .*Not a directory"):
        Store(tmp_path / "file" / "store", "demo")


def test_full_disk_is_reported_and_undone(store: Store) -> None:
    """A store that cannot grow says so and keeps what it had."""
    commit(store, P1)
    (pages,) = store._row("PRAGMA page_count")
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StoreError) as caught:
        store.commit(P2, lambda *_: Signed(b"x" * 100_000, b"", 0), now=1_000)
    assert str(caught.value) == "the store failed: database or disk is full"
    assert store.read_all() == [(P1, Position(1, 1))]


def test_writes_are_on_disk_when_they_return(store: Store) -> None:
    """A power cut loses nothing that was confirmed: write-ahead log, synced at every commit."""
    assert store._row("PRAGMA journal_mode") == ("wal",)
    assert store._row("PRAGMA synchronous") == (2,)


def test_roots_are_kept(store: Store, tmp_path: Path) -> None:
    """A store knows the roots that it has followed, also after a restart; what it saw first it keeps."""
    assert store.read_roots() == {}
    store.follow({1: b"one", 2: b"two"}, epoch=1)
    store.follow({1: b"one", 2: b"other", 3: b"three"}, epoch=1)
    store.close()
    with Store(tmp_path / "store", "demo") as again:
        assert again.read_roots() == {1: b"one", 2: b"two", 3: b"three"}


def test_epoch_is_the_roots(store: Store) -> None:
    """A new epoch goes on with the numbers of the one before; Redis stands where it stood."""
    send(store, P1)
    store.follow({1: b"one"}, epoch=1)
    assert store.read_state().epoch == 1
    store.follow({2: b"two"}, epoch=3)
    state = store.read_state()
    assert (state.epoch, state.sent) == (3, Position(1, 1))
    assert commit(store, P2).position == Position(3, 2)


def test_epoch_that_was_left_is_refused(store: Store) -> None:
    """A root of an earlier epoch is not this store's, and leaves no trace."""
    store.follow({2: b"two"}, epoch=2)
    with pytest.raises(StoreError) as caught:
        store.follow({3: b"three"}, epoch=1)
    assert str(caught.value) == "expected a root of epoch 2, which this store has come to, got 1"
    assert store.read_roots() == {2: b"two"}


def test_numbers_begin_anew_where_they_are_used_up(store: Store) -> None:
    """A new epoch goes on only from where there is room."""
    store.pass_by(Position(1, MAX_CONTINUED_REVISION))
    store.follow({2: b"two"}, epoch=2)
    assert commit(store, P1).position == Position(2, MAX_CONTINUED_REVISION + 1)
    store.follow({3: b"three"}, epoch=3)
    assert commit(store, P1).position == Position(3, 1)


def test_last_revision_is_given_out_and_no_further(store: Store) -> None:
    """Where the numbers end, it is an error that says what to do, and nothing is changed."""
    store.pass_by(Position(1, MAX_COUNTER - 1))
    assert commit(store, P1).position == Position(1, MAX_COUNTER)
    for attempt in (lambda: commit(store, P1), lambda: store.read_next(P1)):
        with pytest.raises(EpochExhaustedError) as caught:
            attempt()
        wanted = f"expected a revision below {MAX_COUNTER} to go on from, got 1-{MAX_COUNTER}"
        assert str(caught.value) == f"{wanted}: begin a new epoch, with a new root"
    assert current(store, P1) == Position(1, MAX_COUNTER)
    with pytest.raises(EpochExhaustedError):
        store.adopt([found(P1, 1)], Position(1, MAX_COUNTER), sign, now=1_000)


def test_passing_by_lowers_nothing(store: Store) -> None:
    """Only what is beyond the last number moves it."""
    commit(store, P1)
    store.pass_by(Position(1, 7))
    store.pass_by(Position(1, 3))
    assert commit(store, P1).position == Position(1, 8)


def sign_under(root: int) -> Build:
    """A signer that works by a root of this number."""
    return lambda _, position: Signed(b"author", f"sealed at {position}".encode(), 2_000, root)


def test_documents_of_an_earlier_root_are_known(store: Store) -> None:
    """What was signed under another root than the newest is found, oldest first, until it is signed anew."""
    store.follow({1: b"one"}, epoch=1)
    records = [store.commit(name, sign_under(1), now=1_000) for name in (P1, P2, P3)]
    assert store.read_state().stale == 0
    assert store.read_stale(9) == []
    store.follow({2: b"two"}, epoch=1)
    assert store.read_state().stale == 3
    assert store.read_stale(9) == records
    assert store.read_stale(1) == records[:1]
    store.commit(P1, sign_under(2), now=1_000)
    assert store.read_stale(9) == records[1:]


def test_withdrawn_signature_is_stale_again(store: Store) -> None:
    """A document that was signed anew in vain has to be signed anew."""
    store.follow({1: b"one"}, epoch=1)
    first = store.commit(P1, sign_under(1), now=1_000)
    assert first is not None
    store.acknowledge(first)
    store.follow({2: b"two"}, epoch=1)
    second = store.commit(P1, sign_under(2), now=1_000)
    assert second is not None
    store.withdraw(second)
    assert store.read_stale(9) == [first]


def test_postponed_document_is_left_for_a_while(store: Store) -> None:
    """What cannot be signed anew is neither stale nor due until then, and is otherwise as it was."""
    store.follow({2: b"two"}, epoch=1)
    record = send(store, P1)
    other = send(store, P2)
    store.postpone(record, 5_000)
    assert store.read_stale(9) == [other]
    assert store.read_due(4_999, 9) == [other]
    (due, *_) = [one for one in store.read_due(5_000, 9) if one.name == P1]
    assert (due.position, due.signed.author, due.signed.envelope) == (record.position, b"author", b"sealed at 1-1")


def test_visits_are_remembered(store: Store, tmp_path: Path) -> None:
    """A file that was found right need not be fetched again; another size or digest is another file."""
    place = Place("https://cdn.example/a", 7, "5e" * 32)
    others = [Place(place.url, 8, place.sha256), Place(place.url, 7, "6f" * 32), Place("/b", 7, place.sha256)]
    assert store.find_unseen([place, *others], 0) == [place, *others]
    for now in (1_000, 2_000):
        store.note_visit(place, now)
    store.close()
    with Store(tmp_path / "store", "demo") as again:
        assert again.find_unseen([place, *others], 2_000) == others
        assert again.find_unseen([place, *others], 2_001) == [place, *others]


FIRST_SCHEMA = """
CREATE TABLE workspace (name TEXT NOT NULL PRIMARY KEY, epoch INTEGER NOT NULL, revision INTEGER NOT NULL,
  sent_epoch INTEGER NOT NULL, sent_revision INTEGER NOT NULL);
CREATE TABLE revision (kind TEXT NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, revision INTEGER NOT NULL,
  at INTEGER NOT NULL, renew_at INTEGER NOT NULL, author BLOB NOT NULL, envelope BLOB NOT NULL,
  PRIMARY KEY (kind, id, epoch, revision));
CREATE TABLE document (kind TEXT NOT NULL, id TEXT NOT NULL, epoch INTEGER NOT NULL, revision INTEGER NOT NULL,
  renew_at INTEGER NOT NULL, sent_epoch INTEGER NOT NULL, sent_revision INTEGER NOT NULL, PRIMARY KEY (kind, id));
CREATE INDEX document_renewal ON document (renew_at);
CREATE INDEX document_pending ON document (epoch, revision) WHERE epoch <> sent_epoch OR revision <> sent_revision;
INSERT INTO workspace VALUES ('demo', 1, 7, 1, 7);
INSERT INTO revision VALUES ('program', 'p1', 1, 7, 1000, 2000, 'author', 'sealed');
INSERT INTO document VALUES ('program', 'p1', 1, 7, 2000, 1, 7);
PRAGMA user_version = 1;
"""


def test_store_of_the_first_release_goes_on(tmp_path: Path) -> None:
    """A store from before roots were kept has everything it had, and all of it is signed anew under a root."""
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.executescript(FIRST_SCHEMA)
    for _ in range(2):
        with Store(tmp_path, "demo") as store:
            assert current(store, P1) == Position(1, 7)
            store.follow({1: b"one"}, epoch=1)
            state = store.read_state()
            assert (state.sent, state.documents, state.pending, state.stale) == (Position(1, 7), 1, 0, 1)
            assert store.find_unseen([Place("/a", 1, "")], 0) == [Place("/a", 1, "")]
    with Store(tmp_path, "demo") as store:
        assert commit(store, P1).position == Position(1, 8)
