"""A host app's back end, as far as tests need it: keys of its own, key sets, and tokens that say anything."""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from edge.proof import Prover, read_key_set
from trust import AlgorithmName, PrivateKey

ISSUER, AUDIENCE, USER = "https://bank.example", "graywave", "u-777"
NOW = 1_794_000_000
LIFE_S = 3_600
# As JWTs call the algorithms of our keys.
ALGORITHMS: Mapping[str, str] = {"Ed25519": "EdDSA", "ES256": "ES256", "RS256": "RS256"}


class BackEnd:
    """Whoever signs tokens for users.

    Args:
        algorithm: of its key.
        kid: how it calls the key.
    """

    def __init__(self, algorithm: AlgorithmName = "Ed25519", kid: str = "2026-11") -> None:
        self.key, self.kid = PrivateKey.generate(algorithm), kid

    @property
    def jwk(self) -> dict[str, Any]:
        """The public key, as back ends show it."""
        name = ALGORITHMS[self.key.public.algorithm]
        return {**self.key.public.jwk(), "kid": self.kid, "use": "sig", "alg": name}

    def make_key_set(self, *more: Mapping[str, Any]) -> bytes:
        """Returns the JWKS with its key, and others."""
        return orjson.dumps({"keys": [self.jwk, *more]})

    def make_prover(self) -> Prover:
        """Returns a prover that believes this back end."""
        prover = Prover(ISSUER, AUDIENCE)
        prover.follow(read_key_set(self.make_key_set()))
        return prover

    def sign(self, header: Mapping[str, Any] = {}, **claims: Any) -> bytes:
        """Returns a token for USER that lasts for LIFE_S, but for what is said otherwise; None leaves a member out."""
        head = {"alg": ALGORITHMS[self.key.public.algorithm], "kid": self.kid, "typ": "JWT", **header}
        body = {"iss": ISSUER, "aud": AUDIENCE, "sub": USER, "exp": NOW + LIFE_S, **claims}
        return self.sign_bytes(_encode(head), _encode(body))

    def sign_bytes(self, head: bytes, body: bytes) -> bytes:
        """Returns a token over any two parts."""
        signed = encode(head) + b"." + encode(body)
        return signed + b"." + encode(self.key.sign(signed))


def encode(data: bytes) -> bytes:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _encode(members: Mapping[str, Any]) -> bytes:
    return orjson.dumps({name: value for name, value in members.items() if value is not None})
