"""Refining: what is packed comes back as its tar, and goes out again smaller, sealed as it was."""

import hashlib
from pathlib import Path

import pytest

from bundle import PackedPackage, SealError, TransferError, apply_delta, decompress, make_seal_key, pack, read_chunks
from bundle.manifest import Package, read_manifest, read_package
from bundle.refinement import is_worth, name_transfer, reseal, restore_tar, write_delta, write_full
from bundle.seal import unseal
from trust import PrivateKey

KEY = PrivateKey.generate()
SEAL = make_seal_key()
TEXT = hashlib.shake_128(b"text").hexdigest(9000)


def pack_it(folder: Path, version: str = "1.0.0", *, seal: bool = False) -> tuple[PackedPackage, Package]:
    source = folder / f"source-{version}"
    source.mkdir(exist_ok=True)
    (source / "app.js").write_text(f"// {version}\n{TEXT}")
    packed = pack(
        source, folder / version, workspace="demo", program="2021000000000001", version=version, keys=[KEY], level=1,
        seal=seal,
    )  # fmt: skip
    return packed, read_package(read_manifest(packed.folder)["package"])


def restore(folder: Path, version: str, *, seal: bool = False) -> Path:
    packed, package = pack_it(folder, version, seal=seal)
    restore_tar(packed.transfer, folder / f"{version}.tar", package)
    return folder / f"{version}.tar"


def open_seal(folder: Path, sha256: str, key: str) -> bytes:
    if not key:
        return (folder / sha256).read_bytes()
    unseal(folder / sha256, folder / "opened", key)
    return (folder / "opened").read_bytes()


@pytest.mark.parametrize("seal", [False, True])
def test_the_tar_comes_back(tmp_path: Path, seal: bool) -> None:
    """A full transfer gives the tar that was signed, and nothing else is left beside it."""
    packed, package = pack_it(tmp_path, seal=seal)
    assert bool(packed.key) == seal
    (tmp_path / "out").mkdir()
    restore_tar(packed.transfer, tmp_path / "out/tar", package)
    assert hashlib.sha256((tmp_path / "out/tar").read_bytes()).hexdigest() == packed.claim.sha256
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["tar"]


def test_another_package_is_refused(tmp_path: Path) -> None:
    """A transfer that holds another tar gives none."""
    _, package = pack_it(tmp_path, "1.0.0")
    other, _ = pack_it(tmp_path, "1.0.1")
    (tmp_path / "out").mkdir()
    with pytest.raises(TransferError, match="expected the package's tar with sha256 "):
        restore_tar(other.transfer, tmp_path / "out/tar", package)
    assert list((tmp_path / "out").iterdir()) == []


def test_another_key_is_refused(tmp_path: Path) -> None:
    """A transfer that the package's key does not open gives none."""
    packed, package = pack_it(tmp_path, seal=True)
    other = Package(package.sha256, package.size, package.transfers, SEAL)
    (tmp_path / "out").mkdir()
    with pytest.raises(SealError):
        restore_tar(packed.transfer, tmp_path / "out/tar", other)
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("key", ["", SEAL], ids=["plain", "sealed"])
def test_a_full_transfer_is_pressed(tmp_path: Path, key: str) -> None:
    """The strong transfer is named by its digest, and holds the tar; with a key, sealed."""
    tar = restore(tmp_path, "1.0.0")
    calls: list[tuple[int, int]] = []
    (tmp_path / "out").mkdir()
    digest = write_full(tar, tmp_path / "out", key, lambda done, total: calls.append((done, total)))
    assert [path.name for path in (tmp_path / "out").iterdir()] == [digest.sha256]
    content = open_seal(tmp_path / "out", digest.sha256, key)
    assert b"".join(decompress([content], tar.stat().st_size)) == tar.read_bytes()
    assert calls[-1] == (tar.stat().st_size,) * 2
    assert hashlib.sha256((tmp_path / "out" / digest.sha256).read_bytes()).hexdigest() == digest.sha256


@pytest.mark.parametrize("key", ["", SEAL], ids=["plain", "sealed"])
def test_a_delta_is_written(tmp_path: Path, key: str) -> None:
    """The delta is named by its digest, and makes the new tar; with a key, sealed."""
    old, new = restore(tmp_path, "1.0.0"), restore(tmp_path, "1.0.1", seal=True)
    (tmp_path / "out").mkdir()
    digest = write_delta(old, new, tmp_path / "out", key)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [digest.sha256]
    content = open_seal(tmp_path / "out", digest.sha256, key)
    assert b"".join(apply_delta(old.read_bytes(), [content], new.stat().st_size)) == new.read_bytes()


def test_a_transfer_is_sealed_anew(tmp_path: Path) -> None:
    """With the new key the same content comes out; the old key opens the new file no more."""
    packed, package = pack_it(tmp_path, seal=True)
    (tmp_path / "out").mkdir()
    digest = reseal(packed.transfer, tmp_path / "out", package.key, SEAL)
    assert [path.name for path in (tmp_path / "out").iterdir()] == [digest.sha256]
    with pytest.raises(SealError):
        unseal(tmp_path / "out" / digest.sha256, tmp_path / "opened", package.key)
    unseal(packed.transfer, tmp_path / "before", package.key)
    assert open_seal(tmp_path / "out", digest.sha256, SEAL) == b"".join(read_chunks(tmp_path / "before"))


@pytest.mark.parametrize(
    ("size", "full_size", "worth"), [(80, 100, True), (81, 100, False), (0, 1, True), (1, 1, False), (101, 100, False)]
)
def test_a_delta_has_to_save_a_fifth(size: int, full_size: int, worth: bool) -> None:
    """What saves less than a fifth of the full transfer is not worth a transfer of its own."""
    assert is_worth(size, full_size) is worth


def test_what_cannot_be_sealed_does_not_stay(tmp_path: Path) -> None:
    """Where sealing fails, nothing is left that anybody could read."""
    (tmp_path / "plain").write_bytes(b"secret")
    with pytest.raises(SealError):
        name_transfer(tmp_path / "plain", tmp_path, "no key")
    assert list(tmp_path.iterdir()) == []
