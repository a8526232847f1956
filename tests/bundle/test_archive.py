"""The canonical tar: one sequence of bytes for a tree, which every tar reads, and no other that our reader takes."""

import io
import tarfile
from collections.abc import Iterator, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundle import ArchiveError, BundleError, Entry, EntryError, measure_archive, plan_archive, read_archive
from bundle import write_archive as write_chunks
from bundle.archive import BLOCK_BYTES

Tree = Mapping[str, tuple[bytes, bool]]
LONG = "pages/" + "long-name/" * 20 + "index.js"
SAMPLE: Tree = {
    "a.js": (b"let a = 1\n", False),
    "run": (b"#!/bin/sh\n", True),
    "empty": (b"", False),
    "页面/首页.js": (b"x" * 512, False),
    LONG: (b"y" * 513, True),
}
PARTS = st.text(st.characters(categories=["L", "N", "So"]), min_size=1, max_size=12)
NAMES = st.lists(PARTS, min_size=1, max_size=3).map("/".join)
TREES = st.dictionaries(NAMES, st.tuples(st.binary(max_size=1100), st.booleans()), min_size=1, max_size=6)


def entries(tree: Tree) -> list[Entry]:
    return [
        Entry(name, len(body), is_executable, lambda body=body: iter([body]))
        for name, (body, is_executable) in tree.items()
    ]


def write(tree: Tree) -> bytes:
    return b"".join(write_chunks(plan_archive(entries(tree))))


def read(data: bytes, step: int = 700) -> dict[str, tuple[bytes, bool]]:
    chunks = (data[at : at + step] for at in range(0, len(data), step))
    return {member.name: (b"".join(member.chunks), member.is_executable) for member in read_archive(chunks)}


def refusal(data: bytes) -> str:
    with pytest.raises(ArchiveError) as caught:
        read(data)
    return str(caught.value)


@given(TREES, st.integers(1, 2000), st.randoms())
def test_any_tree_survives_and_its_order_does_not_matter(tree: Tree, step: int, random: object) -> None:
    """Any allowed tree is written to the same bytes in any order, and read back in chunks of any size."""
    shuffled = sorted(tree, key=lambda _: random.random())
    try:
        data = write(tree)
    except EntryError:
        return  # names that collide
    assert write({name: tree[name] for name in shuffled}) == data
    assert read(data, step) == tree
    assert len(data) == measure_archive(plan_archive(entries(tree)))


def test_other_readers_read_it() -> None:
    """Python's tarfile, which follows POSIX and GNU, finds the same names, contents and modes."""
    with tarfile.open(fileobj=io.BytesIO(write(SAMPLE))) as archive:
        found = {member.name: member for member in archive}
        assert {name: (archive.extractfile(name).read(), bool(found[name].mode & 0o100)) for name in found} == SAMPLE
    assert {(member.uid, member.gid, member.mtime, member.uname, member.gname) for member in found.values()} == {
        (0, 0, 0, "", "")
    }
    assert {member.mode for member in found.values()} == {0o644, 0o755}


def test_bytes_are_those_of_the_format() -> None:
    """The bytes of one file are pinned: a change of them is a change of every package's digest."""
    data = write({"a": (b"hi", False)})
    assert len(data) == 4 * BLOCK_BYTES
    assert data[:160].replace(b"\0", b".") == (
        b"a" + b"." * 99 + b"0000644.0000000.0000000.00000000002.00000000000.006100. 0..."
    )
    assert data[257:265] == b"ustar\x0000"
    assert data[512:] == b"hi".ljust(3 * BLOCK_BYTES, b"\0")


def test_files_are_sorted_by_utf_8_bytes() -> None:
    """Not by code units, locale or folder: by the bytes of the whole path."""
    names = ["a/b", "a-b", "\uff41", "\U0001f600", "Z", "a.b"]
    archive = write(dict.fromkeys(names, (b"", False)))
    assert list(read(archive)) == sorted(names, key=str.encode)


@pytest.mark.parametrize("size", [99, 100, 101, 108, 109, 110, 990, 1000])
def test_names_around_the_header_fields_limit_survive(size: int) -> None:
    """Names at which the pax record's own length gains a digit, and those at the field's end, come back."""
    name = "/".join(["b" * 99] * 11)[:size].rstrip("/").ljust(size, "c")
    assert read(write({name: (b"x", False)})) == {name: (b"x", False)}


def test_each_changed_byte_is_seen() -> None:
    """An archive with a byte changed is refused, or is the very archive of another tree: there are no two for one."""
    data = write(SAMPLE)
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            found = read(changed)
        except BundleError:
            continue
        assert found != SAMPLE
        assert write(found) == changed


def test_each_cut_is_seen() -> None:
    """An archive that ends early, wherever, is refused."""
    data = write(SAMPLE)
    for end in range(0, len(data), 97):
        assert refusal(data[:end]).startswith("expected ")


@given(st.binary(max_size=3000))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Bytes from anywhere are an archive or an error of this package, and nothing else."""
    try:
        read(data)
    except BundleError:
        return
    assert set(data) == {0}


def foreign(kind: bytes = tarfile.REGTYPE, name: str = "a", **fields: object) -> bytes:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info.tobuf(tarfile.USTAR_FORMAT) + bytes(1024)


@pytest.mark.parametrize(
    "data",
    [
        foreign(mtime=1),
        foreign(uid=1000),
        foreign(uname="root"),
        foreign(mode=0o777),
        foreign(mode=0o4755),
        foreign(tarfile.SYMTYPE, linkname="/etc/passwd"),
        foreign(tarfile.LNKTYPE, linkname="b"),
        foreign(tarfile.DIRTYPE),
        foreign(tarfile.CHRTYPE),
        foreign(tarfile.FIFOTYPE),
        foreign(tarfile.GNUTYPE_SPARSE),
    ],
)
def test_header_in_another_form_is_refused(data: bytes) -> None:
    """Owners, times, further modes, links, folders and devices have no place in a canonical tar."""
    assert (
        refusal(data).replace("'a/'", "'a'")
        == "'a': expected the header of a regular file in canonical form, got another"
    )


def test_second_spelling_of_a_name_is_refused() -> None:
    """A pax header for a name that needs none is not canonical."""
    record = b"10 path=a\n".ljust(BLOCK_BYTES, b"\0")
    data = foreign(tarfile.XHDTYPE, "PaxHeader", size=10)[:BLOCK_BYTES] + record + write({"a": (b"", False)})
    assert refusal(data) == "'a': expected the header of a regular file in canonical form, got another"


def test_disorder_is_refused() -> None:
    """Files out of order are refused: the order is part of the format."""
    one, two = (write({name: (b"", False)})[:BLOCK_BYTES] for name in "ab")
    assert refusal(two + one + bytes(1024)) == "'a': expected files sorted by name, got this one after 'b'"


def test_collision_is_refused_when_reading_too() -> None:
    """The rules for names hold for a reader as for a writer."""
    blocks = [write({name: (b"", False)})[:BLOCK_BYTES] for name in ("A", "a")]
    with pytest.raises(EntryError, match="'a': expected a name that collides with no other, got that of file 'A'"):
        read(b"".join(blocks) + bytes(1024))
    with pytest.raises(EntryError, match=r"'../a': expected a path without empty, '.' or '..' parts"):
        read(foreign(name="../a"))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (write({"a": (b"", False)})[:-512] + b"x" * 512, "expected two zero blocks at the end of the archive, got one"),
        (write({"a": (b"", False)}) + b"\0", "expected nothing after the end of the archive, got more bytes"),
        (write({"a": (b"x", False)})[:513] + b"y" * 1535, "'a': expected zeros after the content, got other bytes"),
        (b"", "expected 512 bytes more, got the end of the archive at 0"),
        (b"x" * 512, "expected a size in the header of a file, got b'xxxxxxxxxxxx'"),
        (foreign(size=2**30), "expected a size of at most 209715200 bytes in a header, got 1073741824"),
        (foreign(tarfile.XHDTYPE, size=4096), "expected a size of at most 2048 bytes in a header, got 4096"),
        (b"\xff" + foreign()[1:], "b'\\xff': expected a name in UTF-8, got other bytes"),
    ],
)
def test_malformed_archive_is_refused(data: bytes, message: str) -> None:
    """What is wrong is named."""
    assert refusal(data) == message


def test_member_must_be_used_up() -> None:
    """A reader that skips a content would take it for a header, so it is told."""
    members = read_archive([write({"a": (b"12", False), "b": (b"", False)})])
    next(members)
    with pytest.raises(ArchiveError, match="'a': expected its 2 bytes to be read before the next file, got 0 read"):
        next(members)


@pytest.mark.parametrize(("body", "got"), [(b"1", "1"), (b"123", "more")])
def test_file_that_changes_while_it_is_packed_is_refused(body: bytes, got: str) -> None:
    """A content that is not as long as listed would shift everything behind it."""
    plan = plan_archive([Entry("a", 2, is_executable=False, read=lambda: iter([body]))])
    with pytest.raises(EntryError, match=f"'a': expected 2 bytes as listed, got {got}"):
        list(write_chunks(plan))


def test_endless_file_is_not_waited_for() -> None:
    """Reading stops at the first byte too many."""

    def endless() -> Iterator[bytes]:
        while True:
            yield b"x"

    with pytest.raises(EntryError, match="'a': expected 3 bytes as listed, got more"):
        list(write_chunks(plan_archive([Entry("a", 3, is_executable=False, read=endless)])))


def test_empty_tree_is_refused() -> None:
    """A package without a file is a mistake."""
    with pytest.raises(EntryError, match="expected at least one file to pack, got none"):
        plan_archive([])


def test_an_archive_of_nothing_is_refused() -> None:
    """The writer makes none, so that the reader takes none: a program without files could not be opened."""
    with pytest.raises(ArchiveError, match=r"^expected at least one file in the archive, got none$"):
        list(read_archive([bytes(1024)]))
