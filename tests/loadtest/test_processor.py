"""Processor time is read from /proc as Linux writes it."""

import os

import pytest

from loadtest.processor import Usage, parse_stat, read_usage

LINE = "4711 (worker) S 1 4711 4711 0 -1 4194560 100 0 0 0 1234 567 89 10 20 0 1 0 100 1 1"


def test_user_and_system_time_are_the_fourteenth_and_fifteenth_field() -> None:
    """The ticks of fields 14 and 15 become seconds; the children's times behind them do not count."""
    assert parse_stat(LINE, 100) == Usage(user_s=12.34, system_s=5.67)


@pytest.mark.parametrize("name", ["(sd-pam)", "a b) c", "x (y", ") 9 9"])
def test_the_name_of_a_process_may_be_anything(name: str) -> None:
    """Blanks and parentheses in the name move no field."""
    assert parse_stat(LINE.replace("(worker)", f"({name})"), 100) == parse_stat(LINE, 100)


def test_another_text_is_refused() -> None:
    """A text that is no such line is named."""
    with pytest.raises(ValueError, match="expected a line of /proc/<pid>/stat, got '4711'"):
        parse_stat("4711", 100)


def test_usages_are_subtracted_part_by_part() -> None:
    """The difference of two readings has user and system time of its own, and a total."""
    used = Usage(3.0, 2.0) - Usage(1.0, 0.5)
    assert (used.user_s, used.system_s, used.total_s) == (2.0, 1.5, 3.5)


def test_the_own_process_has_used_time() -> None:
    """A real process that computes is seen to use time."""
    before = read_usage(os.getpid())
    while (read_usage(os.getpid()) - before).total_s <= 0:
        sum(range(10_000))
