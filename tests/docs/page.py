"""The project's pages as tests read them: blocks of code, spans of code, links."""

import ast
import re
from pathlib import Path
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


def list_tests(*folders: Path) -> list[str]:
    """Returns the names of the tests in some folders, in order, each as often as it is there."""
    trees = [ast.parse(path.read_text("utf-8")) for folder in folders for path in sorted(folder.glob("test_*.py"))]
    functions = [
        node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return sorted(node.name for node in functions if node.name.startswith("test_"))


def read_tests(text: str) -> list[str]:
    """Returns the names of tests that a page has in backticks."""
    return re.findall(r"`(test_\w+)`", text)
