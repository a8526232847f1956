"""User ids in files: the forms that are read, and how what is wrong is named."""

import gzip
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli import identity
from cli.identity import BATCH, CHUNK_BYTES, MAX_LINE_BYTES, MAX_ROW_CHARS, IdentityError, read_identities


def read(data: bytes, column: str | None = None) -> list[str]:
    return [one for batch in read_identities(io.BytesIO(data), column) for one in batch]


@pytest.mark.parametrize(
    ("data", "ids"),
    [
        (b"", []),
        (b"\n\n", []),
        (b"a", ["a"]),
        (b"a\nb\n", ["a", "b"]),
        (b"a\r\nb\r\n\r\nc", ["a", "b", "c"]),
        (b"\xef\xbb\xbfa\nb", ["a", "b"]),
        ("杭州\nZoë\n".encode(), ["杭州", "Zoë"]),
        (b"a b\n", ["a b"]),
        (b"x" * 256 + b"\n", ["x" * 256]),
        (b"a,b\n", ["a,b"]),
    ],
)
def test_one_id_a_line(data: bytes, ids: list[str]) -> None:
    """Either end of line, with and without one at the end, empty lines and a byte-order mark passed over."""
    assert read(data) == ids
    assert read(gzip.compress(data)) == ids


@pytest.mark.parametrize(
    ("data", "column", "ids"),
    [
        (b"id,name\n1,Ann\n2,Bob\n", "id", ["1", "2"]),
        (b"\xef\xbb\xbfid;name\r\n1;Ann\r\n", "name", ["Ann"]),
        (b"id\tname\n1\tAnn\n", "name", ["Ann"]),
        (b'name,id\n"a, ""b""",7\n\n,8\n', "id", ["7", "8"]),
        (b"1,Ann\n2,Bob\n", "2", ["Ann", "Bob"]),
        (b"2\n1\n", "2", ["1"]),
        (b"id\n\n1\n", "id", ["1"]),
        (b"id\n", "id", []),
    ],
)
def test_a_column_of_a_csv(data: bytes, column: str, ids: list[str]) -> None:
    """By its name in the first line, else by its number where there are no names; commas, semicolons or tabs."""
    assert read(data, column) == ids
    assert read(gzip.compress(data), column) == ids


def test_several_gzip_members_are_one_file() -> None:
    """As `cat a.gz b.gz` makes it."""
    assert read(gzip.compress(b"a\n") + gzip.compress(b"b\n")) == ["a", "b"]


@pytest.mark.parametrize(
    ("data", "column", "message"),
    [
        (b"a\n b\n", None, "line 2: expected an id without blanks around it, got ' b'"),
        ("a\nb\u00a0\n".encode(), None, "line 2: expected an id without blanks around it, got 'b\\xa0'"),
        (b"a\r\n" + b"x" * 257, None, "line 2: expected an id of at most 256 characters, got 257"),
        (b"a\nb\nc\td\n", None, "line 3: expected an id without control characters, got 'c\\td'"),
        (b"a\rb\nc\n", None, "line 1: expected an id without control characters, got 'a\\rb'"),
        ("a\u2028b".encode(), None, "line 1: expected an id without control characters, got 'a\\u2028b'"),
        (b"a\nb\n\xff\n", None, "line 3: expected an id in UTF-8, got bytes that are none"),
        ("a\n".encode("utf-16"), None, "line 1: expected an id in UTF-8, got bytes that are none"),
        (
            b"a\n" + b"x" * (MAX_LINE_BYTES + 1),
            None,
            "line 2: expected an id a line, got a line of more than 4096 bytes",
        ),
        (b"id,name\n1,Ann\n", "user", "line 1: expected a column 'user', or a number from 1 to 2, got 'id, name'"),
        (b"id,name\n1,Ann\n", "3", "line 1: expected a column '3', or a number from 1 to 2, got 'id, name'"),
        (b"", "id", "line 1: expected a column 'id', or a number from 1 to 0, got ''"),
        (b"id,name\n1,Ann\n2\n", "name", "line 3: expected at least 2 columns, got 1"),
        (b"id,name\n1, Ann\n", "name", "line 2: expected an id without blanks around it, got ' Ann'"),
        (
            b"id\na," + b"x" * MAX_ROW_CHARS,
            "id",
            "line 2: expected lines of less than 131072 characters, got a longer one",
        ),
        (b'id\n"a"b\n', "id", "line 2: expected a CSV: "),
        (b"id\n\xff\n", "id", "expected a CSV in UTF-8, got bytes that are none"),
        (gzip.compress(b"a\n" * 99)[:-9], None, "expected a whole gzip file: "),
        (gzip.compress(b"a\n") + b"more", None, "expected a whole gzip file: "),
    ],
)
def test_what_is_wrong_is_named(data: bytes, column: str | None, message: str) -> None:
    """With the number of its line."""
    with pytest.raises(IdentityError) as caught:
        read(data, column)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_chunks_cut_anywhere(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines and characters that lie across two reads are whole, and line numbers go on."""
    monkeypatch.setattr(identity, "CHUNK_BYTES", size)
    text = "\ufeffa\r\n杭州\n\nlonger-one\r\nz"
    assert read(text.encode()) == ["a", "杭州", "longer-one", "z"]
    with pytest.raises(IdentityError, match=r"^line 4: expected an id without blanks"):
        read(b"a\n\nb\n c\nd")


def test_large_files_come_in_batches() -> None:
    """More than a chunk of text, and more than a batch of rows."""
    ids = [f"user-{i}" for i in range(BATCH * 8)]
    data = "\n".join(ids).encode()
    assert len(data) > CHUNK_BYTES
    assert read(data) == ids
    assert read(b"id\n" + data, "id") == ids


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=20)))
def test_any_ids_there_and_back(ids: list[str]) -> None:
    """What is written one a line is read as it was."""
    assert read("".join(f"{one}\n" for one in ids).encode()) == ids


@given(st.binary(max_size=60), st.sampled_from([None, "1", "id"]))
def test_any_bytes_are_ids_or_an_error(data: bytes, column: str | None) -> None:
    """There is no third outcome, and an id never is empty, padded or too long."""
    try:
        found = read(data, column)
    except IdentityError:
        return
    assert all(one and one == one.strip() and len(one) <= 256 for one in found)
