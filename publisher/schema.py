"""The tables of the publisher's store, as SQL; who reads and writes them is the store's matter."""

# A number that is not known is another release's store: it is refused, never guessed at.
VERSION = 2

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

-- What was published, the last revisions of each document, each with the number of the root that it was signed under.
CREATE TABLE revision (
  kind TEXT NOT NULL,
  id TEXT NOT NULL,
  epoch INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  at INTEGER NOT NULL,
  renew_at INTEGER NOT NULL,
  author BLOB NOT NULL,
  envelope BLOB NOT NULL,
  root INTEGER NOT NULL,
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
  root INTEGER NOT NULL,
  PRIMARY KEY (kind, id)
);

CREATE INDEX document_renewal ON document (renew_at);
CREATE INDEX document_pending ON document (epoch, revision)
  WHERE epoch <> sent_epoch OR revision <> sent_revision;

-- The root documents, without a gap; the last one is worked by.
CREATE TABLE root (
  number INTEGER NOT NULL PRIMARY KEY,
  document BLOB NOT NULL
);

-- The transfers whose files were fetched and found to be what a document says of them.
CREATE TABLE visit (
  url TEXT NOT NULL,
  size INTEGER NOT NULL,
  sha256 TEXT NOT NULL,
  at INTEGER NOT NULL,
  PRIMARY KEY (url, size, sha256)
);

PRAGMA user_version = 2;

COMMIT;
"""

# What makes a store of an earlier version one of the next. What was signed before roots were kept counts as root 0's.
MIGRATIONS = {
    1: """
BEGIN;
ALTER TABLE revision ADD COLUMN root INTEGER NOT NULL DEFAULT 0;
ALTER TABLE document ADD COLUMN root INTEGER NOT NULL DEFAULT 0;
CREATE TABLE root (number INTEGER NOT NULL PRIMARY KEY, document BLOB NOT NULL);
CREATE TABLE visit (
  url TEXT NOT NULL, size INTEGER NOT NULL, sha256 TEXT NOT NULL, at INTEGER NOT NULL, PRIMARY KEY (url, size, sha256)
);
PRAGMA user_version = 2;
COMMIT;
""",
}
