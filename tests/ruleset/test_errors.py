"""Errors: one base for the package, and a document's error has its place and its words apart, both fit to be shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset.errors import MAX_MESSAGE_CHARS, DocumentError, RulesetError, VersionError


def test_a_document_error_is_its_place_and_its_words() -> None:
    """The text is path and message; both can be had alone, as the publisher's answer has them."""
    error = DocumentError("$.releases[0].who", "expected users")
    assert str(error) == "$.releases[0].who: expected users"
    assert (error.path, error.message) == ("$.releases[0].who", "expected users")


@pytest.mark.parametrize("kind", [DocumentError, VersionError])
def test_every_error_has_the_base_of_the_package(kind: type[Exception]) -> None:
    """Who catches RulesetError catches all."""
    assert issubclass(kind, RulesetError)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31m", r"\x1b[31m"),
        ("a\nb\tc\0", r"a\nb\tc\x00"),
        ("\u202eb", r"\u202eb"),
        ("\ud800", r"\ud800"),
        ("\u5317\u4eac\n", "\u5317\u4eac\\n"),
        ('it\'s `a` \\ "b"', 'it\'s `a` \\ "b"'),
        ("", ""),
    ],
)
def test_what_cannot_be_printed_is_escaped(text: str, shown: str) -> None:
    """Control characters, also those that turn the direction of a line, are escaped; every other text stays."""
    error = DocumentError(text, text)
    assert (error.path, error.message, str(error)) == (shown, shown, f"{shown}: {shown}")


def test_a_text_of_the_bound_is_shown_whole() -> None:
    """500 characters are shown, of the 501st on there is an ellipsis."""
    assert MAX_MESSAGE_CHARS == 500
    assert DocumentError("$", "x" * 500).message == "x" * 500
    assert DocumentError("$", "x" * 501).message == "x" * 500 + "\u2026"
    assert DocumentError("$" * 1_000_000, "").path == "$" * 500 + "\u2026"


def test_escapes_count() -> None:
    """A text of control characters is no longer than any other once it is escaped."""
    assert DocumentError("$", "\x1b" * 125).message == r"\x1b" * 125
    assert DocumentError("$", "\x1b" * 126).message == r"\x1b" * 125 + "\u2026"


@given(st.text(max_size=20) | st.text(st.sampled_from("x\x1b\u2026\\"), min_size=495, max_size=505))
def test_what_is_shown_is_shown_the_same_again(text: str) -> None:
    """An error that is raised anew with a longer path keeps its words."""
    error = DocumentError("$", text)
    assert error.message.isprintable()
    assert len(error.message) <= MAX_MESSAGE_CHARS + 1
    assert DocumentError("$.here", error.message).message == error.message
