"""The pages of promises: each test that they name is there, each promise names one, each alarm is in the runbook."""

import re
from pathlib import Path

import pytest

from tests.docs.page import list_tests, read_tests
from tests.docs.test_operations import ALARMS
from tests.end_to_end.town import ROOT

TESTS = set(list_tests(*(path for path in (ROOT / "tests").iterdir() if path.is_dir())))
PAGES = [ROOT / "docs" / name for name in ("threat-model.md", "privacy.md", "operations.md")]
# By the last heading of a table's row.
PROMISED = ("tests", "held by")

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def find_rows(text: str) -> list[list[str]]:
    """Returns the rows of the tables whose last column is of tests, as cells, headings and rules left out."""
    found: list[list[str]] = []
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        head, _, *rows = ([cell.strip() for cell in line.strip().strip("|").split("|")] for line in table.splitlines())
        found += rows if head[-1] in PROMISED else []
    return found


@pages
def test_every_test_is_there(page: Path) -> None:
    """A promise whose test was renamed or removed is noticed."""
    named = read_tests(page.read_text("utf-8"))
    assert named
    assert sorted(set(named) - TESTS) == []


@pytest.mark.parametrize("name", ["threat-model.md", "privacy.md"])
def test_every_promise_has_its_test(name: str) -> None:
    """A row ends in tests, or in another page; a dash or an empty cell says that it promises nothing of its own."""
    rows = find_rows((ROOT / "docs" / name).read_text("utf-8"))
    assert len(rows) > 10
    assert [row for row in rows if not read_tests(row[-1]) and row[-1] not in {"-", "", "attacks.md"}] == []
    assert len([row for row in rows if read_tests(row[-1])]) > len(rows) - 5


def test_every_alarm_is_one() -> None:
    """What the threat model says of alarms, the runbook has."""
    named = set(re.findall(r"`(Graywave\w+)`", PAGES[0].read_text("utf-8")))
    assert named
    assert named <= set(ALARMS)
