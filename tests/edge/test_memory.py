"""Tests of edge/memory.py."""

from edge.memory import Memory


def test_what_was_not_asked_for_goes_first() -> None:
    """Of too many values the one goes that nobody has asked for or kept for the longest time."""
    memory: Memory[str, int] = Memory(2)
    assert memory.keep("a", 1) == 1
    memory.keep("b", 2)
    assert memory.find("a") == 1
    memory.keep("c", 3)
    assert [memory.find(name) for name in "abc"] == [1, None, 3]
    assert len(memory) == 2


def test_it_is_emptied() -> None:
    """What was forgotten is not found."""
    memory: Memory[str, int] = Memory(2)
    memory.keep("a", 1)
    memory.clear()
    assert (memory.find("a"), len(memory)) == (None, 0)
