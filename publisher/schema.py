"""The tables of the publisher's store, as SQL; who reads and writes them is the store's matter."""

# Another number is another release's store: it is refused, never guessed at.
VERSION = 1

CREATE = """
BEGIN;

-- One workspace. `epoch` and `revision` are the last position given out; `sent_*` where Redis was last known to stand.
CREATE TABLE workspace (
  name TEXT NOT NULL PRIMARY KEY,
  epoch INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  sent_epoch INTEGER NOT NULL,
  sent_revision INTEGER NOT NULL
);

-- What was published, the last revisions of each document.
CREATE TABLE revision (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  at INTEGER NOT NULL,
  renew_at INTEGER NOT NULL,
  author BLOB NOT NULL,
  envelope BLOB NOT NULL,
  PRIMARY KEY (kind, id, epoch, revision)
);

-- The current revision of each document, and the one that Redis was last known to hold (0, 0: none).
CREATE TABLE document (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  renew_at INTEGER NOT NULL,
  sent_epoch INTEGER NOT NULL,
  sent_revision INTEGER NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE INDEX document_renewal ON document (renew_at);
CREATE INDEX document_pending ON document (epoch, revision)
  WHERE epoch <> sent_epoch OR revision <> sent_revision;

PRAGMA user_version = 1;

COMMIT;
"""
