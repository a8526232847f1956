"""The package format: from a folder to signed, compressed, verifiable bytes, and back."""

from bundle.archive import Entry, Member, measure_archive, plan_archive, read_archive, write_archive
from bundle.errors import ArchiveError, BundleError, EntryError, SourceError, StoreError, TransferError
from bundle.extract import extract
from bundle.file import read_chunks, replace_file, sync
from bundle.pack import PackedPackage, pack
from bundle.source import open_source
from bundle.store import LocalStore
from bundle.transfer import compress, decompress, verify_bytes

__all__ = [
    "ArchiveError",
    "BundleError",
    "Entry",
    "EntryError",
    "LocalStore",
    "Member",
    "PackedPackage",
    "SourceError",
    "StoreError",
    "TransferError",
    "compress",
    "decompress",
    "extract",
    "measure_archive",
    "open_source",
    "pack",
    "plan_archive",
    "read_archive",
    "read_chunks",
    "replace_file",
    "sync",
    "verify_bytes",
    "write_archive",
]
