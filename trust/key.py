"""Keys as JSON Web Keys: reading, writing and naming them, raw signatures; what is signed with them is not known here.

The key decides its algorithm, and nobody else: OKP/Ed25519 is Ed25519, EC/P-256 is ES256, RSA is RS256.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Final, Literal, Protocol, Self, cast

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.util import base64_to_int

from trust.errors import KeyFormatError

# A private JWK of RSA 4096 has under 3,400 bytes; whoever sends more wants the parser to work.
MAX_KEY_BYTES = 4096
# A shorter modulus is factored by whoever is rich enough; a longer one costs each device milliseconds a signature.
MIN_RSA_BITS = 2048
MAX_RSA_BITS = 4096
RSA_BITS = 3072
# With a small exponent, signatures have been forged wherever a padding was checked sloppily.
RSA_EXPONENT = 65537

AlgorithmName = Literal["Ed25519", "ES256", "RS256"]
ALGORITHMS: Final[tuple[AlgorithmName, ...]] = ("Ed25519", "ES256", "RS256")

_REGISTRY = jws.JWSRegistry(algorithms=ALGORITHMS)

_Jose = OKPKey | ECKey | RSAKey


class _Jwk(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, tag_field="kty"):
    """The members of a JWK, each kind's own; `kid` may be absent."""

    jose: ClassVar[type[OKPKey | ECKey | RSAKey]]
    algorithm: ClassVar[AlgorithmName]
    kid: str | None = None


class _OkpJwk(_Jwk, frozen=True, tag="OKP"):
    jose: ClassVar = OKPKey
    algorithm: ClassVar = "Ed25519"
    crv: Literal["Ed25519"]
    x: str


class _EcJwk(_Jwk, frozen=True, tag="EC"):
    jose: ClassVar = ECKey
    algorithm: ClassVar = "ES256"
    crv: Literal["P-256"]
    x: str
    y: str


class _RsaJwk(_Jwk, frozen=True, tag="RSA"):
    jose: ClassVar = RSAKey
    algorithm: ClassVar = "RS256"
    n: str
    e: str


class _OkpPrivateJwk(_OkpJwk, frozen=True, tag="OKP"):
    d: str


class _EcPrivateJwk(_EcJwk, frozen=True, tag="EC"):
    d: str


class _RsaPrivateJwk(_RsaJwk, frozen=True, tag="RSA"):
    d: str
    p: str
    q: str
    dp: str
    dq: str
    qi: str


_PublicJwk = _OkpJwk | _EcJwk | _RsaJwk
_PrivateJwk = _OkpPrivateJwk | _EcPrivateJwk | _RsaPrivateJwk


class PublicKey:
    """The half of a key that verifies; `kid` is its RFC 7638 thumbprint, `algorithm` the only one that it is for."""

    __slots__ = ("_jose", "algorithm", "kid")

    algorithm: AlgorithmName
    kid: str

    def __init__(self, jose: _Jose) -> None:
        self.algorithm = _name_algorithm(jose)
        self._jose = jose
        self.kid = jose.thumbprint()

    @classmethod
    def from_jwk(cls, jwk: Mapping[str, Any]) -> Self:
        """Returns the key of a public JWK (RFC 7518, 8037) with the members of its kind and, if wanted, kid.

        Raises:
            KeyFormatError: another kind of key, a private one, an unknown member, or a kid that is not the thumbprint.
        """
        if "d" in jwk:
            raise KeyFormatError("expected a public key, got one with its private part")
        members = _convert(dict(jwk), _PublicJwk)
        key = cls(_import(members))
        _check_spelling(key, members)
        return key

    def jwk(self) -> dict[str, str]:
        """Returns the public JWK, with its kid."""
        return {**cast("dict[str, str]", self._jose.as_dict(private=False)), "kid": self.kid}

    def verify(self, data: bytes, signature: bytes) -> bool:
        """Says whether this is a raw JWS signature over the data, by this key and its algorithm."""
        return _REGISTRY.get_alg(self.algorithm).verify(data, signature, self._jose)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PublicKey) and other.kid == self.kid

    def __hash__(self) -> int:
        return hash(self.kid)

    def __repr__(self) -> str:
        return f"PublicKey(kid={self.kid!r})"


class Signer(Protocol):
    """Whoever can sign with a key: the key itself, or a token that never gives it out."""

    @property
    def public(self) -> PublicKey:
        """The half that verifies."""

    def sign(self, data: bytes) -> bytes:
        """Returns the raw JWS signature over the data by the key's algorithm (ES256: r and s, 32 bytes each)."""


class PrivateKey:
    """The half of a key that signs; it never shows in a repr, a message or a pickle."""

    __slots__ = ("_jose", "public")

    public: PublicKey

    def __init__(self, jose: _Jose) -> None:
        self._jose = jose
        # From the private half itself: a JWK may claim the public half of somebody else.
        self.public = PublicKey(_take_public(jose))

    @classmethod
    def generate(cls, algorithm: AlgorithmName = "Ed25519") -> Self:
        """Returns a new key from the operating system's randomness; RSA keys have RSA_BITS."""
        if algorithm == "ES256":
            return cls(ECKey.generate_key("P-256"))
        if algorithm == "RS256":
            return cls(RSAKey.generate_key(RSA_BITS))
        return cls(OKPKey.generate_key("Ed25519"))

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Returns the key of a private JWK (RFC 7518, 8037) as JSON text.

        Raises:
            KeyFormatError: the text is no such key; the message never holds the private part.
        """
        _check_size(text)
        members = _convert(_parse(text), _PrivateJwk)
        key = cls(_import(members))
        _check_spelling(key.public, members)
        return key

    @classmethod
    def from_pem(cls, text: bytes) -> Self:
        """Returns the key of an unencrypted private key in PEM, PKCS#8 or older.

        Raises:
            KeyFormatError: the text is no such key; the message never holds the private part.
        """
        _check_size(text)
        try:
            key = load_pem_private_key(text, None)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # From None: the cause may quote the text.
            raise KeyFormatError("expected a private key in PEM, without a passphrase, got something else") from None
        match key:
            case Ed25519PrivateKey():
                return cls(OKPKey.import_key(key))
            case EllipticCurvePrivateKey(curve=SECP256R1()):
                return cls(ECKey.import_key(key))
            case RSAPrivateKey():
                numbers = key.public_key().public_numbers()
                _check_rsa(numbers.n, numbers.e)
                return cls(RSAKey.import_key(key))
        raise KeyFormatError("expected a private key for Ed25519, ES256 (P-256) or RS256 in PEM, got another kind")

    @property
    def kid(self) -> str:
        """The RFC 7638 thumbprint, the same as the public half's."""
        return self.public.kid

    def sign(self, data: bytes) -> bytes:
        """Returns the raw JWS signature over the data by the key's algorithm."""
        return _REGISTRY.get_alg(self.public.algorithm).sign(data, self._jose)

    def to_json(self) -> bytes:
        """Returns the private JWK as one line of JSON: keep it where nobody else can read it."""
        return msgspec.json.encode({**self._jose.as_dict(private=True), "kid": self.kid}, order="sorted") + b"\n"

    def __reduce__(self) -> str:
        raise TypeError("expected to_json() to be asked for, got an attempt to pickle a private key")

    def __repr__(self) -> str:
        return f"PrivateKey(kid={self.kid!r})"


def _name_algorithm(jose: _Jose) -> AlgorithmName:
    if isinstance(jose, RSAKey):
        return "RS256"
    return "ES256" if isinstance(jose, ECKey) else "Ed25519"


def _check_rsa(modulus: int, exponent: int) -> None:
    bits = modulus.bit_length()
    if not MIN_RSA_BITS <= bits <= MAX_RSA_BITS:
        raise KeyFormatError(f"expected an RSA key of {MIN_RSA_BITS} to {MAX_RSA_BITS} bits, got one of {bits}")
    if exponent != RSA_EXPONENT:
        raise KeyFormatError(f"expected an RSA key with the exponent {RSA_EXPONENT}, got {exponent}")


def _take_public(jose: _Jose) -> _Jose:
    match jose:
        case OKPKey():
            return OKPKey.import_key(jose.public_key)
        case ECKey():
            return ECKey.import_key(jose.public_key)
    return RSAKey.import_key(jose.public_key)


def _check_size(text: bytes | str) -> None:
    if len(text) > MAX_KEY_BYTES:
        raise KeyFormatError(f"expected a key of at most {MAX_KEY_BYTES} bytes, got {len(text)}")


def _parse(text: bytes | str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        # From None: the decoder's error holds the text, which may be a private key.
        raise KeyFormatError("expected a JSON Web Key, got something that is not JSON") from None


def _convert(members: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(members, kind)
    except msgspec.ValidationError as error:
        raise KeyFormatError(f"expected a JSON Web Key of Ed25519, P-256 or RSA: {error}") from None


def _import(members: _Jwk) -> _Jose:
    parts = {name: value for name, value in msgspec.to_builtins(members).items() if name != "kid"}
    try:
        if isinstance(members, _RsaJwk):  # before the library warns of it
            _check_rsa(base64_to_int(members.n), base64_to_int(members.e))
        return members.jose.import_key(parts)
    except (JoseError, ValueError, TypeError, OverflowError, UnsupportedAlgorithm):
        kind = members.algorithm
        # From None: the cause may quote a private part.
        raise KeyFormatError(f"expected the parts of one {kind} key in base64url, got something else") from None


def _check_spelling(key: PublicKey, members: _Jwk) -> None:
    """A key has one spelling, hence one kid: else it could be counted twice where two keys have to sign."""
    canonical = PublicKey(_take_public(key._jose)).jwk()  # noqa: SLF001 - of this module's own class
    for name in canonical.keys() - {"kid", "kty"}:
        if canonical[name] != getattr(members, name):
            raise KeyFormatError(f"expected {name} of the key as RFC 7518 writes it, got another spelling or key")
    if members.kid not in (None, canonical["kid"]):
        raise KeyFormatError(f"expected the key's thumbprint {canonical['kid']!r} as its kid, got {members.kid!r}")
