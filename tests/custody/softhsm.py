"""A real PKCS#11 token: SoftHSM's, with keys of each kind, in a folder of its own."""

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pkcs11
import pytest
from pkcs11 import Attribute, KeyType, Mechanism, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
)
LABEL = "graywave tests"
PIN = "4321-secret"
P256, P384, ED25519 = "secp256r1", "secp384r1", "1.3.101.112"


@dataclass(frozen=True)
class SoftToken:
    """A token with the keys `ed`, `ec` and `rsa`; its PIN is in a file."""

    module: str
    pin_file: Path

    def name(self, key: str, *, has_pin: bool = True) -> str:
        """Returns the address of a key by its label."""
        pin = f"&pin-source={self.pin_file}" if has_pin else ""
        return f"pkcs11:token={LABEL.replace(' ', '%20')};object={key}?module-path={self.module}{pin}"

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Opens a session that may change the token."""
        token = pkcs11.lib(self.module).get_token(token_label=LABEL)
        try:
            session = token.open(rw=True, user_pin=PIN)
        except pkcs11.UserAlreadyLoggedIn:
            session = token.open(rw=True)
        with session:
            yield session

    def make(self, label: str, id: bytes, curve: str = P256) -> None:  # noqa: A002 - PKCS#11's word
        """Makes a pair of elliptic keys."""
        kind = KeyType.EC_EDWARDS if curve == ED25519 else KeyType.EC
        mechanism = Mechanism.EC_EDWARDS_KEY_PAIR_GEN if curve == ED25519 else None
        with self.open() as session:
            parameters = {Attribute.EC_PARAMS: encode_named_curve_parameters(curve)}
            domain = session.create_domain_parameters(kind, parameters, local=True)
            domain.generate_keypair(store=True, label=label, id=id, mechanism=mechanism)

    def make_rsa(self, label: str, id: bytes, bits: int) -> None:  # noqa: A002 - PKCS#11's word
        """Makes a pair of RSA keys."""
        with self.open() as session:
            session.generate_keypair(KeyType.RSA, bits, store=True, label=label, id=id)

    def destroy(self, label: str, kind: ObjectClass) -> None:
        """Takes one half of a pair away."""
        with self.open() as session:
            for one in list(session.get_objects({Attribute.CLASS: kind, Attribute.LABEL: label})):
                one.destroy()


@functools.cache
def start_token() -> SoftToken:
    """Makes the one token of this process; where SoftHSM is absent the test is skipped, and fails in CI."""
    module = next((path for path in MODULES if Path(path).exists()), None)
    tool = shutil.which("softhsm2-util")
    if module is None or tool is None:
        message = "SoftHSM is not installed (apt-get install softhsm2)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    folder = Path(tempfile.mkdtemp(prefix="softhsm-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "tokens").mkdir()
    settings = folder / "softhsm2.conf"
    settings.write_text(f"directories.tokendir = {folder}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    # The module reads it when it is first called, and this process has one.
    os.environ["SOFTHSM2_CONF"] = str(settings)
    command = [tool, "--init-token", "--free", "--label", LABEL, "--so-pin", "1234", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    pin_file = folder / "pin"
    pin_file.touch(mode=0o600)
    pin_file.write_text(PIN + "\n")
    token = SoftToken(module, pin_file)
    token.make("ed", b"\x01", ED25519)
    token.make("ec", b"\x02")
    token.make_rsa("rsa", b"\x03", 2048)
    return token
