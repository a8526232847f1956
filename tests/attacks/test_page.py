"""docs/attacks.md names the tests of this folder: each of them, and no other; and reasons that there are."""

import re
from pathlib import Path
from typing import get_args

from container.errors import Reason
from tests.docs.page import list_tests, read_tests

FOLDER = Path(__file__).parent
PAGE = (FOLDER.parents[1] / "docs/attacks.md").read_text("utf-8")


def test_every_attack_has_its_test() -> None:
    """Every test that the page names is there once, and every test that is there is named once."""
    own = [name for name in globals() if name.startswith("test_")]
    assert sorted([*read_tests(PAGE), *own]) == list_tests(FOLDER)


def test_every_reason_is_one() -> None:
    """What the page calls a reason is one of the closed list."""
    rows = [line.split("|")[3] for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 5]
    assert set(re.findall(r"`(\w+)`", " ".join(rows))) <= set(get_args(Reason))
    assert rows
