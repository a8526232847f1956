"""A transfer as far as it has come: what is kept of it, and under which tags it may go on."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from container.part import Part, keep_strong

CONTENT = b"0123456789"
SHA256 = sha256(CONTENT).hexdigest()


def make(folder: Path, tag: str = '"t"', *chunks: bytes) -> Part:
    part = Part(folder / "staging", SHA256)
    part.begin(tag)
    assert list(part.append(chunks)) == [sum(map(len, chunks[: count + 1])) for count in range(len(chunks))]
    return part


def test_nothing_is_there_at_first(tmp_path: Path) -> None:
    """A transfer that has not begun has no bytes and no tag, and to look makes no file."""
    part = Part(tmp_path / "staging", SHA256)
    assert (part.size, part.tag) == (0, "")
    part.discard()
    assert list(tmp_path.iterdir()) == []


def test_bytes_and_tag_outlive_the_process(tmp_path: Path) -> None:
    """What was written is there for another one to go on with."""
    make(tmp_path, '"t"', b"012", b"345")
    again = Part(tmp_path / "staging", SHA256)
    assert (again.size, again.tag) == (6, '"t"')
    assert list(again.append([b"67", b"89"])) == [8, 10]
    assert again.is_whole()
    assert {path.name for path in (tmp_path / "staging").iterdir()} == {f"{SHA256}.part", f"{SHA256}.tag"}


def test_bytes_that_came_before_a_failure_are_kept(tmp_path: Path) -> None:
    """A connection that breaks costs what has not come, no more."""

    def break_off() -> Iterator[bytes]:
        yield b"012"
        raise ConnectionError

    part = make(tmp_path)
    with pytest.raises(ConnectionError):
        list(part.append(break_off()))
    assert part.size == 3


def test_beginning_forgets(tmp_path: Path) -> None:
    """What begins anew has nothing of what was there, its tag included."""
    part = make(tmp_path, '"t"', CONTENT)
    part.begin("")
    assert (part.size, part.tag) == (0, "")


@pytest.mark.parametrize("content", [b"", CONTENT[:-1], CONTENT + b"x", b"1123456789"])
def test_other_bytes_are_not_whole(tmp_path: Path, content: bytes) -> None:
    """Whole is what has the transfer's digest, on the disk."""
    part = make(tmp_path, "", CONTENT)
    assert part.is_whole()
    part.path.write_bytes(content)
    assert not part.is_whole()


@pytest.mark.parametrize("tag", ['"a"', '"0f-!~"', '"' + "x" * 200 + '"'])
def test_strong_tags_are_kept(tag: str) -> None:
    """A strong tag is visible ASCII in quotation marks."""
    assert keep_strong(tag) == tag


@pytest.mark.parametrize(
    "tag", ["", "a", '"', '""', 'W/"a"', '"a" ', '"a\r\nX: y"', '"a b"', '"\u00e9"', '"a"b"', '"' + "x" * 201 + '"']
)
def test_other_tags_are_none(tmp_path: Path, tag: str) -> None:
    """A tag that is weak, or could end a header, is not sent back."""
    assert keep_strong(tag) == ""
    assert make(tmp_path, tag).tag == ""


@pytest.mark.parametrize("content", [b"\xff\xfe", b'"a"\r\nX: y', b'"' + b"x" * 5000])
def test_tag_that_was_changed_on_the_disk_is_none(tmp_path: Path, content: bytes) -> None:
    """Who can write to the disk puts nothing into a header, either."""
    part = make(tmp_path)
    (tmp_path / "staging" / f"{SHA256}.tag").write_bytes(content)
    assert part.tag == ""
