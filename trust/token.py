"""Tokens under several signatures: compact JWS over the very same payload, one blank between them."""

from trust import jws
from trust.errors import SignatureError, UnknownKeyError
from trust.key import Signer
from trust.role import Role

# Each costs a verification (58 microseconds and more): a token full of signatures would keep a device busy.
MAX_SIGNATURES = 16


def sign_token(payload: bytes, typ: str, *signers: Signer) -> str:
    """Returns a payload under a signature of each signer, as something of this type.

    Raises:
        SignatureError: no signer, too many of them, or a token over jws.MAX_TOKEN_BYTES.
    """
    return _join([jws.sign(payload, signer, typ) for signer in signers])


def add_signature(token: str, signer: Signer) -> str:
    """Returns a token with one signature more, of the same type and payload; nothing in it is verified.

    Raises:
        SignatureError: the token is malformed, or would be too large, or has a signature of this key.
    """
    parts = _split(token)
    payload, typ = jws.read_unverified(parts[0])
    added = jws.sign(payload, signer, typ)
    if added.partition(".")[0] in {part.partition(".")[0] for part in parts}:
        raise SignatureError(f"expected a key that has not signed yet, got {signer.public.kid!r}")
    return _join([*parts, added])


def verify_token(token: str, role: Role, typ: str) -> bytes:
    """Returns the payload that as many different keys of the role have signed as it wants.

    Signatures by other keys are passed over: a new key signs before everybody knows of it.

    Raises:
        UnknownKeyError: too few, but there are signatures by keys that are not the role's.
        SignatureError: too few, malformed, too large, of several payloads, of another type, or one of them is wrong.
    """
    parts = _split(token)
    if len(parts) == 1 and role.threshold == 1:
        return jws.verify(token, role.keys, typ)  # the usual case; its error names the key
    signers, strangers = set(), 0
    for part in parts:
        try:
            signers.add(jws.find_signer(part, role.keys, typ))  # a set: two signatures by one key count once
        except UnknownKeyError:
            strangers += 1
    if len(signers) < role.threshold:
        kind = UnknownKeyError if strangers else SignatureError
        got = f"{len(signers)}, and {strangers} by unknown keys" if strangers else f"{len(signers)}"
        raise kind(f"expected signatures of {role.threshold} keys of the role, got {got}")
    return jws.read_unverified(parts[0])[0]


def read_unverified_token(token: str, typ: str) -> bytes:
    """Returns the payload of a token that nobody has verified: to show or to sign it too, NEVER to believe it.

    Raises:
        SignatureError: it is malformed, too large, of several payloads or of another type.
    """
    payload, got = jws.read_unverified(_split(token)[0])
    if got != typ:
        raise SignatureError(f"expected typ {typ!r} in the token's header, got {got!r}")
    return payload


def _join(tokens: list[str]) -> str:
    token = " ".join(tokens)
    _split(token)  # nothing is handed out that would not be read
    return token


def _split(token: str) -> list[str]:
    if len(token) > jws.MAX_TOKEN_BYTES:
        raise SignatureError(f"expected a token of at most {jws.MAX_TOKEN_BYTES} bytes, got {len(token)}")
    parts = token.split(" ")
    if not token or len(parts) > MAX_SIGNATURES:
        raise SignatureError(f"expected 1 to {MAX_SIGNATURES} signatures in a token, got {len(parts) if token else 0}")
    # Base64url is read strictly, so that one payload has one spelling.
    if len({part.partition(".")[2].partition(".")[0] for part in parts}) > 1:
        raise SignatureError("expected signatures over the very same payload, got several payloads")
    return parts
