"""From a source to a signed package: the transfer and its entry for a program document, in a folder of their own."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import msgspec

from bundle.archive import Entry, measure_archive, write_archive
from bundle.file import replace_file
from bundle.source import open_source
from bundle.transfer import DEFAULT_LEVEL, Digest, compress
from trust import PackageClaim, PrivateKey, sign_package

MANIFEST_NAME = "package.json"
# Where the edge serves a transfer from its store.
URL_PREFIX = "/v1/files/"
# So called until its digest is known.
_UNNAMED = ".transfer"

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class PackedPackage:
    """What was packed and where it lies; the claim has the size and SHA-256 of the tar."""

    folder: Path
    claim: PackageClaim
    signature: str
    files: int
    transfer_size: int
    transfer_sha256: str

    @property
    def transfer(self) -> Path:
        """The compressed package, named by its SHA-256."""
        return self.folder / self.transfer_sha256

    @property
    def manifest(self) -> Path:
        """package.json: program, version, and the entry for `packages` of the program's document."""
        return self.folder / MANIFEST_NAME


def pack(  # noqa: PLR0913, what a package is: each is a word of the claim
    source: Path,
    out: Path,
    *,
    workspace: str,
    program: str,
    version: str,
    key: PrivateKey,
    level: int = DEFAULT_LEVEL,
    permissions: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress | None = None,
) -> PackedPackage:
    """Packs a folder, .zip, .tar or .tgz into `out`, in flat memory, and signs what came out.

    The same tree, key and level give the same bytes, whatever the order, times and owners of its files.

    Args:
        source: what to pack.
        out: a folder, made if absent, for `package.json` and the transfer.
        workspace: the workspace that the package is for.
        program: 16 or 8 digits.
        version: 1 to 4 numeric parts.
        key: the packager's.
        level: of zstd, 1 to 22.
        permissions: what the program may do, signed with it.
        progress: called with (bytes done, bytes in all) of the tar.

    Raises:
        SourceError, EntryError: the source cannot be packed.
        TransferError: the level is out of bounds.
        ClaimError: workspace, program or version is malformed; told before the long work.
    """
    claim = PackageClaim(
        workspace=workspace,
        program=program,
        version=version,
        sha256="0" * 64,
        size=1,
        permissions=dict(permissions),
    )
    sign_package(claim, key)
    out.mkdir(parents=True, exist_ok=True)
    with open_source(source, out) as plan:
        tar, moved = _write_transfer(plan, out, level, progress)
    claim = msgspec.structs.replace(claim, sha256=tar.sha256, size=tar.size)
    packed = PackedPackage(out, claim, sign_package(claim, key), len(plan), moved.size, moved.sha256)
    replace_file(packed.manifest, [_encode_manifest(packed)])
    return packed


def _write_transfer(plan: Sequence[Entry], out: Path, level: int, progress: Progress | None) -> tuple[Digest, Digest]:
    tar, moved, size = Digest(), Digest(), measure_archive(plan)
    chunks = _report(tar.watch(write_archive(plan)), size, progress)
    replace_file(out / _UNNAMED, moved.watch(compress(chunks, size, level)))
    (out / _UNNAMED).replace(out / moved.sha256)
    return tar, moved


def _report(chunks: Iterable[bytes], total: int, progress: Progress | None) -> Iterator[bytes]:
    done = 0
    for chunk in chunks:
        yield chunk
        done += len(chunk)
        if progress:
            progress(done, total)


def _encode_manifest(packed: PackedPackage) -> bytes:
    transfer = {
        "format": "zstd",
        "url": URL_PREFIX + packed.transfer_sha256,
        "size": packed.transfer_size,
        "sha256": packed.transfer_sha256,
    }
    package = {
        "sha256": packed.claim.sha256,
        "size": packed.claim.size,
        "signature": packed.signature,
        "permissions": packed.claim.permissions,
        "transfers": [transfer],
        "download": "any",
        "install": "open",
        "extra": {},
    }
    manifest = {"program": packed.claim.program, "version": packed.claim.version, "package": package}
    return msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
