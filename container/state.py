"""What a container remembers of its programs, as immutable values: PURE; the file it is kept in is not known.

What is active follows from the state and from marks, which are facts about it that only ever come to be:

- `opened`: the host app has opened an activation; `confirmed`: it has come up; `declined`: it has not, and was opened
  again.
- `applied`: the user wants what is ready.

A mark names a program and a number, which each activation and each preparation has for itself; a mark of another number
than the state's says nothing. Where an activation was confirmed and declined, it is confirmed: it works.
"""

from collections.abc import Iterable
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
from msgspec import Meta

from container.decision import Held, Order
from container.wire import MAX_EVENTS, Event, Happening
from trust import Offer, Root

Count = Annotated[int, Meta(ge=0, le=2**53 - 1)]
# \Z and not $, which lets a newline follow; digests and places name folders.
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_MaybeSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
_MaybePlace = Annotated[str, Meta(pattern=r"^([0-9a-f]{64}(\.[0-9]{1,4})?)?\Z")]
_MaybeVersion = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5}){0,3})?\Z")]
_Program = Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]
# How many versions that did not come up are remembered of a program: an older one is not offered again.
MAX_DECLINED = 16

Kind = Literal["opened", "confirmed", "declined", "applied"]


class Mark(NamedTuple):
    """A fact about a program's activation or preparation `number`."""

    program: str
    number: int
    kind: Kind


class Installed(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """A version on the disk, empty for none; `copy` tells a package from another, damaged one of the same bytes."""

    version: _MaybeVersion = ""
    sha256: _MaybeSha256 = ""
    release: str = ""
    copy: Annotated[int, Meta(ge=0, le=9999)] = 0

    @property
    def place(self) -> str:
        """The name of its folder; empty for none."""
        return f"{self.sha256}.{self.copy}" if self.copy else self.sha256


class Ready(Installed, frozen=True):
    """A version that waits for the user's word until its offer expires."""

    number: Count
    expires: Count
    is_rollback: bool = False


class Record(Installed, frozen=True):
    """A program: its active version, and what else is known of it.

    `former` is the folder of the one before, which may still be running. `back` is the last other version that was
    confirmed here: what to go back to. `wanted` are the transfers on their way, `declined` the packages that did not
    come up. `epoch` and `revision` are the highest seen in an offer.
    """

    former: _MaybePlace = ""
    back: Installed | None = None
    ready: Ready | None = None
    number: Count = 0
    activation: Count = 0
    is_confirmed: bool = True
    is_forced: bool = False
    wanted: tuple[_Sha256, ...] = ()
    declined: tuple[_Sha256, ...] = ()
    floor: _MaybeVersion = ""
    epoch: Count = 0
    revision: Count = 0

    @property
    def order(self) -> Order:
        """The highest (epoch, revision) of an offer seen."""
        return self.epoch, self.revision

    @property
    def is_settled(self) -> bool:
        """Whether no mark can say anything about it."""
        return self.is_confirmed and self.ready is None

    @property
    def places(self) -> frozenset[str]:
        """The folders that it needs."""
        others = [other.place for other in (self.back, self.ready) if other is not None]
        return frozenset([self.place, self.former, *others]) - {""}

    @property
    def numbers(self) -> frozenset[int]:
        """The numbers whose marks say something about it."""
        return frozenset([self.activation, self.ready.number if self.ready else 0]) - {0}


class State(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All programs, what is to be reported, and the newest signed time seen, in the root's `epoch`.

    A device's clock may be set back, that time may not; what a stolen key has signed of the future, and its floors,
    are forgotten with the next epoch. `root` is the newest root by which anything was judged.
    """

    format: Annotated[int, Meta(ge=1, le=1)] = 1
    issued: Count = 0
    programs: dict[_Program, Record] = {}
    epoch: Count = 1
    root: Count = 0
    outbox: Annotated[tuple[Event, ...], Meta(max_length=MAX_EVENTS)] = ()

    def record(self, program: str) -> Record:
        """Returns what is known of a program."""
        return self.programs.get(program, _NOTHING)

    def held(self, program: str) -> Held:
        """Returns what a decision about a program has to know."""
        record = self.record(program)
        return Held(record.version, record.order, record.sha256, record.declined)

    def settle(self, marks: frozenset[Mark]) -> tuple["State", tuple[Happening, ...]]:
        """Returns the state once the marks are taken into account, and what has happened by that."""
        told: list[Happening] = []
        programs = {
            program: record if record.is_settled else _settle(program, record, marks, told)
            for program, record in self.programs.items()
        }
        return (msgspec.structs.replace(self, programs=programs) if told else self), tuple(told)

    def with_root(self, root: Root) -> "State":
        """Returns the state once a root is known: what is ready has to be offered again, and floors in its epoch."""
        if root.number <= self.root:
            return self
        programs = {
            program: msgspec.structs.replace(
                record, ready=None, floor=record.floor if root.epoch <= record.epoch else ""
            )
            for program, record in self.programs.items()
        }
        issued = self.issued if root.epoch <= self.epoch else 0
        epoch = max(self.epoch, root.epoch)
        return msgspec.structs.replace(self, issued=issued, programs=programs, epoch=epoch, root=root.number)

    def with_seen(self, offer: Offer) -> "State":
        """Returns the state once an offer was believed, whatever becomes of it; what else was ready is not any more."""
        ready = self.record(offer.program).ready
        ready = ready if ready and ready.sha256 == offer.sha256 else None
        state = self._with(offer.program, epoch=offer.epoch, revision=offer.revision, floor=offer.floor, ready=ready)
        return msgspec.structs.replace(state, issued=max(self.issued, offer.issued))

    def with_wanted(self, program: str, wanted: Iterable[str], *, is_forced: bool) -> "State":
        """Returns the state once these transfers are to be fetched, by force before the program is opened next."""
        return self._with(program, wanted=tuple(wanted), is_forced=is_forced)

    def with_nothing_offered(self, programs: Iterable[str]) -> "State":
        """Returns the state once nothing is offered of programs: what was not finished is not wanted any more."""
        dropped = {
            program: msgspec.structs.replace(self.programs[program], wanted=(), is_forced=False, ready=None)
            for program in programs
            if program in self.programs
        }
        return msgspec.structs.replace(self, programs={**self.programs, **dropped})

    def with_active(self, program: str, installed: Installed, *, is_rollback: bool = False) -> "State":
        """Returns the state once a version is active, which is to be confirmed unless it was before."""
        record = self.record(program)
        return self._put(program, _activate(record, installed, record.number + 1, is_rollback=is_rollback))

    def with_ready(self, program: str, installed: Installed, expires: int, *, is_rollback: bool = False) -> "State":
        """Returns the state once a version waits for the user's word."""
        record = self.record(program)
        waits = record.ready is not None and record.ready.place == installed.place
        number = record.ready.number if record.ready and waits else record.number + 1
        ready = Ready(**_members(installed), number=number, expires=expires, is_rollback=is_rollback)
        return self._with(program, ready=ready, number=max(number, record.number), wanted=(), is_forced=False)

    def without(self, program: str) -> "State":
        """Returns the state once a program is gone; what was seen of it is remembered."""
        record = self.record(program)
        seen = Record(epoch=record.epoch, revision=record.revision, floor=record.floor, number=record.number)
        return self._put(program, seen)

    def with_events(self, events: Iterable[Event]) -> "State":
        """Returns the state once something is to be reported; of more than MAX_EVENTS the oldest are given up."""
        return msgspec.structs.replace(self, outbox=(*self.outbox, *events)[-MAX_EVENTS:])

    def without_events(self, told: Iterable[Event]) -> "State":
        """Returns the state once these were reported."""
        nonces = {event.nonce for event in told}
        kept = tuple(event for event in self.outbox if event.nonce not in nonces)
        return msgspec.structs.replace(self, outbox=kept)

    def _with(self, program: str, **changes: object) -> "State":
        return self._put(program, msgspec.structs.replace(self.record(program), **changes))

    def _put(self, program: str, record: Record) -> "State":
        return msgspec.structs.replace(self, programs={**self.programs, program: record})


_NOTHING = Record()


def _members(installed: Installed) -> dict[str, Any]:
    return {name: getattr(installed, name) for name in Installed.__struct_fields__}


def _settle(program: str, record: Record, marks: frozenset[Mark], told: list[Happening]) -> Record:
    record = _judge(program, record, marks, told)
    ready = record.ready
    if ready is None or Mark(program, ready.number, "applied") not in marks:
        return record
    told.append(
        Happening(
            program=program, before=record.version, after=ready.version, release=ready.release, outcome="activated"
        )
    )
    return _judge(program, _activate(record, ready, ready.number, is_rollback=ready.is_rollback), marks, told)


def _judge(program: str, record: Record, marks: frozenset[Mark], told: list[Happening]) -> Record:
    if record.is_confirmed:
        return record
    words: dict[str, Any] = {"program": program, "before": record.version, "release": record.release}
    if Mark(program, record.activation, "confirmed") in marks:
        told.append(Happening(**words, after=record.version, outcome="confirmed"))
        return msgspec.structs.replace(record, is_confirmed=True)
    if Mark(program, record.activation, "declined") in marks:
        back = _go_back(record)
        told.append(Happening(**words, after=back.version, outcome="fell_back", reason="not_confirmed"))
        return back
    return record


def _go_back(record: Record) -> Record:
    declined = (*record.declined, record.sha256)[-MAX_DECLINED:]
    target = _members(record.back or Installed())
    return msgspec.structs.replace(
        record, **target, former=record.place, back=None, activation=0, is_confirmed=True, declined=declined
    )


def _activate(record: Record, new: Installed, number: int, *, is_rollback: bool) -> Record:
    changes = {**_members(new), "ready": None, "wanted": (), "is_forced": False}
    if new.sha256 == record.sha256:  # mended, or released again: what is known of it stays
        former = record.former if new.place == record.place else record.place
        return msgspec.structs.replace(record, **changes, former=former)
    is_known = record.back is not None and record.back.sha256 == new.sha256
    # What the publisher takes back is not gone back to.
    back = None if is_rollback else _last_confirmed(record)
    return msgspec.structs.replace(
        record, **changes, former=record.place, back=back, number=max(number, record.number), activation=number,
        is_confirmed=is_known,
    )  # fmt: skip


def _last_confirmed(record: Record) -> Installed | None:
    if record.version and record.is_confirmed:
        return Installed(**_members(record))
    return record.back
