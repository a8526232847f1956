"""The files and links of an archive by their names: PURE; what a file is, the source that reads it knows.

A link to a file of the tree is packed as a copy of it. A link to a folder, or out of the tree, is refused.
"""

import posixpath
from collections.abc import Iterator
from typing import Generic, TypeVar

from bundle.errors import EntryError
from bundle.inventory import MAX_FILES

# Folders and links count too: each costs memory before the first file is packed.
MAX_ITEMS = 2 * MAX_FILES
# As many as Linux follows; a loop never ends.
MAX_HOPS = 40

_File = TypeVar("_File")


class Tree(Generic[_File]):
    """Gathers what an archive lists, in any order, and gives out files, links resolved."""

    def __init__(self) -> None:
        self._items = 0
        self._files: dict[str, _File] = {}
        self._links: dict[str, str] = {}

    def add_folder(self, name: str) -> None:
        """Takes note of a folder, which only counts: folders follow from the names of files."""
        self._items += 1
        if self._items > MAX_ITEMS:
            raise EntryError(f"{name!r}: expected at most {MAX_ITEMS} files, folders and links, got one more")

    def add_file(self, name: str, file: _File) -> None:
        """Takes a file in; EntryError if there is one of this name."""
        self._files[self._take(name)] = file

    def add_link(self, name: str, target: str) -> None:
        """Takes a link in; `target` is a path from the root of the tree.

        Raises:
            EntryError: the target is out of the tree, or there is a file or link of this name.
        """
        path = posixpath.normpath(target)
        if path.startswith(("/", "../")) or path == "..":
            raise EntryError(f"{name!r}: expected a link to a file within the tree, got one out of it: {target!r}")
        self._links[self._take(name)] = path

    def files(self) -> Iterator[tuple[str, _File]]:
        """Yields each name with its file, or with the file that its link stands for.

        Raises:
            EntryError: a link goes round in circles, or ends at something that is no file of the tree.
        """
        yield from self._files.items()
        for name in self._links:
            yield name, self._files[self._follow(name)]

    def _take(self, name: str) -> str:
        self.add_folder(name)
        name = name.removeprefix("./")  # as `tar -c .` writes
        if name in self._files or name in self._links:
            raise EntryError(f"{name!r}: expected each name once, got it twice")
        return name

    def _follow(self, name: str) -> str:
        here = name
        for _ in range(MAX_HOPS):
            here = self._links[here]
            if here in self._files:
                return here
            if here not in self._links:
                raise EntryError(f"{name!r}: expected a link to a file within the tree, got one to {here!r}")
        raise EntryError(f"{name!r}: expected a link that ends within {MAX_HOPS} steps, got more")
