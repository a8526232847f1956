"""The container SDK: what a host app embeds to keep its mini programs up to date."""

from container.client import ActiveVersion, Container
from container.config import Config, load_config, read_config
from container.device import Device
from container.errors import (
    ConfigError,
    ContainerError,
    EdgeError,
    FloorError,
    NetworkError,
    NotInstalledError,
    OverloadedError,
    Reason,
    StorageError,
    VerificationError,
)
from container.events import Events, NoEvents
from container.fetcher import Fetcher, HttpFetcher, Response
from container.outcome import Outcome
from container.passport import NoPassport, Passport
from container.wire import Answer, Transfer, Update

__all__ = [
    "ActiveVersion",
    "Answer",
    "Config",
    "ConfigError",
    "Container",
    "ContainerError",
    "Device",
    "EdgeError",
    "Events",
    "Fetcher",
    "FloorError",
    "HttpFetcher",
    "NetworkError",
    "NoEvents",
    "NoPassport",
    "NotInstalledError",
    "Outcome",
    "OverloadedError",
    "Passport",
    "Reason",
    "Response",
    "StorageError",
    "Transfer",
    "Update",
    "VerificationError",
    "load_config",
    "read_config",
]
