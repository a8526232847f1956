"""What a device is told when its request is refused: a closed set of codes, each with its status, and their JSON."""

from http import HTTPStatus
from typing import Final

import orjson

STATUSES: Final = {
    "malformed_request": HTTPStatus.BAD_REQUEST,
    "malformed_json": HTTPStatus.BAD_REQUEST,
    "missing_field": HTTPStatus.BAD_REQUEST,
    "bad_field": HTTPStatus.BAD_REQUEST,
    "too_many_programs": HTTPStatus.BAD_REQUEST,
    "unknown_workspace": HTTPStatus.NOT_FOUND,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "not_acceptable": HTTPStatus.NOT_ACCEPTABLE,
    "length_required": HTTPStatus.LENGTH_REQUIRED,
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "expectation_failed": HTTPStatus.EXPECTATION_FAILED,
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "no_ruleset": HTTPStatus.SERVICE_UNAVAILABLE,
}
# How long a device waits after a 429 or 503 that says nothing better, in whole seconds.
RETRY_AFTER_S = 5
# The statuses that are told with a Retry-After.
RETRIED: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class EdgeError(Exception):
    """The base of every error that `edge` raises."""


class CacheError(EdgeError):
    """The host's `edge.db` cannot be used; the operator must look at the data folder's disk."""


class DiskError(CacheError):
    """The disk of the data folder takes nothing; the syncer goes on in memory until it does."""


class CacheDamageError(CacheError):
    """The host's `edge.db` is damaged: the syncer must begin anew, and sets it aside."""


class RefusedError(EdgeError):
    """A request that gets an error instead of an answer.

    Args:
        code: one of STATUSES; a code never changes its meaning.
        message: what was expected and what came, for the client's developer.
        closes: the connection cannot go on, because where the next request begins is unknown.
        retry_after_s: when to come again, in whole seconds; told where the status is one of RETRIED.
    """

    def __init__(self, code: str, message: str, *, closes: bool = False, retry_after_s: int = RETRY_AFTER_S) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.closes = closes
        self.retry_after_s = retry_after_s

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status of the code."""
        return STATUSES[self.code]

    @property
    def body(self) -> bytes:
        """The JSON body: `{"error":{"code":…,"message":…}}`."""
        return orjson.dumps({"error": {"code": self.code, "message": self.message}})


class FloodError(RefusedError):
    """A workspace takes more of a worker than it may; its connections are not read for a while."""

    @property
    def status(self) -> HTTPStatus:
        """429: it is this workspace that has to ask less, not the edge that has too much to do."""
        return HTTPStatus.TOO_MANY_REQUESTS


class RefillError(EdgeError):
    """A host's file, or a Redis, is not such that one could be refilled from the other: its operator must act."""
