"""How a check is decided: which release of a program is for this device, and what follows from it.

The numbered steps are those of `contract/document.md`. Nothing here reads a clock, a socket or a logger: the time and
what the device said come in, a decision comes out, and the same in gives the same out.
"""

from collections.abc import Container, Iterable, Mapping
from enum import StrEnum

from ruleset.bucket import compute_hash
from ruleset.circumstance import NOTHING_KNOWN, Audience, Circumstances, Place
from ruleset.compiler import Clients, CompiledProgram, CompiledRelease, CompiledRule, CompiledWindow
from ruleset.condition import read_version
from ruleset.model import Device
from ruleset.version import NOT_INSTALLED


class Reason(StrEnum):
    """Why a check was decided as it was: a closed set. `ask` is no decision: the release's window has to be asked."""

    INSTALL = "install"
    ROLLBACK = "rollback"
    REMOVE = "remove"
    CURRENT = "current"
    NO_RELEASE = "no_release"
    GONE = "gone"
    ASK = "ask"


INSTALL, ROLLBACK, REMOVE, CURRENT, NO_RELEASE, GONE, ASK = Reason

# The release that decided, None where none did, and the reason.
Decision = tuple[CompiledRelease | None, Reason]


def evaluate(  # noqa: C901, PLR0911, PLR0912 - one procedure of eight steps, and what decides it
    program: CompiledProgram,
    device: Device,
    installed: int,
    now: int,
    around: Circumstances = NOTHING_KNOWN,
    refused: Container[str] = (),
) -> Decision:
    """Decides what a device should have of one program.

    Args:
        program: the compiled document.
        device: what the device says of itself.
        installed: the key of the version it has, NOT_INSTALLED for none.
        now: the time, in seconds since the epoch.
        around: the lists that are known, and the device's trials.
        refused: the ids of windows that were asked for this device and had no place.
    """
    if program.taken_down:  # 1.
        return None, GONE if installed == NOT_INSTALLED else REMOVE
    if around.trials is not None:  # 2.
        trial = find_trial(program, around.trials)
        if trial is not None and installed <= trial.version:
            return trial, INSTALL if installed < trial.version else CURRENT
    satisfied = program.sheet.gather(device, installed, program.tags)
    for needed, release in zip(program.needed, program.live):  # noqa: B905 - 2.; made together, and the argument costs a check 0.1 us
        if needed & satisfied != needed:  # 5., before 3. and 4.: all have to hold, and this refuses most
            continue
        if not release.opens_at <= now < release.closes_at:  # 3.
            continue
        if release.clients is not None and not admits(release.clients, device):  # 4.
            continue
        if not (release.official or is_covered(release, device, now, around)):  # 6.
            window = release.window
            if window is None:
                continue
            place = find_place(release, window, device, installed, now, around)
            if place is Place.OPEN and window.id not in refused:
                return release, ASK
            if place is not Place.MEMBER:
                continue
        if installed < release.version:  # 7.
            return release, INSTALL
        if installed == release.version:  # 8.
            return release, CURRENT
        if installed in release.rollback_from:
            return release, ROLLBACK
    return None, NO_RELEASE


def find_trial(program: CompiledProgram, trials: Mapping[str, int]) -> CompiledRelease | None:
    """Returns what a device's trials give of a program, None where that is nothing, or no longer to be given."""
    version = trials.get(program.id)
    return None if version is None else program.trials.get(version)


def admits(clients: Clients, device: Device) -> bool:
    """Says whether a host app's platform and version are in the client range; None stands for every version."""
    if device.platform not in clients:
        return False
    apps = clients[device.platform]
    app = read_version(device.app) if device.app else None
    return apps is None or (app is not None and app in apps)


def is_covered(rule: CompiledRule, device: Device, now: int, around: Circumstances) -> bool:
    """Says whether a rule's *who*, its window left out, names this device: its user, or the percentage."""
    user = device.user
    if user in rule.users:
        return True
    percent = rule.percent
    if percent is not None:
        identity = user if percent.by_user else device.id
        limit = percent.find_limit(now) if percent.times else percent.limit
        if identity and compute_hash(percent.salt, identity) < limit:
            return True
    if rule.audiences and user:
        for name in rule.audiences:  # is_listed, which as a call would cost a check 0.1 us
            audience = around.audiences.get(name)
            if audience is not None and audience.holds(user):
                return True
    return False


def is_listed(names: Iterable[str], user: str, audiences: Mapping[str, Audience]) -> bool:
    """Says whether one of these audiences, of those that are known, holds a user."""
    for name in names:
        audience = audiences.get(name)
        if audience is not None and audience.holds(user):
            return True
    return False


def find_place(
    release: CompiledRelease, window: CompiledWindow, device: Device, installed: int, now: int, around: Circumstances
) -> Place:
    """Returns how a device stands to a release's window, OPEN only where its answer would be an action.

    A device that has the version already takes no place for it, and is taken for a member; so nobody is asked about
    devices that are up to date.
    """
    if installed == release.version:
        return Place.MEMBER
    if installed > release.version and installed not in release.rollback_from:
        return Place.SHUT
    if window.proven and not around.is_proven:
        return Place.SHUT
    identity, known = device.user if window.proven else device.id, around.windows.get(window.id)
    place = known.find(identity) if known is not None and identity else Place.SHUT
    return Place.SHUT if place is Place.OPEN and not window.opens_at <= now < window.closes_at else place
