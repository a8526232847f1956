"""Unpacking: a new folder with exactly what the archive holds, or an error."""

from pathlib import Path

import pytest

from bundle import ArchiveError, Entry, StoreError, extract, plan_archive, write_archive


def archive(**files: bytes) -> bytes:
    entries = [Entry(name, len(body), name == "run", lambda body=body: iter([body])) for name, body in files.items()]
    return b"".join(write_archive(plan_archive(entries)))


def test_files_get_content_and_mode(tmp_path: Path) -> None:
    """Each file has its content, and mode 0644, or 0755 where it may be executed."""
    assert extract([archive(run=b"#!", **{"a/b": b"x"})], tmp_path / "new") == 2
    found = {path.name: (path.read_bytes(), path.stat().st_mode & 0o777) for path in (tmp_path / "new").rglob("*[!a]")}
    assert found == {"run": (b"#!", 0o755), "b": (b"x", 0o644)}


def test_folder_must_be_new(tmp_path: Path) -> None:
    """Nothing is unpacked into what is there: a link in it could lead elsewhere."""
    with pytest.raises(StoreError, match=f"{tmp_path}: expected a new folder that can be written: File exists"):
        extract([archive(a=b"")], tmp_path)


def test_broken_archive_is_refused(tmp_path: Path) -> None:
    """An archive that breaks off is an error, however much of it was fine."""
    with pytest.raises(ArchiveError, match="expected 88 bytes more, got the end of the archive at"):
        extract([archive(a=b"x")[:-600], b""], tmp_path / "new")
