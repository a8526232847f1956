"""The local store: files by their digest, wholly there or not at all."""

import hashlib
from pathlib import Path

import pytest

from bundle import LocalStore, StoreError

SHA256 = hashlib.sha256(b"hello").hexdigest()


def hello(folder: Path) -> Path:
    (folder / "hello").write_bytes(b"hello")
    return folder / "hello"


def test_file_is_found_by_its_digest(tmp_path: Path) -> None:
    """A file that was put lies at <root>/<first two hex digits>/<sha256>, readable, and alone."""
    store = LocalStore(tmp_path / "store")
    assert not store.has(SHA256)
    assert store.put(hello(tmp_path)) == SHA256
    assert store.has(SHA256)
    assert store.path(SHA256) == tmp_path / "store" / SHA256[:2] / SHA256
    assert store.path(SHA256).read_bytes() == b"hello"
    assert store.path(SHA256).stat().st_mode & 0o777 == 0o644
    assert list(store.path(SHA256).parent.iterdir()) == [store.path(SHA256)]


def test_putting_again_changes_nothing(tmp_path: Path) -> None:
    """A file that is there is left as it is: it may be being served."""
    store = LocalStore(tmp_path / "store")
    store.put(hello(tmp_path))
    inode = store.path(SHA256).stat().st_ino
    store.put(hello(tmp_path))
    assert store.path(SHA256).stat().st_ino == inode


@pytest.mark.parametrize("sha256", ["", "../../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"])
def test_name_that_is_no_digest_is_refused(tmp_path: Path, sha256: str) -> None:
    """A name that is no digest could lead anywhere."""
    for ask in (LocalStore(tmp_path).path, LocalStore(tmp_path).has):
        with pytest.raises(StoreError) as caught:
            ask(sha256)
        assert str(caught.value) == f"expected a sha256 of 64 lower-case hex digits, got {sha256!r}"


def test_failure_names_file_and_store(tmp_path: Path) -> None:
    """A file that is not there, or a store that cannot be written, is named."""
    gone = tmp_path / "gone"
    with pytest.raises(StoreError, match=f"{gone}: expected to copy {gone} to {tmp_path}/store: No such file"):
        LocalStore(tmp_path / "store").put(gone)
    with pytest.raises(StoreError, match=f"expected to copy {tmp_path}/hello to {tmp_path}/hello: Not a directory"):
        LocalStore(hello(tmp_path)).put(hello(tmp_path))
