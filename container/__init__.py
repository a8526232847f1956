"""The container SDK: what a host app embeds to keep its mini programs up to date."""

from container.client import ActiveVersion, Container, Outcome
from container.config import Config, load_config, read_config
from container.device import Device
from container.errors import (
    ConfigError,
    ContainerError,
    EdgeError,
    NetworkError,
    OverloadedError,
    StorageError,
    VerificationError,
)
from container.fetcher import Fetcher, HttpFetcher, Response
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
    "Fetcher",
    "HttpFetcher",
    "NetworkError",
    "Outcome",
    "OverloadedError",
    "Response",
    "StorageError",
    "Transfer",
    "Update",
    "VerificationError",
    "load_config",
    "read_config",
]
