"""Errors: one base for the package, and a document's error knows its place and its words apart."""

import pytest

from ruleset.errors import DocumentError, RulesetError, VersionError


def test_a_document_error_is_its_place_and_its_words() -> None:
    """The text is path and message; both can be had alone, as the publisher's answer has them."""
    error = DocumentError("$.releases[0].who", "expected users")
    assert str(error) == "$.releases[0].who: expected users"
    assert (error.path, error.message) == ("$.releases[0].who", "expected users")


@pytest.mark.parametrize("kind", [DocumentError, VersionError])
def test_every_error_has_the_base_of_the_package(kind: type[Exception]) -> None:
    """Who catches RulesetError catches all."""
    assert issubclass(kind, RulesetError)
