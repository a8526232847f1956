"""package.json: read as far as it matters, refused where it could mislead, written for its owner where it has a key."""

import json
import stat
from pathlib import Path
from typing import Any

import pytest

from bundle import Digest, SourceError
from bundle.archive import MAX_ARCHIVE_BYTES
from bundle.manifest import (
    MAX_TRANSFERS,
    describe_delta,
    describe_full,
    merge_transfers,
    read_manifest,
    read_package,
    write_manifest,
)

KEY = "AGE-SECRET-KEY-1" + "Q" * 58
FULL: dict[str, Any] = {"format": "zstd", "url": "/v1/files/1", "size": 5, "sha256": "7f" * 32}
ENTRY: dict[str, Any] = {"sha256": "5e" * 32, "size": 9, "signature": "s", "transfers": [FULL], "extra": {"a": 1}}
MANIFEST: dict[str, Any] = {"program": "2021000000000001", "version": "1.1.0", "level": 19, "package": ENTRY}


def make_delta(version: str, name: str = "new") -> dict[str, Any]:
    return {
        "format": "dcz", "from": version, "from_sha256": version.rjust(64, "0"), "url": name, "size": 1,
        "sha256": "a" * 64,
    }  # fmt: skip


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """All members come back, also those that are not known."""
    write_manifest(tmp_path, MANIFEST | {"more": [1]})
    assert read_manifest(tmp_path) == MANIFEST | {"more": [1]}
    assert stat.S_IMODE((tmp_path / "package.json").stat().st_mode) == 0o644


def test_a_key_is_its_owner_s(tmp_path: Path) -> None:
    """Nobody else reads a package.json with a key, also one that took the place of an open one."""
    write_manifest(tmp_path, MANIFEST)
    write_manifest(tmp_path, MANIFEST | {"package": ENTRY | {"key": KEY}})
    assert stat.S_IMODE((tmp_path / "package.json").stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        None,
        "{",
        "[]",
        "{}",
        "[" * 100_000,
        MANIFEST | {"version": 1},
        MANIFEST | {"version": "one"},
        MANIFEST | {"program": "../../x"},
        MANIFEST | {"package": ENTRY | {"size": MAX_ARCHIVE_BYTES + 1}},
        MANIFEST | {"package": ENTRY | {"transfers": []}},
        MANIFEST | {"package": ENTRY | {"transfers": [FULL | {"sha256": "../../../../etc/passwd"}]}},
        MANIFEST | {"package": ENTRY | {"transfers": [FULL | {"format": "tgz"}]}},
        MANIFEST | {"package": ENTRY | {"transfers": [make_delta("1")]}},
        MANIFEST | {"package": ENTRY | {"transfers": [FULL] * 17}},
        MANIFEST | {"package": {"sha256": "5e" * 32}},
    ],
)
def test_what_pack_did_not_write(tmp_path: Path, change: object) -> None:
    """A folder of another kind is named; a digest that is a path opens nothing."""
    if change is not None:
        (tmp_path / "package.json").write_text(change if isinstance(change, str) else json.dumps(change))
    with pytest.raises(SourceError) as caught:
        read_manifest(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: expected a folder that graywave pack wrote: ")


def test_an_entry_is_read() -> None:
    """The full transfer is found wherever it stands; a key that is absent is none."""
    package = read_package(ENTRY | {"transfers": [make_delta("1.0"), FULL]})
    assert (package.sha256, package.size, package.key) == ("5e" * 32, 9, "")
    assert (package.full.sha256, package.full.size) == ("7f" * 32, 5)
    assert [transfer.from_version for transfer in package.transfers] == ["1.0", ""]


def test_a_key_does_not_show() -> None:
    """A package that is printed does not tell its key, nor does an error about its entry."""
    assert KEY not in repr(read_package(ENTRY | {"key": KEY}))
    with pytest.raises(SourceError) as caught:
        read_package(ENTRY | {"key": KEY, "size": KEY})
    assert KEY not in str(caught.value)


def test_transfers_are_described() -> None:
    """Transfers have the members of a document."""
    digest = Digest()
    assert list(digest.watch([b"abc"])) == [b"abc"]
    full = describe_full(digest, "/v1/files/x")
    assert full == {"format": "zstd", "url": "/v1/files/x", "size": 3, "sha256": digest.sha256}
    delta = describe_delta(digest, "/v1/files/x", "1.0", "5e" * 32)
    assert delta == full | {"format": "dcz", "from": "1.0", "from_sha256": "5e" * 32}


def test_more_transfers_take_their_places() -> None:
    """A new full transfer replaces the full one, a new delta the one from the same tar; others stay behind them."""
    known = [FULL, make_delta("1"), make_delta("2")]
    more = [make_delta("3"), make_delta("2", "newer"), FULL | {"url": "smaller"}]
    merged = merge_transfers(known, more)
    assert [transfer["url"] for transfer in merged] == ["smaller", "new", "newer", "new"]
    assert [transfer.get("from") for transfer in merged] == [None, "3", "2", "1"]


def test_no_more_transfers_than_a_document_takes() -> None:
    """The last of the known deltas make room; the full transfer never does."""
    known = [*(make_delta(str(number)) for number in range(15)), FULL]
    merged = merge_transfers(known, [make_delta("99")])
    assert len(merged) == MAX_TRANSFERS
    assert [transfer.get("from") for transfer in merged] == [None, "99", *map(str, range(14))]
