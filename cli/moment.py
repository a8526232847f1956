"""Moments as people write them on the command line, and seconds since 1970 as people read them."""

import re
import time
from datetime import UTC, datetime
from typing import Final

import click

from cli.exit import CommandError, Exit

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_EXPECTED: Final = "expected seconds since 1970, 2026-01-31T09:00 (UTC unless it says otherwise), or +30m, +2h, +3d"
# The largest that a document takes; see `ruleset/model.py`.
_MAX: Final = (1 << 40) - 1
# int() of a long text of digits takes quadratic time.
_MAX_DIGITS: Final = 13


def read_moment(text: str, now: float) -> int:
    """Returns a moment in seconds since 1970: those, a date and time (UTC where it has no zone), or a time from now on.

    Raises:
        CommandError: it is none of these.
    """
    later = re.fullmatch(rf"\+([0-9]{{1,{_MAX_DIGITS}}})([smhd])", text)
    if later:
        moment = int(now) + int(later[1]) * _UNITS[later[2]]
    elif re.fullmatch(rf"[0-9]{{1,{_MAX_DIGITS}}}", text):
        moment = int(text)
    else:
        moment = _read_date(text)
    if not 0 <= moment <= _MAX:
        raise CommandError(f"{_EXPECTED}, got {text!r}", Exit.USAGE)
    return moment


def _read_date(text: str) -> int:
    try:
        date = datetime.fromisoformat(text)
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, OverflowError):
        raise CommandError(f"{_EXPECTED}, got {text!r}", Exit.USAGE) from None


def show_moment(seconds: int) -> str:
    """Returns a moment as a date and time in UTC, to the second."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)


def take_moment(_ctx: click.Context, _param: click.Parameter, text: str | None) -> int | None:
    """Makes an option's text a moment, as its callback."""
    return None if text is None else read_moment(text, time.time())
