"""`graywave reseal`: a new key for a package after its old one has leaked; the package itself stays what it is."""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import click

from bundle import BundleError, Store, make_seal_key, replace_file
from bundle.manifest import describe_full, read_package
from bundle.refinement import reseal as reseal_file
from cli.exit import CommandError, Exit
from cli.home import Home, take_home, take_json
from cli.publishing import open_publisher
from cli.refine import find_version, open_files, publish_change, read_document, take_publisher, take_store


@click.command(short_help="Encrypt a package with a new key, after a leak.")
@click.argument("program")
@click.argument("version")
@take_store
@take_publisher
@take_json
@take_home
def reseal(
    program: str, version: str, address: str | None, url: str | None, token_file: Path | None, home: Home, *,
    as_json: bool,
) -> None:  # fmt: skip
    """Encrypt VERSION of PROGRAM with a new key, and publish that.

    Its bytes, digest and signature stay. Whoever has the old key still opens the old files: remove them from the store
    (graywave gc) and from the CDN.
    """
    store, publisher = open_files(address, home), open_publisher(home, url, token_file)
    document = read_document(publisher, program)
    name = find_version(document, version)
    seen = document["packages"][name]
    if not seen.get("key"):
        raise CommandError(f"version {name} of {program} is not sealed: there is no key to change", Exit.REFUSED)
    try:
        sealed = seal_anew(seen, store)
    except (BundleError, OSError) as error:
        raise CommandError(f"{name} of {program}: {error}") from None
    answer = publish_change(publisher, program, partial(replace_package, version=name, seen=seen, entry=sealed))
    old = [transfer["sha256"] for transfer in seen["transfers"]]
    told = {"program": program, "version": name, "revision": answer.body["revision"], "old_files": old}
    if as_json:
        click.echo(json.dumps(told))
        return
    click.echo(f"sealed {len(old)} files of {name} of {program} anew, revision {told['revision']}")
    click.echo("\n".join(["the leaked key still opens these:", *old]))


def seal_anew(entry: dict[str, Any], store: Store) -> dict[str, Any]:
    """Returns a package's entry with a new key, and with transfers that are sealed with it and in the store.

    Raises:
        BundleError: a transfer cannot be read, or the key does not open it, or the store not written.
        OSError: there is no room for a transfer.
    """
    key, transfers = make_seal_key(), []
    read_package(entry)
    with tempfile.TemporaryDirectory() as folder:
        old = Path(folder) / "old"
        for transfer in entry["transfers"]:
            replace_file(old, store.read(transfer["sha256"]))
            digest = reseal_file(old, Path(folder), entry["key"], key)
            store.put(Path(folder) / digest.sha256)
            (Path(folder) / digest.sha256).unlink()
            moved = describe_full(digest, store.url(digest.sha256))
            transfers.append(transfer | moved | {"format": transfer["format"]})
    return entry | {"key": key, "transfers": transfers}


def replace_package(
    document: dict[str, Any], version: str, seen: dict[str, Any], entry: dict[str, Any]
) -> dict[str, Any]:
    """Returns a document with another entry for a version; CommandError where it is not the one that was seen."""
    if document["packages"].get(version) != seen:
        message = f"version {version} of {document['program']} was changed meanwhile: start again"
        raise CommandError(message, Exit.REFUSED)
    return document | {"packages": document["packages"] | {version: entry}}
