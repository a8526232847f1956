"""Which revision an author has seen, as HTTP says it (RFC 9110, section 13): read from headers, and checked. Pure."""

import re
from dataclasses import dataclass
from typing import Self

from publisher.errors import BadRequestError, ConflictError, PreconditionRequiredError

ANY = "*"
# A list of entity tags; nobody has more than a few, and a long one wants the expression to work.
MAX_HEADER_CHARS = 1_024

_TAG = r'(?:W/)?"[\x21\x23-\x7e]*"'
_TAGS = re.compile(rf"{_TAG}(?:[ \t]*,[ \t]*{_TAG})*")


def make_tag(revision: int) -> str:
    """Returns the entity tag of a revision: its number in quotes."""
    return f'"{revision}"'


def read_tags(header: str, value: str | None) -> frozenset[str] | None:
    """Returns the entity tags, or ANY, that a header's value lists; None where there is no such header.

    Raises:
        BadRequestError: the value is neither `*` nor a list of tags in quotes.
    """
    if value is None:
        return None
    text = value.strip()
    if text == ANY:
        return frozenset({ANY})
    if len(text) > MAX_HEADER_CHARS or not _TAGS.fullmatch(text):
        raise BadRequestError(f'expected * or a revision in double quotes in {header}, like "7", got {text[:40]!r}')
    return frozenset(re.findall(_TAG, text))


@dataclass(frozen=True, slots=True)
class Precondition:
    """What must hold of the current revision; `match` from If-Match, `none_match` from If-None-Match."""

    match: frozenset[str] | None = None
    none_match: frozenset[str] | None = None

    @classmethod
    def read(cls, if_match: str | None, if_none_match: str | None) -> Self:
        """Returns what two headers ask for; raises BadRequestError."""
        return cls(read_tags("If-Match", if_match), read_tags("If-None-Match", if_none_match))

    def check_write(self, revision: int | None) -> None:
        """Returns if a document at this revision (None: there is none) may be replaced.

        Raises:
            PreconditionRequiredError: it exists and nothing was said.
            ConflictError: what was said does not hold.
        """
        if self.match is None and self.none_match is None and revision is not None:
            raise PreconditionRequiredError(f"expected If-Match with the revision to replace ({make_tag(revision)})")
        if self.match is not None and not self._is_matched(revision):
            raise ConflictError(f"expected the document at {_show(self.match)}, found it {_say(revision)}")
        if self.none_match is not None and is_listed(self.none_match, revision):
            raise ConflictError(f"expected no document at {_show(self.none_match)}, found it {_say(revision)}")

    def _is_matched(self, revision: int | None) -> bool:
        # Strong comparison: a weak tag never matches.
        return revision is not None and self.match is not None and not self.match.isdisjoint({ANY, make_tag(revision)})


def is_listed(tags: frozenset[str], revision: int | None) -> bool:
    """Returns whether a document at this revision (None: there is none) is among the tags, weak ones included."""
    return revision is not None and not tags.isdisjoint({ANY, make_tag(revision), "W/" + make_tag(revision)})


def _show(tags: frozenset[str]) -> str:
    return ", ".join(sorted(tags))[:100]


def _say(revision: int | None) -> str:
    return "nowhere" if revision is None else f"at {make_tag(revision)}"
