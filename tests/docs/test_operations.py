"""The operators' page and the alarms: each names what there is, and each alarm has its line in the page."""

import re
from pathlib import Path

import pytest

from edge.admin import Host
from edge.cache import Cache
from edge.tally import Tally
from tests.end_to_end.town import ROOT

RULES = (ROOT / "config/prometheus/rules.yaml").read_text("utf-8")
PAGE = (ROOT / "docs/operations.md").read_text("utf-8")
ALARMS = re.findall(r"- alert: (\w+)", RULES)
RECORDED = re.findall(r"- record: ([\w:]+)", RULES)


def test_something_is_found() -> None:
    """There are alarms and indicators at all."""
    assert len(ALARMS) > 10
    assert len(RECORDED) == 2


@pytest.mark.parametrize("alarm", ALARMS)
def test_alarm_has_a_line_in_the_runbook(alarm: str) -> None:
    """Who is woken by it finds what it means and what to do."""
    row = next((line for line in PAGE.splitlines() if line.startswith("| `Graywave") and f"`{alarm}`" in line), "")
    assert [bool(cell.strip()) for cell in row.strip("|").split("|")] == [True, True, True]


def test_runbook_names_no_other_alarm() -> None:
    """A line for an alarm that is not there would mislead."""
    assert set(re.findall(r"`(Graywave\w+)`", PAGE)) == set(ALARMS)


def test_rules_name_metrics_that_there_are(tmp_path: Path) -> None:
    """Each metric in an expression is one that a host shows, or that the rules record."""
    cache = Cache(tmp_path)
    shown = Host([], {}, cache, Tally()).tell_metrics()
    cache.close()
    named = set(re.findall(r"\bgraywave_\w+", RULES))
    assert named
    assert named <= set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE))
    assert set(re.findall(r"\bgraywave:[\w:]+", RULES)) == set(RECORDED)


def test_expressions_are_whole() -> None:
    """No expression has lost a bracket, and each is there."""
    expressions = re.findall(r"expr: (?:>-\n)?(.*?)(?=\n {6,8}(?:[-#a-z]|$)|\Z)", RULES, re.DOTALL)
    assert len(expressions) == len(ALARMS) + len(RECORDED)
    for expression in expressions:
        assert expression.strip()
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression
