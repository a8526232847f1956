"""Has a planned package on the disk, by the cheapest way that works; what becomes of it then is not decided here."""

from contextlib import suppress
from dataclasses import dataclass

from container.courier import Courier
from container.decision import Plan, Way
from container.errors import ContainerError, VerificationError
from container.events import Events
from container.package import Arrival, Base
from container.preset import Preset
from container.state import Installed, Record
from container.storage import Storage, explained
from container.wire import Transfer
from trust import PackageClaim


@dataclass(frozen=True, slots=True)
class Delivery:
    """A package on the disk; the transfer that it came by, if it was not there already, and the bytes moved for it."""

    installed: Installed
    transfer: Transfer | None = None
    bytes: int = 0


class Installer:
    """Brings packages to a storage, which is locked meanwhile."""

    def __init__(self, courier: Courier, storage: Storage, events: Events) -> None:
        self._courier = courier
        self._storage = storage
        self._events = events

    def bring(self, plan: Plan, claim: PackageClaim, record: Record, key: str) -> Delivery:
        """Brings a package from the network: by a delta if there is one, and if that fails for whatever reason, whole.

        Args:
            plan: what was decided.
            claim: its package.
            record: what is there of the program.
            key: opens a sealed package; empty for others.

        Raises:
            ContainerError: why the last way failed.
        """
        found = self._storage.find(claim, record)
        if found is not None:
            return Delivery(found)
        before = self._courier.moved
        *others, last = plan.ways
        for way in others:
            with suppress(ContainerError):
                return Delivery(self._bring(way, claim, record, key), way.transfer, self._courier.moved - before)
        return Delivery(self._bring(last, claim, record, key), last.transfer, self._courier.moved - before)

    def _bring(self, way: Way, claim: PackageClaim, record: Record, key: str) -> Installed:
        transfer, part = way.transfer, self._storage.part(way.transfer.sha256)
        base = Base(self._storage.path(claim.program, record.place), way.base) if way.base else None
        with explained(part.path):
            self._courier.carry(transfer, part, lambda done: self._events.progress(claim.program, done, transfer.size))
            try:
                # The part stays until the state says that it is not wanted any more: who is killed here has it still.
                return self._storage.unpack(Arrival(part.path, base, key), claim)
            except VerificationError:
                part.discard()
                raise

    def take(self, plan: Plan, claim: PackageClaim, record: Record, key: str, preset: Preset) -> Delivery:
        """Brings a package from a preset; see `bring`."""
        found = self._storage.find(claim, record)
        way = next(way for way in plan.ways if not way.base)
        return Delivery(found or self._storage.unpack(Arrival(preset.find(way.transfer), None, key), claim))
