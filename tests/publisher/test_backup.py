"""Backups: a store as it is at one moment, back where it was and over nothing; whatever is not whole is refused."""

import io
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from channel import DocumentName, Position
from cli.keys import make_keys
from publisher.backup import MANIFEST, MAX_SMALL_BYTES, Manifest, restore_backup, write_backup
from publisher.errors import BackupError
from publisher.settings import Settings
from publisher.store import FILE_NAME, Signed, Store
from trust import ROLES, PrivateKey, make_root

NAME = DocumentName("program", "p1")
YEAR_2100_S = 4_102_444_800


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A publisher's, whose store has one document at 1-1 and is open."""
    keys = tmp_path / "keys"
    make_keys(keys, "demo", YEAR_2100_S)
    (keys / "fingerprint.key").write_text("5e" * 32)
    (keys / "token").write_text("a-token-of-the-tests")
    return Settings(
        workspace="demo",
        redis="redis://127.0.0.1",
        folder=tmp_path / "store",
        root=keys / "root.json",
        offer_key=f"{keys}/offer.key,env:OTHER",
        channel_key=f"file:{keys}/channel.key",
        token_file=keys / "token",
        fingerprint_keys={"k1": keys / "fingerprint.key"},
    )


@pytest.fixture
def store(settings: Settings) -> Iterator[Store]:
    """Its store, in use."""
    with Store(settings.folder, "demo") as store:
        store.commit(NAME, lambda _, __: Signed(b"author", b"envelope", 0), 1_000)
        yield store


def back_up(settings: Settings, *, has_secrets: bool = True) -> bytes:
    """A backup's bytes."""
    target = io.BytesIO()
    write_backup(settings, target, 1_000, has_secrets=has_secrets)
    return target.getvalue()


def move(settings: Settings, folder: Path) -> Settings:
    """The settings of a publisher that has everything elsewhere."""
    return replace(
        settings,
        folder=folder / "store",
        root=folder / "root.json",
        offer_key=f"{folder}/offer.key,env:OTHER",
        channel_key=f"{folder}/channel.key",
        token_file=folder / "token",
        fingerprint_keys={"k1": folder / "fingerprint.key"},
    )


def test_everything_comes_back(settings: Settings, store: Store, tmp_path: Path) -> None:
    """Store, roots, keys and token are where the settings of another machine say, for nobody else to read."""
    target = io.BytesIO()
    manifest, elsewhere = write_backup(settings, target, 1_000, has_secrets=True)
    assert (manifest.position, manifest.has_secrets, elsewhere) == (Position(1, 1), True, ["env:OTHER"])
    store.commit(NAME, lambda _, __: Signed(b"later", b"later", 0), 1_000)
    there = move(settings, tmp_path / "there")
    done = restore_backup(there, io.BytesIO(target.getvalue()))
    assert (done.manifest, done.missing) == (manifest, ())
    with Store(there.folder, "demo") as restored:
        found = restored.find(NAME)
        assert found is not None
        assert found[0].signed.author == b"author"
    for name in ("root.json", "offer.key", "channel.key", "token", "fingerprint.key"):
        path = tmp_path / "there" / name
        assert path.read_bytes() == (tmp_path / "keys" / name).read_bytes()
        assert path.stat().st_mode & 0o777 == (0o644 if name == "root.json" else 0o600)
    assert (there.folder / FILE_NAME).stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in there.folder.iterdir()) == [FILE_NAME, "publisher.lock"]


@pytest.mark.usefixtures("store")
def test_secrets_are_left_out(settings: Settings, tmp_path: Path) -> None:
    """Without its secrets a backup names none, and what is still missing where it is put back is told."""
    there = move(settings, tmp_path / "there")
    done = restore_backup(there, io.BytesIO(back_up(settings, has_secrets=False)))
    assert sorted(done.manifest.files) == [FILE_NAME, "root.json"]
    names = ["channel.key", "fingerprint.key", "offer.key", "token"]
    assert done.missing == tuple(tmp_path / "there" / name for name in names)


@pytest.mark.usefixtures("store")
def test_roots_between_come_along(settings: Settings, tmp_path: Path) -> None:
    """Root documents of lower numbers that lie beside the newest come along; other files do not."""
    keys = tmp_path / "keys"
    old, root_key = settings.root.read_bytes(), PrivateKey.from_json((keys / "root.key").read_bytes())
    (keys / "root.1.json").write_bytes(old)
    (keys / "root.7.json").write_bytes(b"of a later number")
    public = {role: [root_key.public] for role in ROLES}
    settings.root.write_bytes(make_root("demo", 2, YEAR_2100_S, public, [root_key]))
    done = restore_backup(move(settings, tmp_path / "there"), io.BytesIO(back_up(settings, has_secrets=False)))
    assert sorted(done.manifest.files) == [FILE_NAME, "root.1.json", "root.json"]
    assert (tmp_path / "there" / "root.1.json").read_bytes() == old


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("there_is", ["store", "store's log", "key", "root"])
def test_nothing_is_overwritten(settings: Settings, tmp_path: Path, there_is: str) -> None:
    """Where something else lies, even an empty store, nothing is put back at all."""
    there = move(settings, tmp_path / "there")
    places = {
        "store": there.folder / FILE_NAME,
        "store's log": there.folder / f"{FILE_NAME}-wal",
        "key": tmp_path / "there" / "offer.key",
        "root": there.root,
    }
    there.folder.mkdir(parents=True)
    places[there_is].write_bytes(b"another")
    with pytest.raises(BackupError) as caught:
        restore_backup(there, io.BytesIO(back_up(settings)))
    wanted = "expected nothing, or the same, where the backup goes, got other files: "
    assert str(caught.value) == f"{wanted}{places[there_is]}"
    found = [path for path in (tmp_path / "there").rglob("*") if path.is_file()]
    assert found == [places[there_is]]


@pytest.mark.usefixtures("store")
def test_what_is_the_same_stays(settings: Settings, tmp_path: Path) -> None:
    """Keys that were kept elsewhere, and are in place already, are in nobody's way."""
    there = move(settings, tmp_path / "there")
    there.folder.mkdir(parents=True)
    there.root.write_bytes(settings.root.read_bytes())
    before = there.root.stat().st_ino
    restore_backup(there, io.BytesIO(back_up(settings)))
    assert there.root.stat().st_ino == before


def rewrite(backup: bytes, change: Callable[[dict[str, bytes]], None]) -> bytes:
    """A backup with other files in it."""
    with tarfile.open(fileobj=io.BytesIO(backup)) as tar:
        files = {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}
    change(files)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return target.getvalue()


def alter_manifest(**members: object) -> Callable[[dict[str, bytes]], None]:
    """Changes what a backup says of itself."""

    def change(files: dict[str, bytes]) -> None:
        manifest = msgspec.structs.replace(msgspec.json.decode(files[MANIFEST], type=Manifest), **members)
        files[MANIFEST] = msgspec.json.encode(manifest)

    return change


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda files: files.pop(MANIFEST), "with its manifest first"),
        (lambda files: files.update({MANIFEST: b"{}"}), "with its manifest first: Object missing required field"),
        (lambda files: files.update({MANIFEST: b" " * (MAX_SMALL_BYTES + 1)}), "with its manifest first"),
        (lambda files: files.update({"root.json": b"another"}), r"got other bytes, or none, of \['root.json'\]"),
        (lambda files: files.pop("token"), r"got other bytes, or none, of \['token'\]"),
        (lambda files: files.update({"../x": b"y"}), r"expected a file of the manifest, got '../x'"),
        (alter_manifest(format=2), "expected a backup of format 1, got 2: a newer graywave may know it"),
        (alter_manifest(workspace="other"), "expected a backup of workspace 'demo', got one of 'other'"),
        (alter_manifest(files={}), "expected a backup with a store and a root, got one without"),
    ],
)
def test_what_is_not_whole_is_refused(
    settings: Settings, tmp_path: Path, change: Callable[[dict[str, bytes]], None], reason: str
) -> None:
    """A backup that says or holds something else than what was written is not put back, nor any part of it."""
    backup = rewrite(back_up(settings), change)
    with pytest.raises(BackupError, match=reason):
        restore_backup(move(settings, tmp_path / "there"), io.BytesIO(backup))
    assert not [path for path in (tmp_path / "there").rglob("*") if path.is_file()]


@pytest.mark.usefixtures("store")
@pytest.mark.parametrize("part", [0.0, 0.3, 0.9])
def test_half_a_backup_is_refused(settings: Settings, tmp_path: Path, part: float) -> None:
    """A file that was cut is no backup."""
    backup = back_up(settings)
    with pytest.raises(BackupError):
        restore_backup(move(settings, tmp_path / "there"), io.BytesIO(backup[: int(len(backup) * part)]))


@pytest.mark.usefixtures("store")
def test_what_a_killed_restore_left_goes(settings: Settings, tmp_path: Path) -> None:
    """What it had unpacked are keys: they go before the next one begins."""
    there = move(settings, tmp_path / "there")
    left = there.folder / ".restore-abc"
    left.mkdir(parents=True)
    (left / "channel.key").write_text("secret")
    restore_backup(there, io.BytesIO(back_up(settings)))
    assert not list(there.folder.glob(".restore-*"))


@pytest.mark.usefixtures("store")
def test_place_for_each_key_is_wanted(settings: Settings, tmp_path: Path) -> None:
    """A key for which the settings have no place is told, and not lost in silence."""
    there = replace(move(settings, tmp_path / "there"), fingerprint_keys={})
    with pytest.raises(BackupError, match=r"a place for \['fingerprint-k1.key'\]"):
        restore_backup(there, io.BytesIO(back_up(settings)))


def test_store_that_is_none_is_not_backed_up(settings: Settings) -> None:
    """No store, another workspace's and a damaged one are told, while there is time to do something about it."""
    settings.folder.mkdir()
    with pytest.raises(BackupError, match=r"^expected a publisher's store at "):
        back_up(settings)
    Store(settings.folder, "other").close()
    with pytest.raises(BackupError, match=r"^expected the store of workspace 'demo', got that of 'other'$"):
        back_up(settings)
    path = settings.folder / FILE_NAME
    path.unlink()
    with Store(settings.folder, "demo") as store:
        for number in range(200):
            store.commit(DocumentName("program", f"p{number}"), lambda _, __: Signed(b"a" * 500, b"e" * 500, 0), 1_000)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 8192] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(BackupError, match=r"cannot be copied|without damage"):
        back_up(settings)
    settings.root.write_bytes(b"{}")
    with pytest.raises(BackupError, match=f"^{settings.root}: "):
        back_up(settings)
