"""The container, as a host app has it: opens programs, keeps them up to date, and says what became of that.

It is put together here, of parts that each have a law of their own.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom

from container.config import Config
from container.courier import Courier
from container.device import Device
from container.errors import ContainerError, NotInstalledError, StorageError
from container.events import Events, NoEvents
from container.fetcher import Fetcher, HttpFetcher
from container.launcher import Launcher
from container.outcome import Outcome
from container.passport import NoPassport, Passport
from container.preset import read_preset
from container.route import Random, Route
from container.state import Record
from container.storage import Storage
from container.updater import Updater
from container.wire import Answer

# How long a program that is to be updated by force may be kept from opening, in seconds.
MAX_OPEN_S = 20.0
_SYSTEM_RANDOM = SystemRandom()


@dataclass(frozen=True, slots=True)
class ActiveVersion:
    """The version of a program to open: its files are in `folder`, and stay there until two versions later."""

    program: str
    version: str
    release: str
    folder: Path


class Container:
    """The programs of one workspace on one device.

    >>> container = Container(load_config(Path("client.json")), Path("programs"), Device("d-1", "android"))
    >>> for outcome in container.update(["2021000000000001"]):
    ...     print(outcome.update.program, outcome.status, outcome.error or "")
    2021000000000001 activated
    >>> container.open("2021000000000001").folder
    PosixPath('programs/demo/programs/2021000000000001/4f0c…')
    >>> container.confirm("2021000000000001")  # once it has come up; else the next open goes back

    Args:
        config: whom to ask and to believe.
        folder: made when first written to, with a folder for each workspace; several processes may share it.
        device: what to tell about the device.
        preset: a folder with programs that the app ships; what is newer there than here is installed at the first call.
        fetcher: how to reach the network; HTTP by default.
        now: seconds since 1970.
        sleep: waits for so many seconds.
        random: for jitter and nonces.
        events: who listens.
        passport: what proves the user, and which versions the user may try.

    Raises:
        ConfigError: the preset is none.
    """

    def __init__(  # noqa: PLR0913, four values and the world
        self,
        config: Config,
        folder: Path,
        device: Device,
        *,
        preset: Path | None = None,
        fetcher: Fetcher | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
        random: Random = _SYSTEM_RANDOM,
        events: Events | None = None,
        passport: Passport | None = None,
    ) -> None:
        events = events or NoEvents()
        self._storage = Storage(folder / config.folder_name)
        route = Route(config.edges, now, sleep, random)
        self._courier = Courier(fetcher or HttpFetcher(), route, lambda base: Route((base,), now, sleep, random), now)
        self._updater = Updater(
            config, device, storage=self._storage, courier=self._courier, events=events,
            passport=passport or NoPassport(), now=now, random=random,
        )  # fmt: skip
        self._launcher = Launcher(self._storage, events, self._updater.tell_time)
        self._preset = read_preset(preset) if preset else None

    @property
    def poll_after(self) -> int:
        """In how many seconds to ask again, as an edge has said last."""
        return self._updater.poll_after

    def open(self, program: str) -> ActiveVersion:
        """Returns the version to open now, which `confirm` has to follow: else the next `open` goes back.

        Never waits for another process, nor for the network: except for MAX_OPEN_S at most, where an edge has said that
        the program is to be updated by force, and it has not been yet.

        Raises:
            NotInstalledError: there is none.
            FloorError: the publisher lets nobody open it.
            StorageError: the container's folder cannot be read.
        """
        self._take_preset()
        if self._storage.load().record(program).is_forced:
            with suppress(ContainerError), self._courier.within(MAX_OPEN_S):
                self.update([program])
        record = self._launcher.open(program)
        if not self._storage.has(program, record):
            raise NotInstalledError(f"{program}: expected the files of {record.version}, got none: update first")
        return self._describe(program, record)

    def confirm(self, program: str) -> None:
        """Takes note that the version opened last has come up: it is what a later one goes back to.

        Raises:
            StorageError: the container's folder cannot be written.
        """
        self._launcher.confirm(program)

    def apply_now(self, program: str) -> ActiveVersion:
        """Activates the version that waits for the user's word, if there is one, and returns the active version.

        Raises:
            VerificationError: "offer_expired": it has waited too long, and has to be offered again.
            NotInstalledError: nothing is active, and nothing waits.
            StorageError: the container's folder cannot be written.
        """
        self._launcher.apply(program)
        active = self.active(program)
        if active is None:
            raise NotInstalledError(f"{program}: expected a version to activate, got none: update first")
        return active

    def active(self, program: str) -> ActiveVersion | None:
        """Returns the active version, or None; never waits for network or lock.

        Raises:
            StorageError: the container's folder cannot be read.
        """
        self._take_preset()
        record = self._storage.load().record(program)
        return self._describe(program, record) if record.version else None

    def installed(self) -> dict[str, ActiveVersion]:
        """Returns the active version of each program that has one; raises as `active`."""
        self._take_preset()
        programs = self._storage.load().programs
        return {program: self._describe(program, record) for program, record in programs.items() if record.version}

    def check(self, programs: Sequence[str] | None = None) -> Answer:
        """Returns what an edge says about programs; nothing is changed or believed yet.

        Args:
            programs: those to ask about; by default those installed, and those that the configuration names.

        Raises:
            ConfigError: more than 200 programs are asked about.
            NetworkError, EdgeError: no edge could be asked, or none answered properly.
            StorageError: the container's folder cannot be read.
        """
        self._take_preset()
        return self._updater.ask(programs)

    def update(self, programs: Sequence[str] | None = None) -> list[Outcome]:
        """Brings programs, by default those that `check` asks about, to what an edge says; reports what became of it.

        What fails for one program is in its outcome, and stops no other; the version before it stays active.

        Raises:
            ConfigError: the newest root has expired, or `check` refuses.
            NetworkError, EdgeError, VerificationError: as `check`; or the root that has followed is not to be had.
            StorageError: another process is updating, or the folder cannot be written.
        """
        self._take_preset()
        with self._storage.lock():
            return self._updater.run(programs)

    def _take_preset(self) -> None:
        """Installs what the app ships, once; where another process is updating, at the next call."""
        preset = self._preset
        if preset is None:
            return
        with suppress(StorageError):
            if self._updater.wants(preset):
                with self._storage.lock():
                    self._updater.take_preset(preset)
            self._preset = None

    def _describe(self, program: str, record: Record) -> ActiveVersion:
        return ActiveVersion(program, record.version, record.release, self._storage.path(program, record.place))
