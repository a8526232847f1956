"""`graywave client`: client.json, which a host app ships: a workspace's addresses and defaults, signed by root keys.

What it says is the SDK's to read (`container.config`); here it is only put together, and read once as a device would.
"""

import json
import re
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Literal

import click
import msgspec
from msgspec import Meta

from bundle import BundleError, replace_file
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from container import ConfigError, read_config
from container.config import MAX_ROOTS
from custody import CustodyError, open_signer
from trust import (
    ClientClaim,
    ClientDefaults,
    Root,
    Signer,
    TrustError,
    add_signature,
    follow_roots,
    read_root,
    sign_client,
)

ROOT_FILE = re.compile(r"root(\.[0-9]+)?\.json")
KEY_FILES = "root*.key"


class _Form(msgspec.Struct, forbid_unknown_fields=True):
    format: Literal[1]
    roots: Annotated[list[msgspec.Raw], Meta(min_length=1)]
    client: str


def make_client(claim: ClientClaim, roots: Sequence[bytes], signers: Iterable[Signer]) -> bytes:
    """Returns client.json: the claim under the signers' signatures, and the root documents, the pinned one first.

    Raises:
        TrustError: the claim is out of its bounds, or there is no signer.
        ConfigError: a device would not believe it: its last root wants other signers or more, or the chain has a gap.
    """
    data = _encode(roots, sign_client(claim, *signers))
    read_config(data)  # nothing is handed out that would not be read
    return data


def read_chain(folder: Path) -> tuple[list[bytes], Root]:
    """Returns the root documents in a folder, the oldest first, and what the last says: root.json and root.<n>.json.

    Of more than MAX_ROOTS the newest: a host app that is shipped now may pin any of them.

    Raises:
        CommandError: there is none, one cannot be read, two have the same number, or one does not follow.
    """
    found: dict[int, bytes] = {}
    for path in sorted(path for path in folder.glob("*.json") if ROOT_FILE.fullmatch(path.name)):
        try:
            document = path.read_bytes()
            number = read_root(document).number
        except (OSError, TrustError) as error:
            raise CommandError(f"{path}: expected a root document that can be read: {error}", Exit.USAGE) from None
        if found.setdefault(number, document) != document:
            raise CommandError(f"{path}: expected one root document number {number} in {folder}, got two", Exit.USAGE)
    if not found:
        raise CommandError(f"{folder}: expected root.json, got none (make keys: graywave keys new)", Exit.USAGE)
    chain = [found[number] for number in sorted(found)][-MAX_ROOTS:]
    try:
        return chain, follow_roots(read_root(chain[0]), chain[1:])
    except TrustError as error:
        raise CommandError(f"{folder}: expected root documents that follow each other: {error}", Exit.USAGE) from None


def open_signers(folder: Path, addresses: Sequence[str], root: Root) -> list[Signer]:
    """Returns the signers at these addresses; without any, the folder's root*.key files that the root knows.

    Raises:
        CommandError: there is none, one cannot be used, or is none of the root's keys.
    """
    known = root.role("root").keys
    try:
        if addresses:
            signers = [open_signer(address) for address in addresses]
        else:  # those of former roots may lie there, too
            found = [open_signer(f"file:{path}") for path in sorted(folder.glob(KEY_FILES))]
            signers = [signer for signer in found if signer.public.kid in known]
    except CustodyError as error:
        raise CommandError(f"cannot use a root key: {error}", Exit.USAGE) from None
    if not signers:
        message = f"expected a root key of root {root.number} in {folder}, got none: name it with --root-key"
        raise CommandError(message, Exit.USAGE)
    strangers = [signer.public.kid for signer in signers if signer.public.kid not in known]
    if strangers:
        message = f"expected root keys of root {root.number} ({', '.join(known)}), got {strangers[0]}"
        raise CommandError(message, Exit.USAGE)
    return signers


@click.command(short_help="Make the signed client.json that a host app ships.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="File to write.")
@click.option("--edge", "edges", multiple=True, metavar="URL", help="Address of an edge; several times for several.")
@click.option("--domain", default="", metavar="HOST", help="Programs have their origins under it: https://ID.HOST.")
@click.option("--program", "programs", multiple=True, metavar="ID", help="To be had from the first update on; several.")
@click.option("--poll-after", default=ClientDefaults().poll_after, show_default=True, type=click.IntRange(0, 86_400),
              help="Seconds between checks until an edge has said.")  # fmt: skip
@click.option("--sign", "signed", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Add signatures to a file instead: for root keys that are kept apart.")  # fmt: skip
@click.option("--root-key", "addresses", multiple=True, metavar="ADDRESS",
              help="File, env:NAME or pkcs11: URI of a root key; several.  [default: DIR/root*.key]")  # fmt: skip
@click.option("--keys", "folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Folder of root.json and its successors, root.<n>.json.  [default: DATA/keys]")  # fmt: skip
@take_json
@take_home
def client(
    out: Path | None, edges: tuple[str, ...], domain: str, programs: tuple[str, ...], poll_after: int,
    signed: Path | None, addresses: tuple[str, ...], folder: Path | None, home: Home, *, as_json: bool,
) -> None:  # fmt: skip
    """Make a client.json: where a workspace's edges are and whom to believe, signed by its root keys.

    A container started from that file alone installs the programs named in it and keeps them up to date. Another file
    in the same app is another environment: each workspace has a folder of its own on the device.
    """
    folder = folder or home.keys
    if signed is not None:
        target, data = signed, _sign_more(signed, folder, addresses)
    elif out is None or not edges:
        raise CommandError("expected --edge and --out, or --sign with a file that was made so", Exit.USAGE)
    else:
        defaults = ClientDefaults(poll_after=poll_after, programs=programs)
        target, data = out, _make(edges, domain, defaults, folder, addresses)
    _write(target, data)
    missing = _find_missing(data)
    if as_json:
        click.echo(json.dumps({"file": str(target), "missing": missing}))
    elif missing:
        click.echo(f"{target} is not believed yet: {missing}")
        click.echo(f"add the other root keys: graywave client --sign {target} --root-key ADDRESS")
    else:
        click.echo(f"signed {target}")


def _make(
    edges: tuple[str, ...], domain: str, defaults: ClientDefaults, folder: Path, addresses: tuple[str, ...]
) -> bytes:
    chain, root = read_chain(folder)
    now = int(time.time())
    if now >= root.expires:
        raise CommandError(f"expected a root that has not expired in {folder}, got root {root.number}", Exit.USAGE)
    signers = open_signers(folder, addresses, root)
    try:
        claim = ClientClaim(workspace=root.workspace, issued=now, edges=edges, domain=domain, defaults=defaults)
        return _encode(chain, sign_client(claim, *signers))
    except (TrustError, ValueError) as error:
        raise CommandError(f"cannot make a client configuration: {error}", Exit.USAGE) from None


def _sign_more(file: Path, folder: Path, addresses: tuple[str, ...]) -> bytes:
    try:
        form = msgspec.json.decode(file.read_bytes(), type=_Form)
        documents = [bytes(document) for document in form.roots]
        root = follow_roots(read_root(documents[0]), documents[1:])
        token = form.client
        for signer in open_signers(folder, addresses, root):
            token = add_signature(token, signer)
    except (OSError, ValueError, TrustError) as error:
        raise CommandError(f"{file}: cannot be signed: {error}", Exit.USAGE) from None
    return _encode(documents, token)


def _encode(roots: Sequence[bytes], token: str) -> bytes:
    return msgspec.json.encode(_Form(1, [msgspec.Raw(document) for document in roots], token)) + b"\n"


def _find_missing(data: bytes) -> str:
    """What a device would say against it; nothing if it would believe it."""
    try:
        read_config(data)
    except ConfigError as error:
        return str(error)
    return ""


def _write(target: Path, data: bytes) -> None:
    try:
        replace_file(target, [data])
    except (OSError, BundleError) as error:
        raise CommandError(f"cannot write {target}: {error}") from None
