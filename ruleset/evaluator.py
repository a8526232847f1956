"""How a check is decided: which release of a program is for this device, and what follows from it.

The numbered steps are those of `contract/document.md`. Nothing here reads a clock, a socket or a logger: the time and
what the device said come in, a decision comes out, and the same in gives the same out.
"""

from enum import StrEnum

from ruleset.bucket import compute_hash
from ruleset.compiler import Clients, CompiledProgram, CompiledRelease
from ruleset.condition import read_version
from ruleset.model import Device
from ruleset.version import NOT_INSTALLED


class Reason(StrEnum):
    """Why a check was decided as it was: a closed set."""

    INSTALL = "install"
    ROLLBACK = "rollback"
    REMOVE = "remove"
    CURRENT = "current"
    NO_RELEASE = "no_release"
    GONE = "gone"


INSTALL, ROLLBACK, REMOVE, CURRENT, NO_RELEASE, GONE = Reason

# The release that decided, None where none did, and the reason.
Decision = tuple[CompiledRelease | None, Reason]


def evaluate(program: CompiledProgram, device: Device, installed: int, now: int) -> Decision:
    """Decides what a device should have of one program.

    Args:
        program: the compiled document.
        device: what the device says of itself.
        installed: the key of the version it has, NOT_INSTALLED for none.
        now: the time, in seconds since the epoch.
    """
    if program.taken_down:  # 1.
        return None, GONE if installed == NOT_INSTALLED else REMOVE
    satisfied = program.sheet.gather(device, installed, program.tags)
    for needed, release in zip(program.needed, program.live):  # noqa: B905 - 2.; made together, and the argument costs a check 0.1 us
        if needed & satisfied != needed:  # 5., before 3. and 4.: all have to hold, and this refuses most
            continue
        if not release.opens_at <= now < release.closes_at:  # 3.
            continue
        if release.clients is not None and not admits(release.clients, device):  # 4.
            continue
        if not (release.official or is_covered(release, device)):  # 6.
            continue
        if installed < release.version:  # 7.
            return release, INSTALL
        if installed == release.version:  # 8.
            return release, CURRENT
        if installed in release.rollback_from:
            return release, ROLLBACK
    return None, NO_RELEASE


def admits(clients: Clients, device: Device) -> bool:
    """Says whether a host app's platform and version are in the client range; None stands for every version."""
    if device.platform not in clients:
        return False
    apps = clients[device.platform]
    app = read_version(device.app) if device.app else None
    return apps is None or (app is not None and app in apps)


def is_covered(release: CompiledRelease, device: Device) -> bool:
    """Says whether a release's *who* names this device: its user, or the percentage that it falls into."""
    if device.user in release.users:
        return True
    percent = release.percent
    if percent is None:
        return False
    identity = device.user if percent.by_user else device.id
    return identity is not None and identity != "" and compute_hash(percent.salt, identity) < percent.limit
