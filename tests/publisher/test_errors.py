"""Who must act is told by the class."""

import publisher
from publisher import BadDocumentError, PublisherError


def test_all_are_publisher_errors() -> None:
    """A caller catches everything of this package by one class."""
    errors = [getattr(publisher, name) for name in publisher.__all__ if name.endswith("Error")]
    assert len(errors) == 13
    assert all(issubclass(error, PublisherError) for error in errors)


def test_bad_document_names_its_place() -> None:
    """The author learns where, and what was expected there."""
    error = BadDocumentError("$.releases[0]", "expected this, got that")
    assert str(error) == "$.releases[0]: expected this, got that"
    assert (error.path, error.message) == ("$.releases[0]", "expected this, got that")
