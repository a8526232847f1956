"""What a host has of a workspace, put back into a Redis that has lost it: the same signed bytes, which others believe.

It is for the day when the publisher is gone too. Nothing is signed here, nothing that does not verify is put back, and
nothing that is there is lowered.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from channel import (
    Conflict,
    DocumentName,
    EnvelopeError,
    Feed,
    Head,
    Patience,
    Position,
    SealedDocument,
    Sender,
    SourceError,
    Taken,
    check_epoch,
    connect,
    decode_head,
)
from edge.cache import CacheReader, Refusal
from edge.chain import Chain
from edge.errors import RefillError
from edge.syncer import judge_document


@dataclass(frozen=True, slots=True)
class Stock:
    """What a host's file has of a workspace, verified.

    Args:
        chain: its roots.
        head: the last one that the host came to, and the bytes that were signed.
        signed: these.
        documents: the newest good ones that the host has.
        left: what is in the file and not to be believed, and why.
    """

    chain: Chain
    head: Head
    signed: bytes
    documents: Sequence[SealedDocument]
    left: Sequence[Refusal]


def take_stock(folder: Path, pinned: Chain) -> Stock:
    """Returns what the edge.db in a folder has of the pinned root's workspace.

    Raises:
        RefillError: it has no head, one that is not to be believed, or fewer documents than the head counts.
        CacheError: the file cannot be read.
    """
    workspace, reader = pinned.root.workspace, CacheReader(folder)
    try:
        signed = reader.read_head(workspace)
        chain, envelopes = _read_all(reader, pinned)
    finally:
        reader.close()
    root = chain.root
    try:
        head = decode_head(signed, root.keys("channel"), workspace)
        check_epoch(head.position, root.epoch)
    except EnvelopeError as error:
        raise RefillError(f"{folder} has no head of workspace {workspace!r} that can be believed: {error}") from error
    judged = [judge_document(envelope, workspace, name, root, None) for name, envelope in envelopes.items()]
    documents = [SealedDocument(*item) for item in judged if item is not None and not isinstance(item, Refusal)]
    if len(documents) < head.documents:
        wanted = (
            f"expected the {head.documents} documents that the head at {head.position} counts, got {len(documents)}"
        )
        raise RefillError(f"{wanted}: take another host's folder")
    return Stock(chain, head, signed, documents, [item for item in judged if isinstance(item, Refusal)])


def _read_all(reader: CacheReader, pinned: Chain) -> tuple[Chain, dict[DocumentName, bytes]]:
    """The chain of roots, and the envelopes of all documents, of which the disk has damaged none."""
    workspace, chain = pinned.root.workspace, pinned
    envelopes: dict[DocumentName, bytes] = {}
    after, is_whole = 0, False
    while not is_whole:
        batch = reader.read(after)
        chain = chain.follow(batch.roots.get(workspace, {}))
        envelopes |= {row.name: row.envelope for row in batch.rows if row.workspace == workspace and row.envelope}
        after, is_whole = batch.last, batch.is_whole
    return chain, envelopes


@dataclass(frozen=True, slots=True)
class Refilled:
    """What became of a Redis.

    Args:
        found: where its head stood before, None where it had none.
        is_ahead: whether it is further than the host; then nothing of it was changed but roots that were missing.
        strangers: numbers of roots in whose place something else lies.
    """

    found: Position | None
    is_ahead: bool
    strangers: Sequence[int]


async def refill(stock: Stock, url: str, timeout_s: float) -> Refilled:
    """Puts a host's stock into the Redis at an address.

    Raises:
        RefillError: there is a head that is not to be believed.
        KeyNameError: the address is none.
        LinkError: Redis is away or refuses.
    """
    root = stock.chain.root
    feed = Feed(url, root.workspace, root.keys("channel"), epoch=root.epoch, patience=Patience(answer_s=timeout_s))
    client = connect(url, timeout_s, root.workspace)
    try:
        found = await _read_signed(feed)
        sender = Sender(client, root.workspace)
        roots = [(number, await sender.put_root(number, one)) for number, one in stock.chain.documents.items()]
        strangers = [number for number, outcome in roots if isinstance(outcome, Taken)]
        at = found[0].position if found else None
        if at is not None and at > stock.head.position:
            return Refilled(at, is_ahead=True, strangers=strangers)
        # One at the same position may have been signed later than the host's.
        signed = found[1] if found and at == stock.head.position else stock.signed
        outcome = await sender.restore(stock.documents, stock.head.position, signed)
        return Refilled(at, isinstance(outcome, Conflict), strangers)
    finally:
        await client.aclose()
        await feed.close()


async def _read_signed(feed: Feed) -> tuple[Head, bytes] | None:
    try:
        return await feed.read_signed()
    except (EnvelopeError, SourceError) as error:
        raise RefillError(f"redis has a head that is not to be believed, delete it first: {error}") from error
