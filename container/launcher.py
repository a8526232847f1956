"""What the host app says of versions: that it opens one, that it has come up, that the user wants what is ready.

None of it waits for the network, or for an update in another process: what is said is left as a mark, which counts at
once. A version that was opened and not confirmed when it is opened again has not come up: what was confirmed before it
is opened instead, from then on.
"""

from collections.abc import Callable
from contextlib import suppress

from container.decision import is_below
from container.errors import FloorError, NotInstalledError, StorageError, VerificationError
from container.events import Events
from container.state import Kind, Mark, Record, State
from container.storage import Storage


class Launcher:
    """Opens the programs in a storage; `tell_time` returns the time, in seconds, once a state is known."""

    def __init__(self, storage: Storage, events: Events, tell_time: Callable[[State], int]) -> None:
        self._storage = storage
        self._events = events
        self._tell_time = tell_time
        # The activation that was opened last here, by program: an update may activate another before it is confirmed.
        self._opened: dict[str, int] = {}

    def open(self, program: str) -> Record:
        """Returns the version to open.

        Raises:
            NotInstalledError: there is none.
            FloorError: it is below the floor of the newest offer seen.
            StorageError: the container's folder cannot be read.
        """
        record = self._judge(program)
        if not record.version:
            raise NotInstalledError(f"{program}: expected a version to open, got none: update first")
        if is_below(record.version, record.floor):
            raise FloorError(f"{program}: expected version {record.floor} or later, got {record.version}: update first")
        self._opened[program] = record.activation
        if not record.is_confirmed:
            self._leave(program, record, "opened")
        return record

    def _judge(self, program: str) -> Record:
        """Goes back if the active version was opened before and has not come up."""
        record = self._storage.load().record(program)
        if record.is_confirmed or Mark(program, record.activation, "opened") not in self._storage.read_marks():
            return record
        self._leave(program, record, "declined")
        state, _ = self._storage.settle(Mark(program, record.activation, "declined"))
        self._events.failed(program, "not_confirmed")
        return state.record(program)

    def _leave(self, program: str, record: Record, kind: Kind) -> None:
        # On a disk that is full or may not be written programs open all the same.
        with suppress(StorageError):
            self._storage.mark(Mark(program, record.activation, kind))

    def confirm(self, program: str) -> None:
        """Takes note that the version opened last has come up.

        Raises:
            StorageError: that cannot be written.
        """
        record = self._storage.load().record(program)
        activation = self._opened.get(program, record.activation)
        if not record.is_confirmed:
            self._storage.mark(Mark(program, activation, "confirmed"))

    def apply(self, program: str) -> None:
        """Activates what is ready, if anything is.

        Raises:
            VerificationError: "offer_expired": it has waited too long, and has to be offered again.
            StorageError: that cannot be written.
        """
        state = self._storage.load()
        ready = state.record(program).ready
        if ready is None:
            return
        now = self._tell_time(state)
        if now >= ready.expires:
            raise VerificationError(
                f"{program}: expected an offer valid now ({now}), got one that expired at {ready.expires}",
                "offer_expired",
            )
        self._storage.mark(Mark(program, ready.number, "applied"))
