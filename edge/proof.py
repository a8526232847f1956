"""Proof of the user: a JWT of the host app's own back end, verified once and remembered by its hash. PURE.

It knows keys, claims and time as values; where keys come from, and which header field carries a token, is not its
business. A token that proves nothing is no error: its device is answered as one without a user.
"""

import base64
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct
from msgspec.structs import replace

from edge.allowance import Allowance
from edge.errors import EdgeError
from edge.memory import Memory
from ruleset import Device
from trust import KeyFormatError, PublicKey

# A token with a signature of RSA 4096 and a few claims has 1.5 KB; more is somebody making the edge hash and parse.
MAX_TOKEN_BYTES: Final = 4_096
# As long as any string of a check; a longer subject could name no user of a question.
MAX_USER: Final = 256
# The clocks of a back end and of an edge differ by less, in seconds.
LEEWAY_S: Final = 60
# Tokens that a worker remembers for a workspace, some 300 bytes each: made-up ones cost no more memory than this.
MAX_PROVEN: Final = 32_768
# Remembered apart, so that made-up tokens drive out no proven ones.
MAX_REFUSED: Final = 4_096
# Signatures verified a second, for a workspace in a worker. One takes 45 to 120 us, so that made-up tokens can keep a
# worker busy for a quarter of its time and no longer (docs/adr/0017).
MAX_FRESH: Final = 2_000
MAX_KEYS_BYTES: Final = 64 * 1024
# A back end has two or three, old and new; each is tried for nobody, but a file of thousands is no key set.
MAX_KEYS: Final = 32

# How a JWT calls the algorithm of a key (RFC 7518, 8037, 9864); the key decides, never the token.
_NAMES: Final[Mapping[str, frozenset[str]]] = {
    "Ed25519": frozenset({"EdDSA", "Ed25519"}),
    "ES256": frozenset({"ES256"}),
    "RS256": frozenset({"RS256"}),
}
_MEMBERS: Final[Mapping[object, tuple[str, ...]]] = {
    "OKP": ("kty", "crv", "x"),
    "EC": ("kty", "crv", "x", "y"),
    "RSA": ("kty", "n", "e"),
}
# The kinds of keys that are passed over where others of their set are of use.
_CURVES: Final[Mapping[object, object]] = {"OKP": "Ed25519", "EC": "P-256", "RSA": None}
_is_compact: Final = re.compile(rb"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII).fullmatch


class KeySetError(EdgeError, ValueError):
    """A JWKS file holds no keys that could prove a user; the operator must bring another."""


class Doubt(StrEnum):
    """Why a token proves nothing."""

    MALFORMED = "it is no compact JWT with alg, sub, exp, iss and aud"
    TOO_LARGE = f"it has more than {MAX_TOKEN_BYTES} bytes"
    UNKNOWN_KEY = "its kid is none of the key set"
    OTHER_ALGORITHM = "its alg is not its key's"
    OTHER_ISSUER = "its iss is another"
    OTHER_AUDIENCE = "its aud is another"
    EXPIRED = "it has expired"
    EARLY = "it is not valid yet"
    FORGED = "its signature is wrong"
    OTHER_USER = "its sub is not the user that the device names"


class _DoubtError(Exception):
    """Ends the judgement of a token."""

    def __init__(self, doubt: Doubt) -> None:
        self.doubt = doubt


class _Header(Struct, frozen=True):
    alg: str
    kid: str = ""
    crit: Any = None


class _Claims(Struct, frozen=True):
    sub: Annotated[str, Meta(min_length=1, max_length=MAX_USER)]
    exp: float
    iss: str
    aud: str | list[str]
    nbf: float = 0.0


class _Proof(Struct, frozen=True, gc=False):
    """What is remembered of a token that was verified."""

    user: str
    expires: float


_header_decoder = msgspec.json.Decoder(_Header)
_claims_decoder = msgspec.json.Decoder(_Claims)


def read_key_set(document: bytes) -> Mapping[str, PublicKey]:
    """Returns the usable keys of a JWKS (RFC 7517) by their kid, a key without one by the empty text.

    Usable are public keys for Ed25519, ES256 and RS256 (2,048 to 4,096 bits); those for other algorithms, and for
    encryption, are passed over.

    Raises:
        KeySetError: no JWKS, a private or malformed key, two with one kid, too many, or none that is usable.
    """
    keys: dict[str, PublicKey] = {}
    for place, jwk in enumerate(_read_jwks(document)):
        try:
            found = _read_key(jwk)
        except KeyFormatError as error:
            raise KeySetError(f"$.keys[{place}]: {error}") from None
        if found is None:
            continue
        kid = jwk.get("kid", "")
        if not isinstance(kid, str):
            raise KeySetError(f"$.keys[{place}].kid: expected a text, got {kid!r:.100}")
        if kid in keys:
            raise KeySetError(f"$.keys[{place}].kid: expected each kid once, got {kid[:MAX_USER]!r} again")
        keys[kid] = found
    if not keys:
        raise KeySetError("$.keys: expected a public key for Ed25519, ES256 or RS256 at least, got none")
    return MappingProxyType(keys)


def _read_jwks(document: bytes) -> list[dict[str, Any]]:
    if len(document) > MAX_KEYS_BYTES:
        raise KeySetError(f"expected a key set of at most {MAX_KEYS_BYTES} bytes, got {len(document)}")
    try:
        jwks = msgspec.json.decode(document, type=dict[str, Any]).get("keys")
        found: list[dict[str, Any]] = msgspec.convert(jwks, Annotated[list[dict[str, Any]], Meta(max_length=MAX_KEYS)])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        # From None: the cause may quote what somebody has taken for a key set.
        raise KeySetError(f"$.keys: expected a JWKS, a list of at most {MAX_KEYS} keys, got something else") from None
    return found


def _read_key(jwk: Mapping[str, Any]) -> PublicKey | None:
    """The key, None where it is one for something else; a symmetric or private one has no place here at all."""
    kind = jwk.get("kty")
    if "d" in jwk or "k" in jwk:
        raise KeyFormatError("expected a public key, got one with its private part")
    if not isinstance(kind, str) or kind not in _MEMBERS or jwk.get("crv") != _CURVES[kind]:
        return None
    if jwk.get("use", "sig") != "sig":
        return None
    key = PublicKey.from_jwk({name: jwk[name] for name in _MEMBERS[kind] if name in jwk})
    return key if jwk.get("alg", key.algorithm) in _NAMES[key.algorithm] else None


def read_bearer(authorization: bytes) -> bytes:
    """Returns the token of an Authorization field's value (RFC 6750), empty where it is of another scheme."""
    scheme, _, token = authorization.partition(b" ")
    return token.strip(b" \t") if scheme.lower() == b"bearer" else b""


class Prover:
    """Says who is proven to ask, for one workspace in one worker.

    Args:
        issuer: what a token's `iss` has to be.
        audience: what its `aud` has to be, or to name.
    """

    def __init__(self, issuer: str, audience: str) -> None:
        self._issuer, self._audience = issuer, audience
        self._keys: Mapping[str, PublicKey] = {}
        self._proven: Memory[bytes, _Proof] = Memory(MAX_PROVEN)
        self._refused: Memory[bytes, Doubt] = Memory(MAX_REFUSED)
        self._fresh = Allowance(MAX_FRESH, "new proofs of users")
        # How many signatures were verified, how many devices' users were proven, and what tokens were refused for.
        self.verified, self.proven = 0, 0
        self.doubts: Counter[Doubt] = Counter()

    def follow(self, keys: Mapping[str, PublicKey]) -> None:
        """Replaces the keys, and forgets what was proven by those before."""
        self._keys = keys
        self._proven.clear()
        self._refused.clear()

    def identify(self, device: Device, authorization: bytes, now: int) -> tuple[Device, bool]:
        """Returns the device with the user that is proven, or without one; and whether one is.

        Args:
            device: as it describes itself.
            authorization: the value of the request's one Authorization field, empty where there is none.
            now: seconds since 1970.

        Raises:
            RefusedError: `overloaded`, too many tokens have come in this second that were never seen before.
        """
        token = read_bearer(authorization) if authorization else b""
        if token:
            try:
                user = self._find_user(token, device.user, now)
            except _DoubtError as error:
                self.doubts[error.doubt] += 1
            else:
                self.proven += 1
                return device if device.user else replace(device, user=user), True
        return replace(device, user=None) if device.user else device, False

    def _find_user(self, token: bytes, named: str | None, now: int) -> str:
        if len(token) > MAX_TOKEN_BYTES:
            raise _DoubtError(Doubt.TOO_LARGE)
        name = hashlib.blake2b(token, digest_size=16).digest()
        proof = self._proven.find(name) or self._verify(token, name, now)
        if now >= proof.expires + LEEWAY_S:
            raise _DoubtError(Doubt.EXPIRED)
        if named and named != proof.user:
            raise _DoubtError(Doubt.OTHER_USER)
        return proof.user

    def _verify(self, token: bytes, name: bytes, now: int) -> _Proof:
        """Judges a token that is not known as good. The signature, which costs most, is looked at last."""
        if self._refused.find(name):
            raise _DoubtError(Doubt.FORGED)
        header, claims, signed, signature = _parse(token)
        key = self._find_key(header)
        self._check(claims, now)
        self._fresh.spend(now)
        self.verified += 1
        if not key.verify(signed, signature):
            raise _DoubtError(self._refused.keep(name, Doubt.FORGED))
        return self._proven.keep(name, _Proof(claims.sub, claims.exp))

    def _find_key(self, header: _Header) -> PublicKey:
        key = self._keys.get(header.kid)
        if key is None:
            raise _DoubtError(Doubt.UNKNOWN_KEY)
        if header.alg not in _NAMES[key.algorithm]:
            raise _DoubtError(Doubt.OTHER_ALGORITHM)
        return key

    def _check(self, claims: _Claims, now: int) -> None:
        if claims.iss != self._issuer:
            raise _DoubtError(Doubt.OTHER_ISSUER)
        named = [claims.aud] if isinstance(claims.aud, str) else claims.aud
        if self._audience not in named:
            raise _DoubtError(Doubt.OTHER_AUDIENCE)
        if now >= claims.exp + LEEWAY_S:
            raise _DoubtError(Doubt.EXPIRED)
        if now < claims.nbf - LEEWAY_S:
            raise _DoubtError(Doubt.EARLY)


def _parse(token: bytes) -> tuple[_Header, _Claims, bytes, bytes]:
    """Header, claims, the bytes that are signed, and the signature."""
    if not _is_compact(token):
        raise _DoubtError(Doubt.MALFORMED)
    signed, _, signature = token.rpartition(b".")
    head, _, body = signed.partition(b".")
    try:
        header, claims = _header_decoder.decode(_decode(head)), _claims_decoder.decode(_decode(body))
        decoded = _decode(signature)
    except (ValueError, RecursionError):
        raise _DoubtError(Doubt.MALFORMED) from None
    if header.crit is not None:  # it says that who does not understand it must not go on
        raise _DoubtError(Doubt.MALFORMED)
    return header, claims, signed, decoded


def _decode(part: bytes) -> bytes:
    """Base64url without padding; raises ValueError for a length that no bytes have."""
    return base64.urlsafe_b64decode(part + b"=" * (-len(part) % 4))
