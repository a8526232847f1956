"""`pkcs11:` addresses (RFC 7512): which key, in which token, by which module; nothing is opened here."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes

from custody.errors import CustodyError

SCHEME = "pkcs11:"
# Labels have 32 bytes and paths 4,096; a longer address is a mistake, perhaps of pasting a key.
MAX_ADDRESS_CHARACTERS = 8192
_PATH_NAMES = ("token", "serial", "object", "id", "type")
_QUERY_NAMES = ("module-path", "pin-source")
_BROKEN_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, slots=True)
class TokenAddress:
    """A private key in a token; what is None was not said. The PIN is not in it, but where it is kept."""

    module: Path
    token: str | None = None
    serial: bytes | None = None
    label: str | None = None
    id: bytes | None = None
    pin_source: Path | None = None

    def __str__(self) -> str:
        return f"pkcs11 token {self.token or self.serial!r}, key {self.label or self.id!r}"


def parse_uri(uri: str) -> TokenAddress:
    """Returns what a `pkcs11:` address says: token=, serial=, object=, id=, and ?module-path= and &pin-source=.

    Raises:
        CustodyError: it is malformed, names no module or no token, or says more; a PIN in it is refused and not shown.
    """
    if len(uri) > MAX_ADDRESS_CHARACTERS:
        raise CustodyError(f"pkcs11: expected an address of at most {MAX_ADDRESS_CHARACTERS} characters, got more")
    path, _, query = uri.removeprefix(SCHEME).partition("?")
    if "pin-value" in query:
        raise CustodyError("pkcs11: expected pin-source=, got pin-value=: an address is shown, a PIN must not be")
    said = {**_split(path, ";", _PATH_NAMES), **_split(query, "&", _QUERY_NAMES)}
    if said.get("type", b"private") != b"private":
        raise CustodyError("pkcs11: expected type=private or none, got another")
    if "module-path" not in said:
        raise CustodyError("pkcs11: expected ?module-path= with the token's library, got none")
    if "token" not in said and "serial" not in said:
        raise CustodyError("pkcs11: expected token= or serial=, got none")
    return TokenAddress(
        module=Path(_decode(said["module-path"], "module-path")),
        token=_take_text(said, "token"),
        serial=said.get("serial"),
        label=_take_text(said, "object"),
        id=said.get("id"),
        pin_source=_read_pin_source(_take_text(said, "pin-source")),
    )


def _split(text: str, mark: str, names: tuple[str, ...]) -> dict[str, bytes]:
    said: dict[str, bytes] = {}
    for part in filter(None, text.split(mark)):
        name, _, value = part.partition("=")
        if name not in names or name in said:
            raise CustodyError(f"pkcs11: expected each of {', '.join(names)} at most once, got {name[:40]!r}")
        if not value or _BROKEN_PERCENT.search(value):
            raise CustodyError(f"pkcs11: expected {name}= with percent-encoded text, got something else")
        said[name] = unquote_to_bytes(value)
    return said


def _take_text(said: Mapping[str, bytes], name: str) -> str | None:
    return _decode(said[name], name) if name in said else None


def _decode(value: bytes, name: str) -> str:
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        raise CustodyError(f"pkcs11: expected UTF-8 in {name}=, got other bytes") from None
    if "\0" in text:
        raise CustodyError(f"pkcs11: expected no NUL in {name}=, got one")
    return text


def _read_pin_source(text: str | None) -> Path | None:
    if text is None:
        return None
    path = text.removeprefix("file:").removeprefix("//")
    if not path.startswith("/"):
        raise CustodyError("pkcs11: expected pin-source= with an absolute path, got something else")
    return Path(path)
