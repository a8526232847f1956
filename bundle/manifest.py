"""package.json: what is known of a packed package, as an entry for its program's document; read, changed, written.

The file lies in a folder with the transfers that it names, each a file named by its SHA-256.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from bundle.archive import MAX_ARCHIVE_BYTES
from bundle.errors import SourceError
from bundle.file import READABLE, replace_file
from bundle.transfer import Digest

MANIFEST_NAME: Final = "package.json"
# What a document may have of a package: the full transfer and so many deltas.
MAX_TRANSFERS: Final = 16
# Only its owner may read what holds a key.
_SECRET: Final = 0o600

# \Z and not $, which lets a newline follow; a digest that is none could name a file outside of the folder.
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Program = Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,5}(\.[0-9]{1,5}){0,3}\Z")]
Size = Annotated[int, Meta(ge=1)]
# A file of a few kilobytes may unpack to as much as its entry says: a stranger's would fill the disk.
TarSize = Annotated[int, Meta(ge=1, le=MAX_ARCHIVE_BYTES)]


class Transfer(msgspec.Struct, frozen=True, rename={"from_version": "from"}):
    """A way to move a package: `zstd` whole, or `dcz` from the tar `from_sha256`."""

    format: Literal["zstd", "dcz"]
    sha256: Sha256
    size: Size
    from_version: str = ""
    from_sha256: str = ""


class Package(msgspec.Struct, frozen=True):
    """What of a package's entry matters for moving it; `sha256` and `size` are the tar's. It has one full transfer."""

    sha256: Sha256
    size: TarSize
    transfers: Annotated[tuple[Transfer, ...], Meta(min_length=1, max_length=MAX_TRANSFERS)]
    key: str = ""

    def __post_init__(self) -> None:
        if not any(transfer.format == "zstd" for transfer in self.transfers):
            raise ValueError("expected a full transfer, got deltas alone")

    @property
    def full(self) -> Transfer:
        """The transfer that needs nothing on the device."""
        return next(transfer for transfer in self.transfers if transfer.format == "zstd")

    def __repr__(self) -> str:
        return f"Package(sha256={self.sha256!r})"  # and not its key


class _Manifest(msgspec.Struct):
    program: Program
    version: Version
    package: Package
    level: int = 0


def read_package(entry: object) -> Package:
    """Returns what an entry of `packages` says.

    Raises:
        SourceError: it is none, or has no full transfer.
    """
    try:
        return msgspec.convert(entry, Package)
    except msgspec.ValidationError as error:
        raise SourceError(f"expected an entry of a package: {error}") from None


def read_manifest(folder: Path) -> dict[str, Any]:
    """Returns package.json of a folder that `pack` wrote, with all its members.

    Raises:
        SourceError: there is none, or it is not what `pack` writes.
    """
    try:
        text = (folder / MANIFEST_NAME).read_bytes()
        msgspec.json.decode(text, type=_Manifest)
        manifest: dict[str, Any] = msgspec.json.decode(text)
    except (OSError, ValueError, RecursionError) as error:
        raise SourceError(f"{folder}: expected a folder that graywave pack wrote: {error}") from None
    return manifest


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Writes package.json, for its owner alone where it holds a key."""
    text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
    replace_file(folder / MANIFEST_NAME, [text], _SECRET if manifest["package"].get("key") else READABLE)


def describe_full(digest: Digest, url: str) -> dict[str, Any]:
    """Returns a full transfer as a document has it."""
    return {"format": "zstd", "url": url, "size": digest.size, "sha256": digest.sha256}


def describe_delta(digest: Digest, url: str, version: str, sha256: str) -> dict[str, Any]:
    """Returns a delta from the tar `sha256` of a version as a document has it."""
    return {"format": "dcz", "from": version, "from_sha256": sha256} | {
        name: value for name, value in describe_full(digest, url).items() if name != "format"
    }


def merge_transfers(known: Sequence[dict[str, Any]], more: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns the transfers of an entry with `more` of them, each in place of the one that starts where it starts.

    The full one comes first, then the deltas of `more`, then the others, as many as a document may have.
    """
    found: dict[str, dict[str, Any]] = {}
    for transfer in (*more, *known):
        found.setdefault(transfer.get("from_sha256", ""), transfer)
    return sorted(found.values(), key=lambda transfer: transfer["format"] != "zstd")[:MAX_TRANSFERS]
