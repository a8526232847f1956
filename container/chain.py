"""The newest root that a container knows: the shipped ones, and those that followed them; each verified anew at load.

What lies on the disk is believed no more than what comes from an edge: each root is signed by the one before it, and
the first is pinned.
"""

from collections.abc import Callable

from container.config import Config
from container.errors import VerificationError
from container.storage import Storage
from trust import Root, TrustError, read_root, read_successor

# How many roots are followed in one update: a root each year for a lifetime. An edge that names a root of the far
# future would keep a device asking.
MAX_STEPS = 64

Fetch = Callable[[int], bytes]


class Chain:
    """The roots of a workspace, from the last one that was shipped on."""

    def __init__(self, config: Config, storage: Storage) -> None:
        self._shipped = config.root
        self._storage = storage

    @property
    def root(self) -> Root:
        """The newest root that is known."""
        return self._load()[1]

    def follow(self, number: int, fetch: Fetch) -> Root:
        """Returns the newest root once those up to `number`, if there are such, were fetched, verified and kept.

        Needs the storage's lock where there is anything to keep.

        Raises:
            NetworkError, EdgeError: what `fetch` raises; those before it are kept.
            VerificationError: "root_refused": one does not follow that before it.
            StorageError: they cannot be kept.
        """
        documents, root = self._load()
        known = len(documents)
        try:
            for wanted in range(root.number + 1, min(number, root.number + MAX_STEPS) + 1):
                document = fetch(wanted)
                root = _verify(document, root)
                documents.append(document)
        finally:
            if len(documents) > known:
                self._storage.save_roots(documents)
        return root

    def _load(self) -> tuple[list[bytes], Root]:
        """The kept documents that follow the shipped root, and the last root; what does not follow is left out."""
        documents, root = [], self._shipped
        for document in self._storage.load_roots():
            try:
                if read_root(document).number > self._shipped.number:
                    root = read_successor(document, root)
                    documents.append(document)
            except TrustError:
                break
        return documents, root


def _verify(document: bytes, before: Root) -> Root:
    try:
        return read_successor(document, before)
    except TrustError as error:
        raise VerificationError(f"root {before.number + 1}: {error}", "root_refused") from error
