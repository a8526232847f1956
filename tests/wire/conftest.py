"""Fixtures of the wire: a server with the lane and one without, and the same test for both."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from backports import zstd

from tests.wire.client import GOOD, USUAL, ask, make_check
from tests.wire.server import WireServer
from trust import ROLES, PrivateKey, make_root

# Two versions of a package's tar, and what a store holds of the new one: the whole, and what differs from the old.
OLD_TAR = b"".join(hashlib.sha256(bytes([at % 256, at // 256])).digest() for at in range(2_000))
NEW_TAR = OLD_TAR[:20_000] + b"another line" + OLD_TAR[20_000:]
WHOLE = zstd.compress(NEW_TAR)
DIFFERENCE = (
    bytes.fromhex("5e2a4d1820000000")
    + hashlib.sha256(OLD_TAR).digest()
    + zstd.compress(NEW_TAR, zstd_dict=zstd.ZstdDict(OLD_TAR, is_raw=True).as_prefix)
)
# A tar whose transfers are sealed.
SEALED_TAR = "5e" * 32
# A file of some pages, so that sending it takes more than one write.
FILE = bytes(range(256)) * 1_024
ROOT_NUMBER = 3
Json = dict[str, Any]


def name_bytes(data: bytes) -> str:
    """The name that a store gives to a file."""
    return hashlib.sha256(data).hexdigest()


def make_packages() -> Json:
    """A published document with a package that is here in two ways, and with a sealed one."""
    transfers = [
        {"format": "dcz", "from": "1.0", "from_sha256": name_bytes(OLD_TAR), **tell_file(DIFFERENCE)},
        {"format": "zstd", **tell_file(WHOLE)},
    ]
    package = {"size": len(NEW_TAR), "signature": "signed", "transfers": transfers}
    sealed = {**package, "sha256": SEALED_TAR, "key": "AGE-SECRET-KEY-1" + "Q" * 58}
    return {
        "format": 1,
        "program": "2021000000000099",
        "workspace": "demo",
        "epoch": 1,
        "revision": 1,
        "packages": {"2.0": {**package, "sha256": name_bytes(NEW_TAR)}, "3.0": sealed},
        "releases": [{"id": "r1", "package": "2.0"}],
        "offers": {"expires": 1 << 39, "install": {"2.0": "an offer"}},
    }


def tell_file(data: bytes) -> Json:
    """A transfer's file, which is in the store."""
    return {"url": f"/v1/files/{name_bytes(data)}", "size": len(data), "sha256": name_bytes(data)}


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one package file, and beside it a file that nobody may read."""
    folder = tmp_path_factory.mktemp("wire") / "store"
    for data in (FILE, WHOLE, DIFFERENCE):
        name = name_bytes(data)
        (folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (folder / name[:2] / name).write_bytes(data)
    (folder.parent / "secret").write_bytes(b"nobody may read this")
    return folder


@pytest.fixture(scope="session")
def digest() -> str:
    """The name of the package file."""
    return name_bytes(FILE)


@pytest.fixture(scope="session")
def channel_key() -> PrivateKey:
    """The key of every role of the root document, the channel's among them."""
    return PrivateKey.generate()


@pytest.fixture(scope="session")
def root(channel_key: PrivateKey, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root document."""
    key = channel_key
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
    server.publish([*USUAL.documents, make_packages()], USUAL.revision, USUAL.root, USUAL.now)
