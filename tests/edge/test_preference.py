"""Tests of edge/preference.py: what RFC 7240 lets a client write, and what is none of it."""

import pytest

from edge.preference import MAX_PREFER_BYTES, MAX_WAIT_S, name_applied, read_wait


@pytest.mark.parametrize(
    ("values", "wait_s"),
    [
        ([b"wait=10"], 10),
        ([b"WAIT = 10"], 10),
        ([b'wait="10"'], 10),
        ([b"wait=010"], 10),
        ([b"wait=10; foo=bar"], 10),
        ([b"respond-async, wait=10"], 10),
        ([b"respond-async,,wait=10 , handling=lenient"], 10),
        ([b"handling=lenient", b"wait=10"], 10),
        ([b'foo="a, wait=3", wait=10'], 10),
        ([b'foo="a\\", wait=3", wait=10'], 10),
        ([b"foo; wait=3, wait=10"], 10),
    ],
)
def test_wait_among_preferences(values: list[bytes], wait_s: int) -> None:
    """The wait is found in any case, quoted or not, among other preferences, in one field or several."""
    assert read_wait(values) == wait_s


@pytest.mark.parametrize(("first", "wait_s"), [(b"wait=7", 7), (b"wait=0", 0), (b"wait=x", 0), (b"wait", 0)])
def test_first_wait_counts(first: bytes, wait_s: int) -> None:
    """Of several waits the first counts, also where it says nothing."""
    assert read_wait([first + b", wait=10"]) == read_wait([first, b"wait=10"]) == wait_s


@pytest.mark.parametrize(
    "value",
    [
        b"", b",", b"wait", b"wait=", b'wait=""', b"wait=-1", b"wait=1.5", b"wait=+1", b"wait=1e1", b"wait=ten",
        b"wait=1 0", b"wait 10", b"awaiting=10", b"wait-10=1", b'wait="10', b'wait=10"', b'"wait=10"', b"wait=\xd9\xa1",
        b"wait==10", b"respond-async",
    ],
)  # fmt: skip
def test_malformed_wait_is_none(value: bytes) -> None:
    """What is no number of seconds is ignored."""
    assert read_wait([value]) == 0


@pytest.mark.parametrize(
    ("seconds", "wait_s"),
    [(MAX_WAIT_S - 1, MAX_WAIT_S - 1), (MAX_WAIT_S, MAX_WAIT_S), (MAX_WAIT_S + 1, MAX_WAIT_S), (10**200, MAX_WAIT_S)],
)
def test_longest_wait(seconds: int, wait_s: int) -> None:
    """Nobody is held for longer than MAX_WAIT_S, whatever it says."""
    assert read_wait([b"wait=%d" % seconds]) == wait_s


def test_long_fields_are_not_read() -> None:
    """A preference may have so many bytes in all, and not one more: it says nothing then."""
    padding = b"x" * (MAX_PREFER_BYTES - len(b"wait=10,"))
    assert read_wait([b"wait=10", padding]) == 10
    assert read_wait([b"wait=10", padding + b"x"]) == 0


def test_nobody_prefers_anything() -> None:
    """Without the field there is no wait."""
    assert read_wait([]) == 0


def test_what_was_applied() -> None:
    """An answer says how long its check might have been held."""
    assert name_applied(10) == "wait=10"
