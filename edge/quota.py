"""What one workspace may take of a worker, so that the flood of one harms no other: requests and connections. PURE.

A connection is the workspace's that its first request asks for.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

from edge.allowance import Allowance
from edge.errors import FloodError

# How long a connection is not served on which one request too many has come, in seconds: a flood of many requests on
# one connection costs one answer in that time.
REST_S: Final = 1.0


class Quota:
    """The limits of workspaces; one that is not named has none.

    Args:
        rates: requests a second, by workspace.
        connections: open at a time, by workspace.
    """

    def __init__(self, rates: Mapping[str, int], connections: Mapping[str, int]) -> None:
        self._connections = connections
        self._allowances = {
            name: Allowance(rate, f"requests for workspace {name!r}", FloodError) for name, rate in rates.items()
        }
        self._owners: dict[object, str] = {}
        self._counts: Counter[str] = Counter()

    def admit(self, workspace: str, connection: object, now: int) -> None:
        """Counts a request for a workspace that is served, in the second `now`.

        Raises:
            FloodError: `overloaded`, the workspace has what it may have.
        """
        if self._connections and connection not in self._owners:
            self._own(workspace, connection)
        allowance = self._allowances.get(workspace)
        if allowance is not None:
            allowance.spend(now)

    def _own(self, workspace: str, connection: object) -> None:
        limit = self._connections.get(workspace)
        if limit is not None and self._counts[workspace] >= limit:
            message = f"expected at most {limit} connections for workspace {workspace!r}, got more"
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
