"""Presets: read within bounds, and their files found by their digests alone."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from container import ConfigError, StorageError, Transfer, Update, VerificationError
from container.decision import Held
from container.preset import MAX_PRESET_BYTES, Preset, encode_preset, plan_preset, read_preset
from trust import (
    ROLES,
    Offer,
    PackageClaim,
    PrivateKey,
    Root,
    TransferClaim,
    make_root,
    read_root,
    sign_offer,
    sign_package,
)

PROGRAM = "2021000000000001"
KEYS = {name: PrivateKey.generate() for name in ROLES}
STRANGER = PrivateKey.generate()
ISSUED = 1_794_000_000
TAR = "ab" * 32
CONTENT = b"a transfer"
TRANSFER = Transfer("zstd", "/v1/files/x", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


def make_update(program: str = PROGRAM, **changes: Any) -> Update:
    return Update(**{"program": program, "action": "install", "offer": "o", "transfers": (TRANSFER,), **changes})


def write(folder: Path, *updates: Update) -> Preset:
    (folder / "preset.json").write_bytes(encode_preset("demo", updates or (make_update(),)))
    (folder / TRANSFER.sha256).write_bytes(CONTENT)
    return read_preset(folder)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    """A preset is read as it was written, its key included."""
    update = make_update(version="1.0", size=7, key="AGE-SECRET-KEY-1X", extra={"a": [1]})
    preset = write(tmp_path, update)
    assert (preset.folder, preset.workspace, preset.updates) == (tmp_path, "demo", (update,))


def test_file_is_found(tmp_path: Path) -> None:
    """A transfer's file has its digest for its name."""
    assert write(tmp_path).find(TRANSFER).read_bytes() == CONTENT


@pytest.mark.parametrize("content", [b"", b"a transfeR", b"a transfer and more", b"a trans"])
def test_file_that_is_another(tmp_path: Path, content: bytes) -> None:
    """Bytes that are not those of the transfer are refused."""
    preset = write(tmp_path)
    (tmp_path / TRANSFER.sha256).write_bytes(content)
    with pytest.raises(VerificationError, match="preset: expected ") as caught:
        preset.find(TRANSFER)
    assert caught.value.reason == "transfer_refused"


def test_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that was not shipped is named."""
    preset = write(tmp_path)
    (tmp_path / TRANSFER.sha256).unlink()
    with pytest.raises(
        StorageError, match=f"{TRANSFER.sha256}: expected a file of the preset that can be read: No such"
    ):
        preset.find(TRANSFER)


@pytest.mark.parametrize("name", ["", "../outside", "/etc/passwd", "A" * 64, TRANSFER.sha256 + "\n"])
def test_name_that_is_no_digest(tmp_path: Path, name: str) -> None:
    """No name leads out of the folder."""
    with pytest.raises(VerificationError, match="expected a sha256 to look for, got "):
        write(tmp_path).find(Transfer("zstd", "", 1, name))


def form(**changes: Any) -> bytes:
    update = {"program": PROGRAM, "action": "install", "offer": "o"}
    return json.dumps({"format": 1, "workspace": "demo", "updates": [update], **changes}).encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "expected a preset: Input data was truncated"),
        (b"[" * 100_000, "expected a preset: "),
        (form(format=2), "expected a preset: Invalid enum value 2"),
        (form(extra=1), "expected a preset: Object contains unknown field `extra`"),
        (form(updates=[]), "expected a preset: Expected `array` of length >= 1"),
        (form(updates=[{}]), "expected a preset: Object missing required field `program`"),
        (form(updates=json.loads(form())["updates"] * 2), "expected each program once, got "),
        (form(updates=json.loads(form())["updates"] * 201), "expected a preset: Expected `array` of length <= 200"),
        (b" " * (MAX_PRESET_BYTES + 1), f"expected at most {MAX_PRESET_BYTES} bytes, got more"),
    ],
)
def test_bad_preset_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """What is wrong is named, with the file."""
    path = tmp_path / "preset.json"
    path.write_bytes(data)
    with pytest.raises(ConfigError) as caught:
        read_preset(tmp_path)
    assert str(caught.value).startswith(f"{path}: {message}")


def test_no_preset(tmp_path: Path) -> None:
    """A folder without preset.json is none."""
    with pytest.raises(ConfigError, match=r"preset\.json: expected a file that can be read: No such file or directory"):
        read_preset(tmp_path)


def believe(epoch: int = 1) -> Root:
    roles = {name: [key.public] for name, key in KEYS.items()}
    return read_root(make_root("demo", 1, ISSUED, roles, [KEYS["root"]], epoch=epoch))


def offered(offer_key: PrivateKey = KEYS["offer"], package_key: PrivateKey = KEYS["package"], **changes: Any) -> Update:
    """Returns version 2.0 as an edge has told it; `changes` are the offer's."""
    claim = PackageClaim(workspace="demo", program=PROGRAM, version="2.0", sha256=TAR, size=7)
    way = TransferClaim(format="zstd", size=TRANSFER.size, sha256=TRANSFER.sha256)
    members: dict[str, Any] = {
        "workspace": "demo", "program": PROGRAM, "action": "install", "version": "2.0", "sha256": TAR, "epoch": 1,
        "revision": 5, "issued": ISSUED, "expires": ISSUED + 1, "transfers": (way,),
    }  # fmt: skip
    offer = Offer(**{**members, **changes})
    return make_update(
        version="2.0", action=offer.action, sha256=TAR, size=7, signature=sign_package(claim, package_key),
        offer=sign_offer(offer, offer_key),
    )  # fmt: skip


def test_preset_is_installed_where_nothing_is() -> None:
    """Nothing installed: the whole package, however long ago its offer has expired."""
    plan = plan_preset(offered(), "demo", believe(), Held("", (0, 0)))
    assert plan is not None
    assert (plan.transfer, plan.order) == (TRANSFER, (1, 5))


@pytest.mark.parametrize(
    ("held", "is_wanted"),
    [
        (Held("1.9.9", (0, 0)), True),
        (Held("2.0", (0, 0)), False),
        (Held("2.0.0", (1, 4)), False),
        (Held("2.0.1", (0, 0)), False),
        (Held("1.0", (1, 5)), True),
        (Held("1.0", (1, 6)), False),
        (Held("", (1, 6)), False),
        (Held("1.0", (2, 0)), False),
        (Held("", (1, 5), declined=(TAR,)), False),
        (Held("", (1, 5), declined=("cd" * 32,)), True),
    ],
    ids=["older", "same", "same otherwise written", "newer", "same offer seen", "later offer seen", "taken down",
         "later epoch", "did not come up", "another did not come up"],
)  # fmt: skip
def test_preset_goes_up_alone(held: Held, is_wanted: bool) -> None:
    """A preset replaces an older version, and nothing that came after it."""
    assert (plan_preset(offered(), "demo", believe(), held) is not None) == is_wanted


def test_preset_of_a_former_epoch() -> None:
    """After an epoch was begun anew, what shipped before is not wanted: nobody knows who signed it."""
    assert plan_preset(offered(), "demo", believe(epoch=2), Held("", (0, 0))) is None


def test_older_version_needs_no_delta() -> None:
    """Beside the active tar a preset's whole package is planned all the same."""
    plan = plan_preset(offered(), "demo", believe(), Held("1.0", (0, 0), sha256="cd" * 32))
    assert plan is not None
    assert [way.base for way in plan.ways] == [""]


@pytest.mark.parametrize(
    ("update", "reason"),
    [
        (offered(STRANGER), "offer_refused"),
        (offered(KEYS["package"]), "offer_refused"),
        (offered(package_key=STRANGER), "package_refused"),
        (offered(package_key=KEYS["offer"]), "package_refused"),
        (offered(workspace="other"), "offer_refused"),
        (offered(epoch=2), "offer_refused"),
        (offered(action="rollback"), "offer_refused"),
        (offered(transfers=(TransferClaim(format="zstd", size=1, sha256="0" * 64),)), "no_transfer"),
    ],
)
def test_preset_is_not_believed_blindly(update: Update, reason: str) -> None:
    """Whoever can put files into a host app can still install only what packager and publisher have signed."""
    with pytest.raises(VerificationError) as caught:
        plan_preset(update, "demo", believe(), Held("", (0, 0)))
    assert caught.value.reason == reason


def test_key_is_not_shown(tmp_path: Path) -> None:
    """What opens a sealed package shows in no log."""
    preset = write(tmp_path, make_update(key="AGE-SECRET-KEY-1X"))
    assert "AGE" not in repr(preset)
