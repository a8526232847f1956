"""What a container remembers of its programs, as immutable values: PURE; the file it is kept in is not known."""

from typing import Annotated

import msgspec
from msgspec import Meta

from container.decision import Held, Order
from trust import Offer

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
# \Z and not $, which lets a newline follow; digests name folders.
_MaybeSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
_Program = Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]


class Record(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A program: its active version and that before it, by digest; empty where there is none; highest order seen."""

    version: str = ""
    sha256: _MaybeSha256 = ""
    former: _MaybeSha256 = ""
    release: str = ""
    epoch: Count = 0
    revision: Count = 0

    @property
    def order(self) -> Order:
        """The highest (epoch, revision) of an offer seen."""
        return self.epoch, self.revision


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All programs, and the newest signed time seen: a device's clock may be set back, that one may not."""

    format: Annotated[int, Meta(ge=1, le=1)] = 1
    issued: Count = 0
    programs: dict[_Program, Record] = {}

    def record(self, program: str) -> Record:
        """Returns what is known of a program."""
        return self.programs.get(program, _NOTHING)

    def held(self, program: str) -> Held:
        """Returns what a decision about a program has to know."""
        record = self.record(program)
        return Held(record.version, record.order)

    def with_seen(self, offer: Offer) -> "State":
        """Returns the state once an offer was believed, whatever becomes of it."""
        record = msgspec.structs.replace(self.record(offer.program), epoch=offer.epoch, revision=offer.revision)
        return self._with(offer.program, record, max(self.issued, offer.issued))

    def with_active(self, offer: Offer, release: str) -> "State":
        """Returns the state once the offered package is active; the one before it is kept as the former one."""
        record = self.record(offer.program)
        former = record.former if record.sha256 == offer.sha256 else record.sha256
        changes = {"version": offer.version, "sha256": offer.sha256, "former": former, "release": release}
        return self._with(offer.program, msgspec.structs.replace(record, **changes), self.issued)

    def without(self, program: str) -> "State":
        """Returns the state once a program is gone; what was seen of it is remembered."""
        record = self.record(program)
        return self._with(program, Record(epoch=record.epoch, revision=record.revision), self.issued)

    def _with(self, program: str, record: Record, issued: int) -> "State":
        return State(issued=issued, programs={**self.programs, program: record})


_NOTHING = Record()
