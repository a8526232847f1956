"""`pkcs11:` addresses: what they say is read, and nothing that may be a secret is repeated."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custody import CustodyError
from custody.uri import MAX_ADDRESS_CHARACTERS, TokenAddress, parse_uri

MODULE = "module-path=/usr/lib/hsm.so"


def refusal(uri: str) -> str:
    with pytest.raises(CustodyError) as caught:
        parse_uri(uri)
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_an_address_is_read() -> None:
    """Token, serial, label, id, module and the PIN's file are read, percent-decoded."""
    uri = f"pkcs11:token=my%20token;serial=00a1;object=k%3B1;id=%01%FF;type=private?{MODULE}&pin-source=file:/run/pin"
    address = TokenAddress(Path("/usr/lib/hsm.so"), "my token", b"00a1", "k;1", b"\x01\xff", Path("/run/pin"))
    assert parse_uri(uri) == address


def test_what_is_not_said_is_none() -> None:
    """The least is a token and a module."""
    assert parse_uri(f"pkcs11:token=t?{MODULE}") == TokenAddress(Path("/usr/lib/hsm.so"), "t")


@pytest.mark.parametrize("source", ["/run/pin", "file:/run/pin", "file:///run/pin", "%2Frun%2Fpin"])
def test_pin_source_is_a_file(source: str) -> None:
    """The PIN's file is named by a path or a file address."""
    assert parse_uri(f"pkcs11:token=t?{MODULE}&pin-source={source}").pin_source == Path("/run/pin")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (f"pkcs11:?{MODULE}", "expected token= or serial=, got none"),
        (f"pkcs11:object=k?{MODULE}", "expected token= or serial=, got none"),
        ("pkcs11:token=t", "expected ?module-path= with the token's library, got none"),
        (f"pkcs11:token=t;type=public?{MODULE}", "expected type=private or none, got another"),
        (
            f"pkcs11:token=t;token=u?{MODULE}",
            "expected each of token, serial, object, id, type at most once, got 'token'",
        ),
        (
            f"pkcs11:token=t;slot-id=1?{MODULE}",
            "expected each of token, serial, object, id, type at most once, got 'slot",
        ),
        (
            f"pkcs11:token=t?{MODULE}&{MODULE}",
            "expected each of module-path, pin-source at most once, got 'module-path'",
        ),
        (f"pkcs11:token=?{MODULE}", "expected token= with percent-encoded text, got something else"),
        (f"pkcs11:token=%4?{MODULE}", "expected token= with percent-encoded text, got something else"),
        (f"pkcs11:token=%zz?{MODULE}", "expected token= with percent-encoded text, got something else"),
        (f"pkcs11:token=%ff?{MODULE}", "expected UTF-8 in token=, got other bytes"),
        (f"pkcs11:token=a%00?{MODULE}", "expected no NUL in token=, got one"),
        (f"pkcs11:token=t?{MODULE}&pin-source=pin", "expected pin-source= with an absolute path, got something else"),
        (f"pkcs11:token=t?{MODULE}&pin-source=|cat%20pin", "expected pin-source= with an absolute path, got something"),
        ("pkcs11:" + "a" * MAX_ADDRESS_CHARACTERS, "expected an address of at most 8192 characters, got more"),
    ],
)
def test_an_address_is_strict(uri: str, message: str) -> None:
    """What is absent, double, unknown or malformed is named."""
    assert refusal(uri).startswith(f"pkcs11: {message}")


@pytest.mark.parametrize("where", ["?pin-value=4321&module-path=/m", f"?{MODULE}&pin-value=4321"])
def test_a_pin_in_an_address_is_refused_and_not_shown(where: str) -> None:
    """Addresses are shown in settings and process lists, so that a PIN must not be in one."""
    message = refusal(f"pkcs11:token=t{where}")
    assert message == "pkcs11: expected pin-source=, got pin-value=: an address is shown, a PIN must not be"


def test_an_address_as_text_names_token_and_key() -> None:
    """Messages name the token and the key, and no file of a PIN."""
    assert str(parse_uri(f"pkcs11:token=t;object=k?{MODULE}&pin-source=/run/pin")) == "pkcs11 token 't', key 'k'"
    assert str(parse_uri(f"pkcs11:serial=7;id=%01?{MODULE}")) == "pkcs11 token b'7', key b'\\x01'"


@given(st.text(st.sampled_from("abtokenobjectid=;?&%0f1-paulserm/\x00é"), max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Whatever comes, the outcome is an address or the documented error."""
    try:
        assert isinstance(parse_uri("pkcs11:" + text), TokenAddress)
    except CustodyError as error:
        assert str(error).startswith("pkcs11: expected ")  # noqa: PT017 - either outcome does
