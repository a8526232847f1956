"""Keys: written and read again, refused when they are something else, silent about their private part."""

import copy
import json
import pickle
from typing import Any

import pytest

from trust import KeyFormatError, PrivateKey, PublicKey
from trust.key import MAX_KEY_BYTES

# RFC 8037, appendix A.1 to A.3.
RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_KID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


def public_jwk(**changes: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": RFC_X, **changes}


def private_json(**changes: Any) -> str:
    return json.dumps({**public_jwk(), "d": RFC_D, **changes})


def test_kid_is_the_thumbprint_of_rfc_8037() -> None:
    """The kid of the RFC's example key is the thumbprint that the RFC prints."""
    assert PublicKey.from_jwk(public_jwk()).kid == RFC_KID
    assert PrivateKey.from_json(private_json()).kid == RFC_KID


def test_private_key_survives_its_json() -> None:
    """A generated key that is written and read again is the same key."""
    key = PrivateKey.generate()
    again = PrivateKey.from_json(key.to_json())
    assert (again.to_json(), again.public) == (key.to_json(), key.public)


def test_public_key_survives_its_jwk() -> None:
    """A public key that is written and read again is equal, has the same hash and no private member."""
    public = PrivateKey.generate().public
    again = PublicKey.from_jwk(public.jwk())
    assert again == public
    assert hash(again) == hash(public)
    assert set(public.jwk()) == {"kty", "crv", "x", "kid"}


def test_generated_keys_differ() -> None:
    """Two generated keys are two keys, and a key equals nothing that is no key."""
    one, other = PrivateKey.generate().public, PrivateKey.generate().public
    assert one != other
    assert one != one.kid


def test_private_part_never_shows() -> None:
    """Neither repr nor str of a private key holds its private part."""
    key = PrivateKey.from_json(private_json())
    assert repr(key) == f"PrivateKey(kid='{RFC_KID}')"
    assert RFC_D not in f"{key} {key!r} {key.public!r}"
    assert repr(key.public) == f"PublicKey(kid='{RFC_KID}')"


@pytest.mark.parametrize("escape", [pickle.dumps, copy.copy, copy.deepcopy])
def test_private_key_is_not_pickled(escape: Any) -> None:
    """A private key is written by to_json alone."""
    with pytest.raises(TypeError, match="expected to_json\\(\\) to be asked for, got an attempt to pickle"):
        escape(PrivateKey.generate())


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        (public_jwk(d=RFC_D), "expected a public key, got one with its private part"),
        (public_jwk(kty="EC"), "expected an Ed25519 JSON Web Key: Invalid enum value 'EC' - at `$.kty`"),
        (public_jwk(crv="Ed448"), "expected an Ed25519 JSON Web Key: Invalid enum value 'Ed448' - at `$.crv`"),
        (public_jwk(use="sig"), "expected an Ed25519 JSON Web Key: Object contains unknown field `use`"),
        (public_jwk(x=1), "expected an Ed25519 JSON Web Key: Expected `str`, got `int` - at `$.x`"),
        (public_jwk(x="AA"), "expected 32 bytes in base64url in each part of the key, got something else"),
        (public_jwk(x=RFC_X + "="), "expected 32 bytes in base64url in each part of the key, got something else"),
        (public_jwk(x="é"), "expected 32 bytes in base64url in each part of the key, got something else"),
        (public_jwk(kid="me"), f"expected the key's thumbprint '{RFC_KID}' as its kid, got 'me'"),
    ],
)
def test_public_key_is_strict(jwk: dict[str, Any], message: str) -> None:
    """Another kind of key, an unknown member, broken bytes or a foreign kid are refused by name."""
    with pytest.raises(KeyFormatError) as caught:
        PublicKey.from_jwk(jwk)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected a JSON Web Key, got something that is not JSON"),
        (b"\xff", "expected a JSON Web Key, got something that is not JSON"),
        ("[" * MAX_KEY_BYTES, "expected a JSON Web Key, got something that is not JSON"),
        ("[]", "expected an Ed25519 JSON Web Key: Expected `object`, got `array`"),
        (json.dumps(public_jwk()), "expected an Ed25519 JSON Web Key: Object missing required field `d`"),
        (private_json(d="AA"), "expected 32 bytes in base64url in each part of the key, got something else"),
        (private_json(d=RFC_X), "expected x and d of one key, got those of two"),
        (private_json(kid="me"), f"expected the key's thumbprint '{RFC_KID}' as its kid, got 'me'"),
        (" " * (MAX_KEY_BYTES + 1), f"expected a key of at most {MAX_KEY_BYTES} bytes, got {MAX_KEY_BYTES + 1}"),
    ],
)
def test_private_key_is_strict(text: str | bytes, message: str) -> None:
    """What is no private Ed25519 key is refused, and neither message nor cause holds the private part."""
    with pytest.raises(KeyFormatError) as caught:
        PrivateKey.from_json(text)
    assert str(caught.value) == message
    assert caught.value.__cause__ is None
