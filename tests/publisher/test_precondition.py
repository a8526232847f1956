"""Preconditions: who has not seen the current revision replaces nothing."""

import pytest

from publisher.errors import BadRequestError, ConflictError, PreconditionRequiredError
from publisher.precondition import ANY, Precondition, is_listed, make_tag, read_tags


@pytest.mark.parametrize(
    ("value", "tags"),
    [
        ("*", {ANY}),
        ('"7"', {'"7"'}),
        (' "7" , W/"8"\t,"9" ', {'"7"', 'W/"8"', '"9"'}),
        ('""', {'""'}),
    ],
)
def test_tags_are_read(value: str, tags: set[str]) -> None:
    """A star, or a list of tags in quotes, weak ones included, is read."""
    assert read_tags("If-Match", value) == tags


def test_absent_header_has_no_tags() -> None:
    """No header is not the same as an empty list."""
    assert read_tags("If-Match", None) is None


@pytest.mark.parametrize(
    "value", ["", "7", '"7', '"7" "8"', '"7",', "*,*", '"a b"', "w/" + '"7"', '"' + "7" * 1_024 + '"']
)
def test_other_values_are_refused(value: str) -> None:
    """What is no list of tags is refused, not taken for none."""
    with pytest.raises(BadRequestError) as caught:
        read_tags("If-Match", value)
    shown = repr(value.strip()[:40])
    assert str(caught.value) == f'expected * or a revision in double quotes in If-Match, like "7", got {shown}'


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "revision"),
    [
        (None, None, None),
        (None, "*", None),
        ('"7"', None, 7),
        ('"6", "7"', None, 7),
        ("*", None, 7),
        (None, '"6"', 7),
        ('"7"', '"6"', 7),
    ],
)
def test_write_is_allowed(if_match: str | None, if_none_match: str | None, revision: int | None) -> None:
    """Creating needs nothing, replacing the revision that was seen."""
    Precondition.read(if_match, if_none_match).check_write(revision)


@pytest.mark.parametrize(
    ("if_match", "if_none_match", "revision", "message"),
    [
        ('"6"', None, 7, 'expected the document at "6", found it at "7"'),
        ('W/"7"', None, 7, 'expected the document at W/"7", found it at "7"'),
        ('"7"', None, None, 'expected the document at "7", found it nowhere'),
        ("*", None, None, "expected the document at *, found it nowhere"),
        (None, "*", 7, 'expected no document at *, found it at "7"'),
        (None, '"7"', 7, 'expected no document at "7", found it at "7"'),
        (None, 'W/"7"', 7, 'expected no document at W/"7", found it at "7"'),
        ('"7"', "*", 7, 'expected no document at *, found it at "7"'),
    ],
)
def test_write_is_a_conflict(
    if_match: str | None, if_none_match: str | None, revision: int | None, message: str
) -> None:
    """A revision that is not the one that was seen is not replaced."""
    with pytest.raises(ConflictError) as caught:
        Precondition.read(if_match, if_none_match).check_write(revision)
    assert str(caught.value) == message


def test_replacing_blindly_is_refused() -> None:
    """Who says nothing of an existing document is asked to."""
    with pytest.raises(PreconditionRequiredError) as caught:
        Precondition().check_write(7)
    assert str(caught.value) == 'expected If-Match with the revision to replace ("7")'


def test_tags_are_compared_weakly_for_reading() -> None:
    """A reader's copy is current if its tag is listed, weak or not; there is no copy of nothing."""
    assert is_listed(frozenset({'W/"7"'}), 7)
    assert is_listed(frozenset({ANY}), 7)
    assert not is_listed(frozenset({'"6"'}), 7)
    assert not is_listed(frozenset({ANY}), None)
    assert make_tag(7) == '"7"'
