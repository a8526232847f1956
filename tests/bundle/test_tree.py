"""Links inside an archive: copies of files of the tree, and nothing else."""

import pytest

from bundle import EntryError, tree
from bundle.tree import MAX_HOPS, Tree


def listed(files: list[str], links: dict[str, str]) -> dict[str, str]:
    found: Tree[str] = Tree()
    for name in files:
        found.add_file(name, f"<{name}>")
    for name, target in links.items():
        found.add_link(name, target)
    return dict(found.files())


def test_link_is_a_copy_of_its_file() -> None:
    """A link stands for the file at its end, through other links, in any order, with dots on the way."""
    links = {"z": "y", "y": "a/../a/b", "x": "./a/b"}
    assert listed(["a/b"], links) == dict.fromkeys(["a/b", "z", "y", "x"], "<a/b>")


def test_leading_dot_is_left_out() -> None:
    """`./a`, as tar writes it, is `a`."""
    assert listed(["./a"], {"./b": "./a"}) == {"a": "<./a>", "b": "<./a>"}


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../a", "a/../../b"])
def test_link_out_of_the_tree_is_refused(target: str) -> None:
    """A link whose path leaves the tree is refused, whatever lies there."""
    with pytest.raises(EntryError) as caught:
        listed(["a"], {"l": target})
    assert str(caught.value) == f"'l': expected a link to a file within the tree, got one out of it: {target!r}"


@pytest.mark.parametrize("target", ["gone", "folder", "."])
def test_link_to_no_file_is_refused(target: str) -> None:
    """A link to a folder, or to nothing, is refused."""
    with pytest.raises(EntryError, match=f"'l': expected a link to a file within the tree, got one to '{target}'"):
        listed(["folder/a"], {"l": target})


def test_circle_is_refused() -> None:
    """Links that end nowhere are given up after as many steps as Linux takes."""
    with pytest.raises(EntryError, match=f"'a': expected a link that ends within {MAX_HOPS} steps, got more"):
        listed([], {"a": "b", "b": "a"})


@pytest.mark.parametrize(("files", "links"), [(["a", "a"], {}), (["a", "./a"], {}), (["a"], {"./a": "b"})])
def test_repeated_name_is_refused(files: list[str], links: dict[str, str]) -> None:
    """An archive that has a name twice says two things."""
    with pytest.raises(EntryError, match="'a': expected each name once, got it twice"):
        listed(files, links)


def test_items_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and links count too: the list of them is memory."""
    monkeypatch.setattr(tree, "MAX_ITEMS", 2)
    found: Tree[int] = Tree()
    found.add_folder("a")
    found.add_file("b", 1)
    with pytest.raises(EntryError, match="'c': expected at most 2 files, folders and links, got one more"):
        found.add_link("c", "b")
