"""A Redis, and what a publisher, or somebody else, does to it."""

from typing import Any

from redis.asyncio import Redis

from channel import NOWHERE, DocumentName, Keys, Position, SealedDocument, Sender
from tests.edge.press import KEYS, NOW, PROGRAM, WORKSPACE, YEAR_S, Json, make_document, seal_document, sign_head

NAME = DocumentName("program", PROGRAM)
# Far from now, so that heads of these tests have not expired.
FAR = NOW + 10 * YEAR_S


class Source:
    """A Redis and what a publisher does to it."""

    def __init__(self, client: Redis) -> None:
        self.client = client
        self.sender = Sender(client, WORKSPACE)
        self.keys = Keys.of(WORKSPACE)
        self.position = NOWHERE
        self.key, self.epoch = KEYS["channel"], 1
        self.names: set[DocumentName] = set()

    async def publish(self, version: str = "1.0.0.0", program: str = PROGRAM, **members: Any) -> Position:
        """Publishes a document of a program at the next revision."""
        document = make_document(version, **{"program": program, **members})
        return await self._publish(DocumentName("program", program), document, members)

    async def publish_audience(self, document: Json) -> Position:
        """Publishes an audience's document at the next revision."""
        return await self._publish(DocumentName("audience", document["audience"]), document, {})

    async def _publish(self, name: DocumentName, document: Json, members: Json) -> Position:
        before, self.position = self.position, Position(self.epoch, self.position.revision + 1)
        at = {"epoch": self.position.epoch, "revision": self.position.revision}
        self.names.add(name)
        sealed = SealedDocument(name, self.position, seal_document({**document, **at, **members}, self.key))
        await self.sender.publish(sealed, sign_head(self.position, len(self.names), FAR, self.key), before)
        return self.position

    async def set_head(self, position: Position, documents: int = 1, now: int = FAR) -> None:
        """Puts a signed head there, whatever it says."""
        signed = sign_head(position, documents, now)
        fields = {"epoch": position.epoch, "revision": position.revision, "signed": signed}
        await self.client.hset(self.keys.head, mapping=fields)

    async def put_root(self, number: int, document: bytes) -> None:
        """Puts bytes where the root document of a number lies."""
        await self.client.set(self.keys.root(number), document)

    async def put(self, envelope: bytes) -> None:
        """Puts bytes where the document of PROGRAM lies."""
        await self.client.set(self.keys.document(NAME), envelope)
