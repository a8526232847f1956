"""The address of a Redis, as an operator writes it: what it says is read here, and nothing is reached for."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from redis.asyncio.connection import parse_url

from channel.errors import KeyNameError

SCHEMES: Final = ("redis://", "rediss://", "unix://")
SENTINEL_PORT: Final = 26_379
REDIS_PORT: Final = 6_379
# Asked all at once, whenever a connection is made: a list that somebody has pasted thrice is a mistake.
MAX_SEEDS: Final = 32


class Form(StrEnum):
    """Whom an address names, in its scheme behind a plus: the server, its sentinels, or nodes of its cluster."""

    SERVER = ""
    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True, order=True)
class Seat:
    """A host and a port."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Address:
    """An address, read.

    Args:
        form: whom it names.
        options: what redis-py takes for a connection to the server: user, password, TLS.
        seats: the sentinels or nodes; none for a server.
        service: what the sentinels call the server.
        asking: as `options`, for the sentinels or nodes.
    """

    form: Form
    options: dict[str, Any]
    seats: tuple[Seat, ...] = ()
    service: str = ""
    asking: dict[str, Any] = field(default_factory=dict)


def read_address(url: str) -> Address:
    """Returns what an address says.

    Args:
        url: `redis://`, `rediss://` (TLS, verified) or `unix://` as redis-py takes it; with several hosts
            `redis+sentinel://host:port,host:port/service` or `redis+cluster://host:port,host:port`, and the same
            with `rediss`. It may hold a user and a password, and options of redis-py behind a question mark.

    Raises:
        KeyNameError: the address is none; the message shows no more of it than its scheme.
    """
    scheme, colon, rest = url.partition("://")
    base, plus, form = scheme.partition("+")
    if not colon or f"{base}://" not in SCHEMES or form not in set(Form) or (plus and (not form or base == "unix")):
        shown = f"scheme {scheme[:20]!r}" if colon else "no scheme"
        wanted = f"{', '.join(SCHEMES)}, redis+sentinel:// or redis+cluster://"
        raise KeyNameError(f"expected a redis address {wanted}, got one with {shown}")
    try:
        return _read_many(base, Form(form), rest) if form else Address(Form.SERVER, _read_options(url))
    except ValueError:
        raise KeyNameError(f"expected a redis address, got one of scheme {scheme!r} that cannot be read") from None


def _read_many(base: str, form: Form, rest: str) -> Address:
    # By hand: urllib takes one host, and from some version on refuses brackets in the midst of several.
    before, _, query = rest.partition("?")
    netloc, _, path = before.partition("/")
    user, at, hosts = netloc.rpartition("@")
    service, _, database = path.partition("/")
    if form is Form.CLUSTER:
        service, database = "", service
    if (form is Form.SENTINEL and not service) or (form is Form.CLUSTER and database not in {"", "0"}):
        raise ValueError("a service for sentinels, no database but 0 in a cluster")
    seats = tuple(_read_seats(hosts.split(","), SENTINEL_PORT if form is Form.SENTINEL else REDIS_PORT))
    options = _read_options(f"{base}://{user}{at}host/{database}?{query}")
    del options["host"]
    # Sentinels have users of their own, or none, and no databases.
    sentinels = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    asking = {**options, **sentinels, "db": 0} if form is Form.SENTINEL else options
    return Address(form, options, seats, unquote(service), asking)


def _read_options(url: str) -> dict[str, Any]:
    return dict(parse_url(url))


def _read_seats(hosts: Iterable[str], port: int) -> Iterable[Seat]:
    for number, text in enumerate(hosts):
        found = urlsplit(f"//{text}")
        if not found.hostname or number >= MAX_SEEDS:
            raise ValueError("a host, and not too many of them")
        yield Seat(found.hostname, found.port or port)
