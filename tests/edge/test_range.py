"""Tests of edge/range.py."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.range import Part, choose_part

TAG = '"' + "5e" * 32 + '"'
WHOLE = Part(HTTPStatus.OK, 0, 100)
NOT_THERE = Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
FAILED = Part(HTTPStatus.PRECONDITION_FAILED)
NOT_MODIFIED = Part(HTTPStatus.NOT_MODIFIED)


def cut(start: int, count: int) -> Part:
    """A part of the file."""
    return Part(HTTPStatus.PARTIAL_CONTENT, start, count)


def choose(size: int = 100, method: str = "GET", **fields: str) -> Part:
    """What is sent of a file, where the request has these fields."""
    return choose_part(method, {name.replace("_", "-"): value for name, value in fields.items()}, TAG, size)


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("bytes=0-9", cut(0, 10)),
        ("bytes=90-", cut(90, 10)),
        ("bytes=-10", cut(90, 10)),
        ("bytes=99-99", cut(99, 1)),
        ("bytes=0-0", cut(0, 1)),
        ("bytes=90-1000", cut(90, 10)),
        ("bytes=-1000", cut(0, 100)),
        ("Bytes= 0-9 ", cut(0, 10)),
        ("bytes=0009-0000000000000000000000000000019", cut(9, 11)),
        ("bytes=5-" + "9" * 5_000, cut(5, 95)),
        ("bytes=100-", NOT_THERE),
        ("bytes=100-200", NOT_THERE),
        ("bytes=-0", NOT_THERE),
        ("bytes=" + "9" * 5_000 + "-", NOT_THERE),
        ("bytes=0-9,20-29", WHOLE),
        ("bytes=0-9,", WHOLE),
        ("bytes=9-0", WHOLE),
        ("bytes=-", WHOLE),
        ("bytes=", WHOLE),
        ("bytes=a-b", WHOLE),
        ("bytes=-1-2", WHOLE),
        ("bytes=٣-٤", WHOLE),
        ("lines=0-9", WHOLE),
        ("bytes", WHOLE),
        ("", WHOLE),
    ],
)
def test_range(value: str, part: Part) -> None:
    """One range of bytes is heeded; where none of its bytes is there, that is told, and anything else passed over."""
    assert choose(Range=value) == part


def test_range_of_an_empty_file() -> None:
    """An empty file has no byte that any range could name."""
    assert choose(0) == Part(HTTPStatus.OK, 0, 0)
    assert [choose(0, Range=value) for value in ("bytes=0-", "bytes=-5", "bytes=0-0")] == [NOT_THERE] * 3


def test_range_of_a_head() -> None:
    """A HEAD is about the whole file."""
    assert choose(method="HEAD", Range="bytes=0-9") == WHOLE


@pytest.mark.parametrize(
    ("value", "part"),
    [
        (TAG, cut(0, 10)),
        (f" {TAG} ", cut(0, 10)),
        (f"W/{TAG}", WHOLE),
        (TAG.strip('"'), WHOLE),
        ('"' + "5f" * 32 + '"', WHOLE),
        ("Fri, 01 Jan 2100 00:00:00 GMT", WHOLE),
        ("*", WHOLE),
        ("", WHOLE),
    ],
)
def test_part_of_the_same_file_only(value: str, part: Part) -> None:
    """If-Range with the file's own tag gives the part, with anything else the whole: the client begins anew."""
    assert choose(Range="bytes=0-9", If_Range=value) == part
    assert choose(If_Range=value) == WHOLE


@pytest.mark.parametrize(
    ("value", "is_known", "matches"),
    [
        (TAG, True, True),
        ("*", True, True),
        (f"W/{TAG}", True, False),
        (f'"other", W/"more", {TAG}', True, True),
        ('"other"', False, False),
        (TAG.strip('"'), False, False),
        ("", False, False),
    ],
)
def test_conditions(value: str, is_known: bool, matches: bool) -> None:
    """Who has the file already is told so; who wants another one gets nothing. A weak tag names no bytes."""
    for method in ("GET", "HEAD"):
        assert choose(method=method, If_None_Match=value) == (NOT_MODIFIED if is_known else WHOLE)
        assert choose(method=method, If_Match=value) == (WHOLE if matches else FAILED)


def test_conditions_come_before_the_range() -> None:
    """A condition that fails decides, whatever the range."""
    assert choose(If_None_Match=TAG, Range="bytes=500-") == NOT_MODIFIED
    assert choose(If_Match='"other"', If_None_Match=TAG, Range="bytes=0-9") == FAILED


@given(
    size=st.integers(0, 50),
    first=st.one_of(st.none(), st.integers(0, 60)),
    last=st.one_of(st.none(), st.integers(0, 60)),
)
def test_range_means_what_slicing_does(size: int, first: int | None, last: int | None) -> None:
    """A part has the bytes that the RFC's words name, counted one by one."""
    part = choose(size, Range=f"bytes={'' if first is None else first}-{'' if last is None else last}")
    if first is None:
        wanted = [] if last is None else [at for at in range(size) if at >= size - last]
    else:
        wanted = [at for at in range(size) if first <= at and (last is None or at <= last)]
    is_range = (first is not None or last is not None) and (first is None or last is None or first <= last)
    sent = list(range(part.start, part.start + part.count))
    assert sent == (wanted if is_range else list(range(size)))
    assert (part.status == HTTPStatus.PARTIAL_CONTENT) == (is_range and bool(wanted))
