"""The one writer of a workspace: keeps the truth of what is published, signs it, and brings it to Redis."""

from publisher.errors import (
    BadDocumentError,
    BadRequestError,
    ConflictError,
    ContendedError,
    EpochExhaustedError,
    FastForwardError,
    KeyMismatchError,
    PreconditionRequiredError,
    PublisherError,
    RootChainError,
    SigningError,
    StoreError,
    UnknownDocumentError,
)
from publisher.main import Running, run, serve
from publisher.settings import PREFIX, SECTION, Settings

__all__ = [
    "PREFIX",
    "SECTION",
    "BadDocumentError",
    "BadRequestError",
    "ConflictError",
    "ContendedError",
    "EpochExhaustedError",
    "FastForwardError",
    "KeyMismatchError",
    "PreconditionRequiredError",
    "PublisherError",
    "RootChainError",
    "Running",
    "Settings",
    "SigningError",
    "StoreError",
    "UnknownDocumentError",
    "run",
    "serve",
]
