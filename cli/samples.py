"""`graywave samples`: the sample that a host keeps of the questions of this hour and the last, into a file."""

import json
from pathlib import Path
from urllib.parse import urlencode

import click

from bundle import replace_file
from cli.admin import open_admin, take_admin
from cli.exit import CommandError
from cli.home import Home, take_home

# Devices' tags are in it, as they came.
PRIVATE_MODE = 0o600


@click.command(short_help="Export a sample of what devices have asked.")
@click.option(
    "--json", "path", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
@click.option("--workspace", default="demo", show_default=True, help="The workspace whose devices have asked.")
@take_admin
@take_home
def samples(path: Path, workspace: str, admin_url: str | None, admin_token: Path | None, home: Home) -> None:
    """Write what a host keeps of the questions of this hour and the last, for `graywave simulate`.

    They are at most 1,000 an hour. Ids of devices and users are hashes that nobody can turn back; tags are as they
    came.
    """
    told = open_admin(home, admin_url, admin_token).get(f"/v1/samples?{urlencode({'workspace': workspace})}")
    try:
        replace_file(path, [json.dumps(told, separators=(",", ":")).encode()], PRIVATE_MODE)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}") from None
    click.echo(f"{len(told['samples'])} samples in {path}")
