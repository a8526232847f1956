"""What keeps a device from its updates: a list of checks, in the order in which faults cause others.

A check looks at one thing and says what it saw, or what is wrong and what to do; what an earlier fault hides is passed
over, not guessed. How a container is looked at is `container.patient`'s to know.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final

from bundle import BundleError, open_source, write_archive
from bundle.transfer import Digest
from container.config import load_config
from container.device import Device
from container.errors import ConfigError, ContainerError, EdgeError, StorageError
from container.fetcher import Fetcher
from container.patient import HiddenError, Parcel, Patient, Reply
from trust import ROLES

# How far a clock may be off before it is named: people and certificates bear some minutes.
MAX_CLOCK_ERROR_S: Final = 300
# From when on the end of a root's life is worth a word: 30 days.
SOON_S: Final = 30 * 86_400
_PARTIAL: Final = 206
# The end of the year 9999: signed times may be later, and calendars end there.
_MAX_TIME_S: Final = 253_402_300_799


class ClockError(ContainerError):
    """The device's owner must act: its clock is off."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check saw; `error` says what is wrong, and `advice` then what to do.

    What an earlier fault hides is skipped, and `seen` says why.
    """

    check: str
    seen: str = ""
    error: ContainerError | None = None
    advice: str = ""
    is_skipped: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A look at one thing: `look` returns what it saw or raises what is wrong; `advice` says what to do about that."""

    name: str
    look: Callable[[Patient], str]
    advice: str

    def examine(self, patient: Patient) -> Finding:
        """Returns what this check finds."""
        try:
            return Finding(self.name, self.look(patient))
        except ContainerError as error:
            return Finding(self.name, error=error, advice=self.advice)
        except HiddenError as error:
            return Finding(self.name, str(error), is_skipped=True)


def examine(
    path: Path,
    folder: Path,
    device: Device,
    programs: Sequence[str],
    *,
    fetcher: Fetcher,
    now: Callable[[], float],
) -> Iterator[Finding]:
    """Yields what each check finds, as it is done.

    Args:
        path: of client.json.
        folder: the container's.
        device: whom to ask for.
        programs: whose packages to look at; without any, those installed and those that the configuration names.
        fetcher: how to reach the network.
        now: seconds since 1970.
    """
    try:
        config = load_config(path)
    except ConfigError as error:
        yield Finding("config", error=error, advice="ship a client.json that graywave client has made")
        yield from (Finding(check.name, "there is no configuration", is_skipped=True) for check in CHECKS)
        return
    yield Finding("config", f"workspace {config.workspace}, signed {_show(config.issued)} by root {config.root.number}")
    patient = Patient(config, folder, device, programs, fetcher=fetcher, now=now)
    yield from (check.examine(patient) for check in CHECKS)


def look_at_folder(patient: Patient) -> str:
    """The folder can be written, its state read, and each active version is what was installed."""
    place = next(path for path in (patient.folder, *patient.folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place) as probe:
            probe.write(b"graywave")
    except OSError as error:
        raise StorageError(f"{place}: expected a folder that can be written: {error.strerror}") from error
    programs = patient.storage.load().programs
    installed = {program: record for program, record in programs.items() if record.version}
    for program, record in installed.items():
        _check_whole(program, patient.storage.path(program, record.place), record.sha256)
    return f"{patient.folder}: {len(installed)} installed"


def _check_whole(program: str, place: Path, sha256: str) -> None:
    """Packed again, it has the digest that the packager signed."""
    digest = Digest()
    try:
        with open_source(place, place) as plan:
            for _ in digest.watch(write_archive(plan)):
                pass
    except (BundleError, OSError) as error:
        raise StorageError(f"{program}: expected its active version in {place}: {error}") from error
    if digest.sha256 != sha256:
        raise StorageError(
            f"{program}: expected sha256 {sha256} of {place}, got {digest.sha256}: its files have changed"
        )


def look_at_clock(patient: Patient) -> str:
    """The clock is not before what was signed, and near that of the edges."""
    now, signed = int(patient.now()), patient.signed_time
    if now < signed - MAX_CLOCK_ERROR_S:
        raise ClockError(
            f"expected a clock at {_show(signed)} or later, when something known was signed, got {_show(now)}"
        )
    dates = [_read_date(heard.reply) for heard in patient.heard if heard.reply is not None]
    for at, date in filter(None, dates):
        if abs(at - date) > MAX_CLOCK_ERROR_S:
            raise ClockError(f"expected a clock near an edge's {_show(date)}, got {_show(at)}")
    return _show(now) + (", as an edge's" if any(dates) else ", and no edge to compare with")


def _read_date(reply: Reply) -> tuple[float, float] | None:
    """When an answer came, by this clock and by the server's; nothing if that does not say."""
    try:
        return reply.at, parsedate_to_datetime(reply.headers.get("date", "")).timestamp()
    except (ValueError, OverflowError):
        return None


def look_at_keys(patient: Patient) -> str:
    """The newest root to be had has not expired; those that edges tell of follow the pinned one."""
    root = patient.root
    if patient.time >= root.expires:
        got = f"root {root.number}, which expired {_show(root.expires)}"
        raise ConfigError(f"expected a root valid now ({_show(patient.time)}), got {got}, and no successor")
    wanted = ", ".join(f"{name} {root.role(name).threshold} of {len(root.role(name).keys)}" for name in ROLES)
    newer = f", after root {patient.known_root.number}" if root.number > patient.known_root.number else ""
    soon = " SOON" if root.expires - patient.time < SOON_S else ""
    return f"root {root.number}{newer}, epoch {root.epoch}, expires{soon} {_show(root.expires)}; signers: {wanted}"


def look_at_addresses(patient: Patient) -> str:
    """Each address answers, whatever it says."""
    for heard in patient.heard:
        if heard.reply is None and heard.error is not None:
            raise heard.error
    return ", ".join(heard.address for heard in patient.heard)


def look_at_workspace(patient: Patient) -> str:
    """Each address that answers serves the workspace."""
    for heard in patient.heard:
        if heard.reply is not None and heard.error is not None:
            raise heard.error
    _, answer = patient.answered
    return f"{patient.config.workspace}, revision {answer.revision}"


def look_at_offers(patient: Patient) -> str:
    """What is offered of the programs would be believed."""
    _, answer = patient.answered
    unknown = [program for program in patient.asked if program in answer.unknown]
    if unknown:
        raise EdgeError(f"expected program {unknown[0]} in workspace {patient.config.workspace}, got none of that id")
    if not patient.asked:
        raise HiddenError("no program to ask about: name one")
    parcels = patient.parcels
    if not answer.updates:
        raise HiddenError(f"nothing of {', '.join(patient.asked[:3])} is offered to this device")
    told = ", ".join(f"{update.program} {update.version or update.action}" for update in answer.updates[:3])
    expires = [parcel.plan.offer.expires for parcel in parcels]
    return told + (f", until {_show(min(expires))}" if expires else "")


def look_at_store(patient: Patient) -> str:
    """The bytes of a package are where the answer says, and are those that were offered."""
    parcel = _pick(patient)
    for _ in patient.carry(parcel):
        pass
    return f"{parcel.url}, {parcel.transfer.size} bytes"


def look_at_range(patient: Patient) -> str:
    """A download that breaks can go on where it broke, if the file is still the same."""
    parcel = _pick(patient)
    etag = _ask_for_byte(patient, parcel, "")
    if not etag.startswith('"'):
        raise EdgeError(f"{parcel.url}: expected a strong ETag, got {etag[:100]!r}")
    _ask_for_byte(patient, parcel, etag)
    return "206, and a strong ETag"


def _ask_for_byte(patient: Patient, parcel: Parcel, etag: str) -> str:
    """Returns the ETag of the answer to a question for the first byte, if that is answered alone."""
    condition = {"If-Range": etag} if etag else {}
    reply = patient.ask("GET", parcel.url, headers={"Range": "bytes=0-0", **condition})
    wanted = (_PARTIAL, f"bytes 0-0/{parcel.transfer.size}")
    got = (reply.status, reply.headers.get("content-range", ""))
    if got != wanted:
        raise EdgeError(f"{parcel.url}: expected {wanted} for the first byte{' by its ETag' * bool(etag)}, got {got}")
    return reply.headers.get("etag", "")


def _pick(patient: Patient) -> Parcel:
    try:
        return patient.parcels[0]
    except ContainerError as error:
        raise HiddenError("no offer is believed") from error
    except IndexError as error:
        raise HiddenError("no package is offered to this device") from error


def _show(seconds: float) -> str:
    return (
        datetime.fromtimestamp(min(seconds, _MAX_TIME_S), UTC)
        .isoformat(sep=" ", timespec="seconds")
        .replace("+00:00", "Z")
    )


CHECKS: Final = (
    Check("folder", look_at_folder, "make room, permit writing, or remove the folder to install all anew"),
    Check("clock", look_at_clock, "set the device's clock"),
    Check("addresses", look_at_addresses, "see that the address is right, its edge runs, and this network reaches it"),
    Check("workspace", look_at_workspace, "see /status of that edge: it must list the workspace, with its rules"),
    Check(
        "keys", look_at_keys, "publish the root that follows the known one (graywave keys), or ship another client.json"
    ),
    Check("offers", look_at_offers, "see that the publisher runs, and has its keys from the same root as this device"),
    Check("store", look_at_store, "put the file where its url points to, or mend what serves it"),
    Check(
        "range",
        look_at_range,
        "let what serves the file answer ranges by a strong ETag; else broken downloads start anew",
    ),
)
