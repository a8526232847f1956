"""Writes MaxMind databases as small as tests need them: version 2.0 (maxmind.github.io/MaxMind-DB), 24-bit records."""

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Any

MARK = b"\xab\xcd\xefMaxMind.com"
SEPARATOR = bytes(16)
MAP, TEXT, UINT16, UINT32, UINT64, ARRAY = 7, 2, 5, 6, 9, 11
RECORD_BYTES = 3
BITS = 128

# A database has this city at these addresses.
HANGZHOU = {
    "country": {"iso_code": "CN"},
    "subdivisions": [{"iso_code": "ZJ", "names": {"en": "Zhejiang"}}],
    "city": {"names": {"en": "Hangzhou", "zh-CN": "杭州"}},
}
BONN = {"country": {"iso_code": "DE"}, "subdivisions": [{"names": {"en": "NRW"}}], "city": {"names": {"en": "Bonn"}}}
IN_HANGZHOU, IN_BONN, UNKNOWN = "203.0.113.7", "2001:db8::7", "198.51.100.1"
WORLD = {"203.0.113.0/24": HANGZHOU, "2001:db8::/32": BONN}


def write_database(path: Path, world: Mapping[str, Any] = WORLD) -> Path:
    """Writes a database of records by their networks; replaces a file as it should be, by renaming."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(make_database(world))
    fresh.rename(path)
    return path


def make_database(world: Mapping[str, Any]) -> bytes:
    """Returns the bytes of a database."""
    nodes: list[list[int | bytes | None]] = [[None, None]]
    for text, record in world.items():
        _insert(nodes, text, _encode(record))
    data, offsets = b"", {}
    for leaf in {leaf for node in nodes for leaf in node if isinstance(leaf, bytes)}:
        offsets[leaf] = len(nodes) + len(SEPARATOR) + len(data)
        data += leaf
    tree = b"".join(_encode_side(side, len(nodes), offsets) for node in nodes for side in node)
    return tree + SEPARATOR + data + MARK + _encode(_describe(len(nodes)))


def _describe(count: int) -> dict[str, Any]:
    return {
        "node_count": (UINT32, count),
        "record_size": (UINT16, RECORD_BYTES * 8),
        "ip_version": (UINT16, 6),
        "database_type": "Test-City",
        "languages": ["en", "zh-CN"],
        "binary_format_major_version": (UINT16, 2),
        "binary_format_minor_version": (UINT16, 0),
        "build_epoch": (UINT64, 1_794_000_000),
        "description": {"en": "of the tests"},
    }


def _insert(nodes: "list[list[int | bytes | None]]", text: str, leaf: bytes) -> None:
    """IPv4 networks lie in ::/96."""
    network = ip_network(text)
    length = network.prefixlen + BITS - network.max_prefixlen
    bits = f"{int(network.network_address):0{BITS}b}"[:length]
    at = 0
    for bit in bits[:-1]:
        side = nodes[at][int(bit)]
        if side is None:
            nodes.append([None, None])
            side = nodes[at][int(bit)] = len(nodes) - 1
        assert isinstance(side, int), f"{text} lies in another network"
        at = side
    nodes[at][int(bits[-1])] = leaf


def _encode_side(side: int | bytes | None, count: int, offsets: Mapping[bytes, int]) -> bytes:
    number = count if side is None else offsets[side] if isinstance(side, bytes) else side
    return number.to_bytes(RECORD_BYTES)


def _encode(value: Any) -> bytes:
    match value:
        case str():
            data = value.encode()
            return _encode_head(TEXT, len(data)) + data
        case dict():
            return _encode_head(MAP, len(value)) + b"".join(
                _encode(name) + _encode(part) for name, part in value.items()
            )
        case list():
            return _encode_head(ARRAY, len(value)) + b"".join(map(_encode, value))
        case (kind, number):
            data = number.to_bytes(8).lstrip(b"\0")
            return _encode_head(kind, len(data)) + data
    raise TypeError(value)


def _encode_head(kind: int, size: int) -> bytes:
    more = b"" if size < 29 else bytes([size - 29])
    size = min(size, 29)
    return (bytes([kind << 5 | size]) if kind < 8 else bytes([size, kind - 7])) + more
