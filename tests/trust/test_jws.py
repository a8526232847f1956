"""Tokens: what is signed is read, and nothing that differs from it by a byte."""

import base64
import hmac
import json
import string
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import RSAKey

from trust import (
    ALGORITHMS,
    AlgorithmName,
    PrivateKey,
    SignatureError,
    UnknownKeyError,
    sign,
    sign_detached,
    verify,
    verify_detached,
)
from trust.jws import MAX_DETACHED_BYTES, MAX_TOKEN_BYTES, find_signer, read_unverified

KEY = PrivateKey.generate()
OTHER = PrivateKey.generate()
KEYS = {KEY.kid: KEY.public}
ANY_KEY = {name: PrivateKey.generate(name) for name in ALGORITHMS}
ALPHABET = string.ascii_letters + string.digits + "-_"
HEADER = {"alg": "Ed25519", "kid": KEY.kid, "typ": "t"}


def encode(part: bytes) -> str:
    return base64.urlsafe_b64encode(part).decode().rstrip("=")


def forge(header: Any, payload: str = "e30") -> str:
    """Returns a token with any header, properly signed over what it says."""
    signed = f"{encode(json.dumps(header).encode())}.{payload}"
    return f"{signed}.{encode(KEY.sign(signed.encode()))}"


@given(st.binary(max_size=300))
def test_signed_payload_is_read(payload: bytes) -> None:
    """Any payload comes back from its own token, and the signer is named."""
    token = sign(payload, KEY, "t")
    assert verify(token, KEYS, "t") == payload
    assert find_signer(token, {**KEYS, OTHER.kid: OTHER.public}, "t") == KEY.kid


@given(st.text(max_size=300))
def test_detached_payload_is_verified(text: str) -> None:
    """Any text, whether it would fit into the token or not, is verified beside its token and is not in it."""
    payload = text.encode()
    token = sign_detached(payload, KEY, "t")
    verify_detached(token, payload, KEYS, "t")
    assert token.split(".")[1] == ""


def test_header_has_alg_kid_and_typ() -> None:
    """The header says alg, kid and typ; a detached one also that its payload is not encoded."""
    header, detached = (part.split(".")[0] for part in (sign(b"{}", KEY, "t"), sign_detached(b"{}", KEY, "t")))
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == HEADER
    assert json.loads(base64.urlsafe_b64decode(detached + "==")) == {**HEADER, "b64": False, "crit": ["b64"]}


def test_each_changed_byte_fails() -> None:
    """A token with any one character replaced, left out or doubled is refused."""
    token = sign(b'{"a":1}', KEY, "t")
    for index, old in enumerate(token):
        for new in {"", old * 2, ".", "=", " ", "\n", ALPHABET[ALPHABET.find(old) - 1], chr(ord(old) ^ 1)} - {old}:
            with pytest.raises(SignatureError):
                verify(token[:index] + new + token[index + 1 :], KEYS, "t")


def test_each_changed_byte_of_the_last_character_fails() -> None:
    """The unused bits of base64url are no second spelling of the same signature."""
    token = sign(b"{}", KEY, "t")
    accepted = []
    for last in ALPHABET:
        try:
            verify(token[:-1] + last, KEYS, "t")
            accepted.append(last)
        except SignatureError:
            continue
    assert accepted == [token[-1]]


def test_each_changed_byte_of_a_detached_payload_fails() -> None:
    """A detached token is about its very bytes."""
    payload = b'{"a":1}'
    token = sign_detached(payload, KEY, "t")
    for index in range(len(payload)):
        changed = payload[:index] + bytes([payload[index] ^ 1]) + payload[index + 1 :]
        with pytest.raises(SignatureError, match=f"the signature is not one of key '{KEY.kid}' over these bytes"):
            verify_detached(token, changed, KEYS, "t")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({**HEADER, "alg": "EdDSA"}, "expected alg 'Ed25519' in the token's header, got 'EdDSA'"),
        ({**HEADER, "alg": "none"}, "expected alg 'Ed25519' in the token's header, got 'none'"),
        ({**HEADER, "alg": ["Ed25519"]}, "expected alg 'Ed25519' in the token's header, got ['Ed25519']"),
        ({**HEADER, "typ": "u"}, "expected typ 't' in the token's header, got 'u'"),
        ({"alg": "Ed25519", "kid": KEY.kid}, "expected typ 't' in the token's header, got None"),
        ({**HEADER, "jku": "http://evil"}, "expected no further members in the token's header, got ['jku']"),
        ({**HEADER, "crit": ["kid"]}, "expected no further members in the token's header, got ['crit']"),
        ({**HEADER, "b64": True}, "expected no further members in the token's header, got ['b64']"),
    ],
)
def test_header_is_strict(header: dict[str, Any], message: str) -> None:
    """Another algorithm or type and any further member are refused, however well signed."""
    with pytest.raises(SignatureError) as caught:
        verify(forge(header), KEYS, "t")
    assert str(caught.value) == message


@pytest.mark.parametrize("kid", ["nobody", None, 7, ["a"]])
def test_unknown_key_is_named(kid: Any) -> None:
    """A token by none of the keys is refused as such: a newer root may know its signer."""
    with pytest.raises(UnknownKeyError) as caught:
        verify(forge({**HEADER, "kid": kid}), KEYS, "t")
    assert str(caught.value) == f"expected the kid of a known key in the token's header, got {kid!r}"


def test_kid_does_not_make_the_key() -> None:
    """A token that names one key and is signed by another is refused."""
    with pytest.raises(SignatureError, match="the signature is not one of key"):
        verify(sign(b"{}", KEY, "t"), {KEY.kid: OTHER.public}, "t")


@pytest.mark.parametrize("header", [["alg"], "alg", 5, None, {}])
def test_header_that_is_no_header_is_refused(header: Any) -> None:
    """A header that is another JSON value, or empty, is a malformed token and nothing worse."""
    with pytest.raises(SignatureError, match=r"^expected a compact JWS"):
        verify(forge(header), KEYS, "t")


@pytest.mark.parametrize("token", ["", ".", "..", "a.b.c", "a.b", "a.b.c.d", "é..", "\ud800..", "[[[[..", "\0"])
def test_malformed_token_is_refused(token: str) -> None:
    """Text that is no token is refused, and quoted escaped."""
    for check in (lambda: verify(token, KEYS, "t"), lambda: verify_detached(token, b"", KEYS, "t")):
        with pytest.raises(SignatureError) as caught:
            check()
        assert str(caught.value) == f"expected a compact JWS, got {token!r}"


def test_large_token_is_not_looked_at() -> None:
    """A token over the limit is refused before it is parsed, and not made either."""
    message = f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got {MAX_TOKEN_BYTES + 1}"
    with pytest.raises(SignatureError, match=message):
        verify("a" * (MAX_TOKEN_BYTES + 1), KEYS, "t")
    with pytest.raises(SignatureError, match=f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got "):
        sign(b"a" * MAX_TOKEN_BYTES, KEY, "t")


def test_large_payload_is_not_looked_at() -> None:
    """A detached payload over the limit is neither signed nor verified; one at the limit is."""
    payload = b"a" * (MAX_DETACHED_BYTES + 1)
    message = f"expected a payload of at most {MAX_DETACHED_BYTES} bytes, got {MAX_DETACHED_BYTES + 1}"
    token = sign_detached(payload[1:], KEY, "t")
    verify_detached(token, payload[1:], KEYS, "t")
    with pytest.raises(SignatureError, match=message):
        sign_detached(payload, KEY, "t")
    with pytest.raises(SignatureError, match=message):
        verify_detached(token, payload, KEYS, "t")


def test_detached_payload_is_text() -> None:
    """Bytes that are no UTF-8 are not signed beside a token."""
    with pytest.raises(SignatureError, match="expected UTF-8 text to sign, got a wrong byte at 1"):
        sign_detached(b"a\xff", KEY, "t")


def test_detached_token_has_no_payload_of_its_own() -> None:
    """An unencoded payload inside the token is refused: two payloads would be one too many."""
    header = encode(json.dumps({**HEADER, "b64": False, "crit": ["b64"]}).encode())
    token = f"{header}.abc.{encode(KEY.sign(f'{header}.abc'.encode()))}"
    with pytest.raises(SignatureError, match="expected a token without its payload, got one with a payload of its own"):
        verify_detached(token, b"abc", KEYS, "t")


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (HEADER, "expected b64 False in the token's header, got None"),
        ({**HEADER, "b64": True, "crit": ["b64"]}, "expected b64 False in the token's header, got True"),
        ({**HEADER, "b64": False, "crit": ["b64", "kid"]}, "expected crit ['b64'] in the token's header, got"),
    ],
)
def test_detached_header_says_so(header: dict[str, Any], message: str) -> None:
    """A detached token has b64 false and crit b64, or is refused."""
    with pytest.raises(SignatureError) as caught:
        verify_detached(forge(header, ""), b"{}", KEYS, "t")
    assert str(caught.value).startswith(message)


def test_b64_without_crit_is_refused() -> None:
    """A reader that ignores b64 would read another payload, so it must be critical."""
    with pytest.raises(SignatureError, match=r"^expected a compact JWS"):
        verify_detached(forge({**HEADER, "b64": False}, ""), b"{}", KEYS, "t")


def test_forms_do_not_stand_for_each_other() -> None:
    """A detached token is no compact one, nor the other way round."""
    with pytest.raises(SignatureError, match="expected no further members"):
        verify(sign_detached(b"", KEY, "t"), KEYS, "t")
    with pytest.raises(SignatureError, match="expected b64 False"):
        verify_detached(sign(b"", KEY, "t"), b"", KEYS, "t")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_each_kind_of_key_signs(name: AlgorithmName) -> None:
    """The header of a token names its key's algorithm, and both forms are verified."""
    key = ANY_KEY[name]
    keys = {key.kid: key.public}
    token = sign(b"{}", key, "t")
    assert json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "==")) == {"alg": name, "kid": key.kid, "typ": "t"}
    assert verify(token, keys, "t") == b"{}"
    verify_detached(sign_detached(b"{}", key, "t"), b"{}", keys, "t")


@pytest.mark.parametrize("said", [*ALGORITHMS, "HS256", "none", "EdDSA", "ES256K", "RS384", "PS256", "RS1", "", None])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_key_decides_the_algorithm(name: AlgorithmName, said: str | None) -> None:
    """A header that names another algorithm than its key's is refused, though the key has signed it."""
    key = ANY_KEY[name]
    header = {"alg": said, "kid": key.kid, "typ": "t"}
    signed = f"{encode(json.dumps(header).encode())}.e30"
    token = f"{signed}.{encode(key.sign(signed.encode()))}"
    if said == name:
        assert verify(token, {key.kid: key.public}, "t") == b"{}"
        return
    with pytest.raises(SignatureError, match=f"expected alg '{name}' in the token's header, got {said!r}"):
        verify(token, {key.kid: key.public}, "t")


@pytest.mark.parametrize("said", ["HS256", "RS256"])
def test_a_public_key_is_no_secret(said: str) -> None:
    """Whoever takes the public key, which everybody has, for a key of HMAC, gets no token through."""
    public = ANY_KEY["RS256"].public
    modulus = base64.urlsafe_b64decode(public.jwk()["n"] + "==")
    pem = RSAKey.import_key(dict(public.jwk())).as_pem(private=False)
    for secret in (modulus, pem, pem.strip(), json.dumps(public.jwk()).encode(), public.kid.encode()):
        signed = f"{encode(json.dumps({'alg': said, 'kid': public.kid, 'typ': 't'}).encode())}.e30"
        token = f"{signed}.{encode(hmac.digest(secret, signed.encode(), 'sha256'))}"
        with pytest.raises(SignatureError):
            verify(token, {public.kid: public}, "t")


def test_es256_signature_in_der_is_refused() -> None:
    """A token whose ES256 signature is in DER, as other formats have it, is refused."""
    key = ANY_KEY["ES256"]
    header, payload, signature = sign(b"{}", key, "t").split(".")
    raw = base64.urlsafe_b64decode(signature + "==")
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    with pytest.raises(SignatureError, match="the signature is not one of key"):
        verify(f"{header}.{payload}.{encode(der)}", {key.kid: key.public}, "t")


@pytest.mark.parametrize("signature", ["", "A", "AAA=", "A+/A", "é", "A A"])
@pytest.mark.parametrize("name", ALGORITHMS)
def test_signature_that_is_none_is_refused(name: AlgorithmName, signature: str) -> None:
    """An absent signature, and one that is not base64url, is a signature error and nothing worse."""
    key = ANY_KEY[name]
    signed = sign(b"{}", key, "t").rpartition(".")[0]
    with pytest.raises(SignatureError):
        verify(f"{signed}.{signature}", {key.kid: key.public}, "t")


@given(st.text(max_size=200))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    """Whatever comes as a token, the only outcome is the documented error."""
    for check in (lambda: verify(text, KEYS, "t"), lambda: verify_detached(text, b"", KEYS, "t")):
        with pytest.raises(SignatureError):
            check()


def test_unverified_token_tells_payload_and_type() -> None:
    """A token that nobody has verified says what it is about, to whoever is to sign it too."""
    assert read_unverified(sign(b"{}", OTHER, "t")) == (b"{}", "t")
    with pytest.raises(SignatureError, match="expected a compact JWS"):
        read_unverified("a.b")
