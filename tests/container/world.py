"""A whole world behind the Fetcher seam: keys, packages, edges that answer, fail and lie as a test says.

`answer` is what a server says, without a network; `World.fetch` adds addresses that fail, and counts.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from bundle import PackedPackage, pack
from container import Config, Container, Device, Fetcher, NetworkError, Response, read_config
from trust import ROLES, Offer, PackageClaim, PrivateKey, TransferClaim, make_root, sign_offer, sign_package

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


def make_root_document(workspace: str = "demo", expires: int = NOW + 365 * DAY) -> bytes:
    return make_root(workspace, 1, expires, {name: [key.public] for name, key in KEYS.items()}, [KEYS["root"]])


def make_config(*edges: str, **root: Any) -> Config:
    document = json.loads(make_root_document(**root))
    return read_config(json.dumps({"workspace": "demo", "edges": edges or (EDGE,), "root": document}).encode())


def refuse(status: int, code: str, **headers: str) -> Reply:
    body = json.dumps({"error": {"code": code, "message": "no"}}).encode()
    return Reply(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


class World:
    """What edges know, a clock that only moves when slept on, and the container that lives in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.time = float(NOW)
        self.slept: list[float] = []
        self.requests: list[tuple[str, str]] = []
        self.reports: list[Any] = []
        self.questions: list[Any] = []
        self.updates: list[dict[str, Any]] = []
        self.files: dict[str, bytes] = {}
        # What an address answers next instead of the truth: replies and errors, in order; the last one for ever.
        self.faults: dict[str, list[Reply | NetworkError]] = {}
        self.stream: Callable[[bytes], Iterator[bytes]] = lambda body: iter([body])
        self.config = make_config()
        self.device = Device("d-1", "android", user="u-1", tags={"vip": "1"})

    def container(self, name: str = "device") -> Container:
        return Container(
            self.config, self.folder / name, self.device, fetcher=self, now=lambda: self.time, sleep=self.sleep,
            random=self,
        )  # fmt: skip

    def container_at(self, base: str, fetcher: Fetcher) -> Container:
        """Returns a container that asks a real address."""
        return Container(
            make_config(base), self.folder / "device", self.device, fetcher=fetcher, now=lambda: self.time,
            sleep=self.sleep, random=self,
        )  # fmt: skip

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.time += seconds

    def uniform(self, a: float, b: float) -> float:
        return (a + b) / 2

    def getrandbits(self, k: int) -> int:
        return len(self.reports) + (1 << (k - 1))

    def pack(self, version: str, files: Mapping[str, bytes] | None = None, program: str = PROGRAM) -> PackedPackage:
        """Packs a small program; its transfer can be fetched from every edge."""
        source = self.folder / f"source-{program}-{version}"
        for name, body in (files or {"app.js": f"v{version}".encode() * 100, "pages/a.js": b"Page()"}).items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(body)
        packed = pack(
            source, self.folder / f"packed-{program}-{version}", workspace="demo", program=program, version=version,
            key=KEYS["package"], level=1,
        )  # fmt: skip
        self.files[packed.transfer_sha256] = packed.transfer.read_bytes()
        return packed

    def offer(self, packed: PackedPackage, action: str = "install", revision: int = 1, **changes: Any) -> Offer:
        claim = packed.claim
        transfer = TransferClaim(format="zstd", size=packed.transfer_size, sha256=packed.transfer_sha256)
        members: dict[str, Any] = {
            "workspace": "demo", "program": claim.program, "action": action, "version": claim.version,
            "sha256": claim.sha256, "epoch": 1, "revision": revision, "issued": NOW - DAY, "expires": NOW + 29 * DAY,
            "transfers": (transfer,),
        }  # fmt: skip
        return Offer(**{**members, **changes})

    def publish(self, packed: PackedPackage, action: str = "install", revision: int = 1, **changes: Any) -> None:
        """Lets every edge tell of a package; `changes` are members of the update, other than a publisher makes."""
        claim = packed.claim
        transfer = {
            "format": "zstd", "url": f"/v1/files/{packed.transfer_sha256}", "size": packed.transfer_size,
            "sha256": packed.transfer_sha256,
        }  # fmt: skip
        update = {
            "program": claim.program, "version": claim.version, "release": f"r{revision}", "action": action,
            "size": claim.size, "sha256": claim.sha256, "signature": packed.signature, "transfers": [transfer],
            "offer": sign_offer(self.offer(packed, action, revision), KEYS["offer"]),
        }  # fmt: skip
        self.updates = [other for other in self.updates if other["program"] != claim.program] + [{**update, **changes}]

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
        fault = self._next_fault(base)
        if isinstance(fault, NetworkError):
            raise fault
        reply = fault or self.answer(method, url.removeprefix(base), body)
        return Response(reply.status, reply.headers, self.stream(reply.body), lambda: None)

    def _next_fault(self, base: str) -> Reply | NetworkError | None:
        faults = self.faults.get(base, [])
        return faults.pop(0) if len(faults) > 1 else faults[0] if faults else None

    def answer(self, method: str, path: str, body: bytes | None) -> Reply:
        """Returns what an edge says to a request."""
        if method == "POST" and path == "/v1/check":
            self.questions.append(json.loads(body or b""))
            asked = self.questions[-1]["programs"]
            told = [update for update in self.updates if update.get("version", "") != asked.get(update["program"])]
            told = [update for update in told if update["program"] in asked]
            return Reply(200, json.dumps({"revision": 1, "root": 1, "poll_after": 300, "updates": told}).encode())
        if method == "POST" and path == "/v1/report":
            self.reports.append(json.loads(body or b""))
            return Reply(202, b"")
        content = self.files.get(path.removeprefix("/v1/files/"))
        return refuse(404, "not_found") if content is None else Reply(200, content)


def resign(packed: PackedPackage, key: PrivateKey = KEYS["package"], **changes: Any) -> str:
    """Returns a package signature that says something else."""
    claim: PackageClaim = msgspec.structs.replace(packed.claim, **changes)
    return sign_package(claim, key)
