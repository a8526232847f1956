"""What a process has cost its processor so far, as Linux accounts for it; which process that is, others know."""

import os
from dataclasses import dataclass
from pathlib import Path

TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
# Places of utime and stime in /proc/<pid>/stat, counted from the first field after the name: proc_pid_stat(5).
USER_FIELD, SYSTEM_FIELD = 11, 12


@dataclass(frozen=True, slots=True)
class Usage:
    """Processor seconds, of all threads together; or the difference between two readings."""

    user_s: float
    system_s: float

    @property
    def total_s(self) -> float:
        """User and system time together."""
        return self.user_s + self.system_s

    def __sub__(self, earlier: "Usage") -> "Usage":
        return Usage(self.user_s - earlier.user_s, self.system_s - earlier.system_s)


def parse_stat(text: str, ticks_a_second: int) -> Usage:
    """Returns what a line of /proc/<pid>/stat says; the process's name in it may hold blanks and parentheses.

    Raises:
        ValueError: the text is no such line.
    """
    fields = text.rpartition(")")[2].split()
    if len(fields) <= SYSTEM_FIELD:
        raise ValueError(f"expected a line of /proc/<pid>/stat, got {text[:80]!r}")
    return Usage(int(fields[USER_FIELD]) / ticks_a_second, int(fields[SYSTEM_FIELD]) / ticks_a_second)


def read_usage(pid: int) -> Usage:
    """Returns what a running process has used so far.

    Raises:
        OSError: there is no such process.
    """
    return parse_stat(Path(f"/proc/{pid}/stat").read_text(), TICKS_A_SECOND)
