"""After the worst: real processes, the runbook's own steps, and host apps that nobody has shipped anew.

A thief of both publisher keys has signed the highest revision that is believed; or the publisher is from a backup.
"""

import http
import json
import os
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner
from pyrage import x25519  # it comes without types
from redis import Redis

from bundle import LocalStore, PackedPackage, pack
from channel import DOCUMENT_TYPE, DocumentName, Keys, Position, encode_head, make_head, open_envelope, seal
from cli.embedded import PrivateRedis
from cli.keys import make_keys
from cli.main import main
from container import Container, ContainerError, Device, load_config
from publisher.signer import Signer
from ruleset.document import parse_program
from tests.attacks.harness import read_folder
from tests.end_to_end.town import PROGRAM, TOKEN, YEAR_S, Host, Server, ask, eventually
from trust import PrivateKey, read_root

WORKSPACE = "demo"
NAME = DocumentName("program", PROGRAM)
HIGHEST = 2**53 - 1
HOSTS = 2


class Phone:
    """A device with the host app as it was first shipped: one signed file, which pins the first root."""

    def __init__(self, folder: Path, config: Path) -> None:
        self._container = Container(load_config(config), folder, Device(folder.name, "android"))

    def update(self) -> str:
        """Updates as well as it can, opens and confirms; returns the version, empty for none."""
        with suppress(ContainerError):
            self._container.update([PROGRAM])
        if self._container.active(PROGRAM) is None:
            return ""
        active = self._container.open(PROGRAM)
        assert read_folder(active.folder) == {"app.js": b"App(%b)" % active.version.encode()}
        self._container.confirm(PROGRAM)
        return active.version


class City:
    """A workspace: Redis, a publisher, two edge hosts, a store of files, and phones, all real."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.keys, self._store = folder, folder / "keys", folder / "store"
        make_keys(self.keys, WORKSPACE, int(time.time()) + YEAR_S)
        shutil.copy(self.keys / "root.json", folder / "pinned.json")
        self._running = ExitStack()
        self.redis = PrivateRedis(folder / "redis")
        self.redis.start()
        self._running.callback(self.redis.stop)
        self._store.mkdir()
        self.hosts = [self._running.enter_context(self._start_host(number)) for number in range(HOSTS)]
        self.config = self._configure()
        self.publisher: Server | None = None
        self.packages: list[PackedPackage] = []
        self.start_publisher("offer.key", "channel.key")
        self.phones = [Phone(folder / f"phone-{number}", self.config) for number in range(2)]

    def _start_host(self, number: int) -> Host:
        data = self.folder / f"edge-{number}"
        data.mkdir()
        settings = {
            "LISTEN": "127.0.0.1:0",
            "ADMIN": "127.0.0.1:0",
            "WORKERS": 1,
            "REDIS": self.redis.url,
            "DATA": data,
            "WORKSPACES": f"{WORKSPACE}={self.folder / 'pinned.json'}",
            "STORE": self._store,
        }
        environ = {f"GRAYWAVE_EDGE_{name}": str(value) for name, value in settings.items()}
        return Host(environ, self.folder / f"edge-{number}.log")

    def _configure(self) -> Path:
        out = self.folder / "client.json"
        edges = [word for host in self.hosts for word in ("--edge", f"http://{host.devices}")]
        self.graywave("client", "--keys", self.keys, *edges, "--out", out)
        return out

    def graywave(self, *words: object) -> str:
        """Runs a command as an operator does; returns what it says."""
        result = CliRunner().invoke(main, [str(word) for word in words])
        assert result.exit_code == 0, result.output
        return result.output

    def set_publisher(self, offer_key: str = "offer.key", channel_key: str = "channel.key") -> dict[str, object]:
        """Returns the publisher's settings, with these keys and the newest root."""
        return {
            "LISTEN": "127.0.0.1:0",
            "WORKSPACE": WORKSPACE,
            "REDIS": self.redis.url,
            "FOLDER": self.folder / "publisher",
            "ROOT": self.keys / "root.json",
            "OFFER_KEY": self.keys / offer_key,
            "CHANNEL_KEY": self.keys / channel_key,
            "TOKEN": TOKEN,
            "FILES": f"http://{self.hosts[0].devices}",
        }

    def start_publisher(self, offer_key: str, channel_key: str) -> None:
        """Starts the publisher with these keys and the newest root."""
        settings = self.set_publisher(offer_key, channel_key)
        environ = {f"GRAYWAVE_PUBLISHER_{name}": str(value) for name, value in settings.items()}
        self.publisher = Server(["publisher"], environ, self.folder / "publisher.log")
        self._address = self.publisher.find(rf"publishing workspace {WORKSPACE} at http://(\S+)")

    def stop_publisher(self) -> None:
        """Stops the publisher in good order."""
        assert self.publisher
        self.publisher.end()

    def pack(self, version: str) -> None:
        """Packs a version, and puts it where edges give it out."""
        source = self.folder / f"source-{version}"
        source.mkdir()
        (source / "app.js").write_bytes(b"App(%b)" % version.encode())
        packed = pack(
            source, self.folder / f"packed-{version}", workspace=WORKSPACE, program=PROGRAM, version=version,
            keys=[self.read_key("package.key")], level=1,
        )  # fmt: skip
        LocalStore(self._store).put(packed.transfer)
        self.packages.append(packed)

    def publish(self, version: str) -> None:
        """Packs a version and publishes it to everybody."""
        self.pack(version)
        status, answer = self.put()
        assert status in {http.HTTPStatus.OK, http.HTTPStatus.CREATED, http.HTTPStatus.ACCEPTED}, answer

    def put(self) -> tuple[int, object]:
        """Asks the publisher to give everybody what was packed last."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        path = f"/v1/documents/program/{PROGRAM}"
        is_new = ask(self._address, "GET", path, **headers)[0] == http.HTTPStatus.NOT_FOUND
        condition = {"If-None-Match": "*"} if is_new else {"If-Match": "*"}
        return ask(self._address, "PUT", path, make_document(self.packages), **headers, **condition)

    def read_key(self, name: str) -> PrivateKey:
        """Returns a private key of the workspace."""
        return PrivateKey.from_json((self.keys / name).read_bytes())

    def reaches_everybody(self, version: str) -> None:
        """Every phone gets a version, and works."""
        for phone in self.phones:
            eventually(lambda phone=phone: phone.update() == version)

    def add_phone(self) -> Phone:
        """Returns a phone that is new, with the host app as it was first shipped."""
        self.phones.append(Phone(self.folder / f"phone-{len(self.phones)}", self.config))
        return self.phones[-1]

    def empty_redis(self) -> None:
        """Redis has lost everything."""
        with Redis.from_url(self.redis.url) as client:
            client.flushall()

    def close(self) -> None:
        """Ends all of it."""
        if self.publisher:
            self.publisher.kill_all()
        self._running.close()


def make_document(packages: Sequence[PackedPackage]) -> dict[str, object]:
    """Returns an author's document that gives the last of these packages to everybody."""
    described = {
        packed.claim.version: {
            "sha256": packed.claim.sha256,
            "size": packed.claim.size,
            "signature": packed.signature,
            "transfers": [
                {
                    "format": "zstd",
                    "url": f"/v1/files/{packed.transfer_sha256}",
                    "size": packed.transfer_size,
                    "sha256": packed.transfer_sha256,
                }
            ],
        }
        for packed in packages
    }
    last = packages[-1].claim.version
    return {
        "format": 1,
        "program": PROGRAM,
        "packages": described,
        "releases": [{"id": f"r{last}", "package": last, "state": "live"}],
    }


@pytest.fixture
def city(tmp_path: Path) -> Iterator[City]:
    """A workspace whose phones have its first version."""
    city = City(tmp_path)
    try:
        city.publish("1.0")
        city.reaches_everybody("1.0")
        yield city
    finally:
        city.close()


class Thief:
    """Who has copied both keys of the publisher, and can write to Redis."""

    def __init__(self, city: City) -> None:
        self._city = city
        self._offer, self._channel = city.read_key("offer.key"), city.read_key("channel.key")

    def publish(self, revision: int) -> None:
        """Signs a document of what was packed last, and a head, at a revision, and puts them into Redis."""
        root, now = read_root((self._city.folder / "pinned.json").read_bytes()), int(time.time())
        believed = Position(1, min(revision, HIGHEST))
        signer = Signer(root, [self._offer], self._channel, 30)
        program = parse_program(json.dumps(make_document(self._city.packages)).encode())
        payload = open_envelope(signer.sign(program, believed, now).envelope, root.keys("channel"), DOCUMENT_TYPE)
        # Our own code signs no revision above the highest.
        written = payload.replace(b'"revision":%d' % believed.revision, b'"revision":%d' % revision)
        head = encode_head(make_head(WORKSPACE, Position(1, revision), 1, now), self._channel)
        self._write(Position(1, revision), seal(written, self._channel, DOCUMENT_TYPE), head)

    def _write(self, position: Position, envelope: bytes, head: bytes) -> None:
        keys = Keys.of(WORKSPACE)
        with Redis.from_url(self._city.redis.url) as client, client.pipeline() as pipeline:
            pipeline.set(keys.document(NAME), envelope)
            pipeline.hset(keys.index, str(NAME), str(position))
            pipeline.delete(keys.log)  # it may have gone on to a later epoch
            pipeline.xadd(keys.log, {"kind": NAME.kind, "id": NAME.id}, id=str(position))
            pipeline.hset(keys.head, mapping={"epoch": 1, "revision": position.revision, "signed": head})
            pipeline.publish(keys.changed, str(position))
            pipeline.execute()


def replace_publisher_keys(city: City) -> None:
    """The runbook of a stolen publisher key: docs/keys.md."""
    city.stop_publisher()
    city.graywave("keys", "rotate", city.keys, "offer")
    city.graywave("keys", "rotate", city.keys, "channel")
    city.graywave("keys", "reset-epoch", city.keys)
    city.start_publisher("offer-2.key", "channel-2.key")


def test_stolen_keys_that_signed_the_highest_revision(city: City) -> None:
    """After revision 2^53-1 nothing of the publisher's is heard; the runbook ends it, with the app that there is.

    The thief goes on meanwhile, and is not heard any more; a phone that was off all the time gets what is new, too.
    """
    thief = Thief(city)
    city.pack("1.1")
    thief.publish(HIGHEST)
    city.reaches_everybody("1.1")
    city.pack("1.2")
    city.put()  # whatever it answers, it answers
    assert [phone.update() for phone in city.phones] == ["1.1"] * len(city.phones)
    replace_publisher_keys(city)
    city.publish("1.3")
    city.add_phone()
    city.reaches_everybody("1.3")
    city.pack("1.4")
    thief.publish(HIGHEST)
    city.publish("1.5")
    city.add_phone()
    city.reaches_everybody("1.5")


def test_stolen_keys_that_signed_a_revision_beyond_bounds(city: City) -> None:
    """Revision 2^62 is believed by nobody: edges and phones keep what they have, and the publisher goes on."""
    city.pack("1.1")
    assert city.publisher
    os.kill(city.publisher.process.pid, signal.SIGSTOP)  # it would throw the head away before anybody has seen it
    try:
        Thief(city).publish(2**62)
        for host in city.hosts:
            eventually(lambda host=host: host.read_status()["workspaces"][WORKSPACE]["problem"])
        assert [phone.update() for phone in city.phones] == ["1.0"] * len(city.phones)
    finally:
        os.kill(city.publisher.process.pid, signal.SIGCONT)
    city.publish("1.2")
    city.reaches_everybody("1.2")


def back_up(city: City) -> None:
    """Copies the publisher's folder, while it does not run."""
    city.stop_publisher()
    shutil.copytree(city.folder / "publisher", city.folder / "backup")
    city.start_publisher("offer.key", "channel.key")


def restore(city: City) -> None:
    """Puts the copy in the folder's place, while the publisher does not run."""
    city.stop_publisher()
    shutil.rmtree(city.folder / "publisher")
    shutil.copytree(city.folder / "backup", city.folder / "publisher")


def live_on(city: City) -> None:
    """A day's work, which the backup does not have."""
    back_up(city)
    for version in ("1.1", "1.2", "1.3"):
        city.publish(version)
        city.reaches_everybody(version)


def test_publisher_from_a_backup(city: City) -> None:
    """A publisher that lost a day learns it from Redis; everything goes on without a step."""
    live_on(city)
    restore(city)
    city.start_publisher("offer.key", "channel.key")
    city.publish("1.4")
    city.add_phone()
    city.reaches_everybody("1.4")


def test_publisher_from_a_backup_and_an_empty_redis(city: City) -> None:
    """Where Redis is gone as well, edges and phones have seen more than the publisher: a new epoch ends that."""
    live_on(city)
    restore(city)
    city.empty_redis()
    city.start_publisher("offer.key", "channel.key")
    city.pack("1.4")
    city.put()  # whatever it answers, it answers
    assert [phone.update() for phone in city.phones] == ["1.3"] * len(city.phones)
    city.stop_publisher()
    city.graywave("keys", "reset-epoch", city.keys)
    city.start_publisher("offer.key", "channel.key")
    city.publish("1.5")
    city.add_phone()
    city.reaches_everybody("1.5")


def test_everything_lost_but_an_edge(city: City) -> None:
    """The drill of docs/operations.md: store, keys and Redis are lost, with what the backup does not have.

    From the backup, and from an edge for what was published since, the publisher goes on, in the same epoch.
    """
    settings, backup, identity = (city.folder / name for name in ("publisher.toml", "backup.age", "age.key"))
    lines = [f'{name.lower()} = "{value}"' for name, value in city.set_publisher().items()]
    settings.write_text("\n".join(["[publisher]", *lines]), "utf-8")
    key = x25519.Identity.generate()
    identity.write_text(str(key), "utf-8")
    city.graywave("backup", backup, "--recipient", key.to_public(), "--config", settings)
    city.publish("1.1")
    city.reaches_everybody("1.1")
    eventually(lambda: city.hosts[0].read_status()["workspaces"][WORKSPACE]["revision"] == 2)
    city.stop_publisher()
    city.empty_redis()
    shutil.rmtree(city.folder / "publisher")
    for name in ("root.json", "offer.key", "channel.key"):  # the packager's key was never there
        (city.keys / name).unlink()
    said = city.graywave("restore", backup, "--identity", identity, "--config", settings)
    assert said.startswith(f"workspace {WORKSPACE} is back at 1-1, as of ")
    place = ["--edge", city.folder / "edge-0", "--root", city.folder / "pinned.json", "--redis", city.redis.url]
    assert city.graywave("republish", *place).startswith("redis has 1 documents at 1-2; ")
    city.start_publisher("offer.key", "channel.key")
    city.publish("1.2")
    city.add_phone()
    city.reaches_everybody("1.2")
    assert city.hosts[0].read_status()["workspaces"][WORKSPACE]["epoch"] == 1
