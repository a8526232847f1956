"""Patterns: what fits, what is refused, and that none can be made to walk for long."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset.errors import DocumentError
from ruleset.pattern import MAX_PATTERN_CHARS, MAX_PATTERNS, MAX_STARS, compile_patterns

LETTERS = st.text(alphabet="ab-*?[]!.\\|", min_size=1, max_size=10)


@pytest.mark.parametrize(
    ("pattern", "fits", "not_fits"),
    [
        ("qa-*", ["qa-", "qa-1", "qa-\n"], ["QA-1", "qa", "xqa-1", ""]),
        ("*@example.com", ["a@example.com", "@example.com"], ["a@exampleXcom", "a@example.com.cn", "a@Example.com"]),
        ("u-?", ["u-1", "u-杭"], ["u-", "u-12"]),
        ("u-[0-4]", ["u-0", "u-4"], ["u-5", "u-"]),
        ("u-[!0-4]", ["u-5", "u-x"], ["u-0"]),
        ("u-[*]", ["u-*"], ["u-1"]),
        ("[", ["["], ["a"]),
        ("a|b", ["a|b"], ["a", "b"]),
        ("a\\b", ["a\\b"], ["ab"]),
        ("[a&&b]", ["a", "&"], ["c"]),
        ("[b-a]", [], ["a", "b"]),
        ("*", ["", "x" * 256], []),
    ],
)
def test_what_fits_a_pattern(pattern: str, fits: list[str], not_fits: list[str]) -> None:
    """The shell's rules, over the whole id, with exact case."""
    match = compile_patterns([pattern], "$.patterns")
    assert [text for text in fits if not match(text)] == []
    assert [text for text in not_fits if match(text)] == []


@given(st.lists(LETTERS.filter(lambda text: text.count("*") <= MAX_STARS), max_size=5), LETTERS)
def test_any_of_several_fits(patterns: list[str], text: str) -> None:
    """Compiled into one, they say what they say one by one."""
    expected = any(fnmatch.fnmatchcase(text, pattern) for pattern in patterns)
    assert bool(compile_patterns(patterns, "$")(text)) == expected


def test_the_worst_pattern_ends() -> None:
    """What makes a backtracking matcher walk 256^5 steps is answered within a test's patience."""
    worst = ["*" + "a*" * (MAX_STARS - 1) + "a" * 50 + "b"] * MAX_PATTERNS
    match = compile_patterns(worst, "$")
    assert not any(match("a" * 255 + str(i % 10)) for i in range(100))


@pytest.mark.parametrize(
    ("patterns", "path", "message"),
    [
        (["a"] * (MAX_PATTERNS + 1), "$.patterns", "expected at most 32 patterns, got 33"),
        (["a", ""], "$.patterns[1]", "expected a pattern of 1 to 64 characters, got 0"),
        (["a" * (MAX_PATTERN_CHARS + 1)], "$.patterns[0]", "expected a pattern of 1 to 64 characters, got 65"),
        (["a", "b", "*a" * 5], "$.patterns[2]", "expected at most 4 stars in a pattern, got 5"),
    ],
)
def test_what_is_out_of_bounds_is_refused(patterns: list[str], path: str, message: str) -> None:
    """With the path of the place."""
    with pytest.raises(DocumentError) as caught:
        compile_patterns(patterns, "$.patterns")
    assert (caught.value.path, caught.value.message) == (path, message)
