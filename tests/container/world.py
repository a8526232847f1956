"""A whole world behind the Fetcher seam: keys, packages, edges that answer, fail and lie as a test says.

`answer` is what a server says, without a network; `World.fetch` adds addresses that fail, and counts.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec

from bundle import PackedPackage, decompress, make_delta, pack, read_chunks, seal, unseal
from container import Config, Container, Device, Fetcher, NetworkError, Reason, Response, read_config
from trust import (
    ROLES,
    ClientClaim,
    ClientDefaults,
    Offer,
    PackageClaim,
    PrivateKey,
    TransferClaim,
    make_root,
    sign_client,
    sign_offer,
    sign_package,
)

PROGRAM = "2021000000000001"
OTHER_PROGRAM = "2021000000000002"
NOW = 1_794_000_000
DAY = 86_400
KEYS = {name: PrivateKey.generate() for name in ROLES}
STRANGER = PrivateKey.generate()
EDGE, EDGE_2 = "http://edge-1.test", "http://edge-2.test:8080/base"


@dataclass(frozen=True)
class Reply:
    """What a server answers, whole."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Parcel:
    """Bytes that move a package; `base` is the version that a delta starts from."""

    content: bytes
    base: PackedPackage | None = None

    @property
    def sha256(self) -> str:
        return sha256(self.content).hexdigest()

    def claim(self) -> TransferClaim:
        origin = self.base.claim.sha256 if self.base else ""
        form = "dcz" if self.base else "zstd"
        return TransferClaim(format=form, size=len(self.content), sha256=self.sha256, from_sha256=origin)

    def tell(self) -> dict[str, Any]:
        told = {"format": "zstd", "url": f"/v1/files/{self.sha256}", "size": len(self.content), "sha256": self.sha256}
        return told | {"format": "dcz", "from": self.base.claim.version} if self.base else told


def make_root_document(  # one number after the other, signed by the keys before
    number: int = 1,
    keys: Mapping[str, PrivateKey] = KEYS,
    signers: Sequence[PrivateKey] = (),
    *,
    workspace: str = "demo",
    expires: int = NOW + 365 * DAY,
    epoch: int = 1,
) -> bytes:
    roles = {name: [key.public] for name, key in keys.items()}
    return make_root(workspace, number, expires, roles, signers or [keys["root"]], epoch=epoch)


def make_config(*edges: str, programs: Sequence[str] = (), issued: int = NOW - 30 * DAY, **root: Any) -> Config:
    document = json.loads(make_root_document(**root))
    claim = ClientClaim(
        workspace=root.get("workspace", "demo"), issued=issued, edges=edges or (EDGE,),
        defaults=ClientDefaults(programs=tuple(programs)),
    )  # fmt: skip
    form = {"format": 1, "roots": [document], "client": sign_client(claim, KEYS["root"])}
    return read_config(json.dumps(form).encode())


def refuse(status: int, code: str, **headers: str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


def serve_file(content: bytes, headers: Mapping[str, str]) -> Reply:
    """Returns a file, or the rest of it: the tag is its digest, as edges have it."""
    tag = f'"{sha256(content).hexdigest()}"'
    wanted = headers.get("Range", "")
    if not wanted or headers.get("If-Range") != tag:
        return Reply(200, content, {"etag": tag})
    start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    if start >= len(content):
        return Reply(416, b"", {"content-range": f"bytes */{len(content)}"})
    return Reply(
        206, content[start:], {"etag": tag, "content-range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
    )


class Heard:
    """A host app that listens."""

    def __init__(self) -> None:
        self.ready: list[tuple[str, str, str]] = []
        self.moved: list[tuple[str, int, int]] = []
        self.failures: list[tuple[str, str]] = []

    def update_ready(self, program: str, version: str, urgency: str) -> None:
        self.ready.append((program, version, urgency))

    def progress(self, program: str, done: int, total: int) -> None:
        self.moved.append((program, done, total))

    def failed(self, program: str, reason: Reason) -> None:
        self.failures.append((program, reason))


class World:
    """What edges know, a clock that only moves when slept on, and the container that lives in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = float(NOW)
        self.slept: list[float] = []
        self.requests: list[tuple[str, str]] = []
        self.ranges: list[str] = []
        self.reports: list[Any] = []
        self.questions: list[Any] = []
        # The Authorization of each request, with its address.
        self.proofs: list[tuple[str, str]] = []
        self.updates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        self.roots: list[bytes] = [make_root_document()]
        self.keys: Mapping[str, PrivateKey] = KEYS
        self.epoch = 1
        # After how many bytes a real server ends the connection of the next file; 0 for never.
        self.cut_at = 0
        # What an address answers next instead of the truth: replies and errors, in order; the last one for ever.
        self.faults: dict[str, list[Reply | NetworkError]] = {}
        # Checks that an edge answers from an older time than the others.
        self.behind: dict[str, list[dict[str, Any]]] = {}
        self.stream: Callable[[bytes], Iterator[bytes]] = lambda body: iter([body])
        self.config = make_config()
        self.device = Device("d-1", "android", user="u-1", tags={"vip": "1"})
        self.heard = Heard()
        self._counter = 0

    def container(self, name: str = "device", **given: Any) -> Container:
        return Container(
            self.config, self.folder / name, self.device, fetcher=self, now=lambda: self.time, sleep=self.sleep,
            random=self, events=self.heard, **given,
        )  # fmt: skip

    def container_at(self, base: str, fetcher: Fetcher) -> Container:
        """Returns a container that asks a real address."""
        return Container(
            make_config(base), self.folder / "device", self.device, fetcher=fetcher, now=lambda: self.time,
            sleep=self.sleep, random=self,
        )  # fmt: skip

    @property
    def device_folder(self) -> Path:
        """Where the container of `container()` keeps its files."""
        return self.folder / "device" / "demo"

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def getrandbits(self, k: int) -> int:
        self._counter += 1
        return self._counter + (1 << (k - 1))

    def rotate(self, *roles: str, epoch: int | None = None, **changes: Any) -> None:
        """Gives roles new keys, and says so in the next root document."""
        before, self.epoch = self.keys, self.epoch if epoch is None else epoch
        self.keys = {**before, **{name: PrivateKey.generate() for name in roles}}
        signers = list({key.kid: key for key in (before["root"], self.keys["root"])}.values())
        self.roots.append(make_root_document(len(self.roots) + 1, self.keys, signers, epoch=self.epoch, **changes))

    def pack(
        self, version: str, files: Mapping[str, bytes] | None = None, program: str = PROGRAM, *, is_sealed: bool = False
    ) -> PackedPackage:
        """Packs a small program; its transfer can be fetched from every edge."""
        source = self.folder / f"source-{program}-{version}"
        for name, body in (files or {"app.js": f"v{version}".encode() * 100, "pages/a.js": b"Page()"}).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(body)
        packed = pack(
            source, self.folder / f"packed-{program}-{version}", workspace="demo", program=program, version=version,
            keys=[KEYS["package"]], level=1, seal=is_sealed,
        )  # fmt: skip
        self.files[packed.transfer_sha256] = packed.transfer.read_bytes()
        return packed

    def make_tar(self, packed: PackedPackage) -> Path:
        """Returns the tar of a package as a file."""
        transfer = packed.transfer
        if packed.key:
            transfer = self.folder / "clear"
            unseal(packed.transfer, transfer, packed.key)
        path = self.folder / f"{packed.claim.sha256}.tar"
        path.write_bytes(b"".join(decompress(read_chunks(transfer), packed.claim.size)))
        return path

    def delta(self, old: PackedPackage, new: PackedPackage) -> Parcel:
        """Makes the delta between two packages, sealed as the new one is; it can be fetched from every edge."""
        path = self.folder / "delta"
        make_delta(self.make_tar(old), self.make_tar(new), path)
        if new.key:
            seal(path, self.folder / "sealed", new.key)
            path = self.folder / "sealed"
        parcel = Parcel(path.read_bytes(), old)
        self.files[parcel.sha256] = parcel.content
        return parcel

    def offer(
        self,
        packed: PackedPackage,
        action: str = "install",
        revision: int = 1,
        parcels: Sequence[Parcel] = (),
        **changes: Any,
    ) -> Offer:
        claim = packed.claim
        transfers = (*(parcel.claim() for parcel in parcels), whole(packed).claim())
        members: dict[str, Any] = {
            "workspace": "demo", "program": claim.program, "action": action, "version": claim.version,
            "sha256": claim.sha256, "epoch": self.epoch, "revision": revision, "issued": NOW - DAY,
            "expires": NOW + 29 * DAY, "transfers": transfers,
        }  # fmt: skip
        return Offer(**{**members, **changes})

    def publish(
        self,
        packed: PackedPackage,
        action: str = "install",
        revision: int = 1,
        *,
        parcels: Sequence[Parcel] = (),
        offered: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> dict[str, Any]:
        """Lets every edge tell of a package.

        `parcels` are deltas, `offered` members of the offer, `changes` those of the update, other than a publisher
        makes them. Returns the update.
        """
        claim = packed.claim
        offer = self.offer(packed, action, revision, parcels, **(offered or {}))
        update = {
            "program": claim.program, "version": claim.version, "release": f"r{revision}", "action": action,
            "size": claim.size, "sha256": claim.sha256, "signature": packed.signature,
            "transfers": [parcel.tell() for parcel in (*parcels, whole(packed))],
            "offer": sign_offer(offer, self.keys["offer"]),
        }  # fmt: skip
        told = {**update, **({"key": packed.key} if packed.key else {}), **changes}
        self.updates = [*(other for other in self.updates if other["program"] != claim.program), told]
        return told

    def take_down(self, program: str = PROGRAM, revision: int = 9, key: PrivateKey = KEYS["offer"]) -> None:
        """Lets every edge tell that a program is taken down."""
        offer = Offer(
            workspace="demo", program=program, action="remove", version="", sha256="", epoch=1, revision=revision,
            issued=NOW - DAY, expires=NOW + DAY, transfers=(),
        )  # fmt: skip
        self.updates = [{"program": program, "action": "remove", "offer": sign_offer(offer, key)}]

    def fetch(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, timeout: float) -> Response:
        """Answers as `answer` does, or as the address's faults say."""
        assert headers["Accept-Encoding"] == "identity"
        assert timeout > 0
        base = next((edge for edge in (EDGE, EDGE_2) if url.startswith(edge)), "/".join(url.split("/")[:3]))
        self.requests.append((method, url))
        self.proofs += [(url, headers["Authorization"])] if "Authorization" in headers else []
        fault = self._next_fault(base)
        if isinstance(fault, NetworkError):
            raise fault
        reply = fault or self._answer_at(base, method, url.removeprefix(base), body, headers)
        return Response(reply.status, reply.headers, self.stream(reply.body), lambda: None)

    def _next_fault(self, base: str) -> Reply | NetworkError | None:
        faults = self.faults.get(base, [])
        return faults.pop(0) if len(faults) > 1 else faults[0] if faults else None

    def _answer_at(self, base: str, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        now = self.updates
        self.updates = self.behind.get(base, now)
        try:
            return self.answer(method, path, body, headers)
        finally:
            self.updates = now

    def answer(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str] | None = None) -> Reply:
        """Returns what an edge says to a request."""
        if method == "POST" and path == "/v1/check":
            return self._check(json.loads(body or b""))
        if method == "POST" and path == "/v1/report":
            self.reports.append(json.loads(body or b""))
            return Reply(202, b"")
        if path.startswith("/v1/root/"):
            number = int(path.removeprefix("/v1/root/").partition("?")[0])
            is_known = number <= len(self.roots) and path.endswith("?workspace=demo")
            return Reply(200, self.roots[number - 1]) if is_known else refuse(404, "not_found")
        self.ranges.append((headers or {}).get("Range", ""))
        content = self.files.get(path.removeprefix("/v1/files/"))
        return refuse(404, "not_found") if content is None else serve_file(content, headers or {})

    def _check(self, question: Any) -> Reply:
        self.questions.append(question)
        asked = question["programs"]
        told = [update for update in self.updates if update.get("version", "") != asked.get(update["program"])]
        told = [update for update in told if update["program"] in asked]
        answer = {"revision": 1, "root": len(self.roots), "poll_after": 300, "updates": told}
        return Reply(200, json.dumps(answer).encode())

    @property
    def events(self) -> list[dict[str, Any]]:
        """All events that were reported."""
        return [event for report in self.reports for event in report["events"]]


def whole(packed: PackedPackage) -> Parcel:
    """Returns the full transfer of a package."""
    return Parcel(packed.transfer.read_bytes())


def resign(packed: PackedPackage, key: PrivateKey = KEYS["package"], **changes: Any) -> str:
    """Returns a package signature that says something else."""
    claim: PackageClaim = msgspec.structs.replace(packed.claim, **changes)
    return sign_package(claim, key)
