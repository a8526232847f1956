"""The project's pages as tests read them: blocks of code, spans of code, links."""

import re
from typing import NamedTuple

from tests.end_to_end.town import ROOT

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "docs/adr/*.md", "contract/*.md")
    for path in ROOT.glob(pattern)
)  # fmt: skip
_BLOCK = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    """A block of code, and its language."""

    language: str
    text: str


def read_blocks(text: str) -> list[Block]:
    """Returns a page's blocks of code, in their order."""
    return [Block(*found) for found in _BLOCK.findall(text)]


def read_spans(text: str) -> list[str]:
    """Returns what a page has in backticks, blocks aside."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", _BLOCK.sub("", text))]


def read_links(text: str) -> list[str]:
    """Returns where a page's links lead."""
    return re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", text))
