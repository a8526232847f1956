"""Makes what an edge's parts are fed with: published documents, sealed by a workspace's own keys, and questions."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from channel import DOCUMENT_TYPE, DocumentName, Position, encode_head, make_head, seal
from edge.answer import Entry, compile_entry
from edge.audience import Opener
from edge.cache import Document
from edge.chain import Chain
from edge.file import Store
from edge.library import Library, Source
from ruleset import Fingerprints, parse_program
from ruleset.roster import Roster
from trust import ROLES, PrivateKey, Root, make_root, read_root

Json = dict[str, Any]

WORKSPACE = "demo"
PROGRAM = "2021000000000001"
OTHER_PROGRAM = "2021000000000002"
NOW = 1_800_000_000
YEAR_S = 366 * 86_400
FINGERPRINT_KEY = bytes(range(32))
# What does not come about within this time never will; nothing is measured by it.
PATIENCE_S = 30.0
KEYS = {role: PrivateKey.generate() for role in ROLES}
ROOT_BYTES = make_root(WORKSPACE, 3, NOW + YEAR_S, {role: [key.public] for role, key in KEYS.items()}, [KEYS["root"]])
ROOT: Root = read_root(ROOT_BYTES)
PINNED = Chain.pin(ROOT_BYTES)
# The keys that the next root has, all of them others.
NEXT_KEYS = {role: PrivateKey.generate() for role in ROLES}


def make_successor(
    number: int = 4,
    *,
    keys: Mapping[str, PrivateKey] = NEXT_KEYS,
    signers: Sequence[PrivateKey] = (KEYS["root"], NEXT_KEYS["root"]),
    epoch: int = 1,
    expires: int = NOW + 20 * YEAR_S,
) -> bytes:
    """The root document that follows ROOT_BYTES, or whatever is said of it."""
    roles = {role: [key.public] for role, key in keys.items()}
    return make_root(WORKSPACE, number, expires, roles, signers, epoch=epoch)


def make_package(**members: Any) -> Json:
    """A package that comes as one whole transfer."""
    transfer = {"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}
    return {"sha256": "5e" * 32, "size": 700, "signature": "signed", "transfers": [transfer], **members}


def make_document(version: str = "1.0.0.0", revision: int = 1, **members: Any) -> Json:
    """A published document that gives everybody this version."""
    return {
        "format": 1,
        "program": PROGRAM,
        "workspace": WORKSPACE,
        "epoch": 1,
        "revision": revision,
        "packages": {version: make_package()},
        "releases": [{"id": "r1", "package": version}],
        "offers": {"expires": NOW + YEAR_S, "install": {version: f"offer of {version}"}},
        **members,
    }


def make_switches(name: str = "app", revision: int = 1, **rules: Json | None) -> Json:
    """A published set of boolean switches, each with one rule that turns it on; None for a switch without one."""
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
    told = {key: [] if rule is None else [{"id": "r1", "variant": "on", **rule}] for key, rule in rules.items()}
    flags = {key: {**flag, "rules": told[key]} for key in rules}
    place = {"workspace": WORKSPACE, "epoch": 1, "revision": revision}
    return {"format": 1, "switches": name, "flags": flags, **place}


def make_entry(**members: Any) -> Entry:
    """A document as a worker holds it."""
    return compile_entry(parse_program(orjson.dumps(make_document(**members))))


def seal_document(document: Any, key: PrivateKey = KEYS["channel"]) -> bytes:
    """A document's envelope, by default with the true key's signature."""
    return seal(orjson.dumps(document), key, DOCUMENT_TYPE)


def make_row(version: str = "1.0.0.0", revision: int = 1, program: str = PROGRAM) -> Document:
    """A document on its way into the cache."""
    envelope = seal_document(make_document(version, revision, program=program))
    return Document(DocumentName("program", program), Position(1, revision), envelope)


def build_file(*users: str, key: bytes = FINGERPRINT_KEY) -> bytes:
    """An audience's file of these users."""
    roster = Roster(key)
    roster.add(users)
    return b"".join(roster.build().chunks)


def make_audience(file: bytes | None = None, name: str = "qa", revision: int = 1, **members: Any) -> Json:
    """A published audience document, of a file if there is one."""
    has_file: Json = {}
    if file is not None:
        sha256 = hashlib.sha256(file).hexdigest()
        count = Fingerprints(file).count if file.startswith(b"gwprints") else 1
        has_file = {"key": "k1", "count": count, "size": len(file), "sha256": sha256, "url": f"/v1/files/{sha256}"}
    head = {"format": 1, "audience": name, "workspace": WORKSPACE, "epoch": 1, "revision": revision}
    return {**head, **has_file, **members}


def make_audience_row(document: Json) -> Document:
    """An audience document on its way into the cache."""
    name = DocumentName("audience", document["audience"])
    return Document(name, Position(1, document["revision"]), seal_document(document))


def keep_file(folder: Path, file: bytes) -> Path:
    """Puts an audience's file where a host has it."""
    path = folder / "audiences" / hashlib.sha256(file).hexdigest()
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(file)
    return path


def make_library(
    folder: Path, store: Path | None = None, base: str = "", tell: Callable[[], None] = lambda: None
) -> Library:
    """The files of audiences in a folder; nothing is brought before it runs."""
    return Library(folder, Source(Store(store), base), Opener(folder, {"k1": FINGERPRINT_KEY}), tell)


def sign_head(position: Position, documents: int = 1, now: int = NOW, key: PrivateKey = KEYS["channel"]) -> bytes:
    """A signed head that was issued at a time."""
    return encode_head(make_head(WORKSPACE, position, documents, now), key)


def write_root(folder: Path) -> Path:
    """The workspace's root in a file."""
    path = folder / "root.json"
    path.write_bytes(ROOT_BYTES)
    return path


def make_question(**members: Any) -> Json:
    """What a device asks that has nothing installed."""
    return {
        "workspace": WORKSPACE,
        "device": {"id": "d-1", "platform": "android"},
        "programs": {PROGRAM: ""},
        **members,
    }


async def eventually(is_true: Callable[[], object]) -> None:
    """Waits until something becomes true; a test that waits in vain fails instead of hanging."""
    async with asyncio.timeout(PATIENCE_S):
        while not is_true():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.005)
