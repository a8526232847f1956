"""Keys in a token, with a real SoftHSM: they sign what everybody verifies, and whatever is wrong is named."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pkcs11 import ObjectClass

import custody.token
from custody import CustodyError
from custody.token import PIN_VARIABLE, TokenSigner
from custody.uri import TokenAddress, parse_uri
from tests.custody.conftest import WriteSecret
from tests.custody.softhsm import PIN, SoftToken
from trust import AlgorithmName, PackageClaim, Role, make_root, read_root, sign_package, verify_package

KINDS: list[tuple[str, AlgorithmName]] = [("ed", "Ed25519"), ("ec", "ES256"), ("rsa", "RS256")]


def find(token: SoftToken, key: str) -> TokenAddress:
    return parse_uri(token.name(key))


def refusal(address: TokenAddress, **environment: str) -> str:
    with pytest.raises(CustodyError) as caught:
        TokenSigner(address, environment)
    assert caught.value.__cause__ is None
    assert PIN not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("label", "algorithm"), KINDS)
def test_a_token_signs_with_each_kind_of_key(token: SoftToken, label: str, algorithm: AlgorithmName) -> None:
    """What a token's key signs is verified by its public half and no other bytes are."""
    signer = TokenSigner(find(token, label))
    assert signer.public.algorithm == algorithm
    for data in (b"", b"data", b"x" * 100_000):
        signature = signer.sign(data)
        assert signer.public.verify(data, signature)
        assert not signer.public.verify(data + b"x", signature)


def test_a_token_signs_packages_and_roots(token: SoftToken) -> None:
    """A workspace whose root and package keys are in a token works as any other."""
    signers = [TokenSigner(find(token, label)) for label, _ in KINDS]
    public = [signer.public for signer in signers]
    roles = {"root": public, "package": public, "offer": public, "channel": public}
    root = read_root(make_root("demo", 1, 2_000_000_000, roles, signers, thresholds={"root": 3}))
    claim = PackageClaim(workspace="demo", program="20210001", version="1", sha256="a" * 64, size=1)
    assert verify_package(sign_package(claim, *signers), Role(3, root.keys("package"))) == claim


def test_a_key_is_found_by_its_id(token: SoftToken) -> None:
    """A key may be named by id instead of label, and a wrong pair of them is none."""
    by_id = replace(find(token, "ec"), label=None, id=b"\x02")
    assert TokenSigner(by_id).public == TokenSigner(find(token, "ec")).public
    assert "expected one such private key, got 0" in refusal(replace(by_id, label="rsa"))


def test_the_pin_may_come_from_the_environment(token: SoftToken) -> None:
    """Without pin-source= the PIN is looked for in a variable."""
    address = replace(find(token, "ed"), pin_source=None)
    assert TokenSigner(address, {PIN_VARIABLE: PIN}).sign(b"x")


def test_the_pin_file_is_a_secret(token: SoftToken, write_secret: WriteSecret) -> None:
    """A file with a PIN is read as strictly as one with a key."""
    path = write_secret(b"\xff\xfe", "pin")
    assert refusal(replace(find(token, "ed"), pin_source=path)) == f"{path}: expected a PIN as text, got other bytes"
    path.chmod(0o644)
    assert "expected a file that its owner alone can read" in refusal(replace(find(token, "ed"), pin_source=path))


def test_a_module_that_is_none_is_named(token: SoftToken, tmp_path: Path) -> None:
    """An absent library, and a file that is none, are named."""
    (tmp_path / "text.so").write_text("no library")
    for module in (tmp_path / "nothing.so", tmp_path / "text.so"):
        message = refusal(replace(find(token, "ed"), module=module))
        assert message.startswith("pkcs11 token 'graywave tests', key 'ed': ")
        assert str(module) in message


def test_an_absent_token_is_named(token: SoftToken) -> None:
    """A token that the module does not have is named."""
    message = refusal(replace(find(token, "ed"), token="other"))
    assert message == f"pkcs11 token 'other', key 'ed': expected one such token in {token.module}, got 0"


def test_an_absent_key_is_named(token: SoftToken) -> None:
    """A key that the token does not have is named, and so is that keys hide without a PIN."""
    message = refusal(find(token, "nothing"))
    assert message.startswith("pkcs11 token 'graywave tests', key 'nothing': expected one such private key, got 0 (wit")


def test_an_ambiguous_key_is_named(token: SoftToken) -> None:
    """An address that fits several keys opens none."""
    message = refusal(replace(find(token, "ed"), label=None))
    assert "key None: expected one such private key, got " in message


@pytest.fixture
def scratch(token: SoftToken) -> Iterator[SoftToken]:
    """The token, from which a key `scratch` is taken away afterwards."""
    yield token
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        token.destroy("scratch", kind)


def test_a_key_of_another_kind_is_refused(scratch: SoftToken) -> None:
    """A key on another curve is no key of ours."""
    scratch.make("scratch", b"\x41", "secp384r1")
    assert "expected a key for Ed25519, ES256 (P-256) or RS256, got another kind" in refusal(find(scratch, "scratch"))


def test_a_short_rsa_key_is_refused(scratch: SoftToken) -> None:
    """A token's RSA key is as long as any other's."""
    scratch.make_rsa("scratch", b"\x42", 1024)
    assert "expected an RSA key of 2048 to 4096 bits, got one of 1024" in refusal(find(scratch, "scratch"))


def test_a_key_without_its_public_half_is_refused(scratch: SoftToken) -> None:
    """The public half has to be in the token, under the same id."""
    scratch.make("scratch", b"\x43")
    scratch.destroy("scratch", ObjectClass.PUBLIC_KEY)
    message = refusal(find(scratch, "scratch"))
    assert message.endswith("expected one public key with the private key's id, got 0")


def test_a_foreign_public_half_is_found_out(scratch: SoftToken) -> None:
    """A public key that is not the private key's, under its id, is found out before anything is signed with it."""
    scratch.make("scratch", b"\x44")
    scratch.destroy("scratch", ObjectClass.PUBLIC_KEY)
    scratch.make("other half", b"\x44")
    scratch.destroy("other half", ObjectClass.PRIVATE_KEY)
    message = refusal(find(scratch, "scratch"))
    scratch.destroy("other half", ObjectClass.PUBLIC_KEY)
    assert "expected a signature of key" in message


def test_a_lost_session_is_opened_again(token: SoftToken) -> None:
    """A token that was away for a while signs again without a restart."""
    signer = TokenSigner(find(token, "ec"))
    signer._opened.session.close()
    assert signer.public.verify(b"data", signer.sign(b"data"))


def test_another_key_in_its_place_is_found_out(scratch: SoftToken) -> None:
    """A key that was exchanged behind a lost session does not sign under the old one's name."""
    scratch.make("scratch", b"\x45")
    signer = TokenSigner(find(scratch, "scratch"))
    for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY):
        scratch.destroy("scratch", kind)
    scratch.make("scratch", b"\x45")
    signer._opened.session.close()
    with pytest.raises(CustodyError, match=f"expected key '{signer.public.kid}', got '.*' in its place"):
        signer.sign(b"data")


def test_a_key_that_is_gone_is_named(scratch: SoftToken) -> None:
    """A key that was destroyed signs no more, and the error names it."""
    scratch.make("scratch", b"\x46")
    signer = TokenSigner(find(scratch, "scratch"))
    scratch.destroy("scratch", ObjectClass.PRIVATE_KEY)
    signer._opened.session.close()
    with pytest.raises(CustodyError, match="key 'scratch': expected one such private key, got 0"):
        signer.sign(b"data")


def test_threads_take_turns(token: SoftToken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signers of one token are used from several threads at once, as servers do, and one at a time calls the module."""
    signers = [TokenSigner(find(token, label)) for label, _ in KINDS]
    taken: list[bool] = []
    real = custody.token._sign

    def note(*given: Any) -> bytes:
        taken.append(custody.token._LOCK.locked())
        return real(*given)

    monkeypatch.setattr("custody.token._sign", note)

    def sign(number: int) -> bool:
        signer, data = signers[number % 3], b"%d" % number
        return signer.public.verify(data, signer.sign(data))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(sign, range(60)))
    assert taken == [True] * 60
