"""`graywave keys`: the keys of a workspace, and the root document that says what each may sign."""

import json
import os
import time
from pathlib import Path

import click

from cli.exit import CommandError
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
    roles = {role: [key.public] for role, key in made.items()}
    try:
        root = make_root(workspace, 1, expires, roles, [made["root"]])
        folder.mkdir(parents=True, exist_ok=True)
        for role, key in made.items():
            _write_new(folder / f"{role}.key", key.to_json(), 0o600)
        _write_new(folder / ROOT_NAME, root, 0o644)
    except FileExistsError as error:
        message = f"{error.filename} is there already: keys are never overwritten, name another folder"
        raise CommandError(message) from None
    except (OSError, TrustError, ValueError) as error:
        raise CommandError(f"cannot make keys in {folder}: {error}") from None
    return {role: key.kid for role, key in made.items()}


def _write_new(path: Path, data: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
