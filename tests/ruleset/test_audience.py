"""Audience documents: what is one, and what of it does not fit together."""

from typing import Any

import orjson
import pytest

from ruleset import DocumentError, check_audience, parse_audience
from ruleset.fingerprint import measure_file

SHA256 = "ab" * 32
FILE = {"key": "k1", "count": 100, "size": measure_file(100), "sha256": SHA256, "url": f"/v1/files/{SHA256}"}


def check(**members: Any) -> None:
    check_audience(parse_audience(orjson.dumps({"format": 1, "audience": "qa", **members})))


@pytest.mark.parametrize(
    "members",
    [FILE, {**FILE, "patterns": ["qa-*"]}, {"patterns": ["qa-*"] * 32}, {"removed": True}],
)
def test_what_fits_together(members: dict[str, Any]) -> None:
    """A file, patterns, both, or neither in one that is removed."""
    check(**members)


@pytest.mark.parametrize(
    ("members", "path", "message"),
    [
        ({}, "$", "expected sha256 or patterns, got neither: an audience of nobody (removed says that)"),
        ({**FILE, "key": ""}, "$.key", "expected one with sha256"),
        ({**FILE, "url": ""}, "$.url", "expected one with sha256"),
        ({**FILE, "count": 0}, "$.count", "expected one with sha256"),
        ({**FILE, "sha256": ""}, "$.key", "expected none without sha256"),
        ({"patterns": ["a"], "key": "k1"}, "$.key", "expected none without sha256"),
        ({**FILE, "size": 867}, "$.size", "expected 872, the bytes of 100 fingerprints, got 867"),
        ({"patterns": ["a", "*" * 5]}, "$.patterns[1]", "expected at most 4 stars in a pattern, got 5"),
        ({"patterns": ["a", "b" * 65]}, "$.patterns[1]", "expected a pattern of 1 to 64 characters, got 65"),
        ({**FILE, "removed": True}, "$.removed", "expected neither a file nor patterns in an audience that is"),
        ({"patterns": ["a"], "removed": True}, "$.removed", "expected neither a file nor patterns in an audience"),
    ],
)
def test_what_does_not_fit_together(members: dict[str, Any], path: str, message: str) -> None:
    """The path is that of the member to mend."""
    with pytest.raises(DocumentError) as caught:
        check(**members)
    assert caught.value.path == path
    assert caught.value.message.startswith(message)


@pytest.mark.parametrize(
    ("members", "path"),
    [
        ({"format": 2}, "$.format"),
        ({"audience": ""}, "$.audience"),
        ({"audience": "a" * 65}, "$.audience"),
        ({"sha256": "AB" * 32}, "$.sha256"),
        ({"count": 100_000_001}, "$.count"),
        ({"size": (1 << 30) + 1}, "$.size"),
        ({"patterns": ["a"] * 33}, "$.patterns"),
        ({"patterns": [""]}, "$.patterns[0]"),
        ({"users": ["a"]}, "$"),
    ],
)
def test_shapes_and_bounds(members: dict[str, Any], path: str) -> None:
    """Members that are unknown, of another type, or out of their bounds are refused with their path."""
    with pytest.raises(DocumentError) as caught:
        check(**members)
    assert caught.value.path == path
