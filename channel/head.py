"""The signed head of a workspace: how far it has come, said so that nobody else can say it. Pure: time is a value.

Everything published has a position, (epoch, revision); positions are ordered, and nobody goes back to a lower one.
"""

from collections.abc import Mapping
from typing import Annotated, NamedTuple, Self

import msgspec
from msgspec import Meta, Struct

from channel.envelope import HEAD_TYPE, open_envelope, seal
from channel.errors import EnvelopeError, EpochError, SourceError
from trust import PublicKey, Signer

# Where a workspace begins.
FIRST_EPOCH = 1
# Beyond it Lua, which counts in doubles, would take two revisions for one.
MAX_COUNTER = (1 << 53) - 1
# How long a head is believed, in seconds: whoever freezes a Redis for longer is found out.
HEAD_LIFE_S = 7 * 86_400

# A field of a head has a few hundred bytes. Of one that is larger nobody reads more than how large it is.
MAX_FIELD_BYTES = 1 << 16

Counter = Annotated[int, Meta(ge=0, le=MAX_COUNTER)]


class Position(NamedTuple):
    """A place in a workspace's history; as text `epoch-revision`, which is also an entry id of a Redis stream."""

    epoch: int
    revision: int

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Returns the position that a text holds.

        Raises:
            SourceError: not two counters with a hyphen between them.
        """
        epoch, _, revision = text[:40].partition(b"-")
        if not (_is_counter(epoch) and _is_counter(revision)):
            raise SourceError(f"expected a position like 1-812, got {text[:40]!r}")
        return cls(int(epoch), int(revision))

    @property
    def next(self) -> "Position":
        """The position that follows in the same epoch."""
        return Position(self.epoch, self.revision + 1)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.revision}"


# Where nothing has been published yet; below every head.
NOWHERE = Position(0, 0)


class Head(Struct, frozen=True, forbid_unknown_fields=True):
    """What the publisher says of its workspace at `issued` (seconds), believed until `expires`.

    `documents` counts all that Redis holds at this position, taken-down ones included.
    """

    workspace: str
    epoch: Counter
    revision: Counter
    issued: Counter
    expires: Counter
    documents: Counter

    @property
    def position(self) -> Position:
        """Where the workspace stands."""
        return Position(self.epoch, self.revision)


class FoundHead(NamedTuple):
    """A head as it lies in Redis, two unsigned fields and the signed bytes: nothing of it is believed yet."""

    epoch: bytes
    revision: bytes
    signed: bytes


def tell_field(field: bytes | int) -> bytes:
    """Returns a field of a head, or of one that is larger than MAX_FIELD_BYTES (of its size, if that is given) a note.

    The note is no signed head, so that it is refused; it says what was found, and `discard.lua` makes the same one.
    """
    size = field if isinstance(field, int) else len(field)
    return field if isinstance(field, bytes) and size <= MAX_FIELD_BYTES else b"%d bytes" % size


def make_head(workspace: str, position: Position, documents: int, now: int) -> Head:
    """Returns the head of a workspace that is issued now (seconds) and believed for HEAD_LIFE_S."""
    return Head(workspace, position.epoch, position.revision, now, now + HEAD_LIFE_S, documents)


def encode_head(head: Head, key: Signer) -> bytes:
    """Returns a head, signed."""
    return seal(msgspec.json.encode(head, order="sorted"), key, HEAD_TYPE)


def decode_head(signed: bytes, keys: Mapping[str, PublicKey], workspace: str) -> Head:
    """Returns the head of this workspace that one of the keys has signed; whether it has expired is not judged.

    Raises:
        EnvelopeError: not signed by any of the keys as a head, of another workspace, or no head at all.
    """
    payload = open_envelope(signed, keys, HEAD_TYPE)
    try:
        head = msgspec.json.decode(payload, type=Head)
    except ValueError as error:
        raise EnvelopeError(f"expected a head: {error}") from error
    if head.workspace != workspace:
        raise EnvelopeError(f"expected a head of workspace {workspace!r}, got one of {head.workspace!r}")
    return head


def open_head(found: FoundHead, keys: Mapping[str, PublicKey], workspace: str, epoch: int) -> Head:
    """Returns the head that was found, if it can be believed by a reader whose root is of this epoch.

    Raises:
        EnvelopeError: as `decode_head`.
        EpochError: it is of a later epoch.
        SourceError: the fields beside it are not those that were signed.
    """
    head = decode_head(found.signed, keys, workspace)
    check_epoch(head.position, epoch)
    if (found.epoch, found.revision) != tuple(b"%d" % counter for counter in head.position):
        got = f"{found.epoch[:40]!r} and {found.revision[:40]!r}"
        raise SourceError(f"expected a head at {head.position} as signed, got {got}")
    return head


def check_epoch(position: Position, epoch: int) -> None:
    """Returns if something at a position can be believed by a reader whose root is of this epoch.

    Only the root's keys begin an epoch: else whoever stole a channel key could get ahead of its owner for ever.

    Raises:
        EpochError: it is of a later one.
    """
    if position.epoch > epoch:
        raise EpochError(f"expected an epoch of at most {epoch}, as the root has it, got {position}")


def _is_counter(text: bytes) -> bool:
    return text.isdigit() and len(text) <= len(str(MAX_COUNTER)) and int(text) <= MAX_COUNTER
