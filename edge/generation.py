"""The processes of a host that run by one reading of the settings, and what outlives them. Standard library only."""

import json
import os
import socket
from dataclasses import dataclass
from typing import Any, Final, Self

from edge.child import SYNCER_HANG_S, WORKER_HANG_S, Child, make_command, make_page
from edge.listener import OwnSlot, bind_another

# How one image of the parent tells the next what there is; another layout is another number, and needs a restart.
STATE_FORMAT: Final = 1


@dataclass(slots=True)
class Held:
    """What stays from the start of a host to its end.

    Args:
        folder: the data folder, held by this descriptor.
        turn: what the one syncer that writes holds a lock on, a descriptor.
        control: where operators ask; None where there is no such socket.
        admin: the bound socket of the admin listener.
        slots: the bound sockets of devices, at least one a worker.
    """

    folder: int
    turn: int
    control: socket.socket | None
    admin: socket.socket
    slots: list[OwnSlot]

    def save(self) -> dict[str, Any]:
        """Returns the descriptors."""
        return {
            "folder": self.folder,
            "turn": self.turn,
            "control": self.control.fileno() if self.control else None,
            "admin": self.admin.fileno(),
            "slots": [slot.descriptors for slot in self.slots],
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> Self:
        """Returns what `save` has returned."""
        control, admin = (None if n is None else socket.socket(fileno=n) for n in (saved["control"], saved["admin"]))
        assert admin is not None  # noqa: S101 - there always is one
        slots = [OwnSlot(*(socket.socket(fileno=number) for number in slot)) for slot in saved["slots"]]
        return cls(saved["folder"], saved["turn"], control, admin, slots)


@dataclass(slots=True)
class Generation:
    """The processes that run by one reading of the settings.

    Args:
        snapshot: the settings as children get them, a descriptor.
        settings: the same, by name.
    """

    snapshot: int
    settings: dict[str, Any]
    syncer: Child
    workers: list[Child]

    @property
    def children(self) -> list[Child]:
        """All of them, the syncer first."""
        return [self.syncer, *self.workers]

    def command(self, held: Held) -> None:
        """Says how the processes are started, and what they are handed: descriptors, by number."""
        slots = [slot.descriptors for slot in held.slots]
        pages = [worker.page for worker in self.workers]
        common = {"parent": os.getpid(), "settings": self.snapshot}
        syncer = self.syncer
        wakes = [worker.wake[0] for worker in self.workers if worker.wake]
        handed = {"page": syncer.page, "pages": pages, "wakes": wakes, "admin": held.admin.fileno()}
        handed["turn"] = held.turn
        _hand(syncer, {"role": syncer.role, **common, **handed})
        for index, worker in enumerate(self.workers):
            assert worker.wake is not None  # noqa: S101 - every worker has one
            own = {"index": index, "page": worker.page, "wake": worker.wake[1]}
            _hand(worker, {"role": worker.role, **common, **own, "pages": pages, "slots": slots})

    def save(self) -> dict[str, Any]:
        """Returns what another image of the parent needs to go on with them."""
        return {
            "snapshot": self.snapshot,
            "syncer": self.syncer.save(),
            "workers": [worker.save() for worker in self.workers],
        }

    @classmethod
    def load(cls, saved: dict[str, Any], held: Held) -> Self:
        """Returns what `save` has returned, to be started again, where it has to, by the code that is now."""
        settings = os.pread(saved["snapshot"], os.fstat(saved["snapshot"]).st_size, 0)
        workers = [Child.load(worker) for worker in saved["workers"]]
        generation = cls(saved["snapshot"], json.loads(settings), Child.load(saved["syncer"]), workers)
        generation.command(held)
        return generation


def plan(held: Held, settings: bytes) -> Generation:
    """Plans the processes that run by these settings; raises OSError where a socket cannot be bound."""
    read = json.loads(settings)
    while len(held.slots) < read["workers"]:
        held.slots.append(OwnSlot.make(bind_another(held.slots[0].listener)))
    snapshot = os.memfd_create("graywave-settings")
    os.pwrite(snapshot, settings, 0)
    count = read["workers"]
    pages = [make_page(f"graywave-worker-{index}") for index in range(count)]
    pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(count)]
    wakes = [(waker.detach(), heeding.detach()) for waker, heeding in pairs]
    syncer = Child("syncer", (), (), make_page("graywave-syncer"), SYNCER_HANG_S)
    workers = [
        Child(f"worker {index}", (), (), page, WORKER_HANG_S, wake)
        for index, (page, wake) in enumerate(zip(pages, wakes, strict=True))
    ]
    generation = Generation(snapshot, read, syncer, workers)
    generation.command(held)
    return generation


def _hand(child: Child, spec: dict[str, Any]) -> None:
    child.command = make_command(json.dumps(spec))
    numbers = {name: value for name, value in spec.items() if name not in ("role", "parent", "index")}
    child.descriptors = _flatten(numbers)


def _flatten(value: Any) -> list[int]:
    """The integers in a tree of lists and mappings."""
    if isinstance(value, dict):
        return _flatten(list(value.values()))
    if isinstance(value, list | tuple):
        return [number for part in value for number in _flatten(part)]
    return [] if value is None else [value]


def list_descriptors(state: dict[str, Any]) -> list[int]:
    """Returns every descriptor that a parent's saved state names."""
    current = state["current"]
    children = [current["syncer"], *current["workers"], *state["leaving"]]
    found = [
        state["held"],
        current["snapshot"],
        state["asker"],
        [[child["page"], child["wake"]] for child in children],
    ]
    return _flatten(found)
