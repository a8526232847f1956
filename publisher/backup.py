"""A backup of a workspace's publisher, as one tar: its store, its roots and, where that is wanted, its secrets.

What it holds goes back to where the settings say, and over nothing that differs. Encrypting it is its caller's matter.
"""

import hashlib
import io
import os
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from channel import Position
from custody import find_file
from publisher.chain import name_root
from publisher.errors import BackupError
from publisher.settings import Settings
from publisher.store import FILE_NAME
from trust import TrustError, read_root

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
ROOT: Final = "root.json"
# Keys, tokens and roots have a few kilobytes, and a manifest some for each of them; whatever is larger is none.
MAX_SMALL_BYTES: Final = 1 << 20
_CHUNK: Final = 1 << 20
_PRIVATE: Final = 0o600
_PUBLIC: Final = 0o644
# What a restore unpacks lies in such a folder.
_RESTORING: Final = ".restore-"


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a backup says of itself.

    Args:
        format: FORMAT.
        workspace: whose.
        made: when, in seconds.
        epoch: of the last position that the store had given out.
        revision: of the same.
        has_secrets: whether keys and token are in it.
        files: the SHA-256 of each file, by its name in the tar.
    """

    format: int
    workspace: str
    made: int
    epoch: int
    revision: int
    has_secrets: bool
    files: dict[str, str]

    @property
    def position(self) -> Position:
        """The last position that the store had given out: edges may have been there."""
        return Position(self.epoch, self.revision)


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put back, and what of the settings' secrets is still not there."""

    manifest: Manifest
    missing: tuple[Path, ...]


def write_backup(settings: Settings, target: IO[bytes], now: int, *, has_secrets: bool) -> tuple[Manifest, list[str]]:
    """Writes a backup of the publisher of these settings, which may run meanwhile.

    Returns what it says of itself, and the addresses of keys that cannot be copied: they are in variables or tokens.

    Raises:
        BackupError: there is no store, it is another workspace's, or it is damaged.
        CustodyError: a key's address is none.
        OSError: a file cannot be read, or the target not be written.
    """
    small, elsewhere = _list_small(settings, has_secrets=has_secrets)
    with tempfile.TemporaryDirectory(prefix=".backup-", dir=settings.folder) as folder:
        copy = Path(folder) / FILE_NAME
        position = _copy_store(settings, copy)
        contents = {name: path.read_bytes() for name, path in small.items() if path.exists() or name == ROOT}
        digests = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
        with copy.open("rb") as file:
            digests[FILE_NAME] = hashlib.file_digest(file, "sha256").hexdigest()
        manifest = Manifest(FORMAT, settings.workspace, now, *position, has_secrets, digests)
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            for name, content in {MANIFEST: msgspec.json.encode(manifest), **contents}.items():
                tar.addfile(_describe(name, len(content)), io.BytesIO(content))
            with copy.open("rb") as file:
                tar.addfile(_describe(FILE_NAME, copy.stat().st_size), file)
    return manifest, elsewhere


def restore_backup(settings: Settings, source: IO[bytes]) -> Restored:
    """Puts a backup back to where the settings say, all of it or nothing.

    What is there already stays if it is the same, byte for byte.

    Raises:
        BackupError: it is no backup, of another workspace or format, or damaged; or something else lies where it goes.
        CustodyError: a key's address is none.
        OSError: a file cannot be written.
    """
    settings.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in settings.folder.glob(f"{_RESTORING}*"):  # of one that was killed: it has keys
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(prefix=_RESTORING, dir=settings.folder) as folder:
        manifest = _unpack(source, Path(folder), settings.workspace)
        wanted, _ = _list_small(settings, has_secrets=True, roots=manifest.files)
        wanted[FILE_NAME] = settings.folder / FILE_NAME
        unknown = manifest.files.keys() - wanted.keys()
        if unknown:
            raise BackupError(f"expected settings that have a place for {sorted(unknown)}, got none")
        targets = {name: wanted[name] for name in manifest.files}
        _refuse_others(manifest, targets)
        # The store last: a publisher that starts meanwhile finds none, or all that it needs.
        for name in sorted(targets, key=lambda name: name == FILE_NAME):
            _put(Path(folder) / name, targets[name], _PUBLIC if name.startswith("root") else _PRIVATE)
        return Restored(manifest, tuple(sorted(path for path in wanted.values() if not path.exists())))


def _list_small(
    settings: Settings, *, has_secrets: bool, roots: Iterable[str] | None = None
) -> tuple[dict[str, Path], list[str]]:
    """The files besides the store by their names in a backup, and the addresses of keys that no file holds."""
    files = {ROOT: settings.root}
    if roots is None:
        newest = _read_number(settings.root)
        roots = [f"root.{number}.json" for number in range(1, newest) if name_root(settings.root, number).exists()]
    for name in roots:
        number = name.removeprefix("root.").removesuffix(".json")
        if number.isdecimal() and name == f"root.{number}.json":
            files[name] = name_root(settings.root, int(number))
    if not has_secrets:
        return files, []
    elsewhere = []
    keys = {f"offer-{number}.key": address for number, address in enumerate(settings.offer_keys)}
    for name, address in {**keys, "channel.key": settings.channel_key}.items():
        path = find_file(address)
        if path is None:
            elsewhere.append(address)
        else:
            files[name] = path
    files |= {f"fingerprint-{id_}.key": path for id_, path in settings.fingerprint_keys.items()}
    if settings.token_file:
        files["token"] = settings.token_file
    return files, elsewhere


def _read_number(path: Path) -> int:
    try:
        return read_root(path.read_bytes()).number
    except TrustError as error:
        raise BackupError(f"{path}: {error}") from error


def _copy_store(settings: Settings, copy: Path) -> Position:
    """Copies the store as it is at one moment, while its publisher goes on; returns the last position given out."""
    path = settings.folder / FILE_NAME
    if not path.exists():
        raise BackupError(f"expected a publisher's store at {path}, got no file")
    copy.touch(mode=_PRIVATE)
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as store, closing(sqlite3.connect(copy)) as db:
            store.backup(db)
            db.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            return _check_store(db, settings.workspace)
    except sqlite3.Error as error:
        raise BackupError(f"{path} cannot be copied: {error}") from error


def _check_store(db: sqlite3.Connection, workspace: str) -> Position:
    found = db.execute("PRAGMA integrity_check").fetchone()
    if found != ("ok",):
        raise BackupError(f"expected a store without damage, got {found[0]!r:.200}")
    name, epoch, revision = db.execute("SELECT name, epoch, revision FROM workspace").fetchone()
    if name != workspace:
        raise BackupError(f"expected the store of workspace {workspace!r}, got that of {name!r}")
    return Position(epoch, revision)


def _describe(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, _PRIVATE
    return info


def _unpack(source: IO[bytes], folder: Path, workspace: str) -> Manifest:
    """Writes a backup's files into a folder, checked; only names that its manifest has, which comes first."""
    try:
        with tarfile.open(fileobj=source, mode="r|") as tar:
            manifest = _read_manifest(tar, workspace)
            found: dict[str, str] = {}
            while member := tar.next():
                if member.name not in manifest.files or not member.isreg():
                    raise BackupError(f"expected a file of the manifest, got {member.name!r:.100}")
                found[member.name] = _write_member(tar, member, folder)
    except (tarfile.TarError, EOFError) as error:
        raise BackupError(f"expected a backup that graywave has made: {error}") from error
    if found != manifest.files:
        wrong = sorted(name for name, digest in manifest.files.items() if found.get(name) != digest)
        raise BackupError(f"expected the files that the manifest names, got other bytes, or none, of {wrong}")
    with closing(sqlite3.connect(folder / FILE_NAME)) as db:
        _check_store(db, workspace)
    return manifest


def _read_manifest(tar: tarfile.TarFile, workspace: str) -> Manifest:
    member = tar.next()
    file = tar.extractfile(member) if member and member.name == MANIFEST and member.size <= MAX_SMALL_BYTES else None
    try:
        manifest = msgspec.json.decode(file.read() if file else b"", type=Manifest)
    except ValueError as error:
        raise BackupError(f"expected a backup that graywave has made, with its manifest first: {error}") from error
    if manifest.format != FORMAT:
        raise BackupError(f"expected a backup of format {FORMAT}, got {manifest.format}: a newer graywave may know it")
    if manifest.workspace != workspace:
        raise BackupError(f"expected a backup of workspace {workspace!r}, got one of {manifest.workspace!r}")
    if FILE_NAME not in manifest.files or ROOT not in manifest.files:
        raise BackupError("expected a backup with a store and a root, got one without")
    return manifest


def _write_member(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> str:
    if "/" in member.name or (member.name != FILE_NAME and member.size > MAX_SMALL_BYTES):
        raise BackupError(f"expected {member.name!r:.100} to be a small file of that name, got another one")
    digest, file = hashlib.sha256(), tar.extractfile(member)
    path = folder / member.name
    path.touch(mode=_PRIVATE)
    with path.open("wb") as target:
        while file and (chunk := file.read(_CHUNK)):
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _refuse_others(manifest: Manifest, targets: Mapping[str, Path]) -> None:
    """Nothing is written where something else lies: neither a store that went on, nor a key that was replaced."""
    store = targets[FILE_NAME]
    small = {path: manifest.files[name] for name, path in targets.items() if name != FILE_NAME}
    others = [str(path) for path, digest in small.items() if not _is_free(path, digest)]
    others += [str(path) for path in sorted(store.parent.glob(f"{FILE_NAME}*"))]
    if others:
        raise BackupError(f"expected nothing, or the same, where the backup goes, got other files: {', '.join(others)}")


def _is_free(path: Path, digest: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == digest
    except FileNotFoundError:
        return True


def _put(source: Path, target: Path, mode: int) -> None:
    if target.exists():
        return
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.restored")
    partial.touch(mode=mode)
    with partial.open("wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())
    partial.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # a power cut must not leave an empty store behind, which would pass for a new one
    finally:
        os.close(folder)
