"""The container's folder: its state is read strictly, replaced in one step, and looked at cheaply."""

import json
from pathlib import Path

import pytest

from container import StorageError
from container.state import Record, State
from container.storage import Storage

PROGRAM = "2021000000000001"
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


def test_lock_clears_what_is_unfinished(tmp_path: Path) -> None:
    """Staging, and packages that no state names, go; the active and the former one stay."""
    storage = Storage(tmp_path)
    storage.save(State(programs={PROGRAM: Record(version="1", sha256="a" * 64, former="b" * 64)}))
    for digit in "abc":
        storage.path(PROGRAM, digit * 64).mkdir(parents=True)
    (tmp_path / "staging/tree").mkdir(parents=True)
    with storage.lock():
        assert {path.name[0] for path in (tmp_path / "programs" / PROGRAM).iterdir()} == {"a", "b"}
        assert not (tmp_path / "staging").exists()


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
