"""Ed25519 keys as JSON Web Keys: reading, writing and naming them; what is signed with them is not known here."""

from collections.abc import Mapping
from typing import Any, Literal, Self, TypeVar, cast

import msgspec
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

from trust.errors import KeyFormatError

# A JWK of Ed25519 has under 250 bytes; whoever sends more wants the parser to work.
MAX_KEY_BYTES = 4096


class _PublicJwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    kty: Literal["OKP"]
    crv: Literal["Ed25519"]
    x: str
    kid: str | None = None


class _PrivateJwk(_PublicJwk, frozen=True, forbid_unknown_fields=True, kw_only=True):
    d: str


_Jwk = TypeVar("_Jwk", bound=_PublicJwk)


class PublicKey:
    """The half of a key that verifies; `kid` is its RFC 7638 thumbprint."""

    __slots__ = ("kid", "okp")

    kid: str
    okp: OKPKey

    def __init__(self, okp: OKPKey) -> None:
        self.okp = okp
        self.kid = okp.thumbprint()

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Returns the key of a public JWK (RFC 8037) with the members kty, crv, x and, if wanted, kid.

        Raises:
            KeyFormatError: another kind of key, a private one, an unknown member, or a kid that is not the thumbprint.
        """
        if "d" in jwk:
            raise KeyFormatError("expected a public key, got one with its private part")
        return cls._from_members(_convert(dict(jwk), _PublicJwk))

    @classmethod
    def _from_members(cls, members: _PublicJwk) -> Self:
        key = cls(_import({"kty": "OKP", "crv": "Ed25519", "x": members.x}))
        if members.kid not in (None, key.kid):
            raise KeyFormatError(f"expected the key's thumbprint {key.kid!r} as its kid, got {members.kid!r}")
        return key

    def jwk(self) -> dict[str, str]:
        """Returns the public JWK, with its kid."""
        return {**cast("dict[str, str]", self.okp.as_dict(private=False)), "kid": self.kid}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.kid == self.kid

    def __hash__(self) -> int:
        return hash(self.kid)

    def __repr__(self) -> str:
        return f"PublicKey(kid={self.kid!r})"


class PrivateKey:
    """The half of a key that signs; it never shows in a repr, a message or a pickle."""

    __slots__ = ("okp", "public")

    okp: OKPKey
    public: PublicKey

    def __init__(self, okp: OKPKey) -> None:
        self.okp = okp
        # From the private half itself: a JWK may claim the public half of somebody else.
        self.public = PublicKey(OKPKey.import_key(okp.public_key))

    @classmethod
    def generate(cls) -> Self:
        """Returns a new key from the operating system's randomness."""
        return cls(OKPKey.generate_key("Ed25519"))

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Returns the key of a private JWK (RFC 8037) as JSON text.

        Raises:
            KeyFormatError: the text is no such key; the message never holds the private part.
        """
        if len(text) > MAX_KEY_BYTES:
            raise KeyFormatError(f"expected a key of at most {MAX_KEY_BYTES} bytes, got {len(text)}")
        members = _convert(_parse(text), _PrivateJwk)
        key = cls(_import({"kty": "OKP", "crv": "Ed25519", "x": members.x, "d": members.d}))
        if key.public.jwk()["x"] != members.x:
            raise KeyFormatError("expected x and d of one key, got those of two")
        if members.kid not in (None, key.kid):
            raise KeyFormatError(f"expected the key's thumbprint {key.kid!r} as its kid, got {members.kid!r}")
        return key

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, the same as the public half's."""
        return self.public.kid

    def to_json(self) -> bytes:
        """Returns the private JWK as one line of JSON: keep it where nobody else can read it."""
        return msgspec.json.encode({**self.okp.as_dict(private=True), "kid": self.kid}, order="sorted") + b"\n"

    def __reduce__(self) -> str:
        raise TypeError("expected to_json() to be asked for, got an attempt to pickle a private key")

    def __repr__(self) -> str:
        return f"PrivateKey(kid={self.kid!r})"


def _parse(text: bytes | str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        # From None: the decoder's error holds the text, which may be a private key.
        raise KeyFormatError("expected a JSON Web Key, got something that is not JSON") from None


def _convert(members: Any, kind: type[_Jwk]) -> _Jwk:
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise KeyFormatError(f"expected an Ed25519 JSON Web Key: {error}") from None


def _import(members: dict[str, str]) -> OKPKey:
    try:
        return OKPKey.import_key(cast("dict[str, str | list[str]]", members))
    except (JoseError, ValueError):
        raise KeyFormatError("expected 32 bytes in base64url in each part of the key, got something else") from None
