"""Root documents that follow each other, from the pinned one to the newest. Pure: whence they come is not known.

Only what is verified gets in, by the keys of the root before it: whoever can write to Redis or to the disk can hold a
root back, and not make one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Self

from trust import Root, RootError, read_root, read_successor

# A new root every month for twenty years. Each worker holds them all, of at most 64 KiB each.
MAX_ROOTS = 256


@dataclass(frozen=True, slots=True)
class Chain:
    """The root documents of a workspace by their numbers, the pinned one first; `root` is what the newest says."""

    documents: Mapping[int, bytes]
    root: Root

    @classmethod
    def pin(cls, document: bytes) -> Self:
        """Returns the chain that begins, and for now ends, with the root document that an operator has brought.

        Raises:
            RootError: it is none.
        """
        root = read_root(document)
        return cls(MappingProxyType({root.number: document}), root)

    @property
    def next(self) -> int:
        """The number of the root that would follow."""
        return self.root.number + 1

    def add(self, document: bytes) -> Self:
        """Returns the chain with one root more.

        Raises:
            RootError: it does not follow, or the chain has MAX_ROOTS: the operator has to pin a newer root.
        """
        if len(self.documents) >= MAX_ROOTS:
            raise RootError(f"expected at most {MAX_ROOTS} roots from the pinned one on, got one more: pin a newer one")
        root = read_successor(document, self.root)
        return type(self)(MappingProxyType({**self.documents, root.number: document}), root)

    def follow(self, documents: Mapping[int, bytes]) -> Self:
        """Returns the chain with those of some root documents, by their numbers, that follow; others are dropped."""
        chain = self
        while chain.next in documents:
            try:
                chain = chain.add(documents[chain.next])
            except RootError:
                break
        return chain
