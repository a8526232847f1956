"""What the tests of stores share: S3 servers, a gate before them, and a place that is one kind of store."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from bundle import Store, open_store
from tests.bundle.bucket import GATEWAY, REGION, Gate, Server, run_gateway, run_moto

# Fixtures, each an S3 server.
SERVERS = ["moto", "versitygw"] if GATEWAY else ["moto"]


class Place(Protocol):
    """A store of one kind, and what nobody can do through `Store`."""

    address: str

    def write(self, name: str, content: bytes) -> None:
        """Puts content under a name below the root, whatever both are."""

    def names(self) -> set[str]:
        """Returns the names of all that lies below the root, half-written things included."""

    def break_down(self) -> None:
        """Makes the store one that cannot be used."""


class Folder:
    """A local store."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.address = str(root)

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def names(self) -> set[str]:
        """See `Place.names`."""
        return {str(path.relative_to(self._root)) for path in self._root.rglob("*") if path.is_file()}

    def break_down(self) -> None:
        """See `Place.break_down`."""
        self._root.write_bytes(b"no folder")


class Bucket:
    """A store in a bucket, behind a gate."""

    def __init__(self, gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate, self.name, self._monkeypatch = gate, gate.server.make_bucket(), monkeypatch
        self.public = f"{gate.endpoint}/{self.name}"
        self.address = self._name(gate.endpoint)
        self.client = gate.server.client

    def _name(self, endpoint: str) -> str:
        return f"s3://{self.name}/up/to?endpoint={endpoint}&region={REGION}&public={self.public}"

    def go_direct(self) -> None:
        """Leaves the gate out."""
        self.address = self._name(self.gate.server.endpoint)

    def write(self, name: str, content: bytes) -> None:
        """See `Place.write`."""
        self.client.put_object(Bucket=self.name, Key=f"up/to/{name}", Body=content)

    def names(self) -> set[str]:
        """See `Place.names`."""
        files = self.client.list_objects_v2(Bucket=self.name).get("Contents", [])
        uploads = self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", [])
        return {item["Key"].removeprefix("up/to/") for item in files} | {f"upload of {it['Key']}" for it in uploads}

    def break_down(self) -> None:
        """See `Place.break_down`."""
        self._monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server that checks signatures."""
    with run_moto(tmp_path_factory.mktemp("moto")) as server:
        yield server


@pytest.fixture(scope="session")
def versitygw(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An S3 server of another make."""
    with run_gateway(tmp_path_factory.mktemp("versitygw")) as server:
        yield server


@contextmanager
def _open_bucket(name: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """Gives a new bucket of a server; its credentials are in the environment, and nothing else of boto3's is."""
    server: Server = request.getfixturevalue(name)
    for variable in list(os.environ):
        if variable.startswith("AWS_") or variable.lower().endswith("_proxy"):
            monkeypatch.delenv(variable)
    for variable in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(variable, os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_key)
    gate = Gate(server)
    try:
        yield Bucket(gate, monkeypatch)
    finally:
        gate.close()


@pytest.fixture(params=SERVERS)
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    """A new bucket on each S3 server in turn."""
    with _open_bucket(request.param, request, monkeypatch) as bucket:
        yield bucket


@pytest.fixture(params=["folder", *SERVERS])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    """Each kind of store in turn."""
    if request.param == "folder":
        yield Folder(tmp_path / "store")
        return
    with _open_bucket(request.param, request, monkeypatch) as bucket:
        yield bucket


@pytest.fixture
def store(place: Place) -> Store:
    """The store of the place."""
    return open_store(place.address)


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[[bytes], Path]:
    """Makes a file to be put into a store."""

    def make(content: bytes) -> Path:
        (tmp_path / "file").write_bytes(content)
        return tmp_path / "file"

    return make
