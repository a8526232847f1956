"""What a client would like of its answer (RFC 7240): of all preferences one is known, how long it waits for news. PURE.

A preference that cannot be read is none: nobody is refused for what is only a wish.
"""

import re
from collections.abc import Iterable
from typing import Final

PREFER: Final = b"prefer"
# The longest that a check is held, in seconds: proxies give a silent connection up after 60.
MAX_WAIT_S: Final = 50
# Longer wishes are not read: finding the quotes in one takes quadratic time.
MAX_PREFER_BYTES: Final = 256
# What stands between commas, and before semicolons; within quotes neither counts.
_find_items: Final = re.compile(rb'(?:[^,"]|"(?:[^"\\]|\\.)*"|")+').findall
_read_wait: Final = re.compile(
    rb'[ \t]*wait[ \t]*(?:=[ \t]*(?:([0-9]+)|"([0-9]+)"))?[ \t]*(;.*)?', re.IGNORECASE | re.DOTALL
).fullmatch
_is_wait: Final = re.compile(rb"[ \t]*wait[ \t]*(?:[=;]|$)", re.IGNORECASE).match


def read_wait(values: Iterable[bytes]) -> int:
    """Returns how many seconds a client would wait, at most MAX_WAIT_S; 0 where it says nothing of it that can be read.

    Args:
        values: of the request's Prefer fields, in their order. Of several waits the first counts (RFC 7240, 2).
    """
    text = b",".join(values)
    if len(text) > MAX_PREFER_BYTES:
        return 0
    for item in _find_items(text):
        if _is_wait(item):
            found = _read_wait(item)
            return min(int(found[1] or found[2] or 0), MAX_WAIT_S) if found else 0
    return 0


def name_applied(wait_s: int) -> str:
    """Returns the value of the field Preference-Applied that says that a check was held."""
    return f"wait={wait_s}"
