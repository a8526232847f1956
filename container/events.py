"""What a container tells the host app while it works: a protocol, and one who does not listen."""

from typing import Protocol

from container.errors import Reason


class Events(Protocol):
    """Whoever listens to a container; called by the thread that updates or opens, which waits meanwhile."""

    def update_ready(self, program: str, version: str, urgency: str) -> None:
        """A version is on the device and waits for the user's word: `Container.apply_now` activates it."""

    def progress(self, program: str, done: int, total: int) -> None:
        """Of a transfer of `total` bytes, `done` are there, those of earlier attempts included."""

    def failed(self, program: str, reason: Reason) -> None:
        """An update has failed, and what was active is; or a version was given up and the one before it is active."""


class NoEvents:
    """Nobody listens."""

    def update_ready(self, program: str, version: str, urgency: str) -> None:
        """See `Events`."""

    def progress(self, program: str, done: int, total: int) -> None:
        """See `Events`."""

    def failed(self, program: str, reason: Reason) -> None:
        """See `Events`."""
