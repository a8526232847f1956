"""Keys in files and variables: read only where nobody else can read them, and never shown."""

import json
import os
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from custody import CustodyError
from custody.file import read_key_file, read_key_variable, read_secret
from tests.custody.conftest import WriteSecret
from trust import ALGORITHMS, AlgorithmName, PrivateKey
from trust.key import MAX_KEY_BYTES

KEY = PrivateKey.generate()
SECRET = json.loads(KEY.to_json())["d"]


def refusal(path: Path) -> str:
    with pytest.raises(CustodyError) as caught:
        read_key_file(path)
    assert caught.value.__cause__ is None
    return str(caught.value)


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_jwk_file_is_read(write_secret: WriteSecret, name: AlgorithmName) -> None:
    """A file with a private JWK of each kind gives its key."""
    key = PrivateKey.generate(name)
    assert read_key_file(write_secret(key.to_json())).to_json() == key.to_json()


def test_a_pem_file_is_read(write_secret: WriteSecret) -> None:
    """A file with PKCS#8 PEM, as other tools write it, gives its key; blank lines before it do not matter."""
    raw = Ed25519PrivateKey.generate()
    text = raw.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    key = read_key_file(write_secret(b"\n" + text))
    raw.public_key().verify(key.sign(b"data"), b"data")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666, 0o777])
def test_a_file_that_others_can_read_is_refused(write_secret: WriteSecret, mode: int) -> None:
    """Any right of group or others is too much, and the message says what to do."""
    path = write_secret(KEY.to_json(), mode=mode)
    if os.geteuid() == 0:
        os.chown(path, 1234, 1234)
    assert refusal(path) == f"{path}: expected a file that its owner alone can read, got mode 0{mode:o} (chmod 600)"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to root")
@pytest.mark.parametrize(("mode", "is_fine"), [(0o440, True), (0o640, True), (0o444, False), (0o660, False)])
def test_a_mounted_secret_is_read(write_secret: WriteSecret, mode: int, *, is_fine: bool) -> None:
    """A file of root's that one group can read, as a cluster mounts secrets, does; any further right is too much."""
    path = write_secret(KEY.to_json(), mode=mode)
    os.chown(path, 0, 1234)
    if is_fine:
        assert read_key_file(path).kid == KEY.kid
    else:
        assert "expected a file that its owner alone can read" in refusal(path)


@pytest.mark.parametrize("mode", [0o600, 0o400, 0o700])
def test_the_owners_rights_do_not_matter(write_secret: WriteSecret, mode: int) -> None:
    """Whatever the owner may do, the key is read."""
    assert read_key_file(write_secret(KEY.to_json(), mode=mode)).kid == KEY.kid


def test_a_link_leads_to_its_file(write_secret: WriteSecret, tmp_path: Path) -> None:
    """A link is followed, as mounted secrets are links, and the file's own mode counts."""
    (tmp_path / "link").symlink_to(write_secret(KEY.to_json()))
    assert read_key_file(tmp_path / "link").kid == KEY.kid


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A folder, an absent file and a pipe, which nobody writes to, are refused without waiting."""
    assert refusal(tmp_path) == f"{tmp_path}: expected a regular file, got something else"
    nothing = tmp_path / "nothing"
    assert refusal(nothing) == f"{nothing}: expected a file that can be read: No such file or directory"
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    said: list[str] = []
    thread = threading.Thread(target=lambda: said.append(refusal(pipe)), daemon=True)
    thread.start()
    thread.join(30)
    assert said == [f"{pipe}: expected a regular file, got something else"]


def test_a_large_file_is_not_read(write_secret: WriteSecret) -> None:
    """A file over the bound is refused, one at the bound is read."""
    assert len(read_secret(write_secret(b"x" * MAX_KEY_BYTES))) == MAX_KEY_BYTES
    path = write_secret(b"x" * (MAX_KEY_BYTES + 1))
    assert refusal(path) == f"{path}: expected at most {MAX_KEY_BYTES} bytes, got more"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        KEY.to_json()[:-5],
        KEY.to_json().replace(b'"OKP"', b'"OCT"'),
        KEY.to_json().replace(b'"kid"', b'"key"'),
        b"-----BEGIN PRIVATE KEY-----\n" + SECRET.encode() + b"\n-----END PRIVATE KEY-----",
        json.dumps(KEY.public.jwk()).encode(),
        json.dumps({**json.loads(KEY.to_json()), "x": PrivateKey.generate().public.jwk()["x"]}).encode(),
    ],
)
def test_a_file_without_a_key_is_named_and_not_shown(write_secret: WriteSecret, data: bytes) -> None:
    """What is no private key is refused by the file's name, and the message holds nothing of it."""
    path = write_secret(data)
    message = refusal(path)
    assert message.startswith(f"{path}: expected ")
    assert SECRET not in message


def test_a_variable_is_read() -> None:
    """A variable with a JWK gives its key."""
    assert read_key_variable("SOME", {"SOME": KEY.to_json().decode()}).kid == KEY.kid


@pytest.mark.parametrize("value", ["", "{", SECRET, "\udcff", KEY.to_json().decode().replace("OKP", "RSA")])
def test_a_variable_without_a_key_is_named_and_not_shown(value: str) -> None:
    """A variable with anything else is refused by its name."""
    with pytest.raises(CustodyError, match=r"^env:SOME: expected ") as caught:
        read_key_variable("SOME", {"SOME": value})
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_absent_variable_is_named() -> None:
    """A variable that is not set is named."""
    with pytest.raises(CustodyError, match=r"^env:SOME: expected a variable that is set, got none$"):
        read_key_variable("SOME", {})
