"""Key names: one hash tag a workspace, and no name that reaches beyond it."""

import pytest

from channel import DocumentName, KeyNameError, Keys


def test_keys_are_the_contracts() -> None:
    """Every key has the workspace's hash tag and its documented name."""
    keys = Keys.of("wallet-prod")
    assert keys.head == "gw:{wallet-prod}:head"
    assert keys.index == "gw:{wallet-prod}:index"
    assert keys.log == "gw:{wallet-prod}:log"
    assert keys.changed == "gw:{wallet-prod}:changed"
    assert keys.edges == "gw:{wallet-prod}:edges"
    assert keys.document(DocumentName("program", "p1")) == "gw:{wallet-prod}:doc:program:p1"
    assert keys.windows == "gw:{wallet-prod}:windows"
    assert [keys.window("5e"), keys.window("5e", "0")] == ["gw:{wallet-prod}:window:5e"] * 2
    assert keys.window("5e", "8") == "gw:{wallet-prod}:window:5e:8"


@pytest.mark.parametrize("name", ["a", "0", "a-b", "a" * 63])
def test_workspace_is_taken(name: str) -> None:
    """1 to 63 lower-case letters, digits and hyphens are a workspace."""
    assert Keys.of(name).prefix == f"gw:{{{name}}}"


@pytest.mark.parametrize("name", ["", "-a", "A", "a}b", "a{b", "a:b", "a b", "a\n", "a.b", "a" * 64, "ä"])
def test_workspace_is_refused(name: str) -> None:
    """A name that would move the hash tag, or is not one, is refused with what was expected."""
    with pytest.raises(KeyNameError) as caught:
        Keys.of(name)
    wanted = "1 to 63 lower-case letters, digits and hyphens, the first no hyphen"
    assert str(caught.value) == f"expected a workspace of {wanted}, got {name!r}"


def test_name_is_read_back() -> None:
    """A name is the same after a way through the index."""
    name = DocumentName.of("program", "2021000000000001")
    assert DocumentName.parse(str(name).encode()) == name


@pytest.mark.parametrize("kind", ["", "Program", "pro:gram", "a" * 17, "program\n"])
def test_kind_is_refused(kind: str) -> None:
    """A kind is 1 to 16 lower-case letters."""
    with pytest.raises(KeyNameError) as caught:
        DocumentName.of(kind, "p1")
    assert str(caught.value) == f"expected a kind of 1 to 16 lower-case letters, got {kind!r}"


@pytest.mark.parametrize("id_", ["", ".p", "a/b", "a:b", "a b", "a}b", "a" * 129, "p\n", "ä"])
def test_id_is_refused(id_: str) -> None:
    """An id has no character that a key, a URL or the index would read otherwise."""
    with pytest.raises(KeyNameError) as caught:
        DocumentName.of("program", id_)
    assert str(caught.value) == f"expected an id of 1 to 128 letters, digits, '.', '_' and '-', got {id_!r}"


@pytest.mark.parametrize("member", [b"", b"program", b"program:\xff", b":p1"])
def test_member_of_the_index_is_refused(member: bytes) -> None:
    """What is no name in the index is refused, whatever its bytes."""
    with pytest.raises(KeyNameError):
        DocumentName.parse(member)


def test_roots_lie_under_their_number() -> None:
    """Each root document has a place of its own, in the workspace's slot."""
    assert Keys.of("demo").root(12) == "gw:{demo}:root:12"
