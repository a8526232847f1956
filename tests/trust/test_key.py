"""Keys: written and read again, refused when they are something else, silent about their private part."""

import base64
import copy
import json
import pickle
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from hypothesis import given
from hypothesis import strategies as st

from trust import ALGORITHMS, AlgorithmName, KeyFormatError, PrivateKey, PublicKey
from trust.key import MAX_KEY_BYTES, MAX_RSA_BITS, MIN_RSA_BITS

# RFC 8037, appendix A.1 to A.3.
RFC_X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
RFC_D = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
RFC_KID = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
# RFC 7515, appendix A.3 (ES256) and A.2 (RS256): keys, what is signed, signatures.
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
}
EC_D = "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"
RSA_JWK = {
    "kty": "RSA",
    "n": "ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS"
    "-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg6"
    "65xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRW"
    "yuXpoQ",
    "e": "AQAB",
}
RFC_PAYLOAD = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
EC_TOKEN = (
    f"eyJhbGciOiJFUzI1NiJ9.{RFC_PAYLOAD}",
    "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
)
RSA_TOKEN = (
    f"eyJhbGciOiJSUzI1NiJ9.{RFC_PAYLOAD}",
    (
        "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1"
        "dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzD"
        "wusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe7"
        "7Rw"
    ),
)
EXPECTED = "expected a JSON Web Key of Ed25519, P-256 or RSA: "
ANY_KEY = {name: PrivateKey.generate(name) for name in ALGORITHMS}


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def public_jwk(**changes: Any) -> dict[str, Any]:
    return {"kty": "OKP", "crv": "Ed25519", "x": RFC_X, **changes}


def private_json(**changes: Any) -> str:
    return json.dumps({**public_jwk(), "d": RFC_D, **changes})


def test_kid_is_the_thumbprint_of_rfc_8037() -> None:
    """The kid of the RFC's example key is the thumbprint that the RFC prints."""
    assert PublicKey.from_jwk(public_jwk()).kid == RFC_KID
    assert PrivateKey.from_json(private_json()).kid == RFC_KID


@pytest.mark.parametrize("name", ALGORITHMS)
def test_private_key_survives_its_json(name: AlgorithmName) -> None:
    """A generated key that is written and read again is the same key, and fits into its bound."""
    key = ANY_KEY[name]
    again = PrivateKey.from_json(key.to_json())
    assert (again.to_json(), again.public, again.public.algorithm) == (key.to_json(), key.public, name)


@pytest.mark.parametrize(
    ("name", "members"),
    [
        ("Ed25519", {"kty", "crv", "x", "kid"}),
        ("ES256", {"kty", "crv", "x", "y", "kid"}),
        ("RS256", {"kty", "n", "e", "kid"}),
    ],
)
def test_public_key_survives_its_jwk(name: AlgorithmName, members: set[str]) -> None:
    """A public key that is written and read again is equal, has the same hash and no private member."""
    public = ANY_KEY[name].public
    again = PublicKey.from_jwk(public.jwk())
    assert (again, hash(again), again.algorithm) == (public, hash(public), name)
    assert set(public.jwk()) == members


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
        (public_jwk(kty="EC"), EXPECTED + "Invalid enum value 'Ed25519' - at `$.crv`"),
        (public_jwk(kty="oct"), EXPECTED + "Invalid value 'oct' - at `$.kty`"),
        ({"crv": "Ed25519", "x": RFC_X}, EXPECTED + "Object missing required field `kty`"),
        ({**EC_JWK, "crv": "P-384"}, EXPECTED + "Invalid enum value 'P-384' - at `$.crv`"),
        (public_jwk(crv="Ed448"), EXPECTED + "Invalid enum value 'Ed448' - at `$.crv`"),
        (public_jwk(use="sig"), EXPECTED + "Object contains unknown field `use`"),
        (public_jwk(x=1), EXPECTED + "Expected `str`, got `int` - at `$.x`"),
        (public_jwk(x="AA"), "expected the parts of one Ed25519 key in base64url, got something else"),
        (public_jwk(x=RFC_X + "="), "expected the parts of one Ed25519 key in base64url, got something else"),
        (public_jwk(x="é"), "expected the parts of one Ed25519 key in base64url, got something else"),
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
        ("[]", EXPECTED + "Expected `object`, got `array`"),
        (json.dumps(public_jwk()), EXPECTED + "Object missing required field `d`"),
        (private_json(d="AA"), "expected the parts of one Ed25519 key in base64url, got something else"),
        (private_json(d=RFC_X), "expected x of the key as RFC 7518 writes it, got another spelling or key"),
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


@pytest.mark.parametrize(("jwk", "token"), [(EC_JWK, EC_TOKEN), (RSA_JWK, RSA_TOKEN)])
def test_signatures_of_rfc_7515(jwk: dict[str, str], token: tuple[str, str]) -> None:
    """The examples of the RFC are verified, and not once a bit of them has changed."""
    key, (signed, signature) = PublicKey.from_jwk(jwk), token
    assert key.verify(signed.encode(), decode(signature))
    assert not key.verify(signed.encode() + b"x", decode(signature))
    assert not key.verify(signed.encode(), decode(signature)[:-1] + bytes([decode(signature)[-1] ^ 1]))


@given(st.sampled_from(ALGORITHMS), st.binary(max_size=200))
def test_what_a_key_signs_it_verifies(name: AlgorithmName, data: bytes) -> None:
    """Any bytes are signed and verified by each kind of key, and other bytes are not."""
    key = ANY_KEY[name]
    signature = key.sign(data)
    assert key.public.verify(data, signature)
    assert not key.public.verify(data + b"x", signature)


@given(st.sampled_from(ALGORITHMS), st.binary(max_size=600))
def test_noise_is_no_signature(name: AlgorithmName, noise: bytes) -> None:
    """Bytes of any length are refused as a signature, and nothing worse happens."""
    assert not ANY_KEY[name].public.verify(b"data", noise)


def test_es256_signatures_are_two_numbers() -> None:
    """An ES256 signature is r and s, 32 bytes each; the same in DER is none, nor are out-of-range numbers."""
    key, signature = ANY_KEY["ES256"], ANY_KEY["ES256"].sign(b"data")
    r, s = (int.from_bytes(half, "big") for half in (signature[:32], signature[32:]))
    assert key.public.verify(b"data", signature)
    for wrong in (encode_dss_signature(r, s), bytes(64), b"\xff" * 64, signature + b"\0", b"\0" + signature):
        assert not key.public.verify(b"data", wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x": encode(b"\0" + decode(EC_JWK["x"]))},
            "expected x of the key as RFC 7518 writes it, got another spelling",
        ),
        ({"y": EC_JWK["x"]}, "expected the parts of one ES256 key in base64url, got something else"),
        ({"x": encode(b"\xff" * 32)}, "expected the parts of one ES256 key in base64url, got something else"),
        ({"x": ""}, "expected the parts of one ES256 key in base64url, got something else"),
    ],
)
def test_ec_key_is_strict(changes: dict[str, str], message: str) -> None:
    """A point off the curve is no key, and a key has one spelling, so that it cannot be counted twice."""
    with pytest.raises(KeyFormatError) as caught:
        PublicKey.from_jwk({**EC_JWK, **changes})
    assert str(caught.value).startswith(message)


def make_rsa(bits: int, exponent: int = 65537) -> dict[str, str]:
    """Returns the JWK of an odd number of so many bits; whether it is a product of primes, no reader can tell."""
    return {"kty": "RSA", "n": encode((2 ** (bits - 1) + 1).to_bytes((bits + 7) // 8, "big")), "e": number(exponent)}


def number(value: int) -> str:
    return encode(value.to_bytes((value.bit_length() + 7) // 8, "big"))


@pytest.mark.parametrize("bits", [MIN_RSA_BITS, MAX_RSA_BITS])
def test_rsa_keys_at_their_bounds(bits: int) -> None:
    """RSA keys of 2048 and of 4096 bits are read."""
    assert PublicKey.from_jwk(make_rsa(bits)).algorithm == "RS256"


@pytest.mark.parametrize(
    ("jwk", "message"),
    [
        (make_rsa(MIN_RSA_BITS - 1), "expected an RSA key of 2048 to 4096 bits, got one of 2047"),
        (make_rsa(1024), "expected an RSA key of 2048 to 4096 bits, got one of 1024"),
        (make_rsa(MAX_RSA_BITS + 1), "expected an RSA key of 2048 to 4096 bits, got one of 4097"),
        (make_rsa(2048, 3), "expected an RSA key with the exponent 65537, got 3"),
        (make_rsa(2048, 2), "expected an RSA key with the exponent 65537, got 2"),
        ({**RSA_JWK, "n": ""}, "expected the parts of one RS256 key in base64url, got something else"),
        ({**RSA_JWK, "n": "é"}, "expected the parts of one RS256 key in base64url, got something else"),
        ({**RSA_JWK, "e": "AAEAAQ"}, "expected e of the key as RFC 7518 writes it, got another spelling or key"),
        (
            {**RSA_JWK, "n": encode(b"\0" + decode(RSA_JWK["n"]))},
            "expected n of the key as RFC 7518 writes it, got another spelling or key",
        ),
    ],
)
def test_rsa_key_is_strict(jwk: dict[str, str], message: str) -> None:
    """Short, long and small-exponent keys are refused, and a key has one spelling."""
    with pytest.raises(KeyFormatError) as caught:
        PublicKey.from_jwk(jwk)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    "changes",
    [{"d": encode(b"\1" * 32)}, {"d": ""}, {"x": PrivateKey.generate("ES256").public.jwk()["x"]}],
)
def test_ec_private_key_is_of_its_public_half(changes: dict[str, str]) -> None:
    """A private part beside another key's public part is refused, and not shown."""
    with pytest.raises(KeyFormatError) as caught:
        PrivateKey.from_json(json.dumps({**EC_JWK, "d": EC_D, **changes}))
    assert "expected " in str(caught.value)
    assert caught.value.__cause__ is None
    assert not [part for part in (EC_D, changes.get("d")) if part and part in str(caught.value)]


@pytest.mark.parametrize("member", ["d", "p", "q", "dp", "dq", "qi"])
def test_rsa_private_key_has_matching_parts(member: str) -> None:
    """An RSA key of which one part is another key's is refused; a fault in one would give the key away."""
    mine, other = (json.loads(PrivateKey.generate("RS256").to_json()) for _ in range(2))
    with pytest.raises(KeyFormatError, match="expected the parts of one RS256 key in base64url, got something else"):
        PrivateKey.from_json(json.dumps({**mine, member: other[member]}))


def to_pem(key: Any, encryption: KeySerializationEncryption | None = None) -> bytes:
    raw = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return bytes(raw)


def native(name: AlgorithmName) -> Any:
    key = ANY_KEY[name]._jose
    return load_der_private_key(key.as_der(private=True), None)


SHORT_PEM = to_pem(rsa.generate_private_key(65537, 1024))  # noqa: S505 - one that shall be refused


@pytest.mark.parametrize("name", ALGORITHMS)
def test_pem_is_read(name: AlgorithmName) -> None:
    """A key in PKCS#8 PEM is the same key as in its JWK."""
    assert PrivateKey.from_pem(to_pem(native(name))).to_json() == ANY_KEY[name].to_json()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "expected a private key in PEM, without a passphrase, got something else"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "expected a private key in PEM, without"),
        (
            to_pem(native("ES256"), BestAvailableEncryption(b"x")),
            "expected a private key in PEM, without a passphrase,",
        ),
        (to_pem(ec.generate_private_key(ec.SECP384R1())), "expected a private key for Ed25519, ES256 (P-256) or RS256"),
        (to_pem(ed448.Ed448PrivateKey.generate()), "expected a private key for Ed25519, ES256 (P-256) or RS256"),
        (SHORT_PEM, "expected an RSA key of 2048 to 4096 bits, got one of 1024"),
        (b"-" * (MAX_KEY_BYTES + 1), f"expected a key of at most {MAX_KEY_BYTES} bytes, got {MAX_KEY_BYTES + 1}"),
    ],
)
def test_pem_is_strict(text: bytes, message: str) -> None:
    """Other kinds of keys, encrypted ones and what is no PEM are refused, and not shown."""
    with pytest.raises(KeyFormatError) as caught:
        PrivateKey.from_pem(text)
    assert str(caught.value).startswith(message)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ALGORITHMS)
def test_no_kind_of_private_key_shows(name: AlgorithmName) -> None:
    """Neither repr nor str nor format of any kind of private key holds a private part."""
    key = ANY_KEY[name]
    secret = json.loads(key.to_json())
    shown = f"{key} {key!r} {key.public} {[key]}"
    assert not [part for part in ("d", "p", "q", "dp", "dq", "qi") if part in secret and secret[part] in shown]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_public_half_has_no_private_part(name: AlgorithmName) -> None:
    """Whoever is given the public half of a key has nothing to sign with, however deep they look."""
    for key in (
        ANY_KEY[name],
        PrivateKey.from_json(ANY_KEY[name].to_json()),
        PrivateKey.from_pem(to_pem(native(name))),
    ):
        assert not key.public._jose.is_private
