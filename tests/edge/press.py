"""Makes what an edge's parts are fed with: published documents, sealed by a workspace's own keys, and questions."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from channel import DOCUMENT_TYPE, DocumentName, Position, encode_head, make_head, seal
from edge.answer import Entry, compile_entry
from edge.cache import Document
from edge.chain import Chain
from ruleset import parse_program
from trust import ROLES, PrivateKey, Root, make_root, read_root

Json = dict[str, Any]

WORKSPACE = "demo"
PROGRAM = "2021000000000001"
OTHER_PROGRAM = "2021000000000002"
NOW = 1_800_000_000
YEAR_S = 366 * 86_400
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
