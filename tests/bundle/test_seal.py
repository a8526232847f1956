"""Sealed files: opened by their key alone, changed by nobody, and never at the cost of the key's secrecy."""

import errno
import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyrage.x25519 import Identity

from bundle import SealError, make_seal_key, seal, unseal
from bundle.file import read_chunks
from bundle.seal import MAX_HEADER_BYTES

KEY, OTHER = make_seal_key(), make_seal_key()
CONTENT = hashlib.shake_128(b"plain").digest(100_000)


@pytest.fixture
def sealed(tmp_path: Path) -> Path:
    """CONTENT, sealed with KEY."""
    (tmp_path / "plain").write_bytes(CONTENT)
    seal(tmp_path / "plain", tmp_path / "sealed", KEY)
    return tmp_path / "sealed"


@settings(max_examples=30)
@given(st.binary(max_size=200_000))
def test_content_survives(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Any content comes back with its key."""
    folder = tmp_path_factory.mktemp("seal")
    (folder / "plain").write_bytes(content)
    digest = seal(folder / "plain", folder / "sealed", KEY)
    unseal(folder / "sealed", folder / "back", KEY)
    assert (folder / "back").read_bytes() == content
    stored = b"".join(read_chunks(folder / "sealed"))
    assert (digest.sha256, digest.size) == (hashlib.sha256(stored).hexdigest(), len(stored))


def test_the_form(sealed: Path) -> None:
    """A sealed file is age's, version 1, for one X25519 recipient; nothing of the content shows."""
    content = sealed.read_bytes()
    assert content.startswith(b"age-encryption.org/v1\n-> X25519 ")
    assert CONTENT[:16] not in content
    assert len(CONTENT) < len(content) < len(CONTENT) + 1000


def test_each_key_and_each_file_is_another(sealed: Path, tmp_path: Path) -> None:
    """Keys are made anew, as age writes them, and a content is sealed to other bytes each time."""
    assert KEY != OTHER
    assert KEY.startswith("AGE-SECRET-KEY-1")
    assert len(KEY) == 74
    seal(tmp_path / "plain", tmp_path / "again", KEY)
    assert (tmp_path / "again").read_bytes() != sealed.read_bytes()


def test_another_key(sealed: Path, tmp_path: Path) -> None:
    """Another key opens nothing, leaves nothing, and is not shown."""
    with pytest.raises(SealError) as caught:
        unseal(sealed, tmp_path / "back", OTHER)
    assert str(caught.value).startswith(f"{sealed}: expected a file that is sealed with this package's key: ")
    assert OTHER not in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["plain", "sealed"]


@pytest.mark.parametrize("key", ["", "AGE-SECRET-KEY-1", OTHER[:-1], OTHER + "\n", OTHER[:-1] + "b", "secret"])
def test_what_is_no_key(sealed: Path, tmp_path: Path, key: str) -> None:
    """What is no key is refused either way; since it may be one with a slip, it shows neither in message nor cause."""
    for convert in (seal, unseal):
        with pytest.raises(SealError) as caught:
            convert(sealed, tmp_path / "out", key)
        assert str(caught.value) == "expected an age secret key (AGE-SECRET-KEY-1…), got something else"
        assert caught.value.__suppress_context__
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("part", range(60))
def test_a_changed_file(sealed: Path, tmp_path: Path, part: int) -> None:
    """A file that was changed anywhere is refused, and what was there before stays."""
    content = bytearray(sealed.read_bytes())
    header = content.index(b"\n--- ") + 50
    at = part * header // 40 if part < 40 else header + (part - 40) * (len(content) - header) // 20
    content[at] ^= 1 << part % 8
    sealed.write_bytes(content)
    (tmp_path / "back").write_bytes(b"before")
    with pytest.raises(SealError):
        unseal(sealed, tmp_path / "back", KEY)
    assert (tmp_path / "back").read_bytes() == b"before"


@pytest.mark.parametrize("keep", [0, 1, 100, 200, 300, 65_536, 65_752, 100_000, -16, -1])
def test_a_cut_file(sealed: Path, tmp_path: Path, keep: int) -> None:
    """A file that was cut anywhere, also between two of its parts, is refused."""
    sealed.write_bytes(sealed.read_bytes()[:keep])
    with pytest.raises(SealError):
        unseal(sealed, tmp_path / "back", KEY)
    assert not (tmp_path / "back").exists()


def test_a_longer_file(sealed: Path, tmp_path: Path) -> None:
    """A file that goes on behind its end is refused."""
    sealed.write_bytes(sealed.read_bytes() + b"more")
    with pytest.raises(SealError):
        unseal(sealed, tmp_path / "back", KEY)


def test_a_header_that_takes_for_ever(sealed: Path, tmp_path: Path) -> None:
    """A file for thousands of recipients, which takes minutes to read, is refused unread; one for a few is opened."""
    others = [Identity.generate().to_public() for _ in range(3_000)]
    mine = Identity.from_str(KEY).to_public()
    sealed.write_bytes(pyrage.encrypt(CONTENT, [*others[:10], mine]))
    unseal(sealed, tmp_path / "back", KEY)
    assert (tmp_path / "back").read_bytes() == CONTENT
    sealed.write_bytes(pyrage.encrypt(CONTENT, [mine, *others]))
    with pytest.raises(SealError, match=f"this package's key: a header of at most {MAX_HEADER_BYTES} bytes$"):
        unseal(sealed, tmp_path / "back", KEY)


def test_a_file_that_is_not_sealed(sealed: Path, tmp_path: Path) -> None:
    """A plain file is none."""
    with pytest.raises(SealError, match="expected a file that is sealed with this package's key: "):
        unseal(tmp_path / "plain", tmp_path / "back", KEY)
    assert sealed.exists()


def test_a_file_of_another_version(sealed: Path, tmp_path: Path) -> None:
    """What is wrong is said in one line."""
    sealed.write_bytes(sealed.read_bytes().replace(b"org/v1\n", b"org/v9\n"))
    with pytest.raises(SealError) as caught:
        unseal(sealed, tmp_path / "back", KEY)
    assert "\n" not in str(caught.value)


def test_a_full_disk_is_no_seal(sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the disk refuses is told as that: the file may be in order."""

    @contextmanager
    def full(path: Path) -> Iterator[IO[bytes]]:
        del path
        with Path("/dev/full").open("wb", buffering=0) as file:
            yield file

    monkeypatch.setattr(sys.modules[seal.__module__], "open_replacement", full)
    with pytest.raises(OSError, match="No space left") as caught:
        unseal(sealed, tmp_path / "back", KEY)
    assert caught.value.errno == errno.ENOSPC


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """A file that is absent is named."""
    with pytest.raises(FileNotFoundError):
        seal(tmp_path / "gone", tmp_path / "out", KEY)
