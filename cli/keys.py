"""`graywave keys`: the keys of a workspace, and the root document that says what each may sign."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

import click

from channel import ChannelError, Keys
from cli.exit import CommandError, Exit
from cli.home import take_json
from trust import ROLES, PrivateKey, TrustError, make_root

DAY_S = 86_400
ROOT_NAME = "root.json"


@click.group()
def keys() -> None:
    """Make the keys of a workspace."""


@keys.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--workspace", required=True, help="The workspace that the keys are for, such as wallet-prod.")
@click.option("--days", default=3650, show_default=True, type=click.IntRange(1, 36_500), help="Life of the root.")
@take_json
def new(folder: Path, workspace: str, days: int, *, as_json: bool) -> None:
    """Make a key for each role in FOLDER, and the root document that names them.

    Keep root.key offline, package.key where packages are built, offer.key and channel.key with the publisher. Edges
    and host apps get root.json alone.
    """
    made = make_keys(folder, workspace, int(time.time()) + days * DAY_S)
    if as_json:
        click.echo(json.dumps({"workspace": workspace, "keys": made, "root": str(folder / ROOT_NAME)}))
        return
    for role, kid in made.items():
        click.echo(f"{role:8} {kid}  {folder / f'{role}.key'}")
    click.echo(f"{'root':8} {folder / ROOT_NAME}")


def make_keys(folder: Path, workspace: str, expires: int) -> dict[str, str]:
    """Writes a key for each role and the root that names them; returns each role's key id.

    Raises:
        CommandError: a file is there already, cannot be written, or the workspace is none.
    """
    made = {role: PrivateKey.generate() for role in ROLES}
    files = {folder / f"{role}.key": (key.to_json(), 0o600) for role, key in made.items()}
    try:
        Keys.of(workspace)  # as strict as whoever serves it
        root = make_root(workspace, 1, expires, {role: [key.public] for role, key in made.items()}, [made["root"]])
    except (TrustError, ChannelError) as error:
        raise CommandError(f"cannot make keys of workspace {workspace!r}: {error}", Exit.USAGE) from None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_new({**files, folder / ROOT_NAME: (root, 0o644)})
    except OSError as error:
        raise CommandError(f"cannot make keys in {folder}: {error}") from None
    return {role: key.kid for role, key in made.items()}


def _write_new(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Writes files with their modes; none of them, if one is there."""
    for path in files:
        if os.path.lexists(path):
            raise CommandError(f"{path} is there already: keys are never overwritten, name another folder")
    for path, (data, mode) in files.items():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
