"""Tests of edge/quota.py."""

import pytest

from edge.errors import FloodError
from edge.quota import Quota


def test_rate_is_each_workspace_s_own() -> None:
    """One workspace's requests take nothing from another's, and each second begins anew."""
    quota = Quota({"a": 2, "b": 2}, {})
    for now in (5, 6):
        for workspace in ("a", "b"):
            quota.admit(workspace, object(), now)
            quota.admit(workspace, object(), now)
            with pytest.raises(FloodError, match=f"at most 2 requests for workspace '{workspace}' a second") as caught:
                quota.admit(workspace, object(), now)
            assert (caught.value.code, caught.value.status, caught.value.closes) == ("overloaded", 429, False)


def test_connections_are_the_first_workspace_s() -> None:
    """A connection counts once, for the workspace that it asked for first; one too many is to end."""
    quota = Quota({}, {"a": 2})
    first, second, third = object(), object(), object()
    for connection in (first, first, second):
        quota.admit("a", connection, 5)
    quota.admit("b", first, 5)
    with pytest.raises(FloodError, match="at most 2 connections for workspace 'a', got more") as caught:
        quota.admit("a", third, 5)
    assert caught.value.closes
    quota.admit("b", third, 5)


def test_connection_that_ends_makes_room() -> None:
    """What has ended counts no more, and one that never counted may end, too."""
    quota = Quota({}, {"a": 1})
    first, second = object(), object()
    quota.admit("a", first, 5)
    quota.release(second)
    quota.release(first)
    quota.release(first)
    quota.admit("a", second, 5)
    with pytest.raises(FloodError):
        quota.admit("a", first, 5)


def test_connection_that_is_handed_over_is_the_same() -> None:
    """Another protocol that goes on with it takes its place."""
    quota = Quota({}, {"a": 1})
    first, second = object(), object()
    quota.admit("a", first, 5)
    quota.replace(first, second)
    quota.replace(first, object())
    quota.admit("a", second, 5)
    quota.release(second)
    quota.admit("a", first, 5)


def test_who_is_not_named_has_no_limit() -> None:
    """A limit is a workspace's own."""
    quota = Quota({"a": 1}, {"a": 1})
    for _ in range(5):
        quota.admit("b", object(), 5)
