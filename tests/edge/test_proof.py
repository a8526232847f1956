"""Tests of edge/proof.py."""

import contextlib
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import proof
from edge.errors import RefusedError
from edge.proof import (
    LEEWAY_S,
    MAX_KEYS,
    MAX_KEYS_BYTES,
    MAX_TOKEN_BYTES,
    MAX_USER,
    Doubt,
    KeySetError,
    Prover,
    read_bearer,
    read_key_set,
)
from ruleset import Device
from tests.edge.passport import AUDIENCE, ISSUER, LIFE_S, NOW, USER, BackEnd, encode
from trust import PrivateKey

CLAIMING = Device(id="d1", platform="android", user=USER)
SILENT = Device(id="d1", platform="android")
BACK_END = BackEnd()
# Key sets of keys that are nearly ones.
MEMBERS = ("kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "d")
PARTS = (
    st.none() | st.integers(0, 9) | st.sampled_from(["OKP", "EC", "RSA", "Ed25519", "P-256", "AQAB", "sig", "é", ""])
)
JWKS = st.fixed_dictionaries({"keys": st.lists(st.dictionaries(st.sampled_from(MEMBERS), PARTS), max_size=3) | PARTS})


@pytest.fixture
def prover() -> Prover:
    """A prover that believes BACK_END."""
    return BACK_END.make_prover()


def identify(prover: Prover, token: bytes, device: Device = CLAIMING, now: int = NOW) -> tuple[str | None, bool]:
    """The user that a check is answered for, and whether it is proven."""
    found, is_proven = prover.identify(device, b"Bearer " + token if token else b"", now)
    return found.user, is_proven


@pytest.mark.parametrize("algorithm", ["Ed25519", "ES256", "RS256"])
def test_token_proves_its_user(algorithm: Any) -> None:
    """A token by a key of any kind that there is proves its subject, and gives a user to a device that names none."""
    back_end = BackEnd(algorithm)
    prover, token = back_end.make_prover(), back_end.sign()
    assert identify(prover, token) == (USER, True)
    assert identify(prover, token, SILENT) == (USER, True)
    assert identify(prover, token, Device(id="d1", platform="ios", user="")) == (USER, True)
    assert (prover.proven, prover.verified) == (3, 1)


def test_no_token_no_user(prover: Prover) -> None:
    """Without a token a device has no user, whatever it says; one that says nothing is left as it is."""
    assert identify(prover, b"") == (None, False)
    assert prover.identify(SILENT, b"", NOW)[0] is SILENT
    assert prover.doubts.total() == 0


def test_all_else_of_a_device_stays(prover: Prover) -> None:
    """Only the user is taken away or filled in."""
    device = Device(id="d1", platform="ios", user=USER, city="Bonn", tags={"vip": "1"})
    assert prover.identify(device, b"", NOW)[0] == Device(id="d1", platform="ios", city="Bonn", tags={"vip": "1"})


def test_known_token_is_not_verified_again(prover: Prover) -> None:
    """A token is verified once, and judged by its time each time."""
    token = BACK_END.sign()
    for now in (NOW, NOW + 1, NOW + LIFE_S + LEEWAY_S - 1):
        assert identify(prover, token, now=now) == (USER, True)
    assert identify(prover, token, now=NOW + LIFE_S + LEEWAY_S) == (None, False)
    assert identify(prover, token, Device(id="d1", platform="ios", user="u-1")) == (None, False)
    assert prover.verified == 1
    assert prover.doubts == {Doubt.EXPIRED: 1, Doubt.OTHER_USER: 1}


def test_forged_token_is_not_verified_again(prover: Prover) -> None:
    """A token whose signature is wrong is known, too: sending it again costs no verification."""
    stranger = BackEnd(kid=BACK_END.kid).sign()
    assert [identify(prover, stranger) for _ in range(3)] == [(None, False)] * 3
    assert (prover.verified, prover.doubts) == (1, {Doubt.FORGED: 3})


CASES: Mapping[str, tuple[bytes, Doubt]] = {
    "no token": (b"token", Doubt.MALFORMED),
    "two parts": (b"e30.e30", Doubt.MALFORMED),
    "four parts": (b"e30.e30.e30.e30", Doubt.MALFORMED),
    "an empty part": (b"e30..e30", Doubt.MALFORMED),
    "a letter that base64url has not": (BACK_END.sign().replace(b".", b".+", 1), Doubt.MALFORMED),
    "a length that no bytes have": (BACK_END.sign() + b"AAA", Doubt.MALFORMED),
    "a header that is a list": (BACK_END.sign_bytes(b'["alg"]', b"{}"), Doubt.MALFORMED),
    "a header without alg": (BACK_END.sign({"alg": None}), Doubt.MALFORMED),
    "critical members": (BACK_END.sign({"crit": ["b64"], "b64": False}), Doubt.MALFORMED),
    "claims that are no json": (BACK_END.sign_bytes(b'{"alg":"EdDSA","kid":"2026-11"}', b"{"), Doubt.MALFORMED),
    "claims nested deeply": (
        BACK_END.sign_bytes(b'{"alg":"EdDSA","kid":"2026-11"}', b'{"a":' + b"[" * 1_400 + b"]" * 1_400 + b"}"),
        Doubt.MALFORMED,
    ),
    "no subject": (BACK_END.sign(sub=None), Doubt.MALFORMED),
    "an empty subject": (BACK_END.sign(sub=""), Doubt.MALFORMED),
    "a subject too long": (BACK_END.sign(sub="u" * (MAX_USER + 1)), Doubt.MALFORMED),
    "no expiry": (BACK_END.sign(exp=None), Doubt.MALFORMED),
    "an expiry that is text": (BACK_END.sign(exp=str(NOW + 1)), Doubt.MALFORMED),
    "no issuer": (BACK_END.sign(iss=None), Doubt.MALFORMED),
    "no audience": (BACK_END.sign(aud=None), Doubt.MALFORMED),
    "too large": (BACK_END.sign(more="x" * MAX_TOKEN_BYTES), Doubt.TOO_LARGE),
    "no signature": (BACK_END.sign({"alg": "none"}), Doubt.OTHER_ALGORITHM),
    "a symmetric signature": (BACK_END.sign({"alg": "HS256"}), Doubt.OTHER_ALGORITHM),
    "another key's algorithm": (BACK_END.sign({"alg": "RS256"}), Doubt.OTHER_ALGORITHM),
    "another kid": (BACK_END.sign({"kid": "2025-01"}), Doubt.UNKNOWN_KEY),
    "no kid": (BACK_END.sign({"kid": None}), Doubt.UNKNOWN_KEY),
    "a key of its own": (BACK_END.sign({"kid": None, "jwk": BACK_END.jwk}), Doubt.UNKNOWN_KEY),
    "another issuer": (BACK_END.sign(iss=ISSUER + "/"), Doubt.OTHER_ISSUER),
    "another audience": (BACK_END.sign(aud="shop"), Doubt.OTHER_AUDIENCE),
    "other audiences": (BACK_END.sign(aud=["shop", "news"]), Doubt.OTHER_AUDIENCE),
    "no audiences": (BACK_END.sign(aud=[]), Doubt.OTHER_AUDIENCE),
    "expired": (BACK_END.sign(exp=NOW - LEEWAY_S), Doubt.EXPIRED),
    "early": (BACK_END.sign(nbf=NOW + LEEWAY_S + 1), Doubt.EARLY),
    "another user": (BACK_END.sign(sub="u-778"), Doubt.OTHER_USER),
    "another spelling of the user": (BACK_END.sign(sub="U-777"), Doubt.OTHER_USER),
    "another key of that name": (BackEnd(kid=BACK_END.kid).sign(), Doubt.FORGED),
    "claims of another token": (
        b".".join([*BACK_END.sign(sub="u-1").split(b".")[:1], *BACK_END.sign().split(b".")[1:2], encode(b"x" * 64)]),
        Doubt.FORGED,
    ),
    "half a signature": (BACK_END.sign()[:-44], Doubt.FORGED),
}


@pytest.mark.parametrize("case", CASES)
def test_what_proves_nothing(prover: Prover, case: str) -> None:
    """Such a token is no error: its device is answered without its user, and why is counted."""
    token, doubt = CASES[case]
    assert identify(prover, token) == (None, False)
    assert identify(prover, token) == (None, False)
    assert prover.doubts == {doubt: 2}


@pytest.mark.parametrize(
    "token",
    [
        BACK_END.sign(exp=NOW - LEEWAY_S + 1),
        BACK_END.sign(exp=NOW + 0.5),
        BACK_END.sign(nbf=NOW + LEEWAY_S),
        BACK_END.sign(aud=["shop", AUDIENCE]),
        BACK_END.sign({"alg": "Ed25519"}),
        BACK_END.sign({"typ": None}),
        BACK_END.sign(iat=NOW, scope="all", jti="1"),
    ],
    ids=[
        "just expired",
        "in parts of a second",
        "a little early",
        "one of the audiences",
        "RFC 9864",
        "no typ",
        "more",
    ],
)
def test_what_proves_all_the_same(prover: Prover, token: bytes) -> None:
    """Clocks may differ by the leeway, audiences be a list, and members be there that nobody asks for."""
    assert identify(prover, token) == (USER, True)


def test_longest_subject() -> None:
    """A user's id may be as long as any string of a check."""
    user = "u" * MAX_USER
    device = Device(id="d1", platform="ios", user=user)
    assert identify(BACK_END.make_prover(), BACK_END.sign(sub=user), device) == (user, True)


def test_new_keys_forget_what_the_old_ones_proved(prover: Prover) -> None:
    """When the key set is replaced, tokens by a key that is gone prove nothing any more."""
    token, other = BACK_END.sign(), BackEnd(kid="2026-12")
    assert identify(prover, token) == (USER, True)
    assert identify(prover, other.sign()) == (None, False)
    prover.follow(read_key_set(other.make_key_set()))
    assert identify(prover, token) == (None, False)
    assert identify(prover, other.sign()) == (USER, True)


def test_without_keys_nobody_is_proven() -> None:
    """Before a key set was read every user is unproven."""
    assert identify(Prover(ISSUER, AUDIENCE), BACK_END.sign()) == (None, False)


def test_key_without_a_kid() -> None:
    """A key set may leave its one key without a name, and tokens then name none."""
    prover = BACK_END.make_prover()
    prover.follow(read_key_set(orjson.dumps({"keys": [{**BACK_END.jwk, "kid": ""}]})))
    assert identify(prover, BACK_END.sign({"kid": None})) == (USER, True)


def test_made_up_tokens_have_their_share_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """No more signatures are verified a second; who comes later is asked to retry, and who is known is answered."""
    monkeypatch.setattr(proof, "MAX_FRESH", 3)
    prover = BACK_END.make_prover()
    known, stranger = BACK_END.sign(), BackEnd(kid=BACK_END.kid)
    assert identify(prover, known) == (USER, True)
    for n in range(2):
        assert identify(prover, stranger.sign(jti=n)) == (None, False)
    with pytest.raises(RefusedError, match="expected at most 3 new proofs of users a second, got more") as caught:
        identify(prover, BACK_END.sign(jti="new"))
    assert (caught.value.code, caught.value.status) == ("overloaded", 503)
    assert identify(prover, known) == (USER, True)
    assert identify(prover, b"") == (None, False)
    assert identify(prover, BACK_END.sign(jti="new"), now=NOW + 1) == (USER, True)


def test_what_is_wrong_without_its_signature_costs_none_of_it(prover: Prover) -> None:
    """Tokens that are refused for what they say are not verified, however many there are."""
    for token, doubt in CASES.values():
        if doubt not in (Doubt.FORGED, Doubt.OTHER_USER):
            identify(prover, token)
    assert prover.verified == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was longest not asked for is forgotten, and made-up tokens drive out no proven ones."""
    monkeypatch.setattr(proof, "MAX_PROVEN", 2)
    monkeypatch.setattr(proof, "MAX_REFUSED", 2)
    prover = BACK_END.make_prover()
    first, second, third = (BACK_END.sign(jti=n) for n in range(3))
    stranger = BackEnd(kid=BACK_END.kid)
    for token in (first, second, first, third):
        assert identify(prover, token) == (USER, True)
    for n in range(5):
        identify(prover, stranger.sign(jti=n))
    assert (len(prover._proven), len(prover._refused)) == (2, 2)
    verified = prover.verified
    assert [identify(prover, token) for token in (first, third)] == [(USER, True)] * 2
    assert prover.verified == verified
    identify(prover, second)
    assert prover.verified == verified + 1


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (b"Bearer a.b.c", b"a.b.c"),
        (b"bearer a.b.c", b"a.b.c"),
        (b"BEARER   a.b.c", b"a.b.c"),
        (b"Bearer", b""),
        (b"Basic a.b.c", b""),
        (b"Bearera.b.c", b""),
        (b"a.b.c", b""),
        (b"", b""),
    ],
)
def test_bearer(value: bytes, token: bytes) -> None:
    """The scheme has to be Bearer, in any case."""
    assert read_bearer(value) == token


def test_key_set_passes_over_what_it_cannot_use() -> None:
    """Keys for encryption, of other curves and kinds, and for other algorithms stand in real key sets."""
    rsa, ec = BackEnd("RS256", "rsa"), BackEnd("ES256", "ec")
    others = [
        {**rsa.jwk, "kid": "enc", "use": "enc"},
        {**rsa.jwk, "kid": "pss", "alg": "PS256"},
        {**ec.jwk, "kid": "384", "crv": "P-384"},
        {"kty": "OKP", "crv": "X25519", "x": "AA", "kid": "x"},
        {"kty": "NEW", "kid": "new"},
        {"kid": "none"},
    ]
    keys = read_key_set(BACK_END.make_key_set(rsa.jwk, {**ec.jwk, "x5c": ["MII"], "key_ops": ["verify"]}, *others))
    assert {kid: key.algorithm for kid, key in keys.items()} == {"2026-11": "Ed25519", "rsa": "RS256", "ec": "ES256"}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", r"\$\.keys: expected a JWKS, a list of at most 32 keys, got something else"),
        (b"[]", "got something else"),
        (b"{}", "got something else"),
        (b'{"keys":{}}', "got something else"),
        (b'{"keys":[1]}', "got something else"),
        (b"\xff", "got something else"),
        (b'{"a":' + b"[" * 20_000 + b"]" * 20_000 + b"}", "got something else"),
        (orjson.dumps({"keys": [{}] * (MAX_KEYS + 1)}), "got something else"),
        (b" " * (MAX_KEYS_BYTES + 1), "expected a key set of at most 65536 bytes, got 65537"),
        (b'{"keys":[]}', "expected a public key for Ed25519, ES256 or RS256 at least, got none"),
        (b'{"keys":[{"kty":"RSA","use":"enc"}]}', "at least, got none"),
        (BACK_END.make_key_set({**BACK_END.jwk, "kid": None}), r"\$\.keys\[1\]\.kid: expected a text, got None"),
        (BACK_END.make_key_set(BACK_END.jwk), r"\$\.keys\[1\]\.kid: expected each kid once, got '2026-11' again"),
        (
            BACK_END.make_key_set({"kty": "OKP", "crv": "Ed25519", "kid": "b"}),
            r"\$\.keys\[1\]: expected a JSON Web Key",
        ),
        (BACK_END.make_key_set({"kty": "oct", "k": "c2VjcmV0"}), r"\$\.keys\[1\]: expected a public key, got one with"),
    ],
)
def test_key_set_that_is_none(document: bytes, message: str) -> None:
    """A file without usable keys, or with one that is wrong, is refused, and what is wrong is named."""
    with pytest.raises(KeySetError, match=message):
        read_key_set(document)


def test_private_key_in_a_key_set() -> None:
    """A private key is refused, and the message shows nothing of it."""
    private: dict[str, Any] = orjson.loads(PrivateKey.generate().to_json())
    with pytest.raises(KeySetError, match="expected a public key, got one with its private part") as caught:
        read_key_set(orjson.dumps({"keys": [private]}))
    assert private["d"] not in str(caught.value)


def test_most_keys() -> None:
    """As many keys as are allowed are read."""
    keys = [{**BACK_END.jwk, "kid": str(n)} for n in range(MAX_KEYS)]
    assert len(read_key_set(orjson.dumps({"keys": keys}))) == MAX_KEYS


@settings(max_examples=300)
@given(st.binary(max_size=300) | st.tuples(st.integers(0, 1 << 16), st.binary(max_size=4)))
def test_whatever_comes_is_judged(drawn: bytes | tuple[int, bytes]) -> None:
    """Any bytes, and a genuine token with any part of it replaced, prove nothing and break nothing."""
    genuine = BACK_END.sign()
    if isinstance(drawn, tuple):
        at, piece = drawn[0] % len(genuine), drawn[1]
        token = genuine[:at] + piece + genuine[at + len(piece) :]
    else:
        token = drawn
    is_genuine = token.strip(b" \t") == genuine
    assert identify(BACK_END.make_prover(), token) == ((USER, True) if is_genuine else (None, False))


@settings(max_examples=300)
@given(st.binary(max_size=200) | JWKS.map(orjson.dumps))
def test_whatever_is_in_a_key_file_is_read_or_refused(document: bytes) -> None:
    """Any file gives keys, or a KeySetError and nothing else."""
    with contextlib.suppress(KeySetError):
        assert read_key_set(document)
