"""The tables: made in one transaction, of a known version."""

import sqlite3

from publisher import schema


def test_tables_are_made_with_their_version() -> None:
    """A new file gets its tables and says of which version they are."""
    database = sqlite3.connect(":memory:", isolation_level=None)
    database.executescript(schema.CREATE)
    assert not database.in_transaction
    assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
    tables = database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
    assert tables == [("document",), ("revision",), ("workspace",)]
    database.close()
