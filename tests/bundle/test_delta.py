"""Deltas: small, made and applied alike, and each way in which one is refused before it costs a device its memory."""

import hashlib
import mmap
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from bundle import TransferError, apply_delta, make_delta, open_source, read_base, write_archive
from bundle import delta as module
from bundle.delta import HEADER_BYTES, MAGIC, MAX_WINDOW_BYTES, MIN_WINDOW_BYTES, limit_window

PACKAGES = Path(__file__).parents[3] / "shared" / "data" / "packages"
MEBI = 1024 * 1024
OLD = hashlib.shake_128(b"old").digest(20_000)  # bytes without a pattern, the same each time
NEW = OLD[:9_000] + b"a change" + OLD[9_500:]

# What a process of its own needs to apply a delta: prints the bytes above what it had before.
APPLY = """
import sys
from pathlib import Path
from bundle import apply_delta, read_chunks

def read_peak():
    status = Path("/proc/self/status").read_text("ascii")
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))

old, delta, size = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
before, count = read_peak(), 0
for chunk in apply_delta(bytearray(old.read_bytes()), read_chunks(delta), size):
    count += len(chunk)
assert count == size
print(read_peak() - before)
"""


def write(folder: Path, old: bytes, new: bytes) -> tuple[Path, Path, Path]:
    (folder / "old").write_bytes(old)
    (folder / "new").write_bytes(new)
    return folder / "old", folder / "new", folder / "delta"


def make(folder: Path, old: bytes = OLD, new: bytes = NEW) -> bytes:
    """Returns the delta between two contents."""
    files = write(folder, old, new)
    make_delta(*files)
    return files[2].read_bytes()


def apply(delta: bytes, old: bytes = OLD, size: int = len(NEW), step: int = 1000) -> bytes:
    return b"".join(apply_delta(old, (delta[at : at + step] for at in range(0, len(delta), step)), size))


@pytest.fixture(scope="module")
def delta(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The delta from OLD to NEW."""
    return make(tmp_path_factory.mktemp("delta"))


@pytest.mark.skipif(not PACKAGES.is_dir(), reason=f"the real packages are not at {PACKAGES}")
@pytest.mark.parametrize(
    ("names", "prototype", "bsdiff4", "full"),
    [
        (("vant-weapp-1.11.4", "vant-weapp-1.11.5"), 433, 517, 97_409),
        (("vue-3.4.0", "vue-3.4.1"), 7_455, 8_046, 214_986),
        (("lodash-4.17.20", "lodash-4.17.21"), 12_410, 14_428, 190_000),
        (("tarojs-components-3.6.20", "tarojs-components-3.6.21"), 5_839, 6_812, 857_553),
    ],
)
def test_real_packages(tmp_path: Path, names: tuple[str, str], prototype: int, bsdiff4: int, full: int) -> None:
    """Between published packages a delta is as small as was promised, and gives the new tar."""
    old, new = (tmp_path / name for name in names)
    for name in names:
        with open_source(PACKAGES / f"{name}.tgz", tmp_path) as plan, (tmp_path / name).open("wb") as tar:
            tar.writelines(write_archive(plan))
    size = make_delta(old, new, tmp_path / "delta").size
    assert size == (tmp_path / "delta").stat().st_size
    assert size <= prototype * 1.02 + 100
    assert size < bsdiff4 + HEADER_BYTES
    assert size <= full / 10
    wanted = new.read_bytes()
    assert apply((tmp_path / "delta").read_bytes(), old.read_bytes(), len(wanted)) == wanted


@settings(max_examples=50)
@given(st.binary(min_size=8, max_size=2000), st.binary(min_size=1, max_size=2000), st.integers(1, 300))
def test_any_content(tmp_path_factory: pytest.TempPathFactory, old: bytes, new: bytes, step: int) -> None:
    """Whatever old and new are, the new one comes out, in whatever chunks the delta comes."""
    delta = make(tmp_path_factory.mktemp("any"), old, new)
    assert apply(delta, old, len(new), step) == new


def test_the_form(delta: bytes) -> None:
    """A delta is RFC 9842's header, the old tar's digest, and a zstd frame; decoders skip the header."""
    assert delta[:8] == bytes.fromhex("5e 2a 4d 18 20 00 00 00") == MAGIC
    assert delta[8:40] == hashlib.sha256(OLD).digest()
    prefix = zstd.ZstdDict(OLD, is_raw=True).as_prefix
    assert zstd.decompress(delta[40:], zstd_dict=prefix) == NEW
    assert zstd.get_frame_size(delta) == 40
    assert read_base(iter([delta[:7], delta[7:50]])) == hashlib.sha256(OLD).hexdigest()


def test_a_map_of_a_file(tmp_path: Path, delta: bytes) -> None:
    """The old tar may be a map of its file."""
    old, _, _ = write(tmp_path, OLD, NEW)
    with old.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        assert b"".join(apply_delta(content, [delta], len(NEW))) == NEW


def test_progress_ends_at_the_whole(tmp_path: Path) -> None:
    """Progress rises to the size of the new tar."""
    calls: list[tuple[int, int]] = []
    big = hashlib.shake_128(b"big").digest(300_000)
    make_delta(*write(tmp_path, OLD, big), lambda done, total: calls.append((done, total)))
    assert [total for _, total in calls] == [300_000] * 3
    assert [done for done, _ in calls] == [131_071, 262_142, 300_000]


def test_another_base_is_refused(delta: bytes) -> None:
    """A delta from another tar is refused by its header, and both are named."""
    with pytest.raises(TransferError) as caught:
        apply(delta, OLD + b"x")
    other, base = (hashlib.sha256(tar).hexdigest() for tar in (OLD + b"x", OLD))
    assert str(caught.value) == f"expected a delta from the tar with sha256 {other}, got one from {base}"


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda _: b"", "expected a delta with the header of dcz, got nothing"),
        (lambda delta: delta[40:], "expected a delta with the header of dcz, got 28b52ffd"),
        (lambda delta: delta[:39], "expected a delta with the header of dcz, got 5e2a4d1820000000"),
        (lambda delta: b"\x5e" + delta, "expected a delta with the header of dcz, got 5e5e2a4d18200000"),
        (lambda delta: delta[:40], "expected a zstd frame behind the header of a delta, got something else"),
        (
            lambda delta: delta[:40] + b"no zstd frame",
            "expected a zstd frame behind the header of a delta, got somethi",
        ),
        (lambda delta: delta[:-1], "expected a whole zstd frame, got its beginning"),
        (lambda delta: delta + b"x", "expected nothing after the zstd frame, got more bytes"),
        (lambda delta: delta + delta[40:], "expected nothing after the zstd frame, got more bytes"),
    ],
)
@pytest.mark.parametrize("step", [1, 1000])
def test_what_is_no_delta(delta: bytes, spoil: object, message: str, step: int) -> None:
    """Another header, another frame, less or more than one frame is refused, in whatever chunks it comes."""
    with pytest.raises(TransferError) as caught:
        apply(spoil(delta), step=step)  # type: ignore[operator] # one of the functions above
    assert str(caught.value).startswith(message)


def test_a_base_is_read_of_deltas_alone() -> None:
    """What is no delta names no base."""
    with pytest.raises(TransferError, match="expected a delta with the header of dcz, got 6e6f7061636b6167"):
        read_base([b"nopackage" * 9])


@pytest.mark.parametrize("size", [len(NEW) - 1, len(NEW) + 1])
def test_another_size_is_refused_at_once(delta: bytes, size: int) -> None:
    """A delta that makes more or less than was promised is refused by its frame's header, before anything comes out."""
    message = f"expected a delta that makes {size} bytes, got one that makes {len(NEW)}"
    with pytest.raises(TransferError, match=message):
        next(apply_delta(OLD, [delta], size))


@pytest.mark.parametrize("bit", range(8))
def test_flipped_bits(delta: bytes, bit: int) -> None:
    """Whatever bit is flipped: the documented error, or as many bytes as were promised, whose digest then tells."""
    refused = 0
    for at in range(len(delta)):
        changed = bytearray(delta)
        changed[at] ^= 1 << bit
        try:
            assert len(apply(bytes(changed))) == len(NEW)
        except TransferError:
            refused += 1
    assert refused >= HEADER_BYTES


@pytest.mark.parametrize(
    ("old_size", "limit"),
    [
        (1, 8 * MEBI),
        (8 * MEBI * 4 // 5, 8 * MEBI),
        (8 * MEBI, 10 * MEBI),
        (100_000_000, 125_000_000),
        (2**27 * 4 // 5 + 1, 2**27),
        (10**9, 2**27),
    ],
)
def test_the_window_is_bounded(old_size: int, limit: int) -> None:
    """A window has 8 MiB, or 1.25 times the old tar, and 128 MiB at most."""
    assert limit_window(old_size) == limit
    assert MIN_WINDOW_BYTES <= limit <= MAX_WINDOW_BYTES


def frame(window_log: int) -> bytes:
    """Returns a frame that asks for a window and does not say its size."""
    options: dict[int, int] = {
        zstd.CompressionParameter.window_log: window_log,
        zstd.CompressionParameter.content_size_flag: 0,
    }
    compressor = zstd.ZstdCompressor(options=options)
    return compressor.compress(b"abc") + compressor.flush()


def test_a_window_beyond_the_bound() -> None:
    """A frame that asks for 16 MiB, to a small tar, is refused before they are allocated; one of 8 MiB is taken."""
    header = MAGIC + hashlib.sha256(OLD).digest()
    assert apply(header + frame(23), size=3) == b"abc"
    with pytest.raises(
        TransferError, match=f"expected a delta with a window of at most {8 * MEBI} bytes, got 16777216"
    ):
        apply(header + frame(24), size=3)


def test_a_window_between_powers_of_two() -> None:
    """A window's eighths count: 8 MiB and one eighth are too much."""
    spoilt = bytearray(frame(23))
    spoilt[5] += 1
    with pytest.raises(TransferError, match=f"bytes, got {9 * MEBI}"):
        apply(MAGIC + hashlib.sha256(OLD).digest() + bytes(spoilt), size=3)


def test_a_frame_of_one_segment_is_bounded_too() -> None:
    """A frame whose window is all that it makes may not make more than the bound at once."""
    size = 9 * MEBI
    whole = zstd.compress(bytes(size), options={zstd.CompressionParameter.window_log: 24})
    assert whole[4] & 0x20
    with pytest.raises(TransferError, match=f"expected a delta with a window of at most {8 * MEBI} bytes, got {size}"):
        apply(MAGIC + hashlib.sha256(OLD).digest() + whole, size=size)


def test_a_new_tar_that_is_much_larger(tmp_path: Path) -> None:
    """A tar larger than the window may be is moved through a smaller one."""
    new = OLD + bytes(9 * MEBI)
    delta = make(tmp_path, OLD, new)
    assert not delta[44] & 0x20
    assert apply(delta, OLD, len(new)) == new


def test_applying_takes_little_memory(tmp_path: Path) -> None:
    """Applying a delta to 10 MB takes at most 32 MB: a copy of the old tar, and a window."""
    old = hashlib.shake_128(b"tar").digest(10_000_000)
    new = old[:5_000_000] + b"changed" * 100 + old[5_001_000:]
    files = write(tmp_path, old, new)
    make_delta(*files)
    command = [sys.executable, "-c", APPLY, str(files[0]), str(files[2]), str(len(new))]
    done = subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parents[2])
    assert 10_000_000 < int(done.stdout) <= 32_000_000


def test_a_delta_is_applied_before_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that makes something else is handed out to nobody, and what was there before stays."""
    files = write(tmp_path, OLD, NEW)
    files[2].write_bytes(b"before")

    def compress(old: mmap.mmap, new: mmap.mmap, progress: object) -> Iterator[bytes]:
        del progress
        changed = bytes(new[:-1]) + b"?"
        prefix = zstd.ZstdDict(old, is_raw=True).as_prefix
        yield MAGIC + hashlib.sha256(old).digest() + zstd.compress(changed, zstd_dict=prefix)

    monkeypatch.setattr(module, "_compress", compress)
    with pytest.raises(TransferError, match="expected what the delta makes with sha256 "):
        make_delta(*files)
    assert files[2].read_bytes() == b"before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["delta", "new", "old"]


def test_too_little_is_no_tar(tmp_path: Path) -> None:
    """What is too short to start from is told, when a delta is made and when it is applied."""
    with pytest.raises(TransferError, match="expected a tar to start from, got 7 bytes"):
        make_delta(*write(tmp_path, b"seven b", NEW))
    with pytest.raises(TransferError, match="expected a tar to start from, got 7 bytes"):
        apply(MAGIC + hashlib.sha256(b"seven b").digest() + frame(20), b"seven b", 3)


@pytest.mark.parametrize("empty", [0, 1])
def test_an_empty_file_is_no_tar(tmp_path: Path, empty: int) -> None:
    """An empty file is named, and nothing is written."""
    files = write(tmp_path, *[(b"", NEW), (OLD, b"")][empty])
    with pytest.raises(TransferError, match=f"{files[empty]}: expected a tar, got an empty file"):
        make_delta(*files)
    assert not files[2].exists()
