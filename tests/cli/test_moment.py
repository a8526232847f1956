"""Moments on the command line."""

import pytest

from cli.exit import CommandError, Exit
from cli.moment import read_moment, show_moment


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("0", 0),
        ("1794000000", 1_794_000_000),
        ("2026-11-06T21:20", 1_794_000_000),
        ("2026-11-06T21:20:00Z", 1_794_000_000),
        ("2026-11-07T05:20+08:00", 1_794_000_000),
        ("2026-11-06", 1_793_923_200),
        ("+90s", 1_090),
        ("+30m", 2_800),
        ("+2h", 8_200),
        ("+3d", 260_200),
    ],
)
def test_moments(text: str, moment: int) -> None:
    """Seconds, dates with and without a zone, and times from now on."""
    assert read_moment(text, 1_000.9) == moment


@pytest.mark.parametrize(
    "text", ["", "now", "-1", "+2", "+2w", "1.5", "2026-13-01", "1969-01-01", "1" * 14, "+9999999999999d", "\u0661"]
)
def test_what_is_no_moment(text: str) -> None:
    """Anything else is refused, with what is expected."""
    with pytest.raises(CommandError, match="expected seconds since 1970") as caught:
        read_moment(text, 1_000)
    assert caught.value.exit_code == Exit.USAGE


def test_moments_are_shown() -> None:
    """In UTC; one beyond the calendar as it is."""
    assert show_moment(1_794_000_000) == "2026-11-06 21:20:00 UTC"
    assert show_moment(1 << 40) == str(1 << 40)
