"""A workspace, its devices and the network between them: all honest until a test makes a part of it hostile.

An attacker on the way is a function: it gets what was asked and what an honest edge would answer, and says what the
device gets. An attacker with keys signs with them through `Town.tell`, whose every member can be another. Whatever was
done, `Victim.refuses` holds the device to the suite's promise, and `Victim.recovers` to what has to come after it.
"""

import http.client
import itertools
import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import msgspec

from bundle import Entry, compress, make_delta, make_seal_key, plan_archive, seal, write_archive
from container import ActiveVersion, Config, Container, ContainerError, Device, Fetcher, Outcome, Response, read_config
from trust import (
    ROLES,
    ClientClaim,
    Offer,
    PackageClaim,
    PrivateKey,
    TransferClaim,
    make_root,
    sign_client,
    sign_offer,
    sign_package,
)

PROGRAM, OTHER_PROGRAM = "2021000000000001", "2021000000000002"
WORKSPACE = "demo"
NOW = 1_794_000_000
DAY = 86_400
YEAR = 366 * DAY
EDGE, MIRROR = "http://edge.test", "http://mirror.test"
STRANGER = PrivateKey.generate()
# What a broken connection may leave behind to go on with: a part of one transfer, and a few words about it.
MAX_LEFT_BYTES = 1024 * 1024
# The active version, the one before it, which may still run, and the last one that is known to work.
MAX_FOLDERS = 3
# How long a hostile server waits for a device to hang up: shorter than a device waits for who says nothing at all.
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Request:
    """What a device asks; header names in lower case."""

    method: str
    base: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What a device gets; a body may have no end."""

    status: int
    body: bytes | Iterable[bytes] = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def chunks(self) -> Iterator[bytes]:
        return iter([self.body]) if isinstance(self.body, bytes) else iter(self.body)

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks())


Tamper = Callable[[Request, Reply], Reply]


def be_honest(_: Request, reply: Reply) -> Reply:
    """What no attacker does."""
    return reply


@dataclass(frozen=True)
class Parcel:
    """One way to move a package: bytes in a format; a delta says which tar it starts from."""

    format: str
    content: bytes
    base: "Package | None" = None

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()

    def claim(self) -> TransferClaim:
        origin = self.base.claim.sha256 if self.base else ""
        return TransferClaim(
            format="dcz" if self.base else "zstd", size=len(self.content), sha256=self.sha256, from_sha256=origin
        )

    def tell(self) -> dict[str, Any]:
        members = {
            "format": self.format,
            "url": f"/v1/files/{self.sha256}",
            "size": len(self.content),
            "sha256": self.sha256,
        }
        return {**members, "from": self.base.claim.version} if self.base else members


@dataclass(frozen=True)
class Package:
    """A version as its packager hands it over: what is signed, and every way to move it; `key` opens sealed ones."""

    claim: PackageClaim
    files: Mapping[str, bytes]
    tar: bytes
    signature: str
    parcels: tuple[Parcel, ...]
    key: str = ""

    @property
    def full(self) -> Parcel:
        """The parcel that needs no other version."""
        return next(parcel for parcel in self.parcels if parcel.base is None)


def make_tar(files: Mapping[str, bytes]) -> bytes:
    """Returns the canonical tar of a tree."""
    return write_tar(plan_archive(list_entries(files.items())))


def write_tar(entries: Sequence[Entry]) -> bytes:
    """Returns a tar whose every header is as canonical as any, whatever its entries are called and however ordered."""
    return b"".join(write_archive(entries))


def list_entries(files: Iterable[tuple[str, bytes]]) -> list[Entry]:
    """Returns files as what an archive is made of; a name may stand twice, and need not be allowed."""
    return [Entry(name, len(body), is_executable=False, read=partial(iter, [body])) for name, body in files]


class Keyring:
    """A workspace's private keys by role, and the chain of root documents that name their public halves."""

    def __init__(self, thresholds: Mapping[str, int] | None = None, *, expires: int = NOW + YEAR) -> None:
        self.thresholds = dict.fromkeys(ROLES, 1) | dict(thresholds or {})
        self.keys = {name: [PrivateKey.generate() for _ in range(wanted)] for name, wanted in self.thresholds.items()}
        self.epoch, self.expires = 1, expires
        self.documents = [self.draw_up(1)]

    def draw_up(
        self, number: int, signers: Sequence[PrivateKey] | None = None, workspace: str = WORKSPACE, **changes: Any
    ) -> bytes:
        """Returns a root document of these keys; `changes` are roles with other keys."""
        keys = {**self.keys, **changes}
        roles = {name: [key.public for key in keys[name]] for name in ROLES}
        return make_root(
            workspace,
            number,
            self.expires,
            roles,
            keys["root"] if signers is None else signers,
            thresholds=self.thresholds,
            epoch=self.epoch,
        )

    def rotate(self, *roles: str, new_epoch: bool = False) -> None:
        """Gives roles new keys, and says so in a root that old and new root keys sign."""
        before = self.keys["root"]
        self.epoch += new_epoch
        self.keys |= {name: [PrivateKey.generate() for _ in self.keys[name]] for name in roles}
        signers = list({key.kid: key for key in [*before, *self.keys["root"]]}.values())
        self.documents.append(self.draw_up(len(self.documents) + 1, signers))

    def configure(self, *edges: str) -> Config:
        """Returns what a host app starts from that asks these edges and pins the first root."""
        return read_config(self.write_configuration(*edges))

    def write_configuration(self, *edges: str) -> bytes:
        """Returns the file that it ships for that."""
        claim = ClientClaim(workspace=WORKSPACE, issued=NOW - 30 * DAY, edges=edges)
        roots = [json.loads(document) for document in self.documents[:1]]
        form = {"format": 1, "roots": roots, "client": sign_client(claim, *self.keys["root"])}
        return json.dumps(form, separators=(",", ":")).encode()


class Town:
    """A workspace with an honest edge, which tells of what was last published, and whatever stands in its way.

    `time` is true; devices' clocks are `skew` seconds off.

    Args:
        folder: where packages are made and devices keep theirs.
        keys: the workspace's.
    """

    def __init__(self, folder: Path, keys: Keyring | None = None) -> None:
        self.folder = folder
        self.keys = keys or Keyring()
        self.time = float(NOW)
        self.skew = 0
        self.tamper: Tamper = be_honest
        self.updates: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self.packages: dict[str, Package] = {}
        self.requests: list[Request] = []
        self.events: list[dict[str, Any]] = []
        self.revision = 0
        self._versions = (f"1.{minor}" for minor in itertools.count())
        self._nonces = itertools.count()

    def pack(
        self,
        version: str = "",
        files: Mapping[str, bytes] | None = None,
        *,
        tar: bytes | None = None,
        base: Package | None = None,
        is_sealed: bool = False,
        signers: Sequence[PrivateKey] | None = None,
        **claim: Any,
    ) -> Package:
        """Returns a package, by default the next version; `tar` and members of the `claim` may be any.

        Its parcels can be fetched from every edge: the full one and, with a `base`, the delta that starts there.
        """
        version = version or next(self._versions)
        # No two versions have one size: then a mix of them is one.
        files = files or {
            "app.js": b"App(%b)\n" % version.encode() * (60 * len(self.packages) + 60),
            "a/b.js": b"Page()",
        }
        tar = make_tar(files) if tar is None else tar
        members = {"workspace": WORKSPACE, "program": PROGRAM, "version": version, "size": len(tar)}
        stated = PackageClaim(**{**members, "sha256": sha256(tar).hexdigest(), **claim})
        key = make_seal_key() if is_sealed else ""
        parcels = [Parcel("zstd", self._seal(b"".join(compress([tar], len(tar), 1)), key))]
        if base:
            parcels.insert(0, Parcel("dcz", self._seal(self.make_delta(base.tar, tar), key), base))
        signature = sign_package(stated, *(signers or self.keys.keys["package"]))
        package = Package(stated, files, tar, signature, tuple(parcels), key)
        self.packages[version] = package
        self.offer_files(*parcels)
        return package

    def offer_files(self, *parcels: Parcel) -> None:
        """Lets parcels be fetched from every edge."""
        self.files |= {parcel.sha256: parcel.content for parcel in parcels}

    def make_delta(self, old: bytes, new: bytes) -> bytes:
        """Returns the delta that leads from one tar to another."""
        paths = [self.folder / name for name in ("old.tar", "new.tar", "delta")]
        paths[0].write_bytes(old)
        paths[1].write_bytes(new)
        make_delta(*paths)
        return paths[2].read_bytes()

    def _seal(self, content: bytes, key: str) -> bytes:
        return self.seal(content, key) if key else content

    def seal(self, content: bytes, key: str) -> bytes:
        """Returns what only the key opens."""
        clear, sealed = self.folder / "clear", self.folder / "sealed"
        clear.write_bytes(content)
        seal(clear, sealed, key)
        return sealed.read_bytes()

    def offer(self, package: Package | None, action: str = "install", **changes: Any) -> Offer:
        """Returns the publisher's next word about a package, or of a take-down; `changes` are members of it."""
        self.revision += 1
        members: dict[str, Any] = {
            "workspace": WORKSPACE,
            "program": package.claim.program if package else PROGRAM,
            "action": action,
            "version": package.claim.version if package else "",
            "sha256": package.claim.sha256 if package else "",
            "epoch": self.keys.epoch,
            "revision": self.revision,
            "issued": int(self.time),
            "expires": int(self.time) + 30 * DAY,
            "transfers": tuple(parcel.claim() for parcel in package.parcels) if package else (),
        }
        return Offer(**{**members, **changes})

    def tell(
        self,
        package: Package,
        action: str = "install",
        *,
        signers: Sequence[PrivateKey] | None = None,
        told: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Returns an update as an edge tells it: `changes` are members of its offer, `told` those beside the offer."""
        offer = self.offer(package, action, **changes)
        update = {
            "program": package.claim.program,
            "version": package.claim.version,
            "release": f"r{self.revision}",
            "action": action,
            "urgency": "silent",
            "download": "any",
            "install": "open",
            "size": package.claim.size,
            "sha256": package.claim.sha256,
            "signature": package.signature,
            "offer": sign_offer(offer, *(signers or self.keys.keys["offer"])),
            "transfers": [parcel.tell() for parcel in package.parcels],
            "extra": {},
        }
        return update | ({"key": package.key} if package.key else {}) | dict(told or {})

    def tell_removal(self, signers: Sequence[PrivateKey] | None = None, **changes: Any) -> dict[str, Any]:
        """Returns a take-down as an edge tells it."""
        offer = sign_offer(self.offer(None, "remove", **changes), *(signers or self.keys.keys["offer"]))
        return {"program": PROGRAM, "action": "remove", "offer": offer}

    def publish(self, package: Package, action: str = "install", **changes: Any) -> None:
        """Lets every honest edge tell of a package from now on."""
        self.updates[package.claim.program] = self.tell(package, action, **changes)

    def answer(self, request: Request) -> Reply:
        """Returns what an honest edge says."""
        kind, _, name = request.path.removeprefix("/v1/").partition("?")[0].partition("/")
        if (request.method, kind) == ("POST", "check"):
            return self._check(json.loads(request.body)["programs"])
        if (request.method, kind) == ("POST", "report"):
            self.events += json.loads(request.body)["events"]
            return Reply(202)
        if kind == "root" and name.isdigit() and 1 <= int(name) <= len(self.keys.documents):
            return Reply(200, self.keys.documents[int(name) - 1])
        if kind == "files" and name in self.files:
            return serve_file(self.files[name], name, request)
        return refuse(404, "not_found")

    def _check(self, asked: Mapping[str, str]) -> Reply:
        told = [update for update in self.updates.values() if update["program"] in asked]
        updates = [update for update in told if update.get("version", "") != asked[update["program"]]]
        return make_answer(updates, root=len(self.keys.documents), revision=self.revision)

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """A network without sockets: what the honest edge says, as far as the attacker lets it through."""
        assert timeout > 0
        base = "/".join(url.split("/")[:3])
        lowered = {name.lower(): value for name, value in headers.items()}
        reply = self.meet(Request(method, base, url.removeprefix(base), lowered, body or b""))
        return Response(reply.status, reply.headers, reply.chunks(), lambda: None)

    def meet(self, request: Request) -> Reply:
        """Returns what a device gets, wherever it asks."""
        self.requests.append(request)
        return self.tamper(request, self.answer(request))

    def sleep(self, seconds: float) -> None:
        self.time += seconds

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def getrandbits(self, k: int) -> int:
        return next(self._nonces) + (1 << (k - 1))


def make_answer(updates: Sequence[Mapping[str, Any]], **members: Any) -> Reply:
    """Returns the answer to a check."""
    answer = {"revision": 1, "root": 1, "poll_after": 300, "updates": list(updates), **members}
    return Reply(200, json.dumps(answer).encode(), {"content-type": "application/json"})


def refuse(status: int, code: str, **headers: str) -> Reply:
    """Returns an edge's refusal."""
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def serve_file(content: bytes, name: str, request: Request) -> Reply:
    """Returns a file, or the rest of it, as the contract says."""
    tag = f'"{name}"'
    wanted = request.headers.get("range", "")
    if wanted and request.headers.get("if-range", tag) == tag:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(content):
            return Reply(416, b"", {"content-range": f"bytes */{len(content)}"})
        span = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return Reply(206, content[start:], {"etag": tag, "content-range": span})
    return Reply(200, content, {"etag": tag})


def read_folder(folder: Path) -> dict[str, bytes]:
    """Returns the files of a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class Victim:
    """A device with a version that works, and what has to hold whatever is done to it.

    Args:
        town: where it lives.
        edges: whom it asks, in order.
        fetcher: how it reaches them; by default without sockets.
        name: of its folder.
    """

    def __init__(
        self,
        town: Town,
        *edges: str,
        fetcher: Fetcher | None = None,
        config: Config | None = None,
        name: str = "device",
    ) -> None:
        self.town, self.folder = town, town.folder / name
        self._fetcher = fetcher
        self.config = config or town.keys.configure(*(edges or (EDGE,)))
        self.container = self._make()

    def _make(self) -> Container:
        town = self.town
        return Container(
            self.config,
            self.folder,
            Device("d-1", "android"),
            fetcher=self._fetcher or town,
            now=lambda: town.time + town.skew,
            sleep=town.sleep,
            random=town,
        )

    def restart(self) -> None:
        """The host app is killed and started again."""
        self.container = self._make()

    @property
    def version(self) -> str:
        """The active version, empty for none."""
        active = self.container.active(PROGRAM)
        return active.version if active else ""

    def opens(self) -> str:
        """Opens the program as the host app does, sees that it is whole, confirms it, and returns its version."""
        active = self.container.open(PROGRAM)
        self.check_files(active)
        self.container.confirm(PROGRAM)
        return active.version

    def check_files(self, active: ActiveVersion) -> None:
        """Every file of the version is as its packager had it, and there is no other."""
        assert read_folder(active.folder) == dict(self.town.packages[active.version].files)

    def update(self) -> Outcome | None:
        """Updates the program, and returns what became of it; None if nobody had anything to say."""
        outcomes = self.container.update([PROGRAM])
        assert len(outcomes) <= 1
        return outcomes[0] if outcomes else None

    def takes(self, package: Package) -> None:
        """The program is published, brought, and works."""
        self.town.publish(package)
        outcome = self.update()
        assert outcome
        assert (outcome.status, outcome.error) == ("activated", None)
        assert self.opens() == package.claim.version
        self.check_room()

    def refuses(self, *reasons: str) -> ContainerError:
        """Updates: that fails for one of these documented reasons, is reported so, and changes nothing."""
        before = self.opens()
        told = len(self.town.events)
        error = self._fail()
        assert error.reason in reasons, error
        assert self.opens() == before
        assert {event["reason"] for event in self.town.events[told:]} <= {"", error.reason}
        self.check_room()
        return error

    def _fail(self) -> ContainerError:
        try:
            outcome = self.update()
        except ContainerError as error:
            return error
        assert outcome
        assert outcome.status == "failed"
        assert outcome.error
        return outcome.error

    def ignores(self) -> None:
        """Updates: nothing fails, nothing is reported, and nothing changes."""
        before, told = self.opens(), len(self.town.events)
        outcome = self.update()
        assert outcome is None or outcome.status == "stale"
        assert self.opens() == before
        assert [event["outcome"] for event in self.town.events[told:] if event["outcome"] == "failed"] == []
        self.check_room()

    def recovers(self) -> None:
        """Everybody is honest again: the next version is brought, and works."""
        self.town.tamper = be_honest
        self.takes(self.town.pack())

    def check_room(self) -> None:
        """What lies about is the active version, the one before it, and a part of one transfer at most."""
        folders = list(self.folder.glob("**/programs/*/*"))
        assert len(folders) <= MAX_FOLDERS * len(self.container.installed())
        left = (path.stat().st_size for path in self.folder.glob("**/staging/**/*") if path.is_file())
        assert sum(left) <= MAX_LEFT_BYTES


def make_victim(town: Town, *edges: str, **arguments: Any) -> Victim:
    """Returns a device with a version that works."""
    victim = Victim(town, *edges, **arguments)
    victim.takes(town.pack())
    town.requests.clear()
    town.events.clear()
    return victim


def change(update: Mapping[str, Any], **members: Any) -> dict[str, Any]:
    """Returns an update with other members."""
    return {**update, **members}


def answer_with(*updates: Mapping[str, Any], **members: Any) -> Tamper:
    """An edge that answers every check with these updates, whatever is true."""

    def tamper(request: Request, reply: Reply) -> Reply:
        return make_answer(updates, **members) if request.path == "/v1/check" else reply

    return tamper


def replace_file(parcel: Parcel, body: bytes | Iterable[bytes]) -> Tamper:
    """A CDN that gives other bytes for a parcel, as often as it is asked."""

    def tamper(request: Request, reply: Reply) -> Reply:
        return replace(reply, body=body) if request.path == f"/v1/files/{parcel.sha256}" else reply

    return tamper


def resign(package: Package, *signers: PrivateKey, **changes: Any) -> str:
    """Returns a package signature that says something else."""
    return sign_package(msgspec.structs.replace(package.claim, **changes), *signers)


Speak = Callable[[socket.socket, Request, Reply], None]


def say(connection: socket.socket, _: Request, reply: Reply) -> None:
    """Speaks HTTP as it should be."""
    body = reply.content
    connection.sendall(write_head(reply.status, {"Content-Length": str(len(body)), **reply.headers}) + body)


def write_head(status: int, headers: Mapping[str, str]) -> bytes:
    """Returns the head of an answer, which ends its connection."""
    lines = [f"HTTP/1.1 {status} Whatever", "Connection: close", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


def send_until_gone(connection: socket.socket, chunks: Iterable[bytes]) -> bool:
    """Sends until the device hangs up, and says whether it did."""
    try:
        for chunk in chunks:
            connection.sendall(chunk)
    except OSError:
        return True
    return has_hung_up(connection)


def has_hung_up(connection: socket.socket) -> bool:
    """Says whether the device ends the connection: it does at once, or will not within our patience."""
    connection.settimeout(PATIENCE_S)
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


class HostileServer:
    """A server on loopback, in a thread: it knows what the honest edge would say, and speaks as a test wants.

    Each connection has one request. What `speak` raises other than a broken connection fails the test.
    """

    def __init__(self, town: Town) -> None:
        self.town = town
        self.speak: Speak = say
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve)
        self._busy = threading.Lock()
        self._defects: list[BaseException] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(4 * PATIENCE_S)
        self._listener.close()
        assert not self._thread.is_alive()
        assert self._defects == []

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with self._busy, connection:
                self._attend(connection)

    def rest(self) -> None:
        """Returns when the last connection is over, also on this side."""
        with self._busy:
            return

    def _attend(self, connection: socket.socket) -> None:
        try:
            with connection.makefile("rb") as file:
                request = self._read(file)
            self.speak(connection, request, self.town.meet(request))
        except ConnectionError:
            pass
        except Exception as error:  # noqa: BLE001, the test fails with it
            self._defects.append(error)

    def _read(self, file: Any) -> Request:
        method, path, _ = file.readline().decode().split(" ")
        fields = http.client.parse_headers(file)
        headers = {name.lower(): value for name, value in fields.items()}
        return Request(method, self.base, path, headers, file.read(int(headers.get("content-length", "0"))))
