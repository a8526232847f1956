"""Tests of edge/chain.py."""

import pytest

from edge import chain as chain_module
from edge.chain import Chain
from tests.edge.press import KEYS, NEXT_KEYS, PINNED, ROOT, ROOT_BYTES, make_successor
from trust import RootError

NEXT = make_successor()
LAST = make_successor(5, keys=KEYS, signers=[NEXT_KEYS["root"], KEYS["root"]])


def test_pinned_root_is_a_chain() -> None:
    """A chain begins with the root that an operator has brought."""
    assert (dict(PINNED.documents), PINNED.root, PINNED.next) == ({3: ROOT_BYTES}, ROOT, 4)
    with pytest.raises(RootError, match="expected a root document"):
        Chain.pin(b"{}")


def test_root_that_follows_is_added() -> None:
    """Each root is judged by the one before it; the chain before stays what it was."""
    chain = PINNED.add(NEXT).add(LAST)
    assert (dict(chain.documents), chain.root.number) == ({3: ROOT_BYTES, 4: NEXT, 5: LAST}, 5)
    assert dict(PINNED.documents) == {3: ROOT_BYTES}


def test_root_that_does_not_follow_is_refused() -> None:
    """A root that skips one is refused, whoever has signed it."""
    with pytest.raises(RootError, match="expected root 4 to follow root 3, got root 5"):
        PINNED.add(LAST)


def test_chain_has_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain does not grow for ever: the operator is told what to do."""
    monkeypatch.setattr(chain_module, "MAX_ROOTS", 2)
    chain = PINNED.add(NEXT)
    with pytest.raises(RootError, match="expected at most 2 roots from the pinned one on, got one more: pin a newer"):
        chain.add(LAST)


@pytest.mark.parametrize(
    ("documents", "newest"),
    [
        ({}, 3),
        ({3: b"another", 4: NEXT, 5: LAST}, 5),
        ({2: b"older", 5: LAST}, 3),
        ({4: LAST, 5: NEXT}, 3),
        ({4: NEXT, 5: NEXT}, 4),
        ({4: NEXT, 5: b"", 6: LAST}, 4),
    ],
    ids=["none", "all", "gap", "swapped", "twice", "damaged"],
)
def test_what_follows_of_some_roots(documents: dict[int, bytes], newest: int) -> None:
    """Of roots that lie on a disk those are taken that follow one after the other; what is behind a gap is dropped."""
    chain = PINNED.follow(documents)
    assert (chain.root.number, max(chain.documents), chain.documents[3]) == (newest, newest, ROOT_BYTES)
