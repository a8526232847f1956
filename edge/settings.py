"""The edge's settings: one frozen dataclass, read once, every problem reported together."""

import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec

from channel import ChannelError, Keys, read_address
from edge.cors import check_origins
from edge.place import MEMBERS, read_network
from edge.room import Limits
from settings import read
from settings.address import split_address
from settings.setting import Secret

SECTION = "edge"
PREFIX = "GRAYWAVE_EDGE_"
MAX_WORKERS = 256
_is_header = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}").fullmatch


def _setting(help_: str, **bounds: int) -> dict[str, object]:
    return {"help": help_, **bounds}


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeSettings:
    """What `graywave edge` runs with; each field is a key of `[edge]` and a variable `GRAYWAVE_EDGE_…`."""

    redis: str = field(
        metadata={
            "help": "address of the Redis that the publisher writes to, sentinels and clusters too: docs/redis.md",
            "secret": True,
        }
    )
    workspaces: Mapping[str, Path] = field(metadata=_setting("the workspaces served, each with its pinned root file"))
    data: Path = field(metadata=_setting("folder of edge.db, the last good rule set; one a host"))
    listen: str = field(default="0.0.0.0:8080", metadata=_setting("address and port that devices reach"))
    admin: str = field(
        default="127.0.0.1:8081", metadata=_setting("address and port of health, status and metrics, for operators")
    )
    admin_token_file: Path | None = field(
        default=None, metadata=_setting("file of the bearer token that protected admin routes want; empty for none")
    )
    proof_keys: Mapping[str, Path] = field(
        default_factory=dict,
        metadata=_setting("workspaces whose users have to be proven, each with the JWKS file of its back end's keys"),
    )
    proof_issuers: Mapping[str, str] = field(
        default_factory=dict, metadata=_setting("the iss of each of these workspaces' tokens")
    )
    proof_audiences: Mapping[str, str] = field(
        default_factory=dict, metadata=_setting("the aud of each of these workspaces' tokens")
    )
    trusted_proxies: tuple[str, ...] = field(
        default=(), metadata=_setting("networks whose place headers and X-Forwarded-For are believed: 10.0.0.0/8")
    )
    place_headers: Mapping[str, str] = field(
        default_factory=dict,
        metadata=_setting("the headers in which a trusted proxy tells a device's country, region and city"),
    )
    place_database: Path | None = field(
        default=None,
        metadata=_setting("MaxMind database of cities, to find places by devices' addresses; empty for none"),
    )
    place_language: str = field(default="en", metadata=_setting("language of the cities' names from that database"))
    workers: int = field(
        default_factory=lambda: os.cpu_count() or 1,
        metadata=_setting("worker processes, best one a core", min=1, max=MAX_WORKERS),
    )
    lane: bool = field(
        default=True, metadata=_setting("answer checks on the hot lane; false sends all through aiohttp")
    )
    store: Path | None = field(default=None, metadata=_setting("folder of package files to serve; empty for none"))
    fingerprint_keys: Mapping[str, Path] = field(
        default_factory=dict, metadata=_setting("files of the keys of audiences and windows, by the key's id")
    )
    files: str = field(
        default="", metadata=_setting("where audiences' files are, whose url has no host: https://cdn.example")
    )
    cors_origins: tuple[str, ...] = field(
        default=(),
        metadata=_setting("origins of web pages that may ask, like https://app.example, or * for any; empty for none"),
    )
    max_connections: int = field(
        default=20_000, metadata=_setting("open connections a worker may have", min=1, max=1_000_000)
    )
    max_peer_connections: int = field(
        default=0,
        metadata=_setting("open connections one peer address may have in a worker; 0 behind a balancer", min=0),
    )
    max_busy_percent: int = field(
        default=90,
        metadata=_setting(
            "how busy a worker may be before it refuses costly requests; 100 refuses none", min=10, max=100
        ),
    )
    max_programs: int = field(
        default=Limits().programs, metadata=_setting("programs of a workspace that a host takes", min=1)
    )
    max_document_mb: int = field(
        default=Limits().document_mb, metadata=_setting("documents of a workspace that a host takes, in MB", min=1)
    )
    max_audience_mb: int = field(
        default=Limits().audience_mb,
        metadata=_setting("files of a workspace's audiences that a host takes, in MB", min=1),
    )
    workspace_connections: Mapping[str, int] = field(
        default_factory=dict, metadata=_setting("open connections each of these workspaces may have in a worker")
    )
    workspace_rates: Mapping[str, int] = field(
        default_factory=dict, metadata=_setting("requests a second that a worker answers each of these workspaces")
    )
    max_held: int = field(
        default=15_000,
        metadata=_setting("held checks a worker may have, at most 4 of 5 connections; 0 for none", min=0),
    )
    held_spread_s: float = field(
        default=2.0,
        metadata=_setting("seconds over which the held checks that a change concerns are told", min=0, max=5),
    )
    drain_delay_s: float = field(
        default=0.0,
        metadata=_setting("seconds between going unready and closing sockets, for balancers to notice", min=0, max=300),
    )

    def __post_init__(self) -> None:
        """Refuses what a field's type alone cannot show.

        Raises:
            ValueError: an address is none, or no workspace is named, or by what is no name; names all of these.
        """
        problems = list(self._find_problems())
        if problems:
            raise ValueError("; ".join(problems))

    def _find_problems(self) -> Iterator[str]:
        yield from _attempt(split_address, self.listen, self.admin)
        yield from _attempt(Keys.of, *self.workspaces)
        if self.files:
            yield from _attempt(_check_base, self.files)
        yield from _attempt(read_address, self.redis)
        if not self.workspaces:
            yield "expected at least one workspace, got none"
        yield from _attempt(lambda origin: check_origins([origin]), *self.cors_origins)
        yield from self._find_limit_problems()
        yield from self._find_proof_problems()
        yield from self._find_place_problems()

    def _find_limit_problems(self) -> Iterator[str]:
        """A limit of a workspace that is misspelt would be none."""
        tables = (("workspace_connections", self.workspace_connections), ("workspace_rates", self.workspace_rates))
        for field_name, table in tables:
            for name in sorted(table.keys() - self.workspaces.keys()):
                yield f"expected {field_name} of workspaces that are served, got {name!r}"

    def _find_proof_problems(self) -> Iterator[str]:
        """Half of a proof is none: a token for another service would do."""
        for name in sorted(self.proof_keys.keys() - self.workspaces.keys()):
            yield f"expected proof_keys of workspaces that are served, got {name!r}"
        for field_name, table in (("proof_issuers", self.proof_issuers), ("proof_audiences", self.proof_audiences)):
            if {name for name, text in table.items() if text} != self.proof_keys.keys():
                wanted = ", ".join(sorted(self.proof_keys)) or "none"
                got = ", ".join(sorted(table)) or "none"
                yield f"expected {field_name} for the workspaces of proof_keys, {wanted}, got {got}"

    def _find_place_problems(self) -> Iterator[str]:
        yield from _attempt(read_network, *self.trusted_proxies)
        for member, header in self.place_headers.items():
            if member not in MEMBERS:
                yield f"expected place_headers for {', '.join(MEMBERS)}, got {member!r}"
            if not _is_header(header):
                yield f"expected a header's name for {member} in place_headers, got {header!r}"
        if self.place_headers and not self.trusted_proxies:
            yield "expected trusted_proxies where there are place_headers: nobody's are believed without"


def _check_base(base: str) -> None:
    if not re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*[^/?#\s])?", base):
        raise ValueError(f"expected files like https://cdn.example, without a slash at the end, got {base[:100]!r}")


def _attempt(read: Callable[[str], object], *texts: str) -> Iterator[str]:
    for text in texts:
        try:
            read(text)
        except (ValueError, ChannelError) as error:
            yield str(error)


def read_settings(toml: Path | None, environ: Mapping[str, str]) -> EdgeSettings:
    """Returns the edge's settings.

    Raises:
        SettingsError: names every problem, and where it stands.
    """
    return read(EdgeSettings, SECTION, toml, environ, PREFIX)


def find_data(toml: Path | None, environ: Mapping[str, str]) -> Path | None:
    """Returns the data folder that is set, None where none is; what is wrong with other settings does not matter."""
    if PREFIX + "DATA" in environ:
        return Path(environ[PREFIX + "DATA"])
    try:
        found = tomllib.loads(toml.read_text("utf-8"))[SECTION]["data"] if toml else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return toml.parent / found if toml and isinstance(found, str) else None


def freeze_settings(settings: EdgeSettings) -> bytes:
    """Returns settings as processes of one host hand them to each other: JSON, with absolute paths; it is secret."""
    return msgspec.json.encode(settings, enc_hook=_make_plain)


def _make_plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    return str(value) if isinstance(value, str) else dict(value)


def thaw_settings(frozen: bytes) -> EdgeSettings:
    """Returns the settings that `freeze_settings` was given."""
    settings = msgspec.json.decode(frozen, type=EdgeSettings, dec_hook=lambda kind, value: kind(value))
    return replace(settings, redis=Secret(settings.redis))
