"""What became of one update, as a value, and what is reported of it: PURE."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from container.errors import ContainerError
from container.wire import Happening, Update

Status = Literal["activated", "ready", "removed", "stale", "deferred", "declined", "failed"]
# What is reported of which status; of the others nothing has happened.
_SAID: Mapping[Status, Literal["downloaded", "activated", "failed"]] = MappingProxyType(
    {"activated": "activated", "removed": "activated", "ready": "downloaded", "failed": "failed"}
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one update.

    `status` is "activated", "ready" (waits for `apply_now`), "removed", "stale" (the edge is behind; nothing done),
    "deferred" (waits for Wi-Fi), "declined" (it did not come up here before) or "failed", with the error; then the
    version before it is still active. `bytes` were moved, in `ms` milliseconds, by a `transfer` of that format.
    """

    update: Update
    status: Status
    before: str
    error: ContainerError | None = None
    transfer: str = ""
    bytes: int = 0
    ms: int = 0


def tell(outcome: Outcome) -> list[Happening]:
    """Returns what is reported of an outcome: nothing of what is as it was."""
    said = _SAID.get(outcome.status)
    if said is None or (said == "downloaded" and not outcome.transfer):
        return []
    update, reason = outcome.update, outcome.error.reason if outcome.error else ""
    return [
        Happening(
            program=update.program, before=outcome.before, after=update.version, release=update.release, outcome=said,
            reason=reason, transfer=outcome.transfer, bytes=outcome.bytes, ms=outcome.ms,
        )
    ]  # fmt: skip
