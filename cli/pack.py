"""`graywave pack`: from a folder or an archive to a signed package."""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import click

from bundle import BundleError
from bundle.pack import pack as pack_source
from bundle.transfer import MAX_LEVEL, QUICK_LEVEL, STRONG_LEVEL
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.progress import make_progress
from custody import CustodyError, open_signer
from trust import ClaimError, Root, SignatureError, Signer, TrustError, read_root

LEVELS: Final = {"quick": QUICK_LEVEL, "strong": STRONG_LEVEL}


def read_level(text: str) -> int:
    """Returns the level of zstd that a word or a number stands for.

    Raises:
        CommandError: it is none.
    """
    if text in LEVELS:
        return LEVELS[text]
    if text.isascii() and text.isdigit() and 1 <= int(text[:4]) <= MAX_LEVEL:
        return int(text)
    raise CommandError(f"expected --level quick, strong or 1 to {MAX_LEVEL}, got {text!r}", Exit.USAGE)


def _take_level(_ctx: click.Context, _param: click.Parameter, text: str) -> int:
    return read_level(text)


@click.command(short_help="Make a signed package of a folder or archive.")
@click.argument("source", type=click.Path(path_type=Path, exists=True))
@click.option("--program", required=True, help="The program's id: 16 digits, 8 for an H5 app.")
@click.option("--version", required=True, help="1 to 4 numeric parts, such as 1.2.0.")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to write.  [default: dist/PROGRAM-VERSION]")
@click.option("--keys", "folder", type=click.Path(path_type=Path), help="Folder of package.key.  [default: DATA/keys]")
@click.option("--key", "addresses", multiple=True, metavar="ADDRESS", help="Sign with this key; several for several.")
@click.option("--workspace", help="The workspace that the package is for.  [default: that of root.json in --keys]")
@click.option(
    "--level", default="strong", show_default=True, callback=_take_level, metavar="[quick|strong|1-22]",
    help="How hard zstd tries; what was packed quick is made smaller after its release.",
)  # fmt: skip
@click.option("--seal", is_flag=True, help="Encrypt it: only devices that a release covers are told the key.")
@take_json
@take_home
def pack(
    source: Path, program: str, version: str, out: Path | None, folder: Path | None, addresses: tuple[str, ...],
    workspace: str | None, level: int, home: Home, *, seal: bool, as_json: bool,
) -> None:  # fmt: skip
    """Pack SOURCE (a folder, .zip, .tgz or .tar), sign it, and write it to a folder.

    The same files give the same bytes, whatever their order, times and owners; a sealed package differs each time. A
    key's ADDRESS is a file, env:NAME of a variable, or a pkcs11: URI.
    """
    out = out or Path("dist") / f"{program}-{version}"
    folder = folder or home.keys
    keys = [_open_key(address) for address in addresses] or [_open_folder(folder)]
    described = _pack(source, out, program, version, workspace or _read_root(folder).workspace, keys, level, seal=seal)
    if as_json:
        click.echo(json.dumps(described))
        return
    click.echo(f"{described['files']} files, {described['size']} bytes, {described['transfer_size']} to move")
    click.echo(f"sha256 {described['sha256']}")
    click.echo(f"packed {out}{', sealed: its package.json holds the key' if seal else ''}")


def pack_with_keys(source: Path, out: Path, program: str, version: str, keys: Path, *, level: int) -> dict[str, Any]:
    """Packs a source with the package key in the folder `keys`, showing progress; returns what came out.

    Raises:
        CommandError: the key cannot be read or the source not packed.
    """
    return _pack(source, out, program, version, _read_root(keys).workspace, [_open_folder(keys)], level, seal=False)


def _open_key(address: str) -> Signer:
    try:
        return open_signer(address)
    except CustodyError as error:
        raise CommandError(f"cannot use the key: {error}", Exit.USAGE) from None


def _open_folder(folder: Path) -> Signer:
    try:
        signer = open_signer(str(folder / "package.key"))
    except CustodyError as error:
        raise _refuse_keys(folder, error) from None
    root = _read_root(folder)
    if signer.public.kid not in root.keys("package"):
        message = f"expected a package key of root {root.number} as package.key, got {signer.public.kid}, which is none"
        raise CommandError(f"{folder}: {message} (name another with --key)", Exit.USAGE)
    return signer


def _read_root(folder: Path) -> Root:
    try:
        return read_root((folder / "root.json").read_bytes())
    except (OSError, TrustError) as error:
        raise _refuse_keys(folder, error) from None


def _refuse_keys(folder: Path, error: Exception) -> CommandError:
    return CommandError(f"cannot use the keys in {folder}: {error} (make some: graywave keys new)", Exit.USAGE)


def _pack(
    source: Path, out: Path, program: str, version: str, workspace: str, keys: Sequence[Signer], level: int, *,
    seal: bool,
) -> dict[str, Any]:  # fmt: skip
    show = make_progress()
    progress = partial(show, "packing") if show else None
    try:
        packed = pack_source(
            source, out, workspace=workspace, program=program, version=version, keys=keys, level=level, seal=seal,
            progress=progress,
        )  # fmt: skip
    except (ClaimError, SignatureError) as error:
        raise CommandError(str(error), Exit.USAGE) from None
    except (BundleError, CustodyError, OSError) as error:
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
        "sealed": seal,
    }
