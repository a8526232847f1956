"""Sources: a tree packs to the same bytes from a folder, a .zip, a .tar or a .tgz, and each refuses what is none."""

import gzip
import io
import os
import socket
import stat
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from bundle import EntryError, SourceError, open_source, tar, write_archive

Tree = Mapping[str, tuple[bytes, bool]]
SAMPLE: Tree = {
    "package/index.js": (b"let a = 1\n", False),
    "package/bin/run": (b"#!/bin/sh\n", True),
    "package/页面/首页.js": ("你好".encode(), False),
    "package/" + "long/" * 30 + "a.js": (b"x" * 2000, False),
    "empty": (b"", False),
}


def write_folder(tree: Tree, path: Path) -> Path:
    for at, (name, (body, is_executable)) in enumerate(tree.items()):
        file = path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(body)
        file.chmod(0o711 if is_executable else 0o600)
        os.utime(file, (at, at))
    (path / "no files").mkdir()
    return path


def write_zip(tree: Tree, path: Path) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("package/", b"")
        for name, (body, is_executable) in tree.items():
            info = zipfile.ZipInfo(name, (2001, 2, 3, 4, 5, 6))
            info.create_system = 3
            info.external_attr = (stat.S_IFREG | (0o700 if is_executable else 0o600)) << 16
            archive.writestr(info, body)
    return path


def write_tar(tree: Tree, path: Path, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        archive.addfile(member("package", tarfile.DIRTYPE))
        for name, (body, is_executable) in tree.items():
            info = member(name, size=len(body), mode=0o700 if is_executable else 0o600, mtime=99, uname="me")
            archive.addfile(info, io.BytesIO(body))
    return path


def write_tgz(tree: Tree, path: Path) -> Path:
    return write_tar(tree, path, "w:gz")


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def pack(source: Path) -> bytes:
    with open_source(source, source.parent) as plan:
        return b"".join(write_archive(plan))


def names(source: Path) -> list[str]:
    with open_source(source, source.parent) as plan:
        return [entry.name for entry in plan]


def refusal(source: Path, kind: type[Exception] = EntryError) -> str:
    with pytest.raises(kind) as caught:
        pack(source)
    return str(caught.value)


@pytest.mark.parametrize("write", [write_zip, write_tar, write_tgz])
def test_every_source_gives_the_same_bytes(tmp_path: Path, write: Callable[[Tree, Path], Path]) -> None:
    """The same tree, in another order, with other times, owners and modes, packs to the bytes of its folder."""
    backwards = dict(reversed(list(SAMPLE.items())))
    assert pack(write(backwards, tmp_path / "source")) == pack(write_folder(SAMPLE, tmp_path / "folder"))


PARTS = st.text("abXé字-", min_size=1, max_size=4)
TREES = st.dictionaries(
    st.lists(PARTS, min_size=1, max_size=3).map("/".join),
    st.tuples(st.binary(max_size=600), st.booleans()),
    min_size=1,
    max_size=5,
)


@hypothesis_settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(TREES, st.randoms(use_true_random=False))
def test_any_tree_packs_alike_from_any_source(
    tmp_path_factory: pytest.TempPathFactory, tree: Tree, random: object
) -> None:
    """Any tree, created in any order, gives the same bytes or the same kind of refusal from each source."""
    folder = tmp_path_factory.mktemp("any")
    order = sorted(tree, key=lambda _: random.random())
    shuffled = {name: tree[name] for name in order}
    results = set()
    for at, write in enumerate((write_tar, write_zip, write_tgz)):
        try:
            results.add(pack(write(shuffled if at else tree, folder / str(at))))
        except EntryError:
            results.add(b"refused")
    assert len(results) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "expected a .tar or .tgz that can be read: "),
        (b"", "expected a .tar or .tgz that can be read: "),
        (b"\x1f\x8bhello", "expected a .tgz that can be unpacked: "),
        (gzip.compress(b"hello"), "expected a .tar or .tgz that can be read: "),
        (gzip.compress(b"hello")[:-2], "expected a .tgz that can be unpacked: "),
        (b"PK\x03\x04hello", "expected a .zip that can be read: "),
    ],
)
def test_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    """A file that is no .zip, .tar or .tgz, or a broken one, is refused by what it seems to be."""
    source = tmp_path / "source.tgz"
    source.write_bytes(content)
    assert refusal(source, SourceError).startswith(message)


def test_absent_source_is_named(tmp_path: Path) -> None:
    """A source that is not there is named."""
    gone = tmp_path / "gone"
    assert refusal(gone, SourceError) == f"{gone}: expected a file that can be read: No such file or directory"
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refusal(fifo, SourceError) == f"{fifo}: expected a folder, .zip, .tar or .tgz, got something else"


def test_truncated_tar_is_refused(tmp_path: Path) -> None:
    """A tar that ends within a file is refused, also if it was cut after it was listed."""
    source = write_tar({"a": (b"x" * 3000, False)}, tmp_path / "a.tar")
    with open_source(source, tmp_path) as plan:
        os.truncate(source, 2100)
        with pytest.raises(SourceError, match="'a': expected a file that can be read from the tar: "):
            list(write_archive(plan))
    assert refusal(source, SourceError) == "expected a .tar or .tgz that can be read: unexpected end of data"


def test_gzip_bomb_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a .gz holds is counted as it comes out, whatever it declares."""
    monkeypatch.setattr(tar, "MAX_TAR_BYTES", 1000)
    source = write_tgz({"a": (bytes(1_000_000), False)}, tmp_path / "a.tgz")
    assert refusal(source, SourceError) == "expected a .tgz with at most 1000 bytes of tar, got more"


def test_long_headers_of_a_tar_are_refused(tmp_path: Path) -> None:
    """Neither is a header read that has more than names need, nor one over whose digits tarfile would take hours."""
    for value, message in (
        ("x" * tar.MAX_HEADER_BYTES, "expected a header of at most 65536 bytes, got 65551"),
        ("1" * 60_000, "expected numbers of at most 64 digits in a header, got a longer one"),
    ):
        with tarfile.open(tmp_path / "a.tar", "w", format=tarfile.PAX_FORMAT) as archive:
            info = member("a", size=1)
            info.pax_headers = {"comment": value}
            archive.addfile(info, io.BytesIO(b"x"))
        assert refusal(tmp_path / "a.tar", SourceError) == f"expected a .tar or .tgz that can be read: {message}"


def test_headers_without_end_are_refused(tmp_path: Path) -> None:
    """A header that belongs to a header that belongs to a header is read by recursion."""
    header = member("././@LongLink", tarfile.GNUTYPE_LONGNAME, size=1).tobuf(tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes((header + b"a".ljust(512, b"\0")) * 3_000)
    assert refusal(tmp_path / "a.tar", SourceError).startswith("expected a .tar or .tgz that can be read: ")


def test_links_of_a_folder_are_copies(tmp_path: Path) -> None:
    """A link to a file of the folder is packed as that file; a link to the folder itself is followed to it."""
    folder = write_folder({"a/b": (b"x", True)}, tmp_path / "folder")
    (folder / "c").symlink_to("a/b")
    (folder / "a/d").symlink_to(folder / "c")
    (tmp_path / "link").symlink_to(folder)
    same = write_folder(dict.fromkeys(("a/b", "a/d", "c"), (b"x", True)), tmp_path / "same")
    assert pack(tmp_path / "link") == pack(same)


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("../secret", "'l': expected a link to a file within the tree, got one out of it: "),
        ("/etc/passwd", "'l': expected a link to a file within the tree, got one out of it: '/etc/passwd'"),
        ("gone", "'l': expected a link to a file within the tree, got one to nothing"),
        ("l", "'l': expected a link to a file within the tree, got one to nothing"),
        ("a", "'l': expected a regular file, got a folder"),
    ],
)
def test_other_links_of_a_folder_are_refused(tmp_path: Path, target: str, message: str) -> None:
    """A link out of the folder, to nothing, to itself or to a folder is refused."""
    (tmp_path / "secret").write_text("secret")
    folder = write_folder({"a/b": (b"x", False)}, tmp_path / "folder")
    (folder / "l").symlink_to(target)
    assert refusal(folder).startswith(message)


def test_fifo_and_socket_are_refused(tmp_path: Path) -> None:
    """What is neither file, folder nor link is refused by its kind, and not waited for."""
    (tmp_path / "f").mkdir()
    os.mkfifo(tmp_path / "f/pipe")
    assert refusal(tmp_path / "f") == "'pipe': expected a regular file, got a fifo"
    (tmp_path / "f/pipe").unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "f/s"))
        assert refusal(tmp_path / "f") == "'s': expected a regular file, got a socket"


def test_file_that_becomes_a_link_is_not_followed(tmp_path: Path) -> None:
    """A file that is exchanged for a link after it was listed is refused."""
    folder = write_folder({"a": (b"x", False)}, tmp_path / "folder")
    with open_source(folder, tmp_path) as plan:
        (folder / "a").unlink()
        (folder / "a").symlink_to("/etc/passwd")
        with pytest.raises(SourceError, match="'a': expected a file that can be read: Too many levels of symbolic"):
            list(write_archive(plan))


def test_name_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    """A file name of other bytes is refused from a folder, a tar and a zip."""
    (tmp_path / "f").mkdir()
    (tmp_path / os.fsdecode(b"f/\xff")).write_bytes(b"")
    assert refusal(tmp_path / "f") == "'\\udcff': expected a name in UTF-8, got other bytes"
    with tarfile.open(tmp_path / "t", "w", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member("\udcff"))
    assert refusal(tmp_path / "t") == "'\\udcff': expected a name in UTF-8, got other bytes"
    raw = write_zip({"@": (b"", False)}, tmp_path / "z").read_bytes().replace(b"@", b"\xff")
    (tmp_path / "z").write_bytes(raw)
    assert refusal(tmp_path / "z") == "'\\udcff': expected a name in UTF-8, got other bytes"


def test_zip_name_in_utf_8_without_its_flag_is_read(tmp_path: Path) -> None:
    """Tools that write UTF-8 names and do not say so are understood."""
    raw = write_zip({"@@x": (b"", False)}, tmp_path / "z").read_bytes().replace(b"@@", "é".encode())
    (tmp_path / "z").write_bytes(raw)
    assert names(tmp_path / "z") == ["éx"]


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (member("/a"), "'/a': expected a relative path, got an absolute one"),
        (member("../a"), "'../a': expected a path without empty, '.' or '..' parts, got '..'"),
        (member("d", tarfile.CHRTYPE), "'d': expected a regular file, got a character device"),
        (member("d", tarfile.BLKTYPE), "'d': expected a regular file, got a block device"),
        (member("d", tarfile.FIFOTYPE), "'d': expected a regular file, got a fifo"),
        (member("d", b"?"), "'d': expected a regular file, got one of type b'?'"),
        (
            member("a/l", tarfile.SYMTYPE, linkname="../../x"),
            "'a/l': expected a link to a file within the tree, got one out of it: 'a/../../x'",
        ),
        (
            member("l", tarfile.SYMTYPE, linkname="/etc/passwd"),
            "'l': expected a link to a file within the tree, got one out of it: '/etc/passwd'",
        ),
        (
            member("l", tarfile.LNKTYPE, linkname="../x"),
            "'l': expected a link to a file within the tree, got one out of it: '../x'",
        ),
    ],
)
def test_dangerous_tar_member_is_refused(tmp_path: Path, info: tarfile.TarInfo, message: str) -> None:
    """Paths and links out of the tree, and devices, are refused from a tar."""
    with tarfile.open(tmp_path / "t", "w") as archive:
        archive.addfile(info)
    assert refusal(tmp_path / "t") == message


def test_sparse_file_is_refused(tmp_path: Path) -> None:
    """A sparse file of a tar, old or new style, declares what it does not hold."""
    with tarfile.open(tmp_path / "t", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(member("a", pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": "999999999"}))
    assert refusal(tmp_path / "t") == "'a': expected a regular file, got a sparse file"


def test_links_of_a_tar_are_copies(tmp_path: Path) -> None:
    """Symbolic links of a tar start from their own folder, hard links from the root."""
    with tarfile.open(tmp_path / "t", "w") as archive:
        archive.addfile(member("a/l", tarfile.SYMTYPE, linkname="b"))
        archive.addfile(member("a/h", tarfile.LNKTYPE, linkname="./a/b"))
        archive.addfile(member("./a/b", size=1, mode=0o755), io.BytesIO(b"x"))
    same = write_folder(dict.fromkeys(("a/b", "a/l", "a/h"), (b"x", True)), tmp_path / "same")
    assert pack(tmp_path / "t") == pack(same)


def zip_item(name: str, body: bytes, mode: int, system: int = 3) -> tuple[zipfile.ZipInfo, bytes]:
    info = zipfile.ZipInfo(name)
    info.create_system = system
    info.external_attr = mode << 16
    return info, body


def write_items(path: Path, *items: tuple[zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, body in items:
            archive.writestr(info, body)
    return path


def test_links_of_a_zip_are_copies(tmp_path: Path) -> None:
    """A link of a zip is its content, from its own folder."""
    items = zip_item("a/l", b"../b", stat.S_IFLNK | 0o777), zip_item("b", b"x", 0o755)
    same = write_folder(dict.fromkeys(("a/l", "b"), (b"x", True)), tmp_path / "same")
    assert pack(write_items(tmp_path / "z", *items)) == pack(same)


def test_mode_of_a_zip_from_elsewhere_is_ignored(tmp_path: Path) -> None:
    """Only Unix writes modes there: what another system writes is no permission to execute."""
    with open_source(write_items(tmp_path / "z", zip_item("a", b"", 0o755, system=0)), tmp_path) as plan:
        assert [entry.is_executable for entry in plan] == [False]


@pytest.mark.parametrize(
    ("item", "message"),
    [
        (zip_item("../a", b"", 0), "'../a': expected a path without empty, '.' or '..' parts, got '..'"),
        (zip_item("/a", b"", 0), "'/a': expected a relative path, got an absolute one"),
        (zip_item("a\\b", b"", 0), "'a\\\\b': expected a name without control characters and backslashes, got '\\\\'"),
        (zip_item("d", b"", stat.S_IFIFO), "'d': expected a regular file, got one of type 0o10000"),
        (
            zip_item("l", b"/etc/passwd", stat.S_IFLNK),
            "'l': expected a link to a file within the tree, got one out of it: '/etc/passwd'",
        ),
        (zip_item("l", b"x" * 5000, stat.S_IFLNK), "'l': expected a link of at most 4096 bytes, got 5000"),
    ],
)
def test_dangerous_zip_item_is_refused(tmp_path: Path, item: tuple[zipfile.ZipInfo, bytes], message: str) -> None:
    """Paths and links out of the tree, and devices, are refused from a zip."""
    assert refusal(write_items(tmp_path / "z", item)) == message


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
@pytest.mark.parametrize("kind", [stat.S_IFREG, stat.S_IFLNK])
def test_zip_that_unpacks_without_bounds_is_refused(tmp_path: Path, method: int, kind: int) -> None:
    """What zipfile unpacks whole, whatever the size that is declared, is not unpacked."""
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        info, _ = zip_item("a", b"", kind)
        info.compress_type = method
        archive.writestr(info, bytes(1_000), method)
    assert refusal(tmp_path / "z") == f"'a': expected a file that is stored or deflated, got method {method}"


def test_encrypted_zip_is_refused(tmp_path: Path) -> None:
    """A password is not asked for."""
    source = write_items(tmp_path / "z", zip_item("a", b"x", 0))
    raw = bytearray(source.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    source.write_bytes(raw)
    assert refusal(source) == "'a': expected a file without a password, got an encrypted one"


def test_zip_that_lies_about_a_size_is_refused(tmp_path: Path) -> None:
    """What comes out is counted, not what the directory of the zip declares."""
    source = write_zip({"a": (bytes(100_000), False)}, tmp_path / "z")
    raw = bytearray(source.read_bytes())
    at = raw.index(b"PK\x01\x02", raw.index(b"PK\x01\x02") + 1) + 24
    raw[at : at + 4] = (10).to_bytes(4, "little")
    source.write_bytes(raw)
    assert refusal(source, SourceError).startswith("'a': expected a file that can be unpacked: ")


def test_repeated_name_is_refused(tmp_path: Path) -> None:
    """An archive that has a name twice is refused, from a tar as from a zip."""
    with tarfile.open(tmp_path / "t", "w") as archive:
        archive.addfile(member("a"))
        archive.addfile(member("a"))
    assert refusal(tmp_path / "t") == "'a': expected each name once, got it twice"
    twice = zip_item("a", b"", 0), zip_item("b", b"", 0)
    raw = write_items(tmp_path / "z", *twice).read_bytes().replace(b"b", b"a")
    (tmp_path / "z").write_bytes(raw)
    assert refusal(tmp_path / "z") == "'a': expected each name once, got it twice"
