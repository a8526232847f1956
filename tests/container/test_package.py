"""Packages on the disk: unpacked only as what was claimed, and packed again to see whether they still are."""

import os
import random
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from bundle import StoreError, compress, make_delta, make_seal_key, open_source, seal, write_archive
from container import VerificationError
from container.package import Arrival, Base, is_whole, unpack
from trust import PackageClaim

PROGRAM = "2021000000000001"
ROOT = Path(__file__).parents[2]
OLD = {"app.js": b"App(1)" * 500, "pages/a.js": b"Page()"}
NEW = {"app.js": b"App(1)" * 499 + b"App(2)", "pages/b.js": b"Page()"}


def write(folder: Path, files: dict[str, bytes]) -> bytes:
    """Writes files to a folder, and returns their tar."""
    for name, body in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(body)
    with open_source(folder, folder) as plan:
        return b"".join(write_archive(plan))


def read(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def claim_of(tar: bytes) -> PackageClaim:
    return PackageClaim(workspace="demo", program=PROGRAM, version="1.1", sha256=sha256(tar).hexdigest(), size=len(tar))


class Bench:
    """An old and a new package, and every kind of transfer that leads to the new one."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.old, self.new = write(folder / "old", OLD), write(folder / "new", NEW)
        self.claim, self.key = claim_of(self.new), make_seal_key()
        self.base = Base(folder / "old", sha256(self.old).hexdigest())
        self.full, self.delta = folder / "full", folder / "delta"
        self.full.write_bytes(b"".join(compress([self.new], len(self.new), 1)))
        (folder / "old.tar").write_bytes(self.old)
        (folder / "new.tar").write_bytes(self.new)
        make_delta(folder / "old.tar", folder / "new.tar", self.delta)
        for path in (self.full, self.delta):
            seal(path, path.with_suffix(".age"), self.key)

    def unpack(self, name: str, base: Base | None = None, key: str = "") -> dict[str, bytes]:
        tree = self.folder / "tree"
        shutil.rmtree(tree, ignore_errors=True)
        unpack(Arrival(self.folder / name, base, key), self.claim, tree, self.folder / "clear")
        assert not (self.folder / "clear").exists()
        return read(tree)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Two packages and the ways between them."""
    return Bench(tmp_path)


def test_every_transfer_leads_to_the_same_files(bench: Bench) -> None:
    """Full or delta, sealed or not: the files are the packager's."""
    ways = [("full", None, ""), ("full.age", None, bench.key), ("delta", bench.base, ""),
            ("delta.age", bench.base, bench.key)]  # fmt: skip
    for name, base, key in ways:
        assert bench.unpack(name, base, key) == NEW
        (bench.folder / "tree").rename(bench.folder / f"tree of {name}")


@pytest.mark.parametrize(
    ("name", "has_base", "has_key", "reason"),
    [
        ("full", True, False, "transfer_refused"),
        ("full", False, True, "seal_refused"),
        ("delta", False, False, "transfer_refused"),
        ("full.age", False, False, "transfer_refused"),
        ("delta.age", True, False, "transfer_refused"),
        ("delta.age", False, True, "transfer_refused"),
        ("old.tar", False, False, "transfer_refused"),
    ],
)
def test_transfer_of_another_kind_is_refused(
    bench: Bench, name: str, reason: str, *, has_base: bool, has_key: bool
) -> None:
    """What is unpacked as something that it is not ends in one of two errors, and leaves nothing clear behind."""
    with pytest.raises(VerificationError, match=f"{PROGRAM}: ") as caught:
        bench.unpack(name, bench.base if has_base else None, bench.key if has_key else "")
    assert caught.value.reason == reason
    assert not (bench.folder / "clear").exists()
    assert bench.key not in f"{caught.value} {caught.value.__cause__}"


def test_base_that_was_changed_starts_nothing(bench: Bench) -> None:
    """A delta starts from the very files that were installed; names, bytes and modes count."""
    app = bench.folder / "old" / "app.js"
    for spoil in (
        lambda: app.write_bytes(b"x"),
        lambda: app.write_bytes(OLD["app.js"]) and app.chmod(0o755),
        app.unlink,
    ):
        spoil()
        with pytest.raises(VerificationError, match=f"got one from {bench.base.sha256}$"):
            bench.unpack("delta", bench.base)
        shutil.rmtree(bench.folder / "tree")
    write(bench.folder / "old", OLD)
    app.chmod(0o644)
    assert bench.unpack("delta", bench.base) == NEW


def test_delta_from_another_version_is_refused(bench: Bench) -> None:
    """A delta whose header names another base than its offer is not applied, whatever the files are."""
    with pytest.raises(VerificationError, match=f"sha256 {'0' * 64}, got one from {bench.base.sha256}$"):
        bench.unpack("delta", Base(bench.base.folder, "0" * 64))


def test_base_that_is_gone_or_too_large(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base that is not there, or that no delta may start from, is no base."""
    with pytest.raises(VerificationError, match="transfer: "):
        bench.unpack("delta", Base(bench.folder / "gone", bench.base.sha256))
    monkeypatch.setattr("container.package.MAX_BASE_BYTES", len(bench.old) - 1)
    with pytest.raises(
        VerificationError, match=f"expected a delta from at most .* bytes, got one from {len(bench.old)}"
    ):
        bench.unpack("delta", bench.base)
    monkeypatch.setattr("container.package.MAX_BASE_BYTES", len(bench.old))
    assert bench.unpack("delta", bench.base) == NEW


def test_full_disk_is_no_fault_of_the_transfer(bench: Bench) -> None:
    """A tree that cannot be made is the disk's matter."""
    with pytest.raises(StoreError):
        unpack(Arrival(bench.full), bench.claim, bench.full / "tree", bench.folder / "clear")


def test_key_shows_nowhere(bench: Bench) -> None:
    """What has arrived shows without its key."""
    arrival = Arrival(bench.full, bench.base, bench.key)
    assert bench.key not in f"{arrival} {arrival!r}"


def test_whole_is_what_packs_to_the_same(bench: Bench) -> None:
    """Each file, its name, its mode and its absence count; times, owners and empty folders do not."""
    folder = bench.folder / "new"
    assert is_whole(folder, bench.claim)
    os.utime(folder / "app.js", (0, 0))
    (folder / "empty").mkdir()
    assert is_whole(folder, bench.claim)
    (folder / "more.js").touch()
    assert not is_whole(folder, bench.claim)
    (folder / "more.js").unlink()
    (folder / "app.js").chmod(0o755)
    assert not is_whole(folder, bench.claim)
    (folder / "app.js").unlink()
    assert not is_whole(folder, bench.claim)
    (folder / "app.js").symlink_to("/etc/passwd")
    assert not is_whole(folder, bench.claim)
    assert not is_whole(bench.folder / "gone", bench.claim)


MEASURE = """
import sys
from pathlib import Path
from container.package import Arrival, Base, unpack
from trust import PackageClaim

folder, base, sha256, size = Path(sys.argv[1]), *sys.argv[2:]
claim = PackageClaim(workspace="demo", program="2021000000000001", version="1", sha256=sha256, size=int(size))

def read_status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

before = read_status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")  # the highest from now on
unpack(Arrival(folder / "delta", Base(folder / "old", base)), claim, folder / "tree", folder / "clear")
print(read_status("VmHWM") - before)
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="memory is measured as Linux tells of it")
def test_delta_of_ten_megabytes_needs_little_memory(tmp_path: Path) -> None:
    """A delta between tars of 10 MB needs two tars at once, and not three: at most 32 MB are allowed."""
    noise = random.Random(1).randbytes(10_000_000)
    old = write(tmp_path / "old", {"data.bin": noise, "app.js": b"App(1)"})
    new = write(tmp_path / "new", {"data.bin": noise[:5_000_000] + b"App(2)" + noise[5_000_000:]})
    (tmp_path / "old.tar").write_bytes(old)
    (tmp_path / "new.tar").write_bytes(new)
    make_delta(tmp_path / "old.tar", tmp_path / "new.tar", tmp_path / "delta")
    claims = [sha256(old).hexdigest(), sha256(new).hexdigest(), str(len(new))]
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path), *claims], check=True, capture_output=True, cwd=ROOT
    )
    assert int(measured.stdout) * 1024 <= 26_000_000
    assert (tmp_path / "tree" / "data.bin").stat().st_size == 10_000_006
