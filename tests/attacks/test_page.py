"""docs/attacks.md names the tests of this folder: each of them, and no other; and reasons that there are."""

import ast
import re
from pathlib import Path
from typing import get_args

from container.errors import Reason

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs/attacks.md").read_text("utf-8")


def list_tests() -> list[str]:
    """Returns the names of the suite's tests, those of this file aside."""
    trees = [ast.parse(path.read_text("utf-8")) for path in FOLDER.glob("test_*.py") if path != Path(__file__)]
    functions = [node for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)]
    return sorted(node.name for node in functions if node.name.startswith("test_"))


def test_every_attack_has_its_test() -> None:
    """Every test that the page names is there once, and every test that is there is named once."""
    assert sorted(re.findall(r"`(test_\w+)`", PAGE)) == list_tests()


def test_every_reason_is_one() -> None:
    """What the page calls a reason is one of the closed list."""
    rows = [line.split("|")[3] for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 5]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) <= set(get_args(Reason))
    assert rows
