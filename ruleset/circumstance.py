"""What a check is decided by beside document and device: lists that are too long for a document, and who was proven.

It only says what can be asked; how a list lies in memory, and who else may know of it, is its owner's matter.
"""

from collections.abc import Mapping
from enum import Enum, auto
from types import MappingProxyType
from typing import Final, Protocol

from msgspec import Struct


class Audience(Protocol):
    """A whitelist, ready to ask."""

    def holds(self, user: str) -> bool:
        """Says whether a user's id, never an empty one, is on the list."""


class Place(Enum):
    """How somebody stands to a window."""

    MEMBER = auto()
    """Admitted, and stays so."""
    OPEN = auto()
    """Not known here; whoever keeps the window has to be asked."""
    SHUT = auto()
    """Not known here, and nobody new is admitted now."""


class Window(Protocol):
    """A window, as far as it is known here."""

    def find(self, identity: str) -> Place:
        """Returns how a device's id, or where the window wants proof a user's, stands to it."""


class Circumstances(Struct, frozen=True, gc=False):
    """What is known now. An audience or a window that is not here admits nobody.

    Args:
        audiences: by name.
        windows: by the window's id.
        is_proven: whether the user of the device was proven.
        trials: the versions that the device's trials give to its proven user, by program; None where it has none.
    """

    audiences: Mapping[str, Audience]
    windows: Mapping[str, Window]
    is_proven: bool = False
    trials: Mapping[str, int] | None = None


NOTHING_KNOWN: Final = Circumstances(MappingProxyType({}), MappingProxyType({}))
