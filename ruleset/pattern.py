"""Patterns of user ids, as the shell has them, compiled to one question. PURE.

`*` is any text, `?` one character, `[ab]` one of them, `[!ab]` one other; case is never folded. Python's translation
never goes back into what a star has passed, so that an id costs each pattern one walk, whatever both are.
"""

import fnmatch
import re
from collections.abc import Callable, Sequence
from typing import Final

from ruleset.errors import DocumentError

# An id that fits none is held against each: 0.1 µs where patterns differ at their start, half a millisecond for the
# worst that an operator can write within these bounds (32 x `*aaa…b` asked about an id of 256 a).
MAX_PATTERNS: Final = 32
MAX_PATTERN_CHARS: Final = 64
MAX_STARS: Final = 4


def compile_patterns(patterns: Sequence[str], path: str) -> Callable[[str], object]:
    """Returns what is true of an id that fits one of the patterns.

    Raises:
        DocumentError: too many, one that is too long, or that has too many stars; `path` is that of the list.
    """
    if len(patterns) > MAX_PATTERNS:
        raise DocumentError(path, f"expected at most {MAX_PATTERNS} patterns, got {len(patterns)}")
    for i, pattern in enumerate(patterns):
        _check(pattern, f"{path}[{i}]")
    return re.compile("|".join(map(fnmatch.translate, patterns))).match if patterns else _fit_none


def _check(pattern: str, path: str) -> None:
    if not 1 <= len(pattern) <= MAX_PATTERN_CHARS:
        raise DocumentError(path, f"expected a pattern of 1 to {MAX_PATTERN_CHARS} characters, got {len(pattern)}")
    if pattern.count("*") > MAX_STARS:
        raise DocumentError(path, f"expected at most {MAX_STARS} stars in a pattern, got {pattern.count('*')}")


def _fit_none(_: str) -> object:
    return None
