"""The rules for names, count and size: each refusal, and both sides of each bound."""

import pytest

from bundle import EntryError
from bundle import inventory as rules
from bundle.inventory import (
    MAX_FILES,
    MAX_FOLDERS,
    MAX_NAME_BYTES,
    MAX_PART_BYTES,
    MAX_UNPACKED_BYTES,
    Inventory,
    check_name,
    fold,
)

LONGEST = "/".join(["a" * MAX_PART_BYTES] * 4) + "/"


@pytest.mark.parametrize(
    "name", ["a", "a/b.js", "..a/b..", "页面/首页.js", "a b", "aux.js", "a:b", "…", "a" * MAX_PART_BYTES, LONGEST[:-1]]
)
def test_ordinary_name_is_allowed(name: str) -> None:
    """Relative paths in any script are allowed, also such as only Windows refuses."""
    assert check_name(name) == name.encode()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("/etc/passwd", "'/etc/passwd': expected a relative path, got an absolute one"),
        ("", "'': expected a path without empty, '.' or '..' parts, got ''"),
        ("a//b", "'a//b': expected a path without empty, '.' or '..' parts, got ''"),
        ("a/", "'a/': expected a path without empty, '.' or '..' parts, got ''"),
        ("../a", "'../a': expected a path without empty, '.' or '..' parts, got '..'"),
        ("a/../../b", "'a/../../b': expected a path without empty, '.' or '..' parts, got '..'"),
        ("./a", "'./a': expected a path without empty, '.' or '..' parts, got '.'"),
        ("a\\b", "'a\\\\b': expected a name without control characters and backslashes, got '\\\\'"),
        ("a\0b", "'a\\x00b': expected a name without control characters and backslashes, got '\\x00'"),
        ("a\nb", "'a\\nb': expected a name without control characters and backslashes, got '\\n'"),
        ("a\x7f", "'a\\x7f': expected a name without control characters and backslashes, got '\\x7f'"),
        ("a\x9b", "'a\\x9b': expected a name without control characters and backslashes, got '\\x9b'"),
        ("a\udcff", "'a\\udcff': expected a name in UTF-8, got other bytes"),
        ("é" * 128, f"'{'é' * 128}': expected parts of at most {MAX_PART_BYTES} bytes, got one of 256"),
        (
            LONGEST + "b",
            f"'{LONGEST}b': expected a path of at most {MAX_NAME_BYTES} bytes, got {MAX_NAME_BYTES + 1}",
        ),
    ],
)
def test_dangerous_name_is_refused(name: str, message: str) -> None:
    """A name that could leave the folder, or that systems read differently, is refused and quoted escaped."""
    with pytest.raises(EntryError) as caught:
        check_name(name)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("first", "second", "met"),
    [
        ("a", "a", "file 'a'"),
        ("readme", "README", "file 'readme'"),
        ("straße", "STRASSE", "file 'straße'"),
        ("caf\u00e9", "cafe\u0301", "file 'caf\u00e9'"),
        ("a", "a/b", "file 'a'"),
        ("a/b", "a", "folder 'a'"),
        ("A/b", "a", "folder 'A'"),
        ("pages/a", "Pages/b", "folder 'pages'"),
        ("a/b/c", "a/B", "folder 'a/b'"),
    ],
)
def test_colliding_names_are_refused(first: str, second: str, met: str) -> None:
    """Two names that some system takes for one are refused, folders' names included."""
    inventory = Inventory()
    inventory.add(first, 0)
    with pytest.raises(EntryError) as caught:
        inventory.add(second, 0)
    assert str(caught.value) == f"{second!r}: expected a name that collides with no other, got that of {met}"


def test_names_that_differ_do_not_collide() -> None:
    """Files of one folder, and of folders whose names begin alike, live together."""
    inventory = Inventory()
    for name in ("a/b", "a/c", "ab", "a.b", "a b/c"):
        inventory.add(name, 1)
    assert (inventory.files, inventory.unpacked_bytes) == (5, 5)


def test_fold_is_stable() -> None:
    """What a system takes a name for, it takes for itself."""
    for name in ("İ", "ß", "ǅ", "e\u0301", "\u1e9e"):
        assert fold(fold(name)) == fold(name)


def test_file_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last file within the limit is taken, the next one not."""
    monkeypatch.setattr(rules, "MAX_FILES", 3)
    inventory = Inventory()
    for name in "abc":
        inventory.add(name, 0)
    with pytest.raises(EntryError, match="'d': expected at most 3 files, got one more"):
        inventory.add("d", 0)


def test_folder_over_the_limit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders count once each, however many files are in them; those of a long name count all."""
    monkeypatch.setattr(rules, "MAX_FOLDERS", 3)
    inventory = Inventory()
    for name in ("a/b/1", "a/b/2", "c/1"):
        inventory.add(name, 0)
    with pytest.raises(EntryError, match="'a/d/1': expected at most 3 folders, got one more"):
        inventory.add("a/d/1", 0)


def test_byte_over_the_limit_is_refused() -> None:
    """200 MiB are taken, a byte more is not."""
    inventory = Inventory()
    inventory.add("a", MAX_UNPACKED_BYTES)
    with pytest.raises(EntryError, match="'b': expected at most 209715200 bytes unpacked, got more with this file"):
        inventory.add("b", 1)


def test_limits_are_those_of_the_format() -> None:
    """The limits are part of the format: another number needs another format."""
    assert (MAX_FILES, MAX_FOLDERS, MAX_UNPACKED_BYTES) == (20_000, 20_000, 200 * 1024 * 1024)
