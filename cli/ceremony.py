"""From one root document to the next: what changes, who has to sign it, and the files of it; keys come in as signers.

A folder holds root.json, the newest, and each root as root.<n>.json. A root that still wants signatures waits beside
them as root.<n>.json.pending, which may travel to who holds the other root keys.
"""

import os
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Self

from cli.exit import CommandError, Exit
from trust import (
    PublicKey,
    Role,
    Root,
    RootError,
    Signer,
    add_root_signature,
    draft_root,
    find_root_signers,
    read_draft,
    read_root,
    read_successor,
)

ROOT_NAME = "root.json"
PENDING_SUFFIX = ".pending"
PUBLIC_MODE = 0o644
PRIVATE_MODE = 0o600


@dataclass(frozen=True, slots=True)
class Contents:
    """What a root document says, to be changed; changing it signs nothing."""

    workspace: str
    number: int
    expires: int
    epoch: int
    roles: Mapping[str, Role]

    @classmethod
    def after(cls, root: Root) -> Self:
        """Returns the contents of the root that follows one without a change."""
        return cls(root.workspace, root.number + 1, root.expires, root.epoch, root.roles)

    def add(self, role: str, key: PublicKey) -> Self:
        """Returns them with a key more in a role.

        Raises:
            CommandError: the role has it.
        """
        old = self.roles[role]
        if key.kid in old.keys:
            raise CommandError(f"role {role} has key {key.kid} already", Exit.USAGE)
        return self._put(role, Role(old.threshold, {**old.keys, key.kid: key}))

    def revoke(self, role: str, kid: str) -> Self:
        """Returns them without a key in a role.

        Raises:
            CommandError: the role does not have it, or too few would be left.
        """
        old = self.roles[role]
        if kid not in old.keys:
            raise CommandError(f"expected a key of role {role} ({', '.join(old.keys)}), got {kid!r}", Exit.USAGE)
        keys = {known: key for known, key in old.keys.items() if known != kid}
        if len(keys) < old.threshold:
            message = f"role {role} needs {old.threshold} of its keys: add one first, or rotate this one"
            raise CommandError(message, Exit.USAGE)
        return self._put(role, Role(old.threshold, keys))

    def set_threshold(self, role: str, threshold: int) -> Self:
        """Returns them with another threshold for a role."""
        return self._put(role, Role(threshold, self.roles[role].keys))

    def _put(self, name: str, role: Role) -> Self:
        return replace(self, roles=MappingProxyType({**self.roles, name: role}))

    def draft(self) -> bytes:
        """Returns the document, which nobody has signed.

        Raises:
            CommandError: it would not be believed whoever signs it.
        """
        try:
            return draft_root(
                self.workspace,
                self.number,
                self.expires,
                {name: list(role.keys.values()) for name, role in self.roles.items()},
                thresholds={name: role.threshold for name, role in self.roles.items()},
                epoch=self.epoch,
            )
        except RootError as error:
            raise CommandError(f"cannot make root {self.number}: {error}", Exit.USAGE) from None


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a root stands: complete, or how many signatures it still wants of the root before and of itself."""

    root: Root
    path: Path
    missing_before: int
    missing_own: int

    @property
    def is_complete(self) -> bool:
        """Says whether everybody can believe it."""
        return not (self.missing_before or self.missing_own)


def read_current(folder: Path) -> Root:
    """Returns the newest root of a folder, and puts it in its place where somebody was interrupted before doing so.

    Raises:
        CommandError: root.json cannot be read or believed, or the root after it is none.
    """
    path = folder / ROOT_NAME
    try:
        root = read_root(path.read_bytes())
        while (path := name_root(folder, root.number + 1)).exists():
            document = path.read_bytes()
            root = read_successor(document, root)
            replace_file(folder / ROOT_NAME, document, PUBLIC_MODE)
    except OSError as error:
        message = f"cannot read the root in {folder}: {error} (make one: graywave keys new)"
        raise CommandError(message, Exit.USAGE) from None
    except RootError as error:
        raise CommandError(f"cannot use the root in {path}: {error}", Exit.UNVERIFIED) from None
    return root


def name_root(folder: Path, number: int) -> Path:
    """Returns where a folder has the root of a number."""
    return folder / f"root.{number}.json"


def refuse_pending(folder: Path, root: Root) -> None:
    """Returns where no root waits for signatures; raises CommandError where one does, since it would be lost."""
    path = _name_pending(folder, root.number + 1)
    if path.exists():
        message = f"{path} waits for signatures: sign it (graywave keys sign), or delete it to make another change"
        raise CommandError(message)


def publish(folder: Path, before: Root, contents: Contents, signers: Iterable[Signer]) -> Outcome:
    """Writes the next root of a folder, complete or pending, signed by those of the signers who may.

    Raises:
        CommandError: it would not be believed, or a file is there already.
    """
    document, known = contents.draft(), {**before.keys("root"), **contents.roles["root"].keys}
    for signer in signers:
        if signer.public.kid in known:
            document = add_root_signature(document, signer)
    outcome = judge(document, before, name_root(folder, contents.number))
    if outcome.is_complete:
        _put_in_place(folder, outcome, document)
        return outcome
    pending = _name_pending(folder, contents.number)
    write_new({pending: (document, PUBLIC_MODE)})
    return replace(outcome, path=pending)


def sign_pending(pending: Path, signers: Iterable[Signer]) -> Outcome | None:
    """Adds signatures to a root that waits, and puts it in its place once it has all.

    Returns None where the root before it is not in the same folder: then nobody here can tell whether it has all.

    Raises:
        CommandError: it is no root, a wrong one, or a signer has no say in it.
    """
    document, before = _read_pending(pending)
    known = {**read_draft(document).keys("root"), **(before.keys("root") if before else {})}
    for signer in signers:
        if signer.public.kid not in known:
            where = "" if before else " (the root before it is not beside it, so that only its own root keys are known)"
            raise CommandError(f"expected a root key, got {signer.public.kid!r}, which is none{where}", Exit.REFUSED)
        document = add_root_signature(document, signer)
        replace_file(pending, document, PUBLIC_MODE)
    if before is None:
        return None
    outcome = judge(document, before, pending)
    if not outcome.is_complete:
        return outcome
    outcome = replace(outcome, path=name_root(pending.parent, outcome.root.number))
    _put_in_place(pending.parent, outcome, document)
    pending.unlink()
    return outcome


def judge(document: bytes, before: Root, path: Path) -> Outcome:
    """Returns where a root document stands that is to follow another one.

    Raises:
        CommandError: it does not follow that one, or one of its signatures is wrong.
    """
    try:
        root = read_draft(document)
        missing = [_count_missing(document, role) for role in (before.role("root"), root.role("root"))]
        if not any(missing):
            read_successor(document, before)
    except RootError as error:
        raise CommandError(f"{path}: {error}", Exit.UNVERIFIED) from None
    return Outcome(root, path, *missing)


def write_new(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Writes files with their modes; none of them, if one is there or cannot be written whole.

    Raises:
        CommandError: one of them is there.
    """
    for path in files:
        if os.path.lexists(path):
            raise CommandError(f"{path} is there already: keys are never overwritten, name another folder")
    with ExitStack() as undo:
        for path, (data, mode) in files.items():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            undo.callback(_forget, path)  # half a key or root would stand in the way of all that follows
            with os.fdopen(descriptor, "wb") as file:
                _write(file.fileno(), data)
        undo.pop_all()


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Puts a file in the place of another in one step; whoever reads it sees the old one or the new one."""
    # Not with bundle's: who holds root keys need not have what unpacks packages.
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            _write(file.fileno(), data)
        fresh.replace(path)
    except BaseException:
        _forget(fresh)
        raise


def _forget(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
    os.fsync(descriptor)


def _name_pending(folder: Path, number: int) -> Path:
    path = name_root(folder, number)
    return path.with_name(path.name + PENDING_SUFFIX)


def _put_in_place(folder: Path, outcome: Outcome, document: bytes) -> None:
    write_new({name_root(folder, outcome.root.number): (document, PUBLIC_MODE)})
    replace_file(folder / ROOT_NAME, document, PUBLIC_MODE)


def _read_pending(pending: Path) -> tuple[bytes, Root | None]:
    try:
        document = pending.read_bytes()
        number = read_draft(document).number
        return document, next(_find_before(pending.parent, number), None)
    except OSError as error:
        raise CommandError(f"cannot read {pending}: {error}", Exit.USAGE) from None
    except RootError as error:
        raise CommandError(f"{pending}: {error}", Exit.UNVERIFIED) from None


def _find_before(folder: Path, number: int) -> Iterator[Root]:
    for path in (folder / ROOT_NAME, name_root(folder, number - 1)):
        if path.exists():
            root = read_root(path.read_bytes())
            if root.number == number - 1:
                yield root


def _count_missing(document: bytes, role: Role) -> int:
    return max(0, role.threshold - len(find_root_signers(document, role)))
