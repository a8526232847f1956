"""The container: asks, verifies, fetches, activates, reports. It decides nothing itself and knows no file format.

What it believes is `container.decision`'s to say, what lies on disk `container.storage`'s.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import Literal

from container.config import Config
from container.courier import Courier
from container.decision import Plan, is_stale, make_plan, read_offer
from container.device import Device
from container.errors import ConfigError, ContainerError
from container.fetcher import Fetcher, HttpFetcher
from container.route import Random, Route
from container.state import Record, State
from container.storage import Storage
from container.wire import (
    MAX_EVENTS,
    MAX_PROGRAMS,
    Answer,
    Event,
    Transfer,
    Update,
    decode_answer,
    encode_question,
    encode_report,
)

Status = Literal["activated", "removed", "stale", "deferred", "failed"]
Progress = Callable[[str, int, int], None]
_SYSTEM_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """The version of a program to open: its files are in `folder`, and stay there until two versions later."""

    program: str
    version: str
    release: str
    folder: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one update.

    `status` is "activated", "removed", "stale" (the edge is behind; nothing done), "deferred" (waits for Wi-Fi) or
    "failed", with the error; then the version before it is still active. `bytes` were moved, in `ms` milliseconds.
    """

    update: Update
    status: Status
    before: str
    error: ContainerError | None = None
    transfer: str = ""
    bytes: int = 0
    ms: int = 0


class Container:
    """The programs of one workspace on one device.

    >>> container = Container(load_config(Path("client.json")), Path("programs"), Device("d-1", "android"))
    >>> for outcome in container.update(["2021000000000001"]):
    ...     print(outcome.update.program, outcome.status, outcome.error or "")
    2021000000000001 activated
    >>> container.active("2021000000000001").folder
    PosixPath('programs/programs/2021000000000001/4f0c…')

    Args:
        config: whom to ask and to believe.
        folder: made when first written to; several processes may share it.
        device: what to tell about the device.
        fetcher: how to reach the network; HTTP by default.
        now: seconds since 1970.
        sleep: waits for so many seconds.
        random: for jitter and nonces.
        progress: called with (program, bytes moved, bytes in all).
    """

    def __init__(  # noqa: PLR0913, three values and the world
        self,
        config: Config,
        folder: Path,
        device: Device,
        *,
        fetcher: Fetcher | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Random = _SYSTEM_RANDOM,
        progress: Progress | None = None,
    ) -> None:
        self._config = config
        self._device = device
        self._now = now
        self._random = random
        self._progress = progress
        self._storage = Storage(folder)
        route = Route(config.edges, now, sleep, random)
        self._courier = Courier(fetcher or HttpFetcher(), route, lambda base: Route((base,), now, sleep, random), now)

    def active(self, program: str) -> ActiveVersion | None:
        """Returns the version to open now, or None; never waits for network or lock.

        Raises:
            StorageError: the container's folder cannot be read.
        """
        record = self._storage.load().record(program)
        return self._describe(program, record) if record.version else None

    def installed(self) -> dict[str, ActiveVersion]:
        """Returns the active version of each program that has one; raises as `active`."""
        programs = self._storage.load().programs
        return {program: self._describe(program, record) for program, record in programs.items() if record.version}

    def check(self, programs: Sequence[str] | None = None) -> Answer:
        """Returns what an edge says about programs, by default those installed; nothing is changed or believed yet.

        Raises:
            ConfigError: more than 200 programs are asked about.
            NetworkError, EdgeError: no edge could be asked, or none answered properly.
            StorageError: the container's folder cannot be read.
        """
        state = self._storage.load()
        asked_about = self.installed() if programs is None else programs
        asked = {program: state.record(program).version for program in asked_about}
        if len(asked) > MAX_PROGRAMS:
            raise ConfigError(f"expected at most {MAX_PROGRAMS} programs in a check, got {len(asked)}: ask for fewer")
        if not asked:
            return Answer(revision=0, poll_after=0)
        body = encode_question(self._config.workspace, self._device, asked)
        return decode_answer(self._courier.post("/v1/check", body), list(asked))

    def update(self, programs: Sequence[str] | None = None) -> list[Outcome]:
        """Brings programs, by default those installed, to what the edge says, and reports what became of it.

        What fails for one program is in its outcome, and stops no other; the version before it stays active.

        Raises:
            ConfigError: the pinned root has expired, or `check` refuses.
            NetworkError, EdgeError: as `check`.
            StorageError: another process is updating, or the folder cannot be written.
        """
        with self._storage.lock():
            self._check_root()
            outcomes = [self._apply(update) for update in self.check(programs).updates]
            self._storage.sweep()
        self._report(outcomes)
        return outcomes

    def _describe(self, program: str, record: Record) -> ActiveVersion:
        return ActiveVersion(program, record.version, record.release, self._storage.path(program, record.sha256))

    def _time(self, state: State) -> int:
        """The later of the clock and the newest signed time seen: a clock that was set back brings nothing back."""
        return max(int(self._now()), state.issued)

    def _check_root(self) -> None:
        now, expires = self._time(self._storage.load()), self._config.root.expires
        if now >= expires:
            raise ConfigError(f"expected a root valid now ({now}), got one that expired at {expires}: ship another")

    def _apply(self, update: Update) -> Outcome:
        started, before = self._now(), self._storage.load().record(update.program).version
        try:
            status, transfer = self._obey(update)
        except ContainerError as error:
            return Outcome(update, "failed", before, error, ms=self._elapsed_ms(started))
        moved, form = (transfer.size, transfer.format) if transfer else (0, "")
        return Outcome(update, status, before, None, form, moved, self._elapsed_ms(started))

    def _elapsed_ms(self, started: float) -> int:
        return max(0, round((self._now() - started) * 1000))

    def _obey(self, update: Update) -> tuple[Status, Transfer | None]:
        state = self._storage.load()
        held = state.held(update.program)
        offer = read_offer(update, self._config.workspace, self._config.root)
        if is_stale(offer, held):
            return "stale", None
        state = state.with_seen(offer)
        self._storage.save(state)
        plan = make_plan(update, offer, self._config.root, held, self._time(state))
        if plan.package is None:
            self._storage.save(state.without(update.program))
            return "removed", None
        if update.download == "wifi" and self._device.network not in ("wifi", ""):
            return "deferred", None
        transfer = self._bring(plan)
        self._storage.save(state.with_active(offer, update.release))
        return "activated", transfer

    def _bring(self, plan: Plan) -> Transfer | None:
        """Has the planned package unpacked, and returns the transfer that it took; none if it was there and whole."""
        claim, transfer = plan.package, plan.transfer
        if claim is None or transfer is None or self._storage.has(claim):
            return None
        path = self._courier.carry(
            transfer, lambda chunks: self._storage.receive(self._watch(claim.program, transfer.size, chunks))
        )
        self._storage.unpack(path, claim)
        return transfer

    def _watch(self, program: str, total: int, chunks: Iterator[bytes]) -> Iterator[bytes]:
        done = 0
        for chunk in chunks:
            done += len(chunk)
            if self._progress:
                self._progress(program, done, total)
            yield chunk

    def _report(self, outcomes: Sequence[Outcome]) -> None:
        """Tells an edge what became of updates; a report that fails changes nothing."""
        events = [self._tell(outcome) for outcome in outcomes if outcome.status not in ("stale", "deferred")]
        try:
            for at in range(0, len(events), MAX_EVENTS):
                batch = events[at : at + MAX_EVENTS]
                self._courier.post("/v1/report", encode_report(self._config.workspace, self._device, batch))
        except ContainerError:
            return

    def _tell(self, outcome: Outcome) -> Event:
        update = outcome.update
        return Event(
            program=update.program,
            before=outcome.before,
            after=update.version,
            release=update.release,
            outcome="failed" if outcome.error else "activated",
            reason=outcome.error.reason if outcome.error else "",
            transfer=outcome.transfer,
            bytes=outcome.bytes,
            ms=outcome.ms,
            at=int(self._now()),
            nonce=f"{self._random.getrandbits(128):032x}",
        )
