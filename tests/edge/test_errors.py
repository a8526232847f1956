"""Tests of edge/errors.py."""

from http import HTTPStatus

import orjson
import pytest

from edge.errors import STATUSES, CacheDamageError, CacheError, EdgeError, FloodError, RefusedError


@pytest.mark.parametrize("code", STATUSES)
def test_refusal_tells_code_and_message(code: str) -> None:
    """Every code has its status and the body that the contract knows."""
    error = RefusedError(code, 'expected "this"')
    assert error.status is STATUSES[code]
    assert error.status >= HTTPStatus.BAD_REQUEST
    assert orjson.loads(error.body) == {"error": {"code": code, "message": 'expected "this"'}}
    assert (str(error), error.closes) == ('expected "this"', False)


def test_codes_keep_their_statuses() -> None:
    """Clients branch on these: none changes."""
    assert {code: status.value for code, status in STATUSES.items()} == {
        "malformed_request": 400,
        "malformed_json": 400,
        "missing_field": 400,
        "bad_field": 400,
        "too_many_programs": 400,
        "unknown_workspace": 404,
        "not_found": 404,
        "method_not_allowed": 405,
        "not_acceptable": 406,
        "length_required": 411,
        "too_large": 413,
        "unsupported_media_type": 415,
        "expectation_failed": 417,
        "internal_error": 500,
        "overloaded": 503,
        "no_ruleset": 503,
    }


def test_refusal_may_close() -> None:
    """Where the next request begins is unknown after some refusals."""
    assert RefusedError("malformed_request", "no", closes=True).closes


def test_errors_have_one_base() -> None:
    """Whoever catches EdgeError has caught all; damage is a kind of cache trouble."""
    assert issubclass(RefusedError, EdgeError)
    assert issubclass(CacheDamageError, CacheError)
    assert issubclass(CacheError, EdgeError)


def test_flood_has_a_status_of_its_own() -> None:
    """The code says what is wrong, the status whose doing it is."""
    error = FloodError("overloaded", "no")
    assert (error.status, error.code, isinstance(error, RefusedError)) == (429, "overloaded", True)
