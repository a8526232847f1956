"""Which part of a file is sent, as a request's conditions and its Range say (RFC 9110, sections 13 and 14). Pure.

A file is named by its hash and never changes: its hash is its entity tag, the same on every host, and it has no date.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

# One range of bytes; a list of them would let a client ask for the same bytes a thousand times in one answer.
_match_range: Final = re.compile(r"bytes=[ \t]*([0-9]*)-([0-9]*)[ \t]*", re.IGNORECASE | re.ASCII).fullmatch
_find_tags: Final = re.compile(r'(W/)?("[^"]*")').findall
# int() of a long text of digits takes quadratic time; a file has fewer than 10^19 bytes.
_MAX_DIGITS: Final = 20


@dataclass(frozen=True, slots=True)
class Part:
    """What is sent: `count` bytes from `start` on, none where the status is one without a body."""

    status: HTTPStatus
    start: int = 0
    count: int = 0


def choose_part(method: str, fields: Mapping[str, str], tag: str, size: int) -> Part:
    """Returns what a GET or HEAD is sent of a file.

    A Range that is no single range of bytes is passed over, as the RFC lets a server do: the whole file answers it.

    Args:
        method: GET or HEAD.
        fields: the request's, by names that are compared without case; of several of a name, joined by commas.
        tag: the file's entity tag, in quotes.
        size: in bytes.
    """
    matching, known = fields.get("If-Match"), fields.get("If-None-Match")
    if matching is not None and not _is_among(tag, matching, weakly=False):
        return Part(HTTPStatus.PRECONDITION_FAILED)
    if known is not None and _is_among(tag, known, weakly=True):
        return Part(HTTPStatus.NOT_MODIFIED)
    whole = Part(HTTPStatus.OK, 0, size)
    found = _match_range(fields.get("Range", ""))
    # A date is no name of this file, nor is another's tag: then the client begins anew.
    if found is None or method != "GET" or fields.get("If-Range", tag).strip() != tag:
        return whole
    return _cut(found[1], found[2], size) or whole


def _is_among(tag: str, field: str, *, weakly: bool) -> bool:
    return field.strip() == "*" or any(one == tag and (weakly or not weak) for weak, one in _find_tags(field))


def _cut(first: str, last: str, size: int) -> Part | None:
    """The bytes from first to last, or the last ones where there is no first; None where the two say nothing."""
    if not first and not last:
        return None
    if first and last and _read(first) > _read(last):
        return None
    start = _read(first) if first else max(size - _read(last), 0)
    end = min(_read(last) + 1, size) if first and last else size
    if start >= size:
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return Part(HTTPStatus.PARTIAL_CONTENT, start, end - start)


def _read(digits: str) -> int:
    return int(digits.lstrip("0")[:_MAX_DIGITS] or "0")
