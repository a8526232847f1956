"""Attackers who hold the packager's key and the publisher's: what they sign runs, but only within its own folder.

Archive attacks: path traversal, links, bombs, duplicate names, case collisions, huge counts. Each archive is signed,
offered and moved as it should be; nothing but the unpacking stands in its way.
"""

import io
import itertools
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from bundle import Entry, compress, write_archive
from tests.attacks.harness import (
    Package,
    Parcel,
    Town,
    Victim,
    answer_with,
    list_entries,
    make_tar,
    write_tar,
)

BLOCK_BYTES = 512
END = bytes(2 * BLOCK_BYTES)
# More than a package may have of each.
TOO_MANY_FILES = 20_001
TOO_MANY_BYTES = 200 * 1024 * 1024 + 1
MEBIBYTE = bytes(1 << 20)
MANY_MEBIBYTES = 210


def attack(town: Town, tar: bytes, *, base: Package | None = None) -> Package:
    """Lets every edge tell of a package that unpacks to these bytes, all properly signed."""
    package = town.pack(files={"never": b""}, tar=tar, base=base)
    town.publish(package)
    return package


def outside(victim: Victim) -> list[Path]:
    """Returns what lies beside the device's folder: what was not there before has got out."""
    return sorted(path for path in victim.folder.parent.rglob("*") if victim.folder not in (path, *path.parents))


def endure(town: Town, victim: Victim, tar: bytes) -> None:
    """The archive is refused, nothing lies outside of the device's folder, and the next update is fine."""
    attack(town, tar)
    before = outside(victim)
    victim.refuses("transfer_refused")
    assert outside(victim) == before
    assert not any(path.is_symlink() for path in victim.folder.rglob("*"))
    victim.recovers()


def name_files(*names: str) -> bytes:
    """Returns a tar of files with these names, in this order, every header as canonical as any."""
    return write_tar(list_entries((name, b"evil") for name in names))


PATHS = (
    "../evil", "../../../../evil", "a/../../evil", "..", "a/..", "./evil", ".", "/evil", "//evil", "/etc/passwd",
    "a//b", "a/", "a/./b", "\\evil", "..\\evil", "a\\..\\..\\evil", "C:\\evil", "a\x00b", "evil\n", "\x1b[2J",
    "\x7f",
    "~/evil/../../x", "..\u2215..\\x", "a" * 256, "a/" * 600 + "a", "",
)  # fmt: skip


@pytest.mark.parametrize("path", PATHS, ids=lambda path: ascii(path)[:30])
def test_path_traversal(town: Town, victim: Victim, path: str) -> None:
    """A name that leads out of the folder, or is read differently by different systems, is refused."""
    endure(town, victim, name_files(path))


@pytest.mark.parametrize("path", ["../evil", "/evil", "a/../../evil"])
def test_path_traversal_behind_good_files(town: Town, victim: Victim, path: str) -> None:
    """One bad name among good ones refuses all of them, and takes back those that were written."""
    endure(town, victim, name_files(*sorted(["app.js", path, "z.js"], key=str.encode)))


def header(name: str, kind: bytes, link: str = "", *, size: int = 0, mode: int = 0o644) -> bytes:
    """Returns a header as other tools write it."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size, info.mode = kind, link, size, mode
    return info.tobuf(tarfile.USTAR_FORMAT)


FILE = make_tar({"a": b"App()"}).removesuffix(END)
KINDS = {
    "symbolic link out": (tarfile.SYMTYPE, "/etc"),
    "symbolic link up": (tarfile.SYMTYPE, "../.."),
    "symbolic link within": (tarfile.SYMTYPE, "a"),
    "hard link out": (tarfile.LNKTYPE, "/etc/passwd"),
    "hard link within": (tarfile.LNKTYPE, "a"),
    "folder": (tarfile.DIRTYPE, ""),
    "fifo": (tarfile.FIFOTYPE, ""),
    "character device": (tarfile.CHRTYPE, ""),
    "block device": (tarfile.BLKTYPE, ""),
    "old regular file": (tarfile.AREGTYPE, ""),
    "contiguous file": (tarfile.CONTTYPE, ""),
    "sparse file": (tarfile.GNUTYPE_SPARSE, ""),
    "long name": (tarfile.GNUTYPE_LONGNAME, ""),
    "long link": (tarfile.GNUTYPE_LONGLINK, ""),
    "global header": (tarfile.XGLTYPE, ""),
    "unknown kind": (b"Z", ""),
}


@pytest.mark.parametrize("name", KINDS)
def test_links_and_devices(town: Town, victim: Victim, name: str) -> None:
    """An archive holds regular files and nothing else."""
    kind, link = KINDS[name]
    endure(town, victim, FILE + header("b", kind, link) + END)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE], ids=["symbolic", "hard"])
def test_link_and_then_a_file_through_it(town: Town, victim: Victim, kind: bytes) -> None:
    """A link out of the folder, and a file behind it, write nothing outside."""
    target = victim.folder.parent / "target"
    target.mkdir()
    through = make_tar({"b/evil": b"x"})
    endure(town, victim, FILE + header("b", kind, str(target)) + through)
    assert list(target.iterdir()) == []


def test_link_that_waits_on_the_disk(town: Town, victim: Victim) -> None:
    """A link that somebody has put where packages are unpacked is not followed; the update fails or replaces it."""
    target = victim.folder.parent / "target"
    target.mkdir()
    package = town.pack()
    place = next(victim.folder.glob("**/programs/*/*")).parent / package.claim.sha256
    place.symlink_to(target)
    town.publish(package)
    victim.update()
    assert list(target.iterdir()) == []
    assert victim.opens() in ("1.0", package.claim.version)
    victim.recovers()


COLLISIONS = (
    ("a.js", "a.js"), ("A.js", "a.js"), ("README", "readme"), ("STRASSE", "stra\u00dfe"), ("\u00c9", "\u00e9"),
    ("e\u0301", "\u00e9"), ("K", "\u212a"), ("s", "\u017f"), ("a", "a/b"), ("A", "a/b"), ("a/b", "A/c"), ("a/x", "a/X"),
    ("fi", "\ufb01"),
)  # fmt: skip


@pytest.mark.parametrize("names", COLLISIONS, ids=lambda names: ascii(names)[:40])
def test_duplicate_names_and_case_collisions(town: Town, victim: Victim, names: tuple[str, str]) -> None:
    """Two files that any file system takes for one are refused: which of them would be there, nobody could say."""
    endure(town, victim, name_files(*sorted(names, key=str.encode)))


def test_files_out_of_order(town: Town, victim: Victim) -> None:
    """One tree has one archive: files in another order are refused."""
    endure(town, victim, name_files("b.js", "a.js"))


def test_huge_count(town: Town, victim: Victim) -> None:
    """More files than a device has room for are refused, and taken away again."""
    endure(town, victim, name_files(*(f"{number:05}" for number in range(TOO_MANY_FILES))))


def test_huge_count_of_folders(town: Town, victim: Victim) -> None:
    """Folders without end, in one name, are refused."""
    endure(town, victim, name_files("/".join("a" * 2000)))


def declare(size: int) -> bytes:
    """Returns a tar whose only file says that it has so many bytes, and has none."""
    return next(write_archive([Entry("a.bin", size, is_executable=False, read=lambda: iter([]))])) + END


SIZES = (1, 511, 10_000, TOO_MANY_BYTES, 8**11 - 1)


@pytest.mark.parametrize("size", SIZES)
def test_size_that_is_a_lie(town: Town, victim: Victim, size: int) -> None:
    """A file that says another size than it has is refused, before room is made for it."""
    endure(town, victim, declare(size))


def patch(tar: bytes, at: int, field: bytes) -> bytes:
    """Returns a tar with some bytes of its first header changed and the checksum right again."""
    head = bytearray(tar[:BLOCK_BYTES])
    head[at : at + len(field)] = field
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + tar[BLOCK_BYTES:]


PATCHES = {
    "negative size": (124, b"-0000000001\0"),
    "binary size": (124, b"\x80" + bytes(10) + b"\x05"),
    "negative binary size": (124, b"\xff" * 12),
    "blanks as size": (124, b" " * 12),
    "size in other digits": (124, "\u0661".encode() * 6),
    "setuid": (100, b"0004755\0"),
    "everybody may write": (100, b"0000666\0"),
    "another owner": (108, b"0001750\0"),
    "another time": (136, b"14000000000\0"),
    "name of a user": (265, b"root\0"),
    "a folder before the name": (345, b"../../evil\0"),
    "device numbers": (329, b"0000001\0"),
    "another magic": (257, b"ustar  \0"),
    "noise at the end of the name": (50, b"evil"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_header_in_another_form(town: Town, victim: Victim, name: str) -> None:
    """What two readers could read differently is refused, however right its checksum is."""
    endure(town, victim, patch(make_tar({"a": b"App()"}), *PATCHES[name]))


def write_pax(**records: str) -> bytes:
    """Returns a tar by another tool whose pax header overrides what the file's own header says."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("\u9996.js")
        info.size, info.pax_headers = 5, records
        archive.addfile(info, io.BytesIO(b"App()"))
    return file.getvalue()


@pytest.mark.parametrize(
    "records",
    [
        {"path": "../evil"},
        {"linkpath": "/etc"},
        {"size": "99999"},
        {"uid": "0"},
        {"GNU.sparse.major": "1"},
        {"hdrcharset": "BINARY"},
    ],
    ids=str,
)
def test_extended_header_with_more_to_say(town: Town, victim: Victim, records: dict[str, str]) -> None:
    """An extended header says a file's name once and nothing else."""
    endure(town, victim, write_pax(**records))


SPOILED: dict[str, Callable[[bytes], bytes]] = {
    "no end": lambda tar: tar[: -len(END)],
    "half an end": lambda tar: tar[:-BLOCK_BYTES],
    "a third block": lambda tar: tar + bytes(BLOCK_BYTES),
    "a byte more": lambda tar: tar + b"\0",
    "another archive behind it": lambda tar: tar + make_tar({"b": b"evil"}),
    "noise behind it": lambda tar: tar + b"evil" * 128,
    "nothing at all": lambda _: END,
    "empty": lambda _: b"\0",
    "a beginning": lambda tar: tar[:100],
    "padding that is none": lambda tar: tar[: BLOCK_BYTES + 5] + b"evil" + tar[BLOCK_BYTES + 9 :],
    "compressed": lambda tar: b"".join(compress([tar], len(tar), 1)),
}


@pytest.mark.parametrize("name", SPOILED)
def test_archive_that_is_none(town: Town, victim: Victim, name: str) -> None:
    """An archive begins, ends and is padded as it should, and nothing is hidden in or behind it."""
    endure(town, victim, SPOILED[name](make_tar({"a": b"App()"})))


def test_bomb_that_says_what_it_is(town: Town, victim: Victim) -> None:
    """A few kilobytes that are signed to unpack to more than a device may have are refused before room is made."""
    size = BLOCK_BYTES + MANY_MEBIBYTES * len(MEBIBYTE)
    chunks = itertools.chain([declare(size)[:BLOCK_BYTES]], itertools.repeat(MEBIBYTE, MANY_MEBIBYTES))
    parcel = Parcel("zstd", b"".join(compress(chunks, size, 1)))
    assert len(parcel.content) < size // 1000
    town.offer_files(parcel)
    package = town.pack(tar=b"x", size=size)
    town.tamper = answer_with(town.tell(package, told={"transfers": [parcel.tell()]}, transfers=(parcel.claim(),)))
    victim.refuses("transfer_refused")
    victim.recovers()


@pytest.mark.parametrize("form", ["full", "delta"])
def test_bomb_that_says_it_is_small(town: Town, victim: Victim, form: str) -> None:
    """A transfer that unpacks to more than is signed is cut off there, and leaves nothing behind."""
    base = town.packages[victim.version]
    huge = bytes(64 << 20)
    content = b"".join(compress([huge], len(huge), 1)) if form == "full" else town.make_delta(base.tar, huge)
    parcel = Parcel("zstd" if form == "full" else "dcz", content, None if form == "full" else base)
    package = town.pack()
    town.offer_files(parcel)
    told = {"transfers": [parcel.tell()]}
    town.tamper = answer_with(town.tell(package, told=told, transfers=(parcel.claim(),)))
    victim.refuses("transfer_refused")
    victim.recovers()


def make_frame(descriptor: int, *rest: int) -> bytes:
    """Returns the head of a zstd frame (RFC 8878, section 3.1.1.1), and a block that is all of it."""
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor, *rest]) + b"\x01\x00\x00"


FRAMES = {
    "a window of 64 MiB": make_frame(0x00, 16 << 3),
    "a window of 2 GiB": make_frame(0x00, 21 << 3),
    "the largest window": make_frame(0x00, 0xFF),
    "the largest content": make_frame(0xE0, *[0xFF] * 8),
    "a dictionary": make_frame(0x03, 0x00, 1, 2, 3, 4),
    "a reserved bit": make_frame(0x08, 0x00),
    "a skippable frame": b"\x50\x2a\x4d\x18\xff\xff\xff\xff",
    "many empty frames": make_frame(0x00, 0x00) * 1000,
}


# These are refused by their heads, and not for what they unpack to; a delta from a small tar may want less.
WINDOWS = {
    "full": ("a window of 2 GiB", "the largest window"),
    "delta": ("a window of 64 MiB", "a window of 2 GiB", "the largest window"),
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("form", ["full", "delta"])
def test_bomb_in_a_frame_header(town: Town, victim: Victim, name: str, form: str) -> None:
    """A frame that asks for more memory than a package can want, or is none, is refused by its head."""
    base, package = town.packages[victim.version], town.pack()
    start = b"" if form == "full" else bytes.fromhex("5e2a4d1820000000" + base.claim.sha256)
    parcel = Parcel("zstd" if form == "full" else "dcz", start + FRAMES[name], None if form == "full" else base)
    town.offer_files(parcel)
    told = {"transfers": [parcel.tell()]}
    town.tamper = answer_with(town.tell(package, told=told, transfers=(parcel.claim(),)))
    error = victim.refuses("transfer_refused")
    assert "window" in str(error) or name not in WINDOWS[form]
    victim.recovers()
