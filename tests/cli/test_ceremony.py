"""Root documents in a folder: whoever is interrupted finds it whole, and nothing is overwritten."""

import json
import os
import time
from pathlib import Path

import pytest

from cli.ceremony import Contents, judge, name_root, publish, read_current, replace_file, write_new
from cli.exit import CommandError, Exit
from cli.keys import make_keys
from trust import PrivateKey, Root, read_root


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The keys of a workspace, which are all at hand."""
    make_keys(tmp_path / "keys", "demo", int(time.time()) + 86_400)
    return tmp_path / "keys"


def read_key(folder: Path) -> PrivateKey:
    return PrivateKey.from_json((folder / "root.key").read_bytes())


def refusal(folder: Path) -> CommandError:
    with pytest.raises(CommandError) as caught:
        read_current(folder)
    return caught.value


def change(folder: Path) -> Root:
    root = read_current(folder)
    return publish(folder, root, Contents.after(root), [read_key(folder)]).root


def test_the_newest_root_is_read(folder: Path) -> None:
    """root.json is the newest, and each has its number."""
    change(folder)
    assert change(folder).number == 3
    assert read_current(folder).number == 3
    assert [read_root(name_root(folder, number).read_bytes()).number for number in (1, 2, 3)] == [1, 2, 3]


def test_interrupted_between_two_files(folder: Path) -> None:
    """Whoever was killed after writing the numbered root and before root.json goes on where it was."""
    first = (folder / "root.json").read_bytes()
    change(folder)
    (folder / "root.json").write_bytes(first)
    assert read_current(folder).number == 2
    assert (folder / "root.json").read_bytes() == name_root(folder, 2).read_bytes()


def test_a_numbered_root_that_is_none_stops_everything(folder: Path) -> None:
    """A root under the next number that does not follow is named, and root.json stays."""
    first = (folder / "root.json").read_bytes()
    name_root(folder, 2).write_bytes(first)
    error = refusal(folder)
    assert error.exit_code == Exit.UNVERIFIED
    assert f"{name_root(folder, 2)}: expected root 2 to follow root 1, got root 1" in str(error)
    assert (folder / "root.json").read_bytes() == first


def test_a_folder_without_a_root(tmp_path: Path) -> None:
    """A folder without root.json, and one with something else there, are named with what to do."""
    error = refusal(tmp_path)
    assert (error.exit_code, str(error).endswith("(make one: graywave keys new)")) == (Exit.USAGE, True)
    (tmp_path / "root.json").write_text("{}")
    assert refusal(tmp_path).exit_code == Exit.UNVERIFIED


def test_two_at_a_time(folder: Path) -> None:
    """Of two who make the next root at the same time, one does, and the other is told."""
    root = read_current(folder)
    publish(folder, root, Contents.after(root), [read_key(folder)])
    with pytest.raises(CommandError, match=r"root\.2\.json is there already"):
        publish(folder, root, Contents.after(root), [read_key(folder)])
    assert read_current(folder).number == 2


def test_a_wrong_signature_is_found_before_a_root_is_written(folder: Path) -> None:
    """A document with a broken signature by a root key is refused by name."""
    root = read_current(folder)
    publish(folder, root, Contents.after(root), [read_key(folder)])
    document = json.loads(name_root(folder, 2).read_bytes())
    document["signatures"][0]["signature"] = "A" * 86
    with pytest.raises(CommandError, match="signature 0: the signature is not one of key"):
        judge(json.dumps(document).encode(), root, Path("it"))


def test_a_root_that_skips_a_number_is_not_complete(folder: Path) -> None:
    """Enough signatures do not make a root a successor."""
    first = read_current(folder)
    second = change(folder)
    third = publish(folder, second, Contents.after(second), [read_key(folder)])
    with pytest.raises(CommandError, match="expected root 2 to follow root 1, got root 3"):
        judge(third.path.read_bytes(), first, Path("it"))


def test_replacing_is_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is stopped while replacing a file leaves the old one, and nothing beside it."""
    path = tmp_path / "root.json"
    replace_file(path, b"old", 0o644)

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        replace_file(path, b"new", 0o644)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"root.json": b"old"}


def test_new_files_are_new(tmp_path: Path) -> None:
    """Of several new files none is written if one is there."""
    (tmp_path / "b").touch()
    with pytest.raises(CommandError, match="b is there already"):
        write_new({tmp_path / "a": (b"a", 0o600), tmp_path / "b": (b"b", 0o600)})
    assert not (tmp_path / "a").exists()


def test_a_full_disk_leaves_no_half_of_a_root(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written whole is not there: it would stand in the way of the next try."""

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with pytest.raises(OSError, match="No space left"):
            change(folder)
    assert {one.name: one.read_bytes() for one in folder.iterdir()} == before
    assert change(folder).number == 2
