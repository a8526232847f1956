"""What one workspace may take of a worker, so that the flood of one harms no other: requests and connections. PURE.

A connection is the workspace's that its first request asks for.
"""

from collections import Counter
from typing import Final

from edge.allowance import Allowance
from edge.errors import FloodError

# How long a connection is not served on which one request too many has come, in seconds: a flood of many requests on
# one connection costs one answer in that time.
REST_S: Final = 1.0


class Quota:
    """The same limits for each workspace.

    Args:
        rate: requests a second; 0 for any number.
        connections: open at a time; 0 for any number.
    """

    def __init__(self, rate: int, connections: int) -> None:
        self._rate, self._connections = rate, connections
        self._allowances: dict[str, Allowance] = {}
        self._owners: dict[object, str] = {}
        self._counts: Counter[str] = Counter()

    def admit(self, workspace: str, connection: object, now: int) -> None:
        """Counts a request for a workspace that is served, in the second `now`.

        Raises:
            FloodError: `overloaded`, the workspace has what it may have.
        """
        if self._connections and connection not in self._owners:
            self._own(workspace, connection)
        if self._rate:
            allowance = self._allowances.get(workspace)
            if allowance is None:
                what = f"requests for workspace {workspace!r}"
                allowance = self._allowances[workspace] = Allowance(self._rate, what, FloodError)
            allowance.spend(now)

    def _own(self, workspace: str, connection: object) -> None:
        if self._counts[workspace] >= self._connections:
            message = f"expected at most {self._connections} connections for workspace {workspace!r}, got more"
            raise FloodError("overloaded", message, closes=True)
        self._owners[connection] = workspace
        self._counts[workspace] += 1

    def replace(self, connection: object, successor: object) -> None:
        """Lets another protocol serve a connection."""
        if connection in self._owners:
            self._owners[successor] = self._owners.pop(connection)

    def release(self, connection: object) -> None:
        """Forgets a connection that has ended."""
        workspace = self._owners.pop(connection, None)
        if workspace is not None:
            self._counts[workspace] -= 1
