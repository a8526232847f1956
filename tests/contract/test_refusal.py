"""The limits of a check's body, where the vectors do not reach."""

import pytest

from contract.refusal import refuse

WELL_FORMED = b'{"workspace":"demo","device":{"id":"d","platform":"ios"},"programs":{"p":""}}'


def test_admits_what_is_well_formed() -> None:
    """The least question there is gets an answer."""
    assert refuse(WELL_FORMED, {"demo"}) is None


def test_a_workspace_must_be_served() -> None:
    """A well-formed question to a workspace that is not here is told so."""
    assert refuse(WELL_FORMED, {"other"}) == (404, "unknown_workspace")


@pytest.mark.parametrize("blanks", [65_536 - len(WELL_FORMED), 65_537 - len(WELL_FORMED)], ids=["most", "too_many"])
def test_limit_of_a_body(blanks: int) -> None:
    """65,536 bytes are read, one more is not."""
    body = WELL_FORMED + b" " * blanks
    assert refuse(body, {"demo"}) == (None if len(body) == 65_536 else (413, "too_large"))


@pytest.mark.parametrize("constant", [b"NaN", b"Infinity", b"-Infinity"])
def test_constants_are_no_json(constant: bytes) -> None:
    """What Python's reader would take for a number is refused."""
    assert refuse(WELL_FORMED[:-1] + b',"x":' + constant + b"}", {"demo"}) == (400, "malformed_json")
