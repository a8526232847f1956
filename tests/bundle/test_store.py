"""Stores: what holds for each kind, over real disks and real HTTP; then what is the local one's own."""

import hashlib
import os
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bundle import LocalStore, Store, StoredFile, StoreError, TransferError, open_store
from bundle.s3 import PART_BYTES
from tests.bundle.conftest import Place

HELLO = b"hello"
SHA256 = hashlib.sha256(HELLO).hexdigest()
OTHER = "00" * 32
PLACED = f"{SHA256[:2]}/{SHA256}"
NO_DIGESTS = ["", "../../etc/passwd", SHA256.upper(), SHA256[:-1], SHA256 + "\n"]

MakeFile = Callable[[bytes], Path]


def test_file_is_found_by_its_digest(store: Store, place: Place, make_file: MakeFile) -> None:
    """A file that was put is there, alone, under its digest, with its size and the time."""
    assert not store.has(SHA256)
    assert store.find(SHA256) is None
    before = int(time.time())
    assert store.put(make_file(HELLO)) == SHA256
    assert store.has(SHA256)
    found = store.find(SHA256)
    assert found == StoredFile(SHA256, 5, found.stored_at if found else 0)
    assert before <= found.stored_at <= time.time()
    assert list(store.files()) == [found]
    assert place.names() == {PLACED}


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES, 2 * PART_BYTES + 7])
def test_file_comes_back(store: Store, make_file: MakeFile, size: int) -> None:
    """Content of any size comes back as it went, in chunks."""
    content = os.urandom(64) * (size // 64) + bytes(range(size % 64))
    assert b"".join(store.read(store.put(make_file(content)))) == content


def test_putting_again(store: Store, place: Place, make_file: MakeFile) -> None:
    """A file that is there may be put again."""
    assert store.put(make_file(HELLO)) == store.put(make_file(HELLO)) == SHA256
    assert b"".join(store.read(SHA256)) == HELLO
    assert place.names() == {PLACED}


def test_file_of_another_size_is_replaced(store: Store, place: Place, make_file: MakeFile) -> None:
    """What is there and has another size is broken, and is put right."""
    place.write(PLACED, b"hell")
    store.put(make_file(HELLO))
    assert b"".join(store.read(SHA256)) == HELLO


@pytest.mark.parametrize("content", [b"jello", b"hell", b"hello!", b""])
def test_corrupted_content(store: Store, place: Place, content: bytes) -> None:
    """Content that is not what its name says is found as it is read."""
    place.write(PLACED, content)
    with pytest.raises(TransferError, match=f"expected {SHA256} in .* with sha256 {SHA256}, got "):
        list(store.read(SHA256))


def test_missing_file(store: Store) -> None:
    """A file that is not there cannot be read, and is named."""
    with pytest.raises(StoreError, match=f"expected the file {SHA256}, got none"):
        list(store.read(SHA256))


def test_removing(store: Store, place: Place, make_file: MakeFile) -> None:
    """A file that was removed is gone; removing what is not there does nothing, and nothing to others."""
    store.put(make_file(HELLO))
    store.remove(OTHER)
    assert store.has(SHA256)
    store.remove(SHA256)
    store.remove(SHA256)
    assert not store.has(SHA256)
    assert place.names() == set()


@pytest.mark.parametrize("sha256", NO_DIGESTS)
def test_name_that_is_no_digest_is_refused(store: Store, sha256: str) -> None:
    """A name that is no digest could lead anywhere, whatever is asked."""
    for ask in (store.find, store.has, store.url, store.remove, lambda name: list(store.read(name))):
        with pytest.raises(StoreError) as caught:
            ask(sha256)
        assert str(caught.value) == f"expected a sha256 of 64 lower-case hex digits, got {sha256!r}"


def test_strangers(store: Store, place: Place, make_file: MakeFile) -> None:
    """What is no digest, or a digest in a wrong place, is no file of the store, and is named."""
    strange = {"README", "ab/notes.txt", f"{OTHER[:2]}/{SHA256}", SHA256, f"deep/{PLACED}", f"{PLACED[:-1]}.part"}
    assert list(store.files()) == []
    for name in strange:
        place.write(name, b"?")
    store.put(make_file(HELLO))
    assert [file.sha256 for file in store.files()] == [SHA256]
    assert set(store.strangers()) == strange


def test_many_files(store: Store, make_file: MakeFile) -> None:
    """All files are listed, each once."""
    put = {store.put(make_file(b"%d" % number)) for number in range(50)}
    listed = [file.sha256 for file in store.files()]
    assert set(listed) == put
    assert len(listed) == 50


def test_store_that_nothing_was_put_into(store: Store) -> None:
    """An empty store has nothing, and that is no error."""
    assert list(store.files()) == list(store.strangers()) == []
    assert not store.has(SHA256)


def test_store_that_cannot_be_used(place: Place, make_file: MakeFile) -> None:
    """A store that cannot be used says so, and not that it is empty."""
    place.break_down()
    store = open_store(place.address)
    for ask in (lambda: store.put(make_file(HELLO)), lambda: list(store.files()), lambda: list(store.strangers())):
        with pytest.raises(StoreError, match="expected to "):
            ask()


def test_file_that_is_not_there_to_be_put(store: Store, place: Place, tmp_path: Path) -> None:
    """A file that cannot be read is named, and leaves nothing."""
    gone = tmp_path / "gone"
    with pytest.raises(StoreError, match=f"{gone}: expected to copy .* to .*: No such file or directory"):
        store.put(gone)
    assert place.names() == set()


@pytest.mark.parametrize("size", [100, PART_BYTES + 100])
def test_file_that_changes_as_it_is_put(
    store: Store, place: Place, make_file: MakeFile, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has changed after it was hashed never becomes visible, not even in parts."""
    file, module = make_file(bytes(size)), sys.modules[type(store).__module__]
    measure = module.measure_file

    def change(path: Path) -> object:
        digest = measure(path)
        path.write_bytes(bytes(size - 1) + b"!")
        return digest

    monkeypatch.setattr(module, "measure_file", change)
    with pytest.raises(TransferError, match=f"expected {file} with sha256 .*, got "):
        store.put(file)
    assert place.names() == set()


def test_the_same_file_from_many_at_once(place: Place, make_file: MakeFile) -> None:
    """Several who put the same file at once all succeed, and it is there once and whole."""
    content = os.urandom(PART_BYTES + 1)
    file, put, barrier = make_file(content), [], threading.Barrier(4)

    def run() -> None:
        store = open_store(place.address)
        barrier.wait()
        put.append(store.put(file))

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sha256 = hashlib.sha256(content).hexdigest()
    assert put == [sha256] * 4
    assert place.names() == {f"{sha256[:2]}/{sha256}"}
    assert b"".join(open_store(place.address).read(sha256)) == content


def test_huge_file_takes_little_memory(place: Place, tmp_path: Path) -> None:
    """A file of many parts is put and read with a few parts' memory."""
    if hasattr(place, "go_direct"):
        place.go_direct()  # the gate holds whole bodies, in this process
    store = open_store(place.address)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(8 * PART_BYTES)
    tracemalloc.start()
    try:
        size = sum(map(len, store.read(store.put(tmp_path / "huge"))))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size == 8 * PART_BYTES
    assert peak < 4 * PART_BYTES


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("", "got ''"),
        ("gs://bucket", "got 'gs'"),
        ("https://user:hunter2@host/", "got 'https'"),
        ("S3://bucket", "got 'S3'"),
    ],
)
def test_address_that_is_none(address: str, said: str) -> None:
    """What is neither a folder nor s3:// is refused; nothing after the scheme is repeated."""
    with pytest.raises(StoreError) as caught:
        open_store(address)
    assert str(caught.value) == f"expected a folder or s3://bucket as the address of a store, {said}"


@pytest.fixture
def no_boto3(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An installation without boto3."""
    monkeypatch.setitem(sys.modules, "boto3", None)
    monkeypatch.delitem(sys.modules, "bundle.s3")
    yield
    sys.modules.pop("bundle.s3", None)


@pytest.mark.usefixtures("no_boto3")
def test_installation_without_boto3(tmp_path: Path) -> None:
    """Without boto3 a bucket cannot be opened, and the extra is named; a folder can."""
    with pytest.raises(StoreError) as caught:
        open_store("s3://bucket")
    assert str(caught.value) == "expected graywave[s3] to be installed for a store at s3://, got no boto3"
    assert open_store(str(tmp_path)).has(SHA256) is False


def test_place_of_a_local_file(tmp_path: Path, make_file: MakeFile) -> None:
    """A file lies at <root>/<first two hex digits>/<sha256>, for all to read, and an edge serves it by its digest."""
    store = LocalStore(tmp_path / "store")
    store.put(make_file(HELLO))
    assert store.path(SHA256) == tmp_path / "store" / PLACED
    assert store.path(SHA256).read_bytes() == HELLO
    assert store.path(SHA256).stat().st_mode & 0o777 == 0o644
    assert store.url(SHA256) == f"/v1/files/{SHA256}"


def test_local_file_that_is_put_again(tmp_path: Path, make_file: MakeFile) -> None:
    """It is left as it is, for it may be being served, but looks new: it is about to be released."""
    store = LocalStore(tmp_path / "store")
    store.put(make_file(HELLO))
    inode = store.path(SHA256).stat().st_ino
    os.utime(store.path(SHA256), (0, 0))
    before = int(time.time())
    store.put(make_file(HELLO))
    assert store.path(SHA256).stat().st_ino == inode
    found = store.find(SHA256)
    assert found is not None
    assert found.stored_at >= before


def test_local_path_that_is_no_digest(tmp_path: Path) -> None:
    """Where a file would lie is said of digests alone."""
    with pytest.raises(StoreError, match="expected a sha256"):
        LocalStore(tmp_path).path("../x")


def test_local_folder_in_the_place_of_a_file(tmp_path: Path, make_file: MakeFile) -> None:
    """What is no regular file is not taken for one, and not written over."""
    store = LocalStore(tmp_path)
    store.path(SHA256).mkdir(parents=True)
    assert store.find(SHA256) is None
    with pytest.raises(StoreError, match=f"expected to copy .* to {tmp_path}: Is a directory"):
        store.put(make_file(HELLO))
    with pytest.raises(StoreError, match=f"expected to remove {SHA256} from {tmp_path}: Is a directory"):
        store.remove(SHA256)


def test_failure_names_file_and_store(make_file: MakeFile) -> None:
    """A local store that cannot be written is named, with the file."""
    file = make_file(HELLO)
    with pytest.raises(StoreError, match=f"expected to copy {file} to {file}: Not a directory"):
        LocalStore(file).put(file)
