"""Fixtures of the wire: a server with the lane and one without, and the same test for both."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.wire.client import GOOD, USUAL, ask, make_check
from tests.wire.server import WireServer
from trust import ROLES, PrivateKey, make_root

# A file of some pages, so that sending it takes more than one write.
FILE = bytes(range(256)) * 1_024
ROOT_NUMBER = 3


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one package file, and beside it a file that nobody may read."""
    folder = tmp_path_factory.mktemp("wire") / "store"
    digest = hashlib.sha256(FILE).hexdigest()
    (folder / digest[:2]).mkdir(parents=True)
    (folder / digest[:2] / digest).write_bytes(FILE)
    (folder.parent / "secret").write_bytes(b"nobody may read this")
    return folder


@pytest.fixture(scope="session")
def digest() -> str:
    """The name of the package file."""
    return hashlib.sha256(FILE).hexdigest()


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root document."""
    key = PrivateKey.generate()
    path = tmp_path_factory.mktemp("wire") / "root.json"
    path.write_bytes(make_root("demo", ROOT_NUMBER, 2_000_000_000, {role: [key.public] for role in ROLES}, [key]))
    return path


@pytest.fixture(scope="session")
def both(root: Path, store: Path) -> Iterator[dict[str, WireServer]]:
    """The two servers, by name."""
    servers = {
        "lane": WireServer(lane=True, root=root, store=store),
        "plain": WireServer(lane=False, root=root, store=store),
    }
    for started in servers.values():
        started.start()
        publish_usual(started)
    yield servers
    for started in servers.values():
        started.stop()


@pytest.fixture(params=["lane", "plain"])
def server(both: dict[str, WireServer], request: pytest.FixtureRequest) -> Iterator[WireServer]:
    """One of the two servers; afterwards it must still answer a good check, and have forgotten every connection."""
    found = both[request.param]
    yield found
    (answer,) = ask(found, make_check())
    assert answer == GOOD
    wait_until_empty(found)


def wait_until_empty(server: WireServer) -> None:
    """Waits until the server has seen the ends of all connections; where it never does, the test fails."""
    for _ in range(10_000):
        if not server.call(lambda: len(server.connections)):
            return
    pytest.fail(f"{len(server.connections)} connections were not forgotten")


def publish_usual(server: WireServer) -> None:
    """Gives the server the rules by which QUESTION has the answer GOOD."""
    server.publish(USUAL.documents, USUAL.revision, USUAL.root, USUAL.now)
