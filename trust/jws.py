"""JSON Web Signatures (RFC 7515, 7797, 9864), read strictly; what a payload means is not known.

The key says which algorithm its signatures have, and a header that says another is refused: whoever could choose one
would choose a weak one.
"""

import base64
from collections.abc import Mapping
from typing import Any

import msgspec
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.util import urlsafe_b64decode

from trust.errors import SignatureError, UnknownKeyError
from trust.key import ALGORITHMS, PublicKey, Signer

# The largest token that is looked at. Roots and offers have a few KiB; a larger one wants memory and parser time.
MAX_TOKEN_BYTES = 64 * 1024
# The largest payload that a detached token may be about, for the same reason; a document has at most 1 MiB.
MAX_DETACHED_BYTES = 8 * 1024 * 1024

_DETACHED_MEMBERS: Mapping[str, Any] = {"b64": False, "crit": ["b64"]}


def _build_registry() -> jws.JWSRegistry:
    registry = jws.JWSRegistry(algorithms=ALGORITHMS)
    registry.max_payload_length = MAX_DETACHED_BYTES
    return registry


_REGISTRY = _build_registry()


def sign(payload: bytes, signer: Signer, typ: str) -> str:
    """Returns a compact JWS over the payload, whose header says alg, kid and typ."""
    signed = _encode_header(signer, typ, {}) + b"." + _encode(payload)
    token = (signed + b"." + _encode(signer.sign(signed))).decode("ascii")
    if len(token) > MAX_TOKEN_BYTES:
        raise SignatureError(f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got {len(token)}")
    return token


def verify(token: str, keys: Mapping[str, PublicKey], typ: str) -> bytes:
    """Returns the payload of a compact JWS that one of the keys has signed as a token of this type.

    Raises:
        UnknownKeyError: the header's kid is none of the keys.
        SignatureError: the token is too large, malformed, of another algorithm than its key's or of another type, or
            its signature is wrong.
    """
    return _verify(token, keys, typ).payload


def find_signer(token: str, keys: Mapping[str, PublicKey], typ: str) -> str:
    """Returns the kid of the key that has signed a compact JWS; raises what `verify` raises."""
    return str(_verify(token, keys, typ).protected["kid"])


def read_unverified(token: str) -> tuple[bytes, str]:
    """Returns payload and type of a compact JWS that nobody has verified: to sign it too, never to believe it.

    Raises:
        SignatureError: too large or malformed.
    """
    parsed = _parse(token, None)
    return parsed.payload, str(parsed.protected.get("typ"))


def sign_detached(payload: bytes, signer: Signer, typ: str) -> str:
    """Returns `header..signature` over UTF-8 text that travels beside the token, unencoded (RFC 7797).

    Raises:
        SignatureError: the payload is larger than MAX_DETACHED_BYTES, or not UTF-8.
    """
    _check_payload(payload)
    try:
        payload.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SignatureError(f"expected UTF-8 text to sign, got a wrong byte at {error.start}") from error
    header = _encode_header(signer, typ, _DETACHED_MEMBERS)
    return (header + b".." + _encode(signer.sign(header + b"." + payload))).decode("ascii")


def verify_detached(token: str, payload: bytes, keys: Mapping[str, PublicKey], typ: str) -> None:
    """Returns if one of the keys has signed these very bytes as a token of this type.

    Raises:
        UnknownKeyError: the header's kid is none of the keys.
        SignatureError: as for `verify`, or the token carries a payload of its own.
    """
    _check_payload(payload)
    parsed = _parse(token, payload)
    _check_header(parsed.protected, typ, _DETACHED_MEMBERS)
    if ".." not in token:
        raise SignatureError("expected a token without its payload, got one with a payload of its own")
    _check_signature(parsed, keys)


def _encode(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _encode_header(signer: Signer, typ: str, more: Mapping[str, Any]) -> bytes:
    header = {"alg": signer.public.algorithm, "kid": signer.public.kid, "typ": typ, **more}
    return _encode(msgspec.json.encode(header))


def _verify(token: str, keys: Mapping[str, PublicKey], typ: str) -> jws.CompactSignature:
    parsed = _parse(token, None)
    _check_header(parsed.protected, typ, {})
    _check_signature(parsed, keys)
    return parsed


def _check_payload(payload: bytes) -> None:
    if len(payload) > MAX_DETACHED_BYTES:
        raise SignatureError(f"expected a payload of at most {MAX_DETACHED_BYTES} bytes, got {len(payload)}")


def _parse(token: str, payload: bytes | None) -> jws.CompactSignature:
    if len(token) > MAX_TOKEN_BYTES:
        raise SignatureError(f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got {len(token)}")
    try:
        parsed = jws.extract_compact(token.encode("ascii"), payload, _REGISTRY)
    except (JoseError, ValueError, RecursionError) as error:
        raise SignatureError(f"expected a compact JWS, got {token[:40]!r}") from error
    if not isinstance(parsed.protected, dict):  # joserfc takes the list ["alg"] for a header
        raise SignatureError(f"expected a compact JWS whose header is an object, got {token[:40]!r}")
    return parsed


def _check_header(header: Mapping[str, Any], typ: str, more: Mapping[str, Any]) -> None:
    wanted = {"typ": typ, **more}
    for name, value in wanted.items():
        if header.get(name) != value:
            raise SignatureError(f"expected {name} {value!r} in the token's header, got {header.get(name)!r}")
    unknown = sorted(header.keys() - wanted.keys() - {"alg", "kid"})
    if unknown:
        raise SignatureError(f"expected no further members in the token's header, got {unknown!r}")


def _check_signature(parsed: jws.CompactSignature, keys: Mapping[str, PublicKey]) -> None:
    kid = parsed.protected.get("kid")
    key = keys.get(kid) if isinstance(kid, str) else None
    if key is None:
        raise UnknownKeyError(f"expected the kid of a known key in the token's header, got {kid!r}")
    got = parsed.protected.get("alg")
    if got != key.algorithm:
        raise SignatureError(f"expected alg {key.algorithm!r} in the token's header, got {got!r}")
    if not _is_genuine(parsed, key):
        raise SignatureError(f"the signature is not one of key {kid!r} over these bytes")


def _is_genuine(parsed: jws.CompactSignature, key: PublicKey) -> bool:
    segments = parsed.segments
    try:
        signature = urlsafe_b64decode(segments["signature"])
    except ValueError:
        return False
    return key.verify(segments["header"] + b"." + segments["payload"], signature)
