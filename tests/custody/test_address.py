"""Addresses of keys: each kind opens its key, and what may be a key itself is not repeated."""

import json
import pickle
import sys
from pathlib import Path

import pytest

from custody import CustodyError, find_file, open_public, open_signer
from tests.custody.conftest import WriteSecret
from tests.custody.softhsm import SoftToken
from trust import PrivateKey, PublicKey, sign, verify

KEY = PrivateKey.generate()
SECRET = json.loads(KEY.to_json())["d"]


def refusal(address: str) -> str:
    with pytest.raises(CustodyError) as caught:
        open_signer(address, {"EMPTY": ""})
    assert caught.value.__cause__ is None
    return str(caught.value)


def test_each_kind_of_address_opens_its_key(
    write_secret: WriteSecret, token: SoftToken, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A path, a file address, a variable and a token give signers whose tokens are verified with their public half."""
    path = write_secret(KEY.to_json())
    monkeypatch.chdir(path.parent)
    environment = {"THE_KEY": KEY.to_json().decode()}
    addresses = [str(path), "some.key", "./some.key", f"file:{path}", f"file://{path}", "file:some.key", "env:THE_KEY"]
    for address in [*addresses, token.name("ed")]:
        signer = open_signer(address, environment)
        assert verify(sign(b"{}", signer, "t"), {signer.public.kid: signer.public}, "t") == b"{}"
        assert (signer.public == KEY.public) == (address in addresses)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "expected the address of a key (a path, file:, env: or pkcs11:), got something else"),
        ("vault:key", "expected a path, file:, env: or pkcs11: as a key's address, got 'vault:'"),
        ("http://evil/key", "expected a path, file:, env: or pkcs11: as a key's address, got 'http:'"),
        ("env:", "env: expected the name of a variable, got something else"),
        ("env:A B", "env: expected the name of a variable, got something else"),
        ("env:" + "A" * 200, "env: expected the name of a variable, got something else"),
        ("env:NOWHERE", "env:NOWHERE: expected a variable that is set, got none"),
        ("env:EMPTY", "env:EMPTY: expected a JSON Web Key, got something that is not JSON"),
        ("nowhere.key", "nowhere.key: expected a file that can be read: No such file or directory"),
        ("pkcs11:", "pkcs11: expected ?module-path= with the token's library, got none"),
    ],
)
def test_an_address_is_strict(address: str, message: str) -> None:
    """What is no address, or leads nowhere, is named."""
    assert refusal(address) == message


@pytest.mark.parametrize(
    "address",
    [
        KEY.to_json().decode(),
        KEY.to_json().decode().strip(),
        f"env:{KEY.to_json().decode().strip()}",
        f"file:{KEY.to_json().decode().strip()}",
        f"-----BEGIN PRIVATE KEY-----\n{SECRET}",
        f"-----BEGIN PRIVATE KEY-----{SECRET}",
        f"some.key\n{SECRET}",
        "AGE-SECRET-KEY-1QQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQQ",
    ],
)
def test_a_key_instead_of_its_address_is_not_shown(address: str) -> None:
    """Whoever puts the key itself where its address belongs does not find it in a log."""
    message = refusal(address)
    assert message == "expected the address of a key (a path, file:, env: or pkcs11:), got something else"
    with pytest.raises(CustodyError) as caught:
        open_public(address)
    assert str(caught.value) == message


def test_a_token_without_its_library_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where python-pkcs11 is not installed, a pkcs11: address says what is missing."""
    monkeypatch.delitem(sys.modules, "custody.token", raising=False)
    monkeypatch.setitem(sys.modules, "pkcs11", None)
    assert refusal("pkcs11:token=t?module-path=/m").startswith(
        "pkcs11: expected python-pkcs11 (graywave[hsm]), got no "
    )


def test_public_half_of_each_address(write_secret: WriteSecret, token: SoftToken) -> None:
    """The public half of a private key, of a key in a token, and of a file with a public JWK alone, readable by all."""
    assert open_public(str(write_secret(KEY.to_json()))) == KEY.public
    assert open_public("env:A", {"A": KEY.to_json().decode()}) == KEY.public
    public = write_secret(json.dumps(KEY.public.jwk()).encode(), "public.json", 0o644)
    assert open_public(str(public)) == KEY.public
    assert open_public(f"file:{public}") == KEY.public
    assert open_public(token.name("ec")) == PublicKey.from_jwk(open_signer(token.name("ec")).public.jwk())


@pytest.mark.parametrize("data", [b"[]", b"[" * 4000, b"\xff", b"7", b'{"kty":"OKP"}', b" " * 5000])
def test_file_without_a_public_key_is_refused(write_secret: WriteSecret, data: bytes) -> None:
    """A file with anything else is no key, and nothing worse happens."""
    with pytest.raises(CustodyError, match=r"some\.key: expected "):
        open_public(str(write_secret(data)))


def test_private_key_that_others_can_read_gives_no_public_half(write_secret: WriteSecret) -> None:
    """A private key lying open is refused even where its public half would do: it has to be rotated."""
    with pytest.raises(CustodyError, match="expected a file that its owner alone can read"):
        open_public(str(write_secret(KEY.to_json(), mode=0o644)))


def test_no_signer_shows_its_key(write_secret: WriteSecret, token: SoftToken) -> None:
    """Neither repr nor pickle of a signer gives a private part or a PIN."""
    for address in (str(write_secret(KEY.to_json())), token.name("ed")):
        signer = open_signer(address)
        shown = f"{signer!r} {signer} {[signer]}"
        assert SECRET not in shown
        assert token.pin_file.read_text().strip() not in shown
        with pytest.raises(TypeError, match="pickle"):
            pickle.dumps(signer)


def test_folder_is_no_key(tmp_path: Path) -> None:
    """A folder is named as what it is not."""
    with pytest.raises(CustodyError, match="expected a regular file, got something else"):
        open_public(str(tmp_path))


@pytest.mark.parametrize(
    ("address", "file"),
    [
        ("keys/some.key", Path("keys/some.key")),
        ("file:///etc/some.key", Path("/etc/some.key")),
        ("env:THE_KEY", None),
        ("pkcs11:token=t;object=o", None),
    ],
)
def test_file_of_an_address_is_found(address: str, file: Path | None) -> None:
    """Who copies keys knows which of them are files, without reading any."""
    assert find_file(address) == file


def test_file_of_no_address_is_refused() -> None:
    """What is no address of a key names no file either."""
    with pytest.raises(CustodyError, match="expected a path, file:, env: or pkcs11: as a key's address, got 'http:'"):
        find_file("http://example.org")
