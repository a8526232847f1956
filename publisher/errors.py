"""What can keep a document from being published; each error says who has to act."""


class PublisherError(Exception):
    """The base of every error that `publisher` raises."""


class BadDocumentError(PublisherError):
    """The document's author must mend it.

    Args:
        path: the JSON path of the place, `$` for the whole document.
        message: what was expected there and what was found.
    """

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}")
        self.path = path
        self.message = message


class BadRequestError(PublisherError):
    """The control plane must ask properly."""


class ConflictError(PublisherError):
    """The document is not at the revision that the author has seen: read it again."""


class PreconditionRequiredError(PublisherError):
    """The author has not said which revision the document replaces."""


class UnknownDocumentError(PublisherError):
    """There is no such document."""


class ContendedError(PublisherError):
    """Another publisher keeps writing to the same Redis: nothing was changed; try again, and stop one of the two."""


class KeyMismatchError(PublisherError):
    """The operator has configured keys, or a root, that do not belong together."""


class RootChainError(PublisherError):
    """The root that the operator has given does not follow those seen: bring the right one, or the ones between."""


class FastForwardError(PublisherError):
    """Redis is further than a publisher can have come: somebody has a channel key; the operator must replace it."""


class EpochExhaustedError(PublisherError):
    """No revision is left in this epoch: the operator must begin another one, with a new root."""


class SigningError(PublisherError):
    """A private key could not be used: its operator must act; try again."""


class StoreError(PublisherError):
    """The store cannot be opened, read or written: its operator must act."""


class BackupError(PublisherError):
    """A backup cannot be made, or not be put back: its operator must act; nothing was changed."""
