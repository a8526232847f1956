"""Who has sent a request, beyond what its body says: the fields that are asked for, and the peer's address. PURE."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from msgspec import Struct


class Sender(Struct, frozen=True, gc=False):
    """What is known of a request's sender.

    Args:
        fields: the values of the fields that are wanted, in their order, by their names in small letters.
        peer: the address at the other end of the connection, empty where it has none.
        connection: what serves it, by identity.
    """

    fields: Mapping[bytes, Sequence[bytes]]
    peer: str
    connection: object = None

    def find_one(self, name: bytes) -> bytes:
        """Returns the value of the one field of a name; empty where there is none, or where several contradict."""
        values = self.fields.get(name, ())
        return values[0] if len(values) == 1 else b""


NOBODY: Final = Sender(MappingProxyType({}), "")
