"""The newest root: followed step by step, verified at each, and again whenever it is read from the disk."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from container import EdgeError, VerificationError
from container.chain import MAX_STEPS, Chain
from container.config import read_config
from container.storage import Storage
from tests.container.world import EDGE, KEYS, NOW, STRANGER, World, make_root_document
from trust import ClientClaim, sign_client


def make_chain(world: World) -> Chain:
    return Chain(world.config, Storage(world.device_folder))


def fetch_from(world: World, asked: list[int] | None = None) -> Callable[[int], bytes]:
    def fetch(number: int) -> bytes:
        if asked is not None:
            asked.append(number)
        if number > len(world.roots):
            raise EdgeError("no such root", 404)
        return world.roots[number - 1]

    return fetch


@pytest.fixture
def rotated(world: World) -> World:
    """A workspace whose keys have changed three times, root keys among them."""
    for roles in (("offer",), ("root",), ("offer", "package")):
        world.rotate(*roles)
    world.device_folder.mkdir(parents=True)
    return world


def test_shipped_root_is_the_first(world: World) -> None:
    """Without anything on the disk, the shipped root is the newest."""
    assert make_chain(world).root.number == 1


def test_roots_are_followed_one_by_one(rotated: World) -> None:
    """Each root up to the one told of is fetched, and the last is the newest, for the next process, too."""
    asked: list[int] = []
    root = make_chain(rotated).follow(4, fetch_from(rotated, asked))
    assert (root.number, asked) == (4, [2, 3, 4])
    assert list(root.keys("offer")) == [rotated.keys["offer"].kid]
    again = make_chain(rotated)
    assert again.root == root
    assert again.follow(4, fetch_from(rotated, asked)) == root
    assert asked == [2, 3, 4]


@pytest.mark.parametrize("number", [-1, 0, 1])
def test_no_newer_root_is_nothing_to_ask(world: World, number: int) -> None:
    """An edge that is behind is asked for nothing."""
    asked: list[int] = []
    assert make_chain(world).follow(number, fetch_from(world, asked)).number == 1
    assert asked == []


def test_root_that_is_not_there(rotated: World) -> None:
    """Where one cannot be had, those before it are kept."""
    with pytest.raises(EdgeError, match="no such root"):
        make_chain(rotated).follow(9, fetch_from(rotated))
    assert make_chain(rotated).root.number == 4


def test_roots_of_the_far_future_are_bounded(world: World) -> None:
    """Whatever number an edge tells of, a device follows no more than so many in one go."""
    world.device_folder.mkdir(parents=True)
    for _ in range(MAX_STEPS + 1):
        world.rotate()
    chain, asked = make_chain(world), list[int]()
    assert chain.follow(2**53, fetch_from(world, asked)).number == MAX_STEPS + 1
    assert len(asked) == MAX_STEPS
    assert chain.follow(MAX_STEPS + 2, fetch_from(world, asked)).number == MAX_STEPS + 2


@pytest.mark.parametrize("forgery", ["a stranger's", "the same again", "one left out", "noise"])
def test_root_that_does_not_follow(rotated: World, forgery: str) -> None:
    """A root that the one before has not signed is refused, by number; nothing of it is kept."""
    evil = dict.fromkeys(KEYS, STRANGER)
    document = {
        "a stranger's": make_root_document(2, evil, [STRANGER]),
        "the same again": rotated.roots[0],
        "one left out": rotated.roots[2],
        "noise": b"{",
    }[forgery]
    with pytest.raises(VerificationError, match="root 2: expected ") as caught:
        make_chain(rotated).follow(2, lambda _: document)
    assert caught.value.reason == "root_refused"
    assert make_chain(rotated).root.number == 1


def test_disk_is_not_believed(rotated: World) -> None:
    """Roots on the disk that do not follow from the shipped one are left out, from the first that does not."""
    make_chain(rotated).follow(4, fetch_from(rotated))
    path = rotated.device_folder / "roots.json"
    kept = json.loads(path.read_text())
    evil = make_root_document(3, dict.fromkeys(KEYS, STRANGER), [STRANGER]).decode()
    for documents, number in [([kept[0], evil, kept[2]], 2), ([evil], 1), ([kept[1]], 1), (["x"], 1), (kept, 4)]:
        path.write_text(json.dumps(documents))
        assert make_chain(rotated).root.number == number


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff", b"[" * 10_000])
def test_file_that_is_none(rotated: World, content: bytes) -> None:
    """A file that cannot be read is as none, and is replaced with the next root."""
    (rotated.device_folder / "roots.json").write_bytes(content)
    assert make_chain(rotated).root.number == 1
    assert make_chain(rotated).follow(2, fetch_from(rotated)).number == 2


def test_app_that_ships_newer_roots(rotated: World, tmp_path: Path) -> None:
    """A new app that ships some of the roots that are kept goes on from there; what is kept still counts."""
    assert tmp_path
    make_chain(rotated).follow(4, fetch_from(rotated))
    roots = [json.loads(document) for document in rotated.roots[:3]]
    token = sign_client(ClientClaim(workspace="demo", issued=NOW, edges=(EDGE,)), rotated.keys["root"])
    form = {"format": 1, "roots": roots, "client": token}
    rotated.config = read_config(json.dumps(form).encode())
    assert rotated.config.root.number == 3
    assert make_chain(rotated).root.number == 4
