"""Tokens under several signatures: as many different keys as the role wants, over one payload."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust import ALGORITHMS, PrivateKey, Role, SignatureError, UnknownKeyError, add_signature, sign
from trust.jws import MAX_TOKEN_BYTES
from trust.token import MAX_SIGNATURES, read_unverified_token, sign_token, verify_token

A, B, C = (PrivateKey.generate(name) for name in ALGORITHMS)
STRANGERS = [PrivateKey.generate() for _ in range(MAX_SIGNATURES)]
KEYS = {key.kid: key.public for key in (A, B, C)}
PAYLOAD = b'{"a":1}'


def role(threshold: int) -> Role:
    return Role(threshold, KEYS)


def refusal(token: str, threshold: int = 1) -> SignatureError:
    with pytest.raises(SignatureError) as caught:
        verify_token(token, role(threshold), "t")
    return caught.value


def test_one_signature_is_a_compact_token() -> None:
    """A token of one signer is the plain compact form, and is read as such."""
    token = sign_token(PAYLOAD, "t", A)
    assert token == sign(PAYLOAD, A, "t")
    assert verify_token(token, role(1), "t") == PAYLOAD


def test_several_signatures_have_one_blank_between_them() -> None:
    """A token of three signers is three compact forms, whatever kinds of keys they have."""
    token = sign_token(PAYLOAD, "t", A, B, C)
    assert [part.split(".")[1] for part in token.split(" ")] == [sign(PAYLOAD, A, "t").split(".")[1]] * 3
    assert verify_token(token, role(3), "t") == PAYLOAD


@given(st.lists(st.sampled_from([A, B, C, *STRANGERS[:3]]), min_size=1, max_size=8), st.integers(1, 3))
def test_threshold_counts_different_keys_of_the_role(signers: list[PrivateKey], threshold: int) -> None:
    """A token is believed exactly if so many different keys of the role have signed it; others are passed over."""
    token = " ".join(sign(PAYLOAD, signer, "t") for signer in signers)
    count = len({signer.kid for signer in signers} & KEYS.keys())
    if count >= threshold:
        assert verify_token(token, role(threshold), "t") == PAYLOAD
    else:
        refusal(token, threshold)


def test_the_same_key_twice_counts_once() -> None:
    """Two signatures by one key are one: also when they differ, as those of ES256 do each time."""
    token = f"{sign(PAYLOAD, B, 't')} {sign(PAYLOAD, B, 't')}"
    assert len(set(token.split(" "))) == 2
    error = refusal(token, 2)
    assert str(error) == "expected signatures of 2 keys of the role, got 1"
    assert not isinstance(error, UnknownKeyError)


def test_strangers_are_named_as_unknown() -> None:
    """Where unknown keys have signed, a newer root may know them, and the error says so."""
    error = refusal(sign_token(PAYLOAD, "t", A, *STRANGERS[:2]), 2)
    assert str(error) == "expected signatures of 2 keys of the role, got 1, and 2 by unknown keys"
    assert isinstance(error, UnknownKeyError)
    error = refusal(sign_token(PAYLOAD, "t", STRANGERS[0]))
    assert str(error) == f"expected the kid of a known key in the token's header, got {STRANGERS[0].kid!r}"


def test_wrong_signature_of_a_known_key_spoils_the_token() -> None:
    """One wrong signature is an error, even beside enough right ones."""
    good, other = sign(PAYLOAD, A, "t"), sign(b"{}", B, "t")
    head, payload, _ = sign(PAYLOAD, B, "t").split(".")
    forged = f"{head}.{payload}.{other.rpartition('.')[2]}"
    assert str(refusal(f"{good} {forged}")) == f"the signature is not one of key {B.kid!r} over these bytes"
    assert str(refusal(f"{forged} {good}")) == f"the signature is not one of key {B.kid!r} over these bytes"


def test_signatures_of_several_payloads_are_refused() -> None:
    """Two signed payloads in one token are refused, also where only a stranger has signed the second."""
    for other in (B, STRANGERS[0]):
        token = f"{sign(PAYLOAD, A, 't')} {sign(b'{}', other, 't')}"
        assert str(refusal(token)) == "expected signatures over the very same payload, got several payloads"


def test_signatures_of_several_types_are_refused() -> None:
    """A signature by a known key for another purpose does not count, and spoils the token."""
    token = f"{sign(PAYLOAD, A, 't')} {sign(PAYLOAD, B, 'u')}"
    assert str(refusal(token)) == "expected typ 't' in the token's header, got 'u'"


@pytest.mark.parametrize("change", [" {}", "{} ", "{}  {}", "{}\n{}", "{}\t{}", "{},{}", "{}\u00a0{}", "{}.{}"])
def test_only_one_blank_separates(change: str) -> None:
    """Anything else around or between the signatures is refused."""
    good = sign(PAYLOAD, A, "t")
    refusal(change.format(good, good))


def test_count_of_signatures_is_bounded() -> None:
    """Sixteen signatures are read, also where all but the last are strangers'; a seventeenth, or none, is refused."""
    parts = [sign(PAYLOAD, signer, "t") for signer in [*STRANGERS[1:], A]]
    assert verify_token(" ".join(parts), role(1), "t") == PAYLOAD
    message = f"expected 1 to {MAX_SIGNATURES} signatures in a token, got "
    assert str(refusal(" ".join([*parts, parts[0]]))) == message + "17"
    assert str(refusal("")) == message + "0"
    with pytest.raises(SignatureError, match=message + "17"):
        add_signature(" ".join(parts), STRANGERS[0])
    with pytest.raises(SignatureError, match=message + "0"):
        sign_token(PAYLOAD, "t")


def test_large_token_is_neither_read_nor_made() -> None:
    """A token over the limit is refused before it is cut into its parts."""
    message = f"expected a token of at most {MAX_TOKEN_BYTES} bytes, got "
    assert str(refusal(" " * (MAX_TOKEN_BYTES + 1))) == f"{message}{MAX_TOKEN_BYTES + 1}"
    with pytest.raises(SignatureError, match=message):
        sign_token(b"a" * (MAX_TOKEN_BYTES // 2), "t", A, B)


def test_signature_is_added() -> None:
    """A second signer signs the same payload as the same type, without knowing who was first."""
    token = add_signature(sign_token(PAYLOAD, "t", A), B)
    assert token.split(" ")[0] == sign_token(PAYLOAD, "t", A)
    assert verify_token(token, role(2), "t") == PAYLOAD


def test_nobody_signs_twice() -> None:
    """A key that has signed is told so: its second signature would not count."""
    with pytest.raises(SignatureError, match=f"expected a key that has not signed yet, got {B.kid!r}"):
        add_signature(sign_token(PAYLOAD, "t", A, B), B)


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.b.c d.b.f", " "])
def test_signature_is_added_to_tokens_alone(token: str) -> None:
    """Text that is no token is not signed."""
    with pytest.raises(SignatureError):
        add_signature(token, A)


def test_unverified_token_is_of_its_type() -> None:
    """What is read without being verified is at least what it is taken for."""
    token = sign_token(PAYLOAD, "t", STRANGERS[0], STRANGERS[1])
    assert read_unverified_token(token, "t") == PAYLOAD
    with pytest.raises(SignatureError, match="expected typ 'u' in the token's header, got 't'"):
        read_unverified_token(token, "u")


@given(st.data())
def test_each_changed_character_fails(data: Any) -> None:
    """A token of two signatures with any character changed is refused by a role that wants both."""
    token = sign_token(PAYLOAD, "t", A, B)
    index = data.draw(st.integers(0, len(token) - 1))
    new = data.draw(st.sampled_from("AZaz09-_. =\n").filter(lambda one: one != token[index]))
    refusal(token[:index] + new + token[index + 1 :], 2)
