"""The container's folder: its state is read strictly, replaced in one step, and looked at cheaply."""

import json
from hashlib import sha256
from pathlib import Path

import pytest

from bundle import compress, open_source, write_archive
from container import StorageError
from container.package import Arrival
from container.state import Installed, Mark, Ready, Record, State
from container.storage import Storage
from trust import PackageClaim

PROGRAM, OTHER = "2021000000000001", "2021000000000002"
STATE = State(issued=5, programs={PROGRAM: Record(version="1.0", sha256="a" * 64)})


def test_state_survives(tmp_path: Path) -> None:
    """What was saved is loaded, also by another process, and nothing is left beside it."""
    assert Storage(tmp_path).load() == State()
    Storage(tmp_path).save(STATE)
    assert Storage(tmp_path).load() == STATE
    assert [path.name for path in tmp_path.iterdir()] == ["active.json"]


def test_unchanged_state_is_not_read_again(tmp_path: Path) -> None:
    """A load is a look at the file's status; the same value comes back until another process replaces it."""
    storage = Storage(tmp_path)
    storage.save(STATE)
    assert storage.load() is storage.load()
    Storage(tmp_path).save(State())
    assert storage.load() == State()


def test_unchanged_state_is_not_written_again(tmp_path: Path) -> None:
    """Saving what is there costs no write."""
    Storage(tmp_path).save(STATE)
    inode = (tmp_path / "active.json").stat().st_ino
    Storage(tmp_path).save(STATE)
    assert (tmp_path / "active.json").stat().st_ino == inode


@pytest.mark.parametrize(
    "content",
    ["", "{", '{"format":2}', '{"more":1}', '{"programs":{"../x":{}}}',
     json.dumps({"programs": {PROGRAM: {"sha256": "../../etc"}}})],
)  # fmt: skip
def test_foreign_state_is_refused(tmp_path: Path, content: str) -> None:
    """A state that is broken, of another format, or names what is no digest is refused, with what to do."""
    (tmp_path / "active.json").write_text(content)
    message = f"{tmp_path}/active.json: expected the state of a container, remove it to install all anew: "
    with pytest.raises(StorageError, match=message):
        Storage(tmp_path).load()


def test_unreadable_state_is_named(tmp_path: Path) -> None:
    """A state that is a folder, or below a file, is named."""
    (tmp_path / "active.json").mkdir()
    with pytest.raises(StorageError, match=r"active.json: expected a file that can be read: Is a directory"):
        Storage(tmp_path).load()
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"active.json: expected a file that can be read: Not a directory"):
        Storage(tmp_path / "file").load()


def test_broken_state_loses_no_package(tmp_path: Path) -> None:
    """With a state that cannot be read, nothing is cleared away."""
    kept = Storage(tmp_path).path(PROGRAM, "a" * 64)
    kept.mkdir(parents=True)
    (tmp_path / "active.json").write_text("{")
    with pytest.raises(StorageError), Storage(tmp_path).lock():
        pass
    assert kept.is_dir()


NEEDED = Record(
    version="1", sha256="a" * 64, copy=2, former="b" * 64, back=Installed(version="0.9", sha256="c" * 64),
    ready=Ready(version="2", sha256="d" * 64, number=7, expires=9), activation=5, is_confirmed=False,
    wanted=("e" * 64,),
)  # fmt: skip


def test_lock_clears_what_nobody_needs(tmp_path: Path) -> None:
    """Whatever no state names goes: packages, parts, marks, unfinished files; what it names stays."""
    storage = Storage(tmp_path)
    storage.save(State(programs={PROGRAM: NEEDED}))
    kept = [f"programs/{PROGRAM}/{place}" for place in ("a" * 64 + ".2", "b" * 64, "c" * 64, "d" * 64)]
    kept += [f"staging/{'e' * 64}.part", f"staging/{'e' * 64}.tag"]
    kept += [f"marks/{PROGRAM}-{mark}" for mark in ("5.opened", "5.confirmed", "7.applied")]
    gone = [f"programs/{PROGRAM}/{'a' * 64}", f"programs/{PROGRAM}/{'b' * 64}.1", f"programs/{OTHER}/{'a' * 64}"]
    gone += [f"staging/{'f' * 64}.part", f"staging/{'e' * 64}", "staging/tree/x", "staging/clear", ".part-abc"]
    gone += [f"marks/{PROGRAM}-4.declined", f"marks/{PROGRAM}-6.applied", f"marks/{OTHER}-5.opened", "marks/x"]
    for name in kept + gone:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    with storage.lock():
        left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == {*kept, "active.json", "lock"}
    assert not (tmp_path / "programs" / OTHER).exists()


def test_nothing_left_leaves_no_folder(tmp_path: Path) -> None:
    """Where nothing is unfinished there is no staging."""
    (tmp_path / "staging/tree").mkdir(parents=True)
    with Storage(tmp_path).lock():
        assert not (tmp_path / "staging").exists()


def test_marks_count_at_once(tmp_path: Path) -> None:
    """A mark is part of what is loaded, by every process, and what is written does not change by it."""
    record = Record(version="1", sha256="a" * 64, activation=5, is_confirmed=False)
    Storage(tmp_path).save(State(programs={PROGRAM: record}))
    reader, written = Storage(tmp_path), (tmp_path / "active.json").read_bytes()
    assert not reader.load().record(PROGRAM).is_confirmed
    Storage(tmp_path).mark(Mark(PROGRAM, 5, "confirmed"))
    assert reader.load().record(PROGRAM).is_confirmed
    assert [happening.outcome for happening in reader.settle()[1]] == ["confirmed"]
    assert (tmp_path / "active.json").read_bytes() == written


def test_marks_are_swept_only_once_they_are_written_down(tmp_path: Path) -> None:
    """A sweep between a mark and its being written down keeps both the mark and what it is about."""
    record = Record(version="2", sha256="a" * 64, back=Installed(version="1", sha256="b" * 64), activation=5,
                    is_confirmed=False)  # fmt: skip
    storage = Storage(tmp_path)
    storage.save(State(programs={PROGRAM: record}))
    for digit in "ab":
        storage.path(PROGRAM, digit * 64).mkdir(parents=True)
    storage.mark(Mark(PROGRAM, 5, "declined"))
    storage.sweep()
    assert Storage(tmp_path).load().record(PROGRAM).version == "1"
    storage.save(storage.load())
    storage.sweep()
    assert Storage(tmp_path).load().record(PROGRAM).version == "1"
    assert list((tmp_path / "marks").iterdir()) == []


def test_settled_state_asks_for_no_marks(tmp_path: Path) -> None:
    """Where every version is confirmed, a load is a look at one file, whatever lies in the folder of marks."""
    Storage(tmp_path).save(STATE)
    (tmp_path / "marks").touch()
    assert Storage(tmp_path).load() == STATE


def claim_of(folder: Path, version: str = "1.0", **files: bytes) -> PackageClaim:
    """Writes files to a folder, and returns the claim that fits them."""
    folder.mkdir(parents=True)
    for name, body in files.items():
        (folder / name).write_bytes(body)
    with open_source(folder, folder) as plan:
        tar = b"".join(write_archive(plan))
    return PackageClaim(
        workspace="demo", program=PROGRAM, version=version, sha256=sha256(tar).hexdigest(), size=len(tar)
    )


def test_package_is_found_where_it_is_whole(tmp_path: Path) -> None:
    """Of the places that a record names the first that is whole is found, and none that is damaged, or gone."""
    storage = Storage(tmp_path / "device")
    claim = claim_of(tmp_path / "source", a=b"1")
    copies = [Installed(version="1.0", sha256=claim.sha256, copy=copy) for copy in range(3)]
    for copy in copies:
        claim_of(storage.path(PROGRAM, copy.place), a=b"1")
    record = Record(
        version="1.0", sha256=claim.sha256, copy=1, former=copies[2].place,
        back=Installed(version="1.0", sha256=claim.sha256),
    )  # fmt: skip
    found = []
    for copy in (1, 0, 2):
        found.append(storage.find(claim, record))
        (storage.path(PROGRAM, copies[copy].place) / "a").write_bytes(b"2")
    assert found == [copies[1], copies[0], copies[2]]
    assert storage.find(claim, record) is None
    assert storage.find(claim, Record()) is None


def test_package_is_unpacked_beside_a_damaged_one(tmp_path: Path) -> None:
    """What is there is not touched: a new copy has a place of its own."""
    storage = Storage(tmp_path / "device")
    claim = claim_of(tmp_path / "source", a=b"1")
    with open_source(tmp_path / "source", tmp_path) as plan:
        tar = b"".join(write_archive(plan))
    (tmp_path / "transfer").write_bytes(b"".join(compress([tar], len(tar), 1)))
    (tmp_path / "device").mkdir()
    places = [storage.unpack(Arrival(tmp_path / "transfer"), claim).place for _ in range(3)]
    assert places == [claim.sha256, f"{claim.sha256}.1", f"{claim.sha256}.2"]
    assert all((storage.path(PROGRAM, place) / "a").read_bytes() == b"1" for place in places)
    assert list((tmp_path / "device/staging").iterdir()) == []


def test_roots_are_kept(tmp_path: Path) -> None:
    """Root documents are kept byte for byte; a file that is too large or none is as none."""
    storage = Storage(tmp_path)
    assert storage.load_roots() == []
    storage.save_roots([b'{"a": 1}', "\u00e9".encode()])
    assert Storage(tmp_path).load_roots() == [b'{"a": 1}', "\u00e9".encode()]
    (tmp_path / "roots.json").write_bytes(b" " * (8 * 1024 * 1024 + 1))
    assert storage.load_roots() == []


def test_state_without_end_is_refused(tmp_path: Path) -> None:
    """A state that is larger than any is somebody else's file."""
    with (tmp_path / "active.json").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    with pytest.raises(StorageError, match="expected the state of a container, remove it to install all anew: more"):
        Storage(tmp_path).load()


def test_lock_is_given_back(tmp_path: Path) -> None:
    """After a failure as after a success, the next one may update."""
    with pytest.raises(RuntimeError, match="stop"), Storage(tmp_path).lock():
        raise RuntimeError("stop")
    with Storage(tmp_path).lock(), pytest.raises(StorageError, match="expected to be the only one to update"):
        Storage(tmp_path).lock().__enter__()
    with Storage(tmp_path).lock():
        pass


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A folder below a file is the owner's matter."""
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="file/x: expected a folder that can be written, make room or permit it: "):
        Storage(tmp_path / "file" / "x").lock().__enter__()
