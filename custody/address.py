"""Addresses of keys: a path, `file:`, `env:` or `pkcs11:`. None of them is a secret; what may be one is not shown."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path

from custody.errors import CustodyError
from custody.file import read_key_file, read_key_variable
from custody.uri import SCHEME, parse_uri
from trust import KeyFormatError, PublicKey, Signer
from trust.key import MAX_KEY_BYTES

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}\Z")
_ANY_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
# What keys hold and addresses do not.
_SECRET = re.compile(r"[{}\n\r\0]|-----|SECRET-KEY")


def open_signer(address: str, environment: Mapping[str, str] = os.environ) -> Signer:
    """Returns the signer at an address.

    Args:
        address: a path or `file:PATH` of a private key (JWK, or PEM without a passphrase), `env:NAME` of a variable
            that holds one, or `pkcs11:token=…;object=…?module-path=…&pin-source=…` (RFC 7512) of one in a token.
        environment: where variables are looked up.

    Raises:
        CustodyError: there is no such key, or others can read it; the message holds no secret.
    """
    if not address or _SECRET.search(address):
        raise CustodyError("expected the address of a key (a path, file:, env: or pkcs11:), got something else")
    if address.startswith(SCHEME):
        return _open_token(address, environment)
    if address.startswith("env:"):
        return read_key_variable(_check_variable(address.removeprefix("env:")), environment)
    return read_key_file(_read_path(address))


def open_public(address: str, environment: Mapping[str, str] = os.environ) -> PublicKey:
    """Returns the public half of the key at an address, which may be a file with a public JWK too.

    Raises:
        CustodyError: as `open_signer`.
    """
    if not address.startswith((SCHEME, "env:")) and not _SECRET.search(address):
        public = _read_public_file(_read_path(address))
        if public is not None:
            return public
    return open_signer(address, environment).public


def find_file(address: str) -> Path | None:
    """Returns the file that the address of a key names; None for a variable or a token. Raises CustodyError."""
    return None if address.startswith((SCHEME, "env:")) else _read_path(address)


def _open_token(address: str, environment: Mapping[str, str]) -> Signer:
    parsed = parse_uri(address)
    try:
        from custody.token import TokenSigner  # noqa: PLC0415 - its library is installed only where tokens are
    except ModuleNotFoundError as error:
        raise CustodyError(f"pkcs11: expected python-pkcs11 (graywave[hsm]), got no module {error.name}") from None
    return TokenSigner(parsed, environment)


def _check_variable(name: str) -> str:
    if not _VARIABLE.match(name):
        raise CustodyError("env: expected the name of a variable, got something else")
    return name


def _read_path(address: str) -> Path:
    if address.startswith("file:"):
        path = address.removeprefix("file:")
        return Path(path.removeprefix("//") if path.startswith("///") else path)
    if scheme := _ANY_SCHEME.match(address):
        raise CustodyError(f"expected a path, file:, env: or pkcs11: as a key's address, got {scheme[0]!r}")
    return Path(address)


def _read_public_file(path: Path) -> PublicKey | None:
    """A public key is no secret: its file may be everybody's. None for what is no public key."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_KEY_BYTES:
            return None
        jwk = json.loads(path.read_bytes())
        return PublicKey.from_jwk(jwk) if isinstance(jwk, dict) else None
    except (OSError, ValueError, RecursionError, KeyFormatError):
        return None
