"""Addresses of listeners, `host:port`; whether anything can listen there is not known here."""

import ipaddress
import re
from contextlib import suppress

HIGHEST_PORT = 65_535
_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")


def split_address(address: str) -> tuple[str, int]:
    """Returns host and port of `host:port`; an IPv6 host stands in brackets, port 0 takes a free one.

    Raises:
        ValueError: it is none, or the port is above 65535.
    """
    found = _ADDRESS.fullmatch(address)
    if found and int(found["port"]) <= HIGHEST_PORT:
        with suppress(ipaddress.AddressValueError):
            return _read_host(found["host"]), int(found["port"])
    raise ValueError(f"expected an address like 127.0.0.1:8080, got {address!r}")


def _read_host(host: str) -> str:
    return str(ipaddress.IPv6Address(host[1:-1])) if host.startswith("[") else host
