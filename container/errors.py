"""What can go wrong on a device; each error says who has to act, and its message what to do."""

from typing import Literal

# Why an update failed or a version was given up, as it is reported: a closed list, which dashboards group by.
Reason = Literal[
    "offer_refused",
    "offer_expired",
    "package_refused",
    "transfer_refused",
    "seal_refused",
    "root_refused",
    "no_transfer",
    "not_confirmed",
    "not_installed",
    "floor",
    "network",
    "edge",
    "storage",
]


class ContainerError(Exception):
    """The base of every error that `container` raises; `reason` is what a report says about it."""

    reason: Reason = "edge"


class ConfigError(ContainerError):
    """The host app's maker must ship another client.json."""


class NetworkError(ContainerError):
    """Nobody has to act but the network: try again later, or elsewhere."""

    reason: Reason = "network"


class EdgeError(ContainerError):
    """The edge's operator must act: it refused, or answered what no edge answers. `code` is that of the wire."""

    def __init__(self, message: str, status: int = 0, code: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class OverloadedError(EdgeError):
    """The edge asks to be left alone for `retry_after_s` seconds; 0 if it does not say for how long."""

    def __init__(self, message: str, status: int, code: str, retry_after_s: int) -> None:
        super().__init__(message, status, code)
        self.retry_after_s = retry_after_s


class VerificationError(ContainerError):
    """What came is not what was signed: whoever publishes must look; the device keeps what it has."""

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(ContainerError):
    """The device's owner must act: the disk is full or broken, or another process is updating."""

    reason: Reason = "storage"


class NotInstalledError(ContainerError):
    """The host app must update the program before it opens it: there is no version to open."""

    reason: Reason = "not_installed"


class FloorError(ContainerError):
    """The host app must update the program before it opens it: the publisher lets nobody open what is installed."""

    reason: Reason = "floor"
