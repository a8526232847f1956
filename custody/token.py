"""Keys in a PKCS#11 token (an HSM, or a key service through its module): it signs, and its private keys never leave it.

The PIN is read when a session is opened and kept by nobody.
"""

import hashlib
import os
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Final

import pkcs11
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass, PKCS11Error

from custody.errors import CustodyError
from custody.file import read_secret
from custody.uri import TokenAddress
from trust import AlgorithmName, KeyFormatError, PublicKey

PIN_VARIABLE = "GRAYWAVE_PKCS11_PIN"

# Signed once when a key is opened, to see that it can sign: no token or document begins like this.
_TRIAL = b"graywave: can this key sign?"
# Object identifier of P-256 (RFC 5480), in DER.
_P256: Final = bytes.fromhex("06082a8648ce3d030107")
_POINT_BYTES = 65
_ED25519_BYTES = 32
# Modules are told that one thread at a time calls them.
_LOCK = Lock()


@dataclass(frozen=True, slots=True)
class _Opened:
    """A session with its key and how the key signs."""

    session: Any
    key: Any
    mechanism: Mechanism


class TokenSigner:
    """Signs with one key of a token; a session that was lost is opened again, once a signature.

    Args:
        address: which key.
        environment: where the PIN is, if its address names no file for it.

    Raises:
        CustodyError: module, token, PIN or key do not do.
    """

    def __init__(self, address: TokenAddress, environment: Mapping[str, str] = os.environ) -> None:
        self._address, self._environment = address, environment
        with _LOCK:
            self._opened, self.public = self._open()
        self.sign(_TRIAL)

    public: PublicKey

    def sign(self, data: bytes) -> bytes:
        """Returns the raw JWS signature over the data, seen to be one of this key.

        Raises:
            CustodyError: the token does not sign, even in a new session, or not with this key.
        """
        with _LOCK:
            signature = self._sign(data)
        if not self.public.verify(data, signature):
            raise CustodyError(f"{self._address}: expected a signature of key {self.public.kid!r}, got another")
        return signature

    def __reduce__(self) -> str:
        raise TypeError("expected a signer to stay in its process, got an attempt to pickle one")

    def __repr__(self) -> str:
        return f"TokenSigner(kid={self.public.kid!r})"

    def _sign(self, data: bytes) -> bytes:
        try:
            return _sign(self._opened, data)
        except PKCS11Error:
            _close(self._opened.session)
            self._opened, public = self._open()
        if public != self.public:
            raise CustodyError(f"{self._address}: expected key {self.public.kid!r}, got {public.kid!r} in its place")
        try:
            return _sign(self._opened, data)
        except PKCS11Error as error:
            raise CustodyError(f"{self._address}: it does not sign: {_tell(error)}") from None

    def _open(self) -> tuple[_Opened, PublicKey]:
        with ExitStack() as stack:
            try:
                session = self._log_in(_find_token(self._address))
                stack.callback(_close, session)  # tokens have few sessions; none is left behind
                key = _find_key(session, self._address)
                public = _read_public(session, key, self._address)
            except PKCS11Error as error:
                raise CustodyError(f"{self._address}: {_tell(error)}") from None
            stack.pop_all()
        return _Opened(session, key, _MECHANISMS[public.algorithm]), public

    def _log_in(self, token: Any) -> Any:
        pin = self._read_pin()
        try:
            return token.open(user_pin=pin) if pin else token.open()
        except pkcs11.UserAlreadyLoggedIn:
            return token.open()  # by another key of the same token: the log-in is the process's

    def _read_pin(self) -> str:
        if self._address.pin_source is None:
            return self._environment.get(PIN_VARIABLE, "")
        try:
            return read_secret(self._address.pin_source).decode("utf-8").strip()
        except UnicodeDecodeError:
            raise CustodyError(f"{self._address.pin_source}: expected a PIN as text, got other bytes") from None


_MECHANISMS: Final[Mapping[AlgorithmName, Mechanism]] = {
    "Ed25519": Mechanism.EDDSA,
    "ES256": Mechanism.ECDSA,
    "RS256": Mechanism.SHA256_RSA_PKCS,
}


def _sign(opened: _Opened, data: bytes) -> bytes:
    # Few tokens hash for ECDSA; every one signs a hash.
    message = hashlib.sha256(data).digest() if opened.mechanism is Mechanism.ECDSA else data
    return bytes(opened.key.sign(message, mechanism=opened.mechanism))


def _close(session: Any) -> None:
    with suppress(PKCS11Error):  # the token has closed it already
        session.close()


def _find_token(address: TokenAddress) -> Any:
    tokens = list(pkcs11.lib(str(address.module)).get_tokens(address.token, address.serial))
    if len(tokens) != 1:
        raise CustodyError(f"{address}: expected one such token in {address.module}, got {len(tokens)}")
    return tokens[0]


def _find_key(session: Any, address: TokenAddress) -> Any:
    wanted: dict[Attribute, Any] = {Attribute.CLASS: ObjectClass.PRIVATE_KEY}
    if address.label is not None:
        wanted[Attribute.LABEL] = address.label
    if address.id is not None:
        wanted[Attribute.ID] = address.id
    keys = list(session.get_objects(wanted))
    if len(keys) != 1:
        hint = "" if keys else f" (without a PIN none shows: pin-source=, or {PIN_VARIABLE})"
        raise CustodyError(f"{address}: expected one such private key, got {len(keys)}{hint}")
    return keys[0]


def _read_public(session: Any, key: Any, address: TokenAddress) -> PublicKey:
    wanted = {Attribute.CLASS: ObjectClass.PUBLIC_KEY, Attribute.KEY_TYPE: key.key_type, Attribute.ID: key.id}
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        raise CustodyError(f"{address}: expected one public key with the private key's id, got {len(found)}")
    try:
        return PublicKey.from_jwk(_tell_jwk(key.key_type, found[0]))
    except KeyFormatError as error:
        raise CustodyError(f"{address}: {error}") from None


def _tell_jwk(kind: KeyType, public: Any) -> dict[str, str]:
    if kind == KeyType.RSA:
        return {"kty": "RSA", "n": _number(public[Attribute.MODULUS]), "e": _number(public[Attribute.PUBLIC_EXPONENT])}
    if kind == KeyType.EC and public[Attribute.EC_PARAMS] == _P256:
        point = public[Attribute.EC_POINT][-_POINT_BYTES:]  # some tokens wrap it in DER, some do not
        return {"kty": "EC", "crv": "P-256", "x": _encode(point[1:33]), "y": _encode(point[33:])}
    if kind == KeyType.EC_EDWARDS:
        return {"kty": "OKP", "crv": "Ed25519", "x": _encode(public[Attribute.EC_POINT][-_ED25519_BYTES:])}
    raise KeyFormatError("expected a key for Ed25519, ES256 (P-256) or RS256, got another kind")


def _number(value: bytes) -> str:
    return _encode(value.lstrip(b"\0"))


def _encode(value: bytes) -> str:
    return urlsafe_b64encode(value).rstrip(b"=").decode("ascii")


def _tell(error: PKCS11Error) -> str:
    # Many have no text but their class's name, such as PinIncorrect.
    return f"{type(error).__name__} {error}".strip()
