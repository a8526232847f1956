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
    assert tables == [("document",), ("revision",), ("root",), ("visit",), ("workspace",)]
    database.close()


def test_every_earlier_version_leads_to_this_one() -> None:
    """A store of any earlier release can be used; what its migration makes has the columns of a new one."""
    assert list(schema.MIGRATIONS) == list(range(1, schema.VERSION))
    for name in ("root", "visit"):
        columns = []
        for script in (schema.CREATE, _make_tables() + schema.MIGRATIONS[1]):
            database = sqlite3.connect(":memory:", isolation_level=None)
            database.executescript(script)
            columns.append(database.execute("SELECT name, type, pk FROM pragma_table_info(?)", [name]).fetchall())
            assert database.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)
            database.close()
        assert columns[0] == columns[1] != []


def _make_tables() -> str:
    return "CREATE TABLE revision (kind TEXT); CREATE TABLE document (kind TEXT);"
