"""How many descriptors this process may have, and how many of them its connections may take."""

import logging
import resource
from typing import Final

# Those that are no connections: edge.db, files on their way to devices, slots and pages of 64 workers, libraries; and
# those that were accepted beyond the limit and are not closed before the loop's turn ends. Where none are left, libuv
# accepts and closes whoever comes, and a connection that another worker gives is lost.
RESERVED: Final = 1_024
# Of a small limit connections get at least this share.
LEAST_SHARE: Final = 0.5

_log = logging.getLogger("graywave.edge")


def raise_limit() -> int:
    """Takes as many descriptors as the system lets this process have; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def bound_connections(wanted: int, limit: int) -> int:
    """Returns how many connections a process with so many descriptors may have, at most those that are wanted."""
    if limit == resource.RLIM_INFINITY:
        return wanted
    room = max(limit - RESERVED, int(limit * LEAST_SHARE))
    if room < wanted:
        _log.warning(
            "expected descriptors for %d connections, got %d in all: at most %d connections", wanted, limit, room
        )
    return min(wanted, room)
