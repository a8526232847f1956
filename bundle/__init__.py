"""The package format: from a folder to signed, compressed, verifiable bytes, and back."""

from bundle.archive import Entry, Member, measure_archive, plan_archive, read_archive, write_archive
from bundle.delta import apply_delta, make_delta, read_base
from bundle.errors import ArchiveError, BundleError, EntryError, SealError, SourceError, StoreError, TransferError
from bundle.extract import extract
from bundle.file import read_chunks, replace_file, sync
from bundle.pack import PackedPackage, pack
from bundle.seal import make_seal_key, seal, unseal
from bundle.source import open_source
from bundle.store import LocalStore, Store, StoredFile, open_store
from bundle.transfer import QUICK_LEVEL, STRONG_LEVEL, Digest, compress, decompress, measure_file, verify_bytes

__all__ = [
    "QUICK_LEVEL",
    "STRONG_LEVEL",
    "ArchiveError",
    "BundleError",
    "Digest",
    "Entry",
    "EntryError",
    "LocalStore",
    "Member",
    "PackedPackage",
    "SealError",
    "SourceError",
    "Store",
    "StoreError",
    "StoredFile",
    "TransferError",
    "apply_delta",
    "compress",
    "decompress",
    "extract",
    "make_delta",
    "make_seal_key",
    "measure_archive",
    "measure_file",
    "open_source",
    "open_store",
    "pack",
    "plan_archive",
    "read_archive",
    "read_base",
    "read_chunks",
    "replace_file",
    "seal",
    "sync",
    "unseal",
    "verify_bytes",
    "write_archive",
]
