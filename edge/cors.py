"""Cross-origin requests (the Fetch standard's CORS): which fields let a browser show an answer to a page. PURE.

Nothing is protected by it: who is no browser does not ask. It is there only where the operator has named origins.
"""

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

ORIGIN: Final = b"origin"
ANY: Final = "*"
METHODS: Final = "POST"
HEADERS: Final = "Authorization, Content-Type, If-None-Match, Prefer, X-Graywave-Interactive, X-Graywave-Workspace"
EXPOSED: Final = "ETag, Preference-Applied, Retry-After"
# How long a browser remembers what it may ask, in seconds; two hours is the most that any of them does.
MAX_AGE_S: Final = 7_200

_is_origin: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[a-z0-9._:\[\]-]+").fullmatch
_NONE: Final[Mapping[str, str]] = MappingProxyType({})
_PREFLIGHT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }
)


def check_origins(origins: Iterable[str]) -> None:
    """Returns if these can be origins, as browsers write them; raises ValueError."""
    for origin in origins:
        if not _is_origin(origin):
            raise ValueError(f"expected an origin like https://app.example, in small letters, or *, got {origin!r}")


class Cors:
    """Says what pages of an origin may see.

    Args:
        origins: those that may see answers; `*` for any.
    """

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)
        self._lines = {
            origin.encode(): "".join([f"\r\n{name}: {value}" for name, value in _make_fields(origin).items()]).encode()
            for origin in self._origins
        }

    def find_fields(self, origin: str, *, is_preflight: bool = False) -> Mapping[str, str]:
        """Returns the fields of an answer to a page of an origin; none where it may not see it.

        `is_preflight` is for the answer to a browser that asks what such a page may do.
        """
        name = origin if origin in self._origins else ANY
        if not origin or name not in self._origins:
            return _NONE
        return {**_make_fields(name), **_PREFLIGHT} if is_preflight else _make_fields(name)

    def find_lines(self, origin: bytes) -> bytes:
        """Returns the same fields as they are written, each with its line's end before it."""
        return self._lines.get(origin) or (self._lines.get(ANY.encode(), b"") if origin else b"")


def _make_fields(origin: str) -> Mapping[str, str]:
    fields = {"Access-Control-Allow-Origin": origin, "Access-Control-Expose-Headers": EXPOSED}
    return fields if origin == ANY else {**fields, "Vary": "Origin"}
