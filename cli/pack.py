"""`graywave pack`: from a folder or an archive to a signed package."""

import json
from functools import partial
from pathlib import Path

import click

from bundle import BundleError
from bundle.pack import pack as pack_source
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.progress import make_progress
from trust import ClaimError, PrivateKey, TrustError, read_root


@click.command(short_help="Make a signed package of a folder or archive.")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--program", required=True, help="The program's id: 16 digits, 8 for an H5 app.")
@click.option("--version", required=True, help="1 to 4 numeric parts, such as 1.2.0.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: dist/PROGRAM-VERSION]")
@click.option("--keys", "folder", type=click.Path(path_type=Path), help="Folder of package.key.  [default: DATA/keys]")
@click.option("--level", default=19, show_default=True, type=click.IntRange(1, 22), help="How hard zstd tries.")
@take_json
@take_home
def pack(  # noqa: PLR0913, PLR0917 - a command's options
    source: Path, program: str, version: str, out: Path | None, folder: Path | None, level: int, home: Home, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Pack SOURCE (a folder, .zip, .tgz or .tar), sign it, and write it to a folder.

    The same files give the same bytes, whatever their order, times and owners.
    """
    out = out or Path("dist") / f"{program}-{version}"
    described = pack_with_keys(source, out, program, version, folder or home.keys, level=level)
    if as_json:
        click.echo(json.dumps(described))
        return
    click.echo(f"{described['files']} files, {described['size']} bytes, {described['transfer_size']} to move")
    click.echo(f"sha256 {described['sha256']}")
    click.echo(f"packed {out}")


def pack_with_keys(  # noqa: PLR0913 - what a package is
    source: Path, out: Path, program: str, version: str, keys: Path, *, level: int
) -> dict[str, str | int]:
    """Packs a source with the package key in the folder `keys`, showing progress; returns what came out.

    Raises:
        CommandError: the key cannot be read or the source not packed.
    """
    try:
        key = PrivateKey.from_json((keys / "package.key").read_bytes())
        workspace = read_root((keys / "root.json").read_bytes()).workspace
    except (OSError, TrustError) as error:
        message = f"cannot use the keys in {keys}: {error} (make some: graywave keys new)"
        raise CommandError(message, Exit.USAGE) from None
    show = make_progress()
    progress = partial(show, "packing") if show else None
    try:
        packed = pack_source(
            source, out, workspace=workspace, program=program, version=version, key=key, level=level, progress=progress
        )
    except ClaimError as error:
        raise CommandError(str(error), Exit.USAGE) from None
    except (BundleError, OSError) as error:
        said = str(error)  # of a file within, which may be named without the source
        raise CommandError(said if said.startswith(str(source)) else f"{source}: {said}") from None
    return {
        "folder": str(out),
        "program": program,
        "version": version,
        "files": packed.files,
        "size": packed.claim.size,
        "sha256": packed.claim.sha256,
        "transfer_size": packed.transfer_size,
        "transfer_sha256": packed.transfer_sha256,
    }
