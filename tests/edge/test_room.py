"""Tests of edge/room.py."""

import pytest

from channel import DocumentName
from edge.room import MEGA, Limits, Load, Room

PROGRAMS = [DocumentName("program", f"p{number}") for number in range(4)]
AUDIENCE, OTHER_AUDIENCE = DocumentName("audience", "a"), DocumentName("audience", "b")
SWITCHES = DocumentName("switches", "s")


def test_programs_are_counted() -> None:
    """One program more than there may be has no place; another version of one has, and other kinds are not counted."""
    room = Room(Limits(programs=2), [(PROGRAMS[0], Load(5))])
    assert room.take(PROGRAMS[1], Load(5)) == ""
    assert room.take(PROGRAMS[2], Load(5)) == "expected at most 2 programs in a workspace, got one more"
    for name in (PROGRAMS[1], SWITCHES, AUDIENCE):
        assert room.take(name, Load(5)) == ""


@pytest.mark.parametrize(
    ("limits", "load", "what"),
    [
        (Limits(document_mb=2), Load(MEGA), "documents"),
        (Limits(audience_mb=2), Load(1, MEGA), "audiences' files"),
    ],
)
def test_bytes_are_counted(limits: Limits, load: Load, what: str) -> None:
    """Up to the limit there is place, beyond it none; who takes less makes some."""
    room = Room(limits)
    double, less = Load(2 * load.document, 2 * load.file), Load(load.document, load.file - 1 if load.file else 0)
    assert room.take(AUDIENCE, load) == ""
    assert room.take(OTHER_AUDIENCE, load) == ""
    reason = f"expected at most 2 MB of {what} in a workspace, got more with this one"
    assert room.take(SWITCHES, load) == reason
    assert room.take(AUDIENCE, double) == reason
    assert room.take(AUDIENCE, Load(0, 0)) == ""
    assert room.take(SWITCHES, less) == ""


def test_what_is_there_stays() -> None:
    """A limit that is set lower takes nothing away, and lets nothing grow; what shrinks is taken."""
    room = Room(Limits(document_mb=1), [(PROGRAMS[0], Load(3 * MEGA)), (PROGRAMS[1], Load(MEGA))])
    assert room.take(PROGRAMS[0], Load(3 * MEGA)) == ""
    assert room.take(PROGRAMS[0], Load(3 * MEGA + 1)) != ""
    assert room.take(PROGRAMS[0], Load(2 * MEGA)) == ""
    assert room.take(PROGRAMS[2], Load(1)) != ""


def test_what_has_no_place_takes_none() -> None:
    """Refusing again and again fills nothing."""
    room = Room(Limits(programs=1), [(PROGRAMS[0], Load(1))])
    for _ in range(3):
        assert room.take(PROGRAMS[1], Load(1)) != ""
    assert (room._programs, room._documents) == (1, 1)
