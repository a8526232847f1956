"""From a source to a signed package: the transfer and its entry for a program document, in a folder of their own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from bundle.archive import Entry, measure_archive, write_archive
from bundle.file import replace_file
from bundle.manifest import MANIFEST_NAME, describe_full, write_manifest
from bundle.refinement import name_transfer
from bundle.seal import make_seal_key
from bundle.source import open_source
from bundle.transfer import DEFAULT_LEVEL, Digest, Progress, compress, report

if TYPE_CHECKING:
    from trust import PackageClaim, Signer

# Where the edge serves a transfer from its store.
URL_PREFIX = "/v1/files/"
# So called until its digest is known.
_UNNAMED = ".transfer"


@dataclass(frozen=True, slots=True)
class PackedPackage:
    """What was packed and where it lies; the claim has size and SHA-256 of the tar, `moved` those of the transfer."""

    folder: Path
    claim: "PackageClaim"
    signature: str
    files: int
    moved: Digest
    key: str = field(default="", repr=False)

    @property
    def transfer_size(self) -> int:
        """How many bytes there are to move."""
        return self.moved.size

    @property
    def transfer_sha256(self) -> str:
        """The SHA-256 of the bytes to move."""
        return self.moved.sha256

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
    keys: "Sequence[Signer]",
    level: int = DEFAULT_LEVEL,
    seal: bool = False,
    permissions: Mapping[str, Any] = MappingProxyType({}),
    progress: Progress | None = None,
) -> PackedPackage:
    """Packs a folder, .zip, .tar or .tgz into `out`, in flat memory, and signs what came out.

    The same tree and level give the same bytes, whatever the order, times and owners of its files, unless it is sealed.

    Args:
        source: what to pack.
        out: a folder, made if absent, for `package.json` and the transfer.
        workspace: the workspace that the package is for.
        program: 16 or 8 digits.
        version: 1 to 4 numeric parts.
        keys: the packagers', each of which signs.
        level: of zstd, 1 to 22.
        seal: whether the transfer is encrypted, with a new key that stands in `package.json`.
        permissions: what the program may do, signed with it.
        progress: called with (bytes done, bytes in all) of the tar.

    Raises:
        SourceError, EntryError: the source cannot be packed.
        TransferError: the level is out of bounds.
        ClaimError, SignatureError: workspace, program, version or the number of keys is not allowed; told before the
            long work.
    """
    # Only here: a device, which unpacks alone, is spared the 20 MB that a JOSE library takes.
    from trust import PackageClaim, sign_package  # noqa: PLC0415 - as above

    claim = PackageClaim(
        workspace=workspace,
        program=program,
        version=version,
        sha256="0" * 64,
        size=1,
        permissions=dict(permissions),
    )
    sign_package(claim, *keys)
    out.mkdir(parents=True, exist_ok=True)
    with open_source(source, out) as plan:
        tar = _write_transfer(plan, out, level, progress)
    key = make_seal_key() if seal else ""
    moved = name_transfer(out / _UNNAMED, out, key)
    claim = msgspec.structs.replace(claim, sha256=tar.sha256, size=tar.size)
    packed = PackedPackage(out, claim, sign_package(claim, *keys), len(plan), moved, key)
    write_manifest(out, _describe(packed, level))
    return packed


def _write_transfer(plan: Sequence[Entry], out: Path, level: int, progress: Progress | None) -> Digest:
    tar, size = Digest(), measure_archive(plan)
    chunks = report(tar.watch(write_archive(plan)), size, progress)
    replace_file(out / _UNNAMED, compress(chunks, size, level))
    return tar


def _describe(packed: PackedPackage, level: int) -> dict[str, Any]:
    package = {
        "sha256": packed.claim.sha256,
        "size": packed.claim.size,
        "signature": packed.signature,
        "permissions": packed.claim.permissions,
        "transfers": [describe_full(packed.moved, URL_PREFIX + packed.moved.sha256)],
        "download": "any",
        "install": "open",
        "extra": {},
    } | ({"key": packed.key} if packed.key else {})
    return {"program": packed.claim.program, "version": packed.claim.version, "level": level, "package": package}
