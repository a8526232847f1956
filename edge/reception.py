"""What an edge makes of a device beyond its own words: whether its user is proven, and where it is. PURE.

It is there only where some setting asks for it: elsewhere a check is answered by its body alone.
"""

from collections.abc import Mapping
from typing import Final

from edge.place import Locator
from edge.proof import Prover
from edge.sender import Sender
from ruleset import Device

AUTHORIZATION: Final = b"authorization"


class Reception:
    """Receives devices; one serves all connections of a worker.

    Args:
        provers: of the workspaces whose users have to be proven; of others' users the word is taken.
        locator: fills in where devices are; None where nobody knows.
    """

    def __init__(self, provers: Mapping[str, Prover], locator: Locator | None = None) -> None:
        self._provers, self._locator = provers, locator
        # The fields of a head that it wants to see, in small letters.
        self.wanted: tuple[bytes, ...] = (
            *([AUTHORIZATION] if provers else []),
            *(locator.wanted if locator else []),
        )

    def is_proving(self, workspace: str) -> bool:
        """Says whether users of a workspace have to be proven."""
        return workspace in self._provers

    def receive(self, workspace: str, device: Device, sender: Sender, now: int) -> tuple[Device, bool]:
        """Returns the device as its check is to be answered, and whether its user is proven.

        Args:
            workspace: that it asks.
            device: as it describes itself.
            sender: of its request.
            now: seconds since 1970.

        Raises:
            RefusedError: `overloaded`, too many tokens have come in this second that were never seen before.
        """
        if self._locator is not None:
            device = self._locator.locate(device, sender)
        prover = self._provers.get(workspace)
        if prover is None:
            return device, False
        return prover.identify(device, sender.find_one(AUTHORIZATION), now)
