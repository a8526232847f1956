"""client.json, which the host app ships: workspace, edges' addresses, pinned root. Nothing is fetched here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from container.errors import ConfigError
from trust import Root, TrustError, read_root

# A root has at most 64 KiB; whoever ships more has mixed up files.
MAX_CONFIG_BYTES = 256 * 1024
MAX_EDGES = 16
_MAX_ADDRESS_BYTES = 2048


@dataclass(frozen=True, slots=True)
class Config:
    """Whom a container asks and whom it believes; `edges` are base addresses without a path's last slash."""

    workspace: str
    edges: tuple[str, ...]
    root: Root


class _Form(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    workspace: str
    edges: Annotated[tuple[str, ...], Meta(min_length=1, max_length=MAX_EDGES)]
    root: msgspec.Raw


def load_config(path: Path) -> Config:
    """Returns the configuration in a file.

    Raises:
        ConfigError: the file cannot be read, or `read_config` refuses it.
    """
    try:
        return read_config(path.read_bytes())
    except OSError as error:
        raise ConfigError(f"{path}: expected a file that can be read: {error.strerror}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def read_config(data: bytes) -> Config:
    """Returns the configuration in JSON text: {"workspace": …, "edges": [address, …], "root": {root document}}.

    Raises:
        ConfigError: it is malformed, an address is none, or the root is not signed by itself or of another workspace.
    """
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError(f"expected at most {MAX_CONFIG_BYTES} bytes, got {len(data)}")
    try:
        form = msgspec.json.decode(data, type=_Form)
        root = read_root(bytes(form.root))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"expected a client configuration: {error}") from error
    except TrustError as error:
        raise ConfigError(f"root: {error}") from error
    if root.workspace != form.workspace:
        raise ConfigError(f"root: expected one of workspace {form.workspace!r}, got one of {root.workspace!r}")
    return Config(form.workspace, tuple(map(_check_address, form.edges)), root)


def _check_address(address: str) -> str:
    try:
        parts = urlsplit(address)
        is_fine = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine or parts.query or parts.fragment or not address.isascii() or len(address) > _MAX_ADDRESS_BYTES:
        raise ConfigError(f"edges: expected http(s)://host[:port][/path], got {address[:200]!r}")
    return address.rstrip("/")
