"""What the tests of a whole host stand in: a Redis, a publisher, and edges as an operator starts them, all real."""

import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import orjson
from redis import Redis

from channel import DOCUMENT_TYPE, DocumentName, Keys, Position, encode_head, make_head, seal
from cli.embedded import PrivateRedis
from cli.keys import make_fingerprint_key, make_keys
from trust import PackageClaim, PrivateKey, sign_package

ROOT = Path(__file__).parents[2]
PROGRAM = "2021000000000001"
TOKEN = "a-token-of-the-tests"
# What does not come about within this time never will; nothing is measured by it.
PATIENCE_S = 90.0
YEAR_S = 366 * 86_400
ASKED = 20


def eventually(is_true: Callable[[], Any]) -> Any:
    """Returns what becomes true; a test that waits in vain fails, and says what for."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        found = is_true()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError(f"this never became true: {is_true}")


def is_running(pid: int) -> bool:
    """Says whether a process is there and more than a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def list_children(pid: int) -> list[int]:
    """Returns the ids of a process's children."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def ask(address: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """Asks over a connection of its own; returns status and JSON body."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE_S)
    try:
        data = None if body is None else json.dumps(body)
        connection.request(method, path, data, {"Content-Type": "application/json", **headers})
        response = connection.getresponse()
        return response.status, json.loads(response.read() or b"null")
    finally:
        connection.close()


def run_graywave(*words: object, environ: Mapping[str, str] = os.environ) -> "subprocess.CompletedProcess[str]":
    """Runs a `graywave` command to its end, whatever its exit code, in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "cli", *map(str, words)],
        cwd=ROOT,
        env=environ,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def write_program(folder: Path, version: str) -> dict[str, bytes]:
    """Writes the sources of a program of about 300 KB, and returns them; two versions differ in a few lines."""
    noise = random.Random(7)
    names = ["".join(noise.choices("aeioubcdfglmnprst", k=noise.randrange(4, 9))) for _ in range(400)]
    files = {"app.json": json.dumps({"version": version}).encode(), "icon.png": noise.randbytes(20_000)}
    for page in range(12):
        lines = [
            f"export function {a}{number}({b}) {{ return {c}.{a}({b}, {noise.randrange(9999)}) }}"
            for number, (a, b, c) in enumerate(zip(*(noise.choices(names, k=350) for _ in range(3)), strict=True))
        ]
        if page % 4 == 0:
            lines.insert(100, f"export const shown = 'page {page} of {version}'")
        files[f"pages/page-{page}.js"] = "\n".join(lines).encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def read_folder(folder: Path) -> dict[str, bytes]:
    """Returns the files of a folder, by their paths in it; those that a server replaces at that moment are left out."""
    found = {}
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def read_phone(phone: Path, program: str, version: str) -> dict[str, bytes]:
    """Returns the files that a phone has of a version of such a program."""
    for folder in (phone / "demo" / "programs" / program).iterdir():
        if version in (folder / "app.json").read_text("utf-8"):
            return read_folder(folder)
    raise AssertionError(f"expected {version} of {program} on {phone}, got none")


class Server:
    """A `graywave` command that serves, and what it says of itself.

    Args:
        command: its subcommand, and the words after it.
        environ: its settings.
        log: where its output goes.
        code: the folder of the code to run, another version's perhaps.
    """

    def __init__(self, command: Sequence[object], environ: Mapping[str, str], log: Path, code: Path = ROOT) -> None:
        self._log = log
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli", *map(str, command)],
                cwd=code,
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def read_log(self) -> str:
        """Returns everything that it has said."""
        return self._log.read_text("utf-8")

    def find(self, pattern: str) -> str:
        """Returns what a pattern's group finds in the log, as soon as it is there."""

        def look() -> re.Match[str] | None:
            assert self.process.poll() is None, self.read_log()
            return re.search(pattern, self.read_log())

        return str(eventually(look)[1])

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Sends a signal and returns the exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE_S)

    def kill_all(self) -> None:
        """Ends it and whatever it has started: the session is its own."""
        pids = [self.process.pid, *list_children(self.process.pid)] if self.process.poll() is None else []
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(PATIENCE_S)
        eventually(lambda: not any(is_running(pid) for pid in pids))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            print(self.read_log())  # noqa: T201 - pytest shows it with the failure
        self.kill_all()


class Host(Server):
    """An edge host that runs."""

    def __init__(self, environ: Mapping[str, str], log: Path, *words: object, code: Path = ROOT) -> None:
        super().__init__(["edge", *words], environ, log, code)
        self.devices = self.find(r"devices at (\S+),")
        self.operators = self.find(r"operators at (\S+)")

    def check(self, workspace: str = "demo", program: str = PROGRAM, user: str = "") -> Any:
        """Asks as a device would, over a connection of its own."""
        question = {
            "workspace": workspace,
            "device": {"id": "d-1", "platform": "android", "user": user},
            "programs": {program: ""},
        }
        status, answer = ask(self.devices, "POST", "/v1/check", question)
        assert status == http.HTTPStatus.OK, answer
        return answer

    def read_status(self) -> Any:
        """Returns what /status says."""
        return ask(self.operators, "GET", "/status")[1]

    def is_ready(self) -> bool:
        """Says whether the host should get devices."""
        return ask(self.operators, "GET", "/readyz")[0] == http.HTTPStatus.OK

    def is_current(self) -> bool:
        """Says whether every worker serves with all that the syncer has written; one that is ready may be behind."""
        status = self.read_status()
        return bool(status["ready"]) and {worker["cursor"] for worker in status["workers"]} == {status["row"]}

    def list_pids(self) -> list[int]:
        """Returns the ids of all its processes, the parent's first."""
        return [self.process.pid, *list_children(self.process.pid)]

    def is_told_everywhere(self, version: str, workspace: str = "demo") -> bool:
        """Says whether so many devices, hence every worker, are told of this version."""
        return all(
            [update["version"] for update in self.check(workspace)["updates"]] == [version] for _ in range(ASKED)
        )


class Hand:
    """Somebody who writes the workspace `hand` into Redis, with or without its keys."""

    def __init__(self, url: str, key: PrivateKey) -> None:
        self._keys, self._url, self.key = Keys.of("hand"), url, key
        self.revision = 0

    def make(self, version: str, **members: Any) -> dict[str, Any]:
        """A document that would be published next."""
        package = {
            "sha256": "5e" * 32,
            "size": 700,
            "signature": "s",
            "transfers": [{"format": "zstd", "url": "/f", "size": 1, "sha256": "7f" * 32}],
        }
        return {
            "format": 1,
            "program": PROGRAM,
            "workspace": "hand",
            "epoch": 1,
            "revision": self.revision + 1,
            "packages": {version: package},
            "releases": [{"id": "r1", "package": version}],
            "offers": {"expires": 1 << 39, "install": {version: "an offer"}},
            **members,
        }

    def seal(self, document: Any, key: PrivateKey | None = None) -> bytes:
        """A document under a signature, by default a true one."""
        return seal(orjson.dumps(document), key or self.key, DOCUMENT_TYPE)

    def put(self, envelope: bytes) -> None:
        """Writes it as the next revision, with a head that is truly signed, and tells everybody."""
        self.revision += 1
        position = Position(1, self.revision)
        name = DocumentName("program", PROGRAM)
        head = encode_head(make_head("hand", position, 1, 1 << 32), self.key)
        fields = {"epoch": 1, "revision": self.revision, "signed": head}
        with Redis.from_url(self._url) as client, client.pipeline() as pipeline:
            pipeline.set(self._keys.document(name), envelope)
            pipeline.hset(self._keys.index, str(name), str(position))
            pipeline.xadd(self._keys.log, {"kind": name.kind, "id": name.id}, id=str(position))
            pipeline.hset(self._keys.head, mapping=fields)
            pipeline.publish(self._keys.changed, str(position))
            pipeline.execute()


class Town:
    """A workspace with its keys, a Redis, a publisher, and a folder for all that they keep."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.keys = {name: folder / f"keys-{name}" for name in ("demo", "hand")}
        for name, keys in self.keys.items():
            make_keys(keys, name, int(time.time()) + YEAR_S)
        self.fingerprint_key = folder / "fingerprint.key"
        make_fingerprint_key(self.fingerprint_key)
        self.redis = PrivateRedis(folder / "redis")
        self.redis.start()
        self.start_publisher()
        self._hosts = 0
        self.hand = Hand(self.redis.url, self.read_key("hand", "channel"))
        self.hand.put(self.hand.seal(self.hand.make("2.0.0.0")))

    def start_publisher(self) -> None:
        """Starts the publisher, on a port that is free."""
        self.publisher = Server(["publisher"], self.set_publisher(), self.folder / "publisher.log")
        self.address = self.publisher.find(r"publishing workspace demo at http://(\S+)")

    def set_publisher(self) -> dict[str, str]:
        """Returns the settings of the publisher."""
        keys = self.keys["demo"]
        settings = {
            "LISTEN": "127.0.0.1:0",
            "WORKSPACE": "demo",
            "REDIS": self.redis.url,
            "FOLDER": self.folder / "publisher",
            "ROOT": keys / "root.json",
            "OFFER_KEY": keys / "offer.key",
            "CHANNEL_KEY": keys / "channel.key",
            "TOKEN": TOKEN,
            "UNCHECKED_FILES": "true",
            "FINGERPRINT_KEYS": f"k1={self.fingerprint_key}",
        }
        return {f"GRAYWAVE_PUBLISHER_{name}": str(value) for name, value in settings.items()}

    def set_edge(self, data: Path, **settings: Any) -> dict[str, str]:
        """Returns the settings of an edge of this town."""
        workspaces = ",".join(f"{name}={keys / 'root.json'}" for name, keys in self.keys.items())
        given = {
            "LISTEN": "127.0.0.1:0",
            "ADMIN": "127.0.0.1:0",
            "WORKERS": 2,
            "REDIS": self.redis.url,
            "DATA": data,
            "WORKSPACES": workspaces,
            "FINGERPRINT_KEYS": f"k1={self.fingerprint_key}",
            **settings,
        }
        return {f"GRAYWAVE_EDGE_{name}": str(value) for name, value in given.items()}

    def start_host(self, data: Path, **settings: Any) -> Host:
        """Starts an edge host on ports that are free."""
        self._hosts += 1
        return Host(self.set_edge(data, **settings), self.folder / f"edge-{self._hosts}.log")

    def read_key(self, workspace: str, role: str) -> PrivateKey:
        """Returns a workspace's private key."""
        return PrivateKey.from_json((self.keys[workspace] / f"{role}.key").read_bytes())

    def publish(self, version: str, **members: Any) -> None:
        """Publishes a document by which every device that has nothing gets this version, or those of one release."""
        claim = PackageClaim(workspace="demo", program=PROGRAM, version=version, sha256="5e" * 32, size=700)
        package = {
            "sha256": claim.sha256,
            "size": claim.size,
            "signature": sign_package(claim, self.read_key("demo", "package")),
            "transfers": [{"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}],
        }
        document = {
            "format": 1,
            "program": PROGRAM,
            "packages": {version: package},
            "releases": [{"id": "r1", "package": version, **members}],
        }
        headers = {"Authorization": f"Bearer {TOKEN}", "If-Match": "*"}
        if ask(self.address, "GET", f"/v1/documents/program/{PROGRAM}", **headers)[0] == http.HTTPStatus.NOT_FOUND:
            headers = {"Authorization": f"Bearer {TOKEN}", "If-None-Match": "*"}
        status, answer = ask(self.address, "PUT", f"/v1/documents/program/{PROGRAM}", document, **headers)
        assert status in {http.HTTPStatus.OK, http.HTTPStatus.ACCEPTED}, answer

    def close(self) -> None:
        """Ends publisher and Redis."""
        self.publisher.kill_all()
        self.redis.stop()
