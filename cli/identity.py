"""User ids in files: one a line, or a column of a CSV, compressed or not; what is none is named with its line.

Ids come in batches, so that ten million of them never are in memory, and are looked at a batch at a time: a file of
ten million is read in two seconds.
"""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, Final, cast

# As long as a user's id may be in a question.
MAX_CHARS: Final = 256
CHUNK_BYTES: Final = 1 << 20
# A line that is longer is of no list of ids: a file without line ends must not be read into memory whole.
MAX_LINE_BYTES: Final = 4 * 1024
# The same of a CSV, whose rows have more than ids.
MAX_ROW_CHARS: Final = 128 * 1024
BATCH: Final = 20_000
_GZIP: Final = b"\x1f\x8b"
_BOM: Final = b"\xef\xbb\xbf"
_DELIMITERS: Final = ",;\t"
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_CONTROL_IN_LINES = re.compile("[\x00-\x09\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029]")


class IdentityError(Exception):
    """A file that cannot be read as user ids; the message has the line's number, from 1, where one is wrong."""


def read_identities(raw: IO[bytes], column: str | None) -> Iterator[Sequence[str]]:
    """Yields the ids of a file in batches; empty lines are passed over.

    Args:
        raw: the file, gzip or plain.
        column: of a CSV: the name that its first line has for it, or its number from 1 where no line has names; None
            for a text with one id a line.

    Raises:
        IdentityError: the file is of another form, or a line has what is no id.
    """
    buffered = io.BufferedReader(cast("io.RawIOBase", raw), CHUNK_BYTES)
    is_packed = buffered.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
    stream: io.BufferedIOBase = gzip.GzipFile(fileobj=buffered) if is_packed else buffered
    try:
        yield from _read_lines(stream) if column is None else _read_column(stream, column)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise IdentityError(f"expected a whole gzip file: {error}") from error
    finally:
        buffered.detach()  # what is given is its giver's to close


def _read_lines(stream: io.BufferedIOBase) -> Iterator[Sequence[str]]:
    number, rest = 1, b""
    while chunk := stream.read(CHUNK_BYTES):
        whole, end, rest = (rest + chunk).rpartition(b"\n")
        if len(rest) > MAX_LINE_BYTES:
            last = number + whole.count(b"\n") + len(end)
            raise IdentityError(f"line {last}: expected an id a line, got a line of more than {MAX_LINE_BYTES} bytes")
        if end:
            yield _read_batch(whole, number)
            number += whole.count(b"\n") + 1
    if rest:
        yield _read_batch(rest, number)


def _read_batch(data: bytes, number: int) -> Sequence[str]:
    """The ids of whole lines, the first of which has this number."""
    try:
        text = (data.removeprefix(_BOM) if number == 1 else data).decode()
    except UnicodeDecodeError as error:
        number += data.count(b"\n", 0, error.start)
        raise IdentityError(f"line {number}: expected an id in UTF-8, got bytes that are none") from None
    lines = text.split("\n")
    if "\r" in text:
        lines = [line.removesuffix("\r") for line in lines]
    # Each is done in C: a look at each line in Python would take longer than all else.
    is_plain = not _CONTROL_IN_LINES.search(text) and max(map(len, lines)) <= MAX_CHARS
    if not is_plain or lines != list(map(str.strip, lines)) or "\r" in "".join(lines):
        for i, line in enumerate(lines, number):
            _check(line, i)
    return list(filter(None, lines))


def _read_column(stream: io.BufferedIOBase, column: str) -> Iterator[Sequence[str]]:
    text = io.TextIOWrapper(cast("IO[bytes]", stream), "utf-8-sig", newline="")
    try:
        first = text.readline(MAX_LINE_BYTES)
        delimiter = max(_DELIMITERS, key=first.count)
        head = next(csv.reader([first], delimiter=delimiter), [])
        place = _find_place(head, column)
        rows = csv.reader(_bound_lines(text), delimiter=delimiter, strict=True)
        batch = [] if column in head else [_take(head, place, 1)]
        for row in rows:
            if row:
                batch.append(_take(row, place, rows.line_num + 1))
            if len(batch) >= BATCH:
                yield list(filter(None, batch))
                batch = []
        yield list(filter(None, batch))
    except csv.Error as error:
        raise IdentityError(f"line {rows.line_num + 1}: expected a CSV: {error}") from None
    except UnicodeDecodeError:
        raise IdentityError("expected a CSV in UTF-8, got bytes that are none") from None
    finally:
        text.detach()


def _bound_lines(text: io.TextIOWrapper) -> Iterator[str]:
    """Lines that csv reads; a bomb of one line must not be read into memory whole."""
    number = 1
    while line := text.readline(MAX_ROW_CHARS):
        number += 1
        if len(line) == MAX_ROW_CHARS and not line.endswith("\n"):
            raise IdentityError(
                f"line {number}: expected lines of less than {MAX_ROW_CHARS} characters, got a longer one"
            )
        yield line


def _find_place(head: Sequence[str], column: str) -> int:
    if column in head:
        return head.index(column)
    if column.isascii() and column.isdigit() and 1 <= int(column) <= len(head):
        return int(column) - 1
    shown = ", ".join(name[:40] for name in head[:20])
    raise IdentityError(f"line 1: expected a column {column!r}, or a number from 1 to {len(head)}, got {shown!r}")


def _take(row: Sequence[str], place: int, number: int) -> str:
    if place >= len(row):
        raise IdentityError(f"line {number}: expected at least {place + 1} columns, got {len(row)}")
    return _check(row[place], number)


def _check(line: str, number: int) -> str:
    if len(line) > MAX_CHARS:
        raise IdentityError(f"line {number}: expected an id of at most {MAX_CHARS} characters, got {len(line)}")
    if line != line.strip():
        raise IdentityError(f"line {number}: expected an id without blanks around it, got {line!r}")
    if _CONTROL.search(line):
        raise IdentityError(f"line {number}: expected an id without control characters, got {line!r}")
    return line
