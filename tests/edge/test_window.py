"""Tests of edge/window.py: who is known to be in, and whether it is worth asking about the others."""

from array import array

import pytest

from edge.window import KEYLESS, HostWindow
from ruleset import Place
from ruleset.compiler import CompiledWindow
from ruleset.fingerprint import compute_fingerprint

KEY = bytes(range(32))
RULE = CompiledWindow("00000000000000aa", "k1", 2, 0, 1 << 40, None, proven=False)


@pytest.fixture
def window() -> HostWindow:
    """A window for two, that can be asked."""
    window = HostWindow(RULE, KEY)
    window.judge(can_ask=True)
    return window


def make_list(*identities: str) -> memoryview:
    """A host's list of members."""
    return memoryview(array("Q", sorted(compute_fingerprint(KEY, identity) for identity in identities)))


def test_who_is_not_known_is_asked_about() -> None:
    """Before anything is known nobody is asked about, then everybody."""
    window = HostWindow(RULE, KEY)
    assert window.find("d-1") is Place.SHUT
    window.judge(can_ask=True)
    assert window.find("d-1") is Place.OPEN
    window.judge(can_ask=False)
    assert window.find("d-1") is Place.SHUT


def test_members_stay(window: HostWindow) -> None:
    """Who was told of a place is a member at once, also while nobody can be asked, and after a list without him."""
    window.admit(window.compute("d-1"))
    window.take(make_list("d-2"))
    window.judge(can_ask=False)
    assert [window.find(name) for name in ("d-1", "d-2", "d-3")] == [Place.MEMBER, Place.MEMBER, Place.SHUT]
    window.take(make_list("d-1", "d-2"))
    assert window.find("d-1") is Place.MEMBER
    assert not window._recent


def test_full_list_needs_no_asking(window: HostWindow) -> None:
    """With a full list of members it works as an audience does; with a higher limit it is asked again."""
    window.take(make_list("d-1", "d-2"))
    window.judge(can_ask=True)
    assert [window.find(name) for name in ("d-1", "d-3")] == [Place.MEMBER, Place.SHUT]
    window.rule = CompiledWindow("00000000000000aa", "k1", 3, 0, 1 << 40, None, proven=False)
    window.judge(can_ask=True)
    assert window.find("d-3") is Place.OPEN


def test_without_its_key_nobody_is_in() -> None:
    """A window under an unknown key has no members and no places."""
    assert KEYLESS.find("d-1") is Place.SHUT
