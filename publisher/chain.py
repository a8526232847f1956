"""The roots of a workspace, one after the other: which may follow which, and what they make of the head in Redis. Pure.

Only the newest root is worked by; those before it are kept for edges and devices that still have to follow.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType

from channel import (
    HEAD_TYPE,
    EnvelopeError,
    FoundHead,
    Head,
    Position,
    SourceError,
    decode_head,
    open_envelope,
    open_head,
)
from publisher.errors import RootChainError
from trust import PublicKey, Root, RootError, read_root, read_successor

_NUMBERED = re.compile(r"(?P<stem>.*?)(\.[0-9]+)?\.json\Z")


@dataclass(frozen=True, slots=True)
class Chain:
    """Root documents by number, without a gap; the newest, read; and the channel keys that it no longer names."""

    documents: Mapping[int, bytes]
    root: Root
    former_keys: Mapping[str, PublicKey]

    @property
    def newest(self) -> bytes:
        """The document of the newest root."""
        return self.documents[self.root.number]


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a head in Redis is worth: the head where it is believed, else where it claims to be, if that can be read."""

    head: Head | None
    claimed: Position | None


# Of a Redis that has no head at all.
UNFOUND = Judgement(None, None)

# Returns the root document of a number, None where there is none.
Find = Callable[[int], bytes | None]


def link_roots(given: bytes, seen: Mapping[int, bytes], find: Find, now: int) -> Chain:
    """Returns the chain that ends with the root that the operator has given.

    Args:
        given: its document.
        seen: what this publisher has worked by before, or known of; empty for a new store.
        find: looks for the roots between; for a new store also for those before, as far as there are any.
        now: seconds; the newest root may not have expired.

    Raises:
        RootError: the given document is no root, or has expired.
        RootChainError: it is older than one that was seen, or does not follow it.
    """
    root = read_root(given, now)
    newest = max(seen, default=0)
    if root.number < newest:
        raise RootChainError(f"expected root {newest}, which this store has seen, or a later one, got {root.number}")
    documents = {root.number: given, **seen}
    if newest == root.number and read_root(seen[newest]) != root:
        raise RootChainError(f"expected root {newest} as this store has seen it, got another one of that number")
    documents |= _fill(newest, root.number, find) if seen else _look_back(root.number, find)
    return _read(dict(sorted(documents.items())))


def name_root(path: Path, number: int) -> Path:
    """Returns where a root of another number lies beside a root's file: `root.2.json` beside `root.json`."""
    found = _NUMBERED.match(path.name)
    return path.with_name(f"{found['stem'] if found else path.name}.{number}.json")


def judge_found(found: FoundHead, chain: Chain) -> Judgement:
    """Returns what a head in Redis is worth to a publisher.

    One under a key that was replaced, or of a later epoch than the root's, or unreadable under a true signature, or
    with other fields beside it than were signed, is not believed: it may be thrown away. What nobody of this workspace
    has signed is not ours to throw away.

    Raises:
        EnvelopeError: no root of the chain names the key.
    """
    keys, workspace = chain.root.keys("channel"), chain.root.workspace
    known = {**chain.former_keys, **keys}
    try:
        open_envelope(found.signed, known, HEAD_TYPE)
    except EnvelopeError as error:
        raise EnvelopeError(f"{error}: redis has another's head; if nobody else publishes there, delete it") from error
    try:
        head = decode_head(found.signed, known, workspace)
    except EnvelopeError:
        return Judgement(None, None)
    try:
        return Judgement(open_head(found, keys, workspace, chain.root.epoch), head.position)
    except (EnvelopeError, SourceError):
        return Judgement(None, head.position)


def accept_found_root(found: bytes, number: int, chain: Chain) -> bool:
    """Returns whether a root document in Redis is as good as the chain's own; False for one that nobody would follow.

    Raises:
        RootChainError: it is another root, which others may well follow.
    """
    before, own = chain.documents.get(number - 1), read_root(chain.documents[number])
    read = partial(read_successor, before=read_root(before)) if before else read_root
    try:
        other = read(found)
    except RootError:
        return False
    if other != own:
        raise RootChainError(f"expected root {number} in redis as it is here, got another: of a second publisher?")
    return True


def is_successor(document: bytes | None, root: Root) -> bool:
    """Returns whether a document is the root after this one."""
    if document is None:
        return False
    try:
        read_successor(document, root)
    except RootError:
        return False
    return True


def _fill(newest: int, number: int, find: Find) -> dict[int, bytes]:
    found = {}
    for missing in range(newest + 1, number):
        document = find(missing)
        if document is None:
            between = f"root {number} does not follow root {newest}, the last that this store has seen"
            raise RootChainError(f"expected root.{missing}.json beside the root, found none: {between}")
        found[missing] = document
    return found


def _look_back(number: int, find: Find) -> dict[int, bytes]:
    found = {}
    while number > 1 and (document := find(number - 1)) is not None:
        number -= 1
        found[number] = document
    return found


def _read(documents: Mapping[int, bytes]) -> Chain:
    roots: list[Root] = []
    for number, document in documents.items():
        try:
            roots.append(read_successor(document, roots[-1]) if roots else read_root(document))
        except RootError as error:
            raise RootChainError(f"root {number}: {error}") from error
        if roots[-1].number != number:
            raise RootChainError(f"expected root {number} in its file, got root {roots[-1].number}")
    newest = roots[-1]
    former = {kid: key for root in roots for kid, key in root.keys("channel").items()}
    kept = {kid: key for kid, key in former.items() if kid not in newest.keys("channel")}
    return Chain(MappingProxyType(dict(documents)), newest, MappingProxyType(kept))
