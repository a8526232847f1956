"""docs/settings.md: made from the settings' dataclasses, and current."""

from cli.reference import make_reference
from cli.serve import SETTINGS
from settings import describe
from tests.cli.conftest import Run
from tests.end_to_end.town import ROOT

PAGE = ROOT / "docs/settings.md"


def test_the_page_is_current() -> None:
    """What is in docs/ is what the servers read; where this fails: scripts/graywave reference > docs/settings.md."""
    assert PAGE.read_text("utf-8") == make_reference()


def test_every_setting_has_its_row() -> None:
    """Each server has each of its settings there once, with words about it."""
    rows = [line for line in make_reference().splitlines() if line.startswith("| `GRAYWAVE_")]
    expected = [
        f"{prefix}{row.name.upper()}"
        for cls, prefix, _ in (find() for find in SETTINGS.values())
        for row in describe(cls)
    ]
    assert [row.split("`")[1] for row in rows] == expected
    assert all(len(row.split(" | ")) == 5 and row.split(" | ")[4] != " |" for row in rows)


def test_no_machine_shows() -> None:
    """The page is the same on a machine with other cores, and shows no secret's default."""
    assert "| from the machine | worker processes" in make_reference()
    assert "***" not in make_reference()


def test_the_command_prints_it(run: Run) -> None:
    """The hidden command prints the page, byte for byte."""
    assert run("reference").stdout == make_reference()
