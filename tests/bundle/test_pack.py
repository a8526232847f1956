"""Packing: from a source to a signed package that unpacks to the same tree."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from bundle import (
    EntryError,
    PackedPackage,
    TransferError,
    decompress,
    extract,
    pack,
    read_chunks,
    unseal,
    verify_bytes,
)
from trust import ClaimError, PrivateKey, Role, SignatureError, verify_package

KEY, OTHER_KEY = PrivateKey.generate(), PrivateKey.generate()
PROGRAM = "2021000000000001"
PACKAGES = Path(__file__).parents[3] / "shared" / "data" / "packages"
TREE = {"app.js": b"App({})\n" * 500, "pages/\u9996\u9875.js": b"Page({})\n", "assets/empty": b""}


def write(folder: Path) -> Path:
    for name, body in TREE.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    return folder


def pack_it(source: Path, out: Path, **changes: object) -> PackedPackage:
    words = {"workspace": "demo", "program": PROGRAM, "version": "1.0.0", "keys": [KEY], "level": 3}
    return pack(source, out, **{**words, **changes})


def unpack(packed: PackedPackage, folder: Path) -> dict[str, bytes]:
    tar = decompress(read_chunks(packed.transfer), packed.claim.size)
    extract(verify_bytes(tar, packed.claim.sha256, packed.claim.size, "the tar"), folder)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_package_unpacks_to_the_same_tree(tmp_path: Path) -> None:
    """What was packed is unpacked, file by file."""
    packed = pack_it(write(tmp_path / "source"), tmp_path / "out")
    assert unpack(packed, tmp_path / "back") == TREE
    assert packed.files == len(TREE)


def test_same_tree_gives_the_same_transfer(tmp_path: Path) -> None:
    """Another folder, with other times, gives the same bytes and the same digests."""
    one = pack_it(write(tmp_path / "one"), tmp_path / "out1")
    other = write(tmp_path / "other")
    os.utime(other / "app.js", (1, 1))
    again = pack_it(other, tmp_path / "out2")
    assert (again.claim, again.transfer_sha256) == (one.claim, one.transfer_sha256)
    assert again.transfer.read_bytes() == one.transfer.read_bytes()


def test_transfer_is_named_by_its_digest(tmp_path: Path) -> None:
    """The folder has the manifest and the transfer, named by its SHA-256, and nothing else."""
    packed = pack_it(write(tmp_path / "source"), tmp_path / "out")
    content = packed.transfer.read_bytes()
    assert hashlib.sha256(content).hexdigest() == packed.transfer_sha256 == packed.transfer.name
    assert len(content) == packed.transfer_size
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"package.json", packed.transfer_sha256}


def test_manifest_is_an_entry_of_a_document(tmp_path: Path) -> None:
    """package.json has program, version and what stands under `packages` in the program's document."""
    packed = pack_it(write(tmp_path / "source"), tmp_path / "out", permissions={"camera": True})
    sha256 = packed.transfer_sha256
    assert json.loads(packed.manifest.read_text()) == {
        "program": PROGRAM,
        "version": "1.0.0",
        "level": 3,
        "package": {
            "sha256": packed.claim.sha256,
            "size": packed.claim.size,
            "signature": packed.signature,
            "permissions": {"camera": True},
            "transfers": [
                {"format": "zstd", "url": f"/v1/files/{sha256}", "size": packed.transfer_size, "sha256": sha256}
            ],
            "download": "any",
            "install": "open",
            "extra": {},
        },
    }


def test_sealed_package(tmp_path: Path) -> None:
    """A sealed package has a key in its manifest, for its owner's eyes; what is signed is the tar, as ever."""
    plain = pack_it(write(tmp_path / "source"), tmp_path / "plain")
    packed = pack_it(tmp_path / "source", tmp_path / "out", seal=True)
    package = json.loads(packed.manifest.read_text())["package"]
    assert package["key"] == packed.key
    assert packed.claim == plain.claim
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"package.json", packed.transfer_sha256}
    assert hashlib.sha256(packed.transfer.read_bytes()).hexdigest() == packed.transfer_sha256
    assert len(packed.transfer.read_bytes()) == packed.transfer_size == package["transfers"][0]["size"]
    unseal(packed.transfer, tmp_path / "opened", packed.key)
    assert (tmp_path / "opened").read_bytes() == plain.transfer.read_bytes()
    assert packed.manifest.stat().st_mode & 0o077 == 0


def test_each_sealed_package_has_its_own_key(tmp_path: Path) -> None:
    """Two packages share no key, and neither shows its own when it is printed."""
    one, other = (pack_it(write(tmp_path / "source"), tmp_path / out, seal=True) for out in ("a", "b"))
    assert one.key != other.key
    assert one.key.startswith("AGE-SECRET-KEY-1")
    assert one.key not in repr(one)


def test_several_packagers_sign(tmp_path: Path) -> None:
    """Each key signs the same claim; none at all is refused before the work."""
    packed = pack_it(write(tmp_path / "source"), tmp_path / "out", keys=[KEY, OTHER_KEY])
    role = Role(2, {key.kid: key.public for key in (KEY, OTHER_KEY)})
    assert verify_package(packed.signature, role) == packed.claim
    with pytest.raises(SignatureError):
        pack_it(tmp_path / "source", tmp_path / "none", keys=[])
    assert not (tmp_path / "none").exists()


def test_signature_covers_what_was_packed(tmp_path: Path) -> None:
    """The package signature is the packager's, over the tar's digest and size, and the permissions."""
    packed = pack_it(write(tmp_path / "source"), tmp_path / "out", permissions={"camera": True})
    claim = verify_package(packed.signature, Role(1, {KEY.kid: KEY.public}))
    assert claim == packed.claim
    tar = b"".join(decompress(read_chunks(packed.transfer), claim.size))
    assert msgspec.to_builtins(claim) == {
        "workspace": "demo",
        "program": PROGRAM,
        "version": "1.0.0",
        "sha256": hashlib.sha256(tar).hexdigest(),
        "size": len(tar),
        "permissions": {"camera": True},
    }


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    """Progress rises to the size of the tar, which is known from the first call."""
    calls: list[tuple[int, int]] = []
    packed = pack_it(
        write(tmp_path / "source"), tmp_path / "out", progress=lambda done, total: calls.append((done, total))
    )
    assert {total for _, total in calls} == {packed.claim.size}
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)
    assert calls[-1][0] == packed.claim.size


@pytest.mark.parametrize("changes", [{"program": "1"}, {"version": "1.x"}, {"workspace": "Demo!"}])
def test_malformed_word_is_refused_before_the_work(tmp_path: Path, changes: dict[str, str]) -> None:
    """A program, version or workspace that no claim may have is refused before anything is read or written."""
    with pytest.raises(ClaimError, match=next(iter(changes))):
        pack_it(tmp_path / "gone", tmp_path / "out", **changes)
    assert not (tmp_path / "out").exists()


def test_refused_source_leaves_nothing(tmp_path: Path) -> None:
    """A source that is refused half-way leaves no file behind."""
    source = write(tmp_path / "source")
    (source / "APP.js").write_bytes(b"")
    with pytest.raises(EntryError, match="expected a name that collides with no other"):
        pack_it(source, tmp_path / "out")
    with pytest.raises(TransferError, match="expected a compression level from 1 to 22, got 99"):
        pack_it(write(tmp_path / "other"), tmp_path / "out", level=99)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not PACKAGES.is_dir(), reason=f"the real packages are not at {PACKAGES}")
@pytest.mark.parametrize("name", ["lodash-4.17.21", "tarojs-components-3.6.21", "vant-weapp-1.11.5", "vue-3.4.1"])
def test_real_package_survives(tmp_path: Path, name: str) -> None:
    """A published npm tarball goes the whole way and comes back byte for byte."""
    tarball = PACKAGES / f"{name}.tgz"
    packed = pack_it(tarball, tmp_path / "out")
    unpacked = unpack(packed, tmp_path / "back")
    again = pack_it(tmp_path / "back", tmp_path / "again")
    assert len(unpacked) == packed.files
    assert again.transfer_sha256 == packed.transfer_sha256


def test_who_does_not_pack_needs_no_signatures() -> None:
    """A device that only unpacks does not load what packing signs with: it is 20 MB."""
    command = [sys.executable, "-c", "import sys, bundle, bundle.pack; print('trust' in sys.modules)"]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert done.stdout == b"False\n"
