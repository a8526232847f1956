"""What is particular to each kind of document: how it is read, completed, judged, signed and read back.

A publisher treats all documents alike but for this. Nothing is kept here; time and randomness are values, and what
else is published is asked for.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from msgspec.structs import replace

from channel import DocumentName, Position
from publisher.draft import (
    Doubt,
    check_floor,
    check_id,
    check_windows,
    compile_draft,
    complete,
    find_doubts,
    parse_author,
    read_author,
)
from publisher.errors import BadDocumentError, UnknownDocumentError
from publisher.signer import PROGRAM_KIND, Signer
from publisher.store import Place, Record, Signed
from publisher.switch import compile_set, complete_switches, find_switch_doubts
from publisher.visit import list_audience_places, list_places
from ruleset import AudienceDocument, DocumentError, Program, SwitchesDocument, check_audience
from ruleset.document import encode_audience, encode_switches, parse_audience, parse_program, parse_switches
from ruleset.switch import MAX_SWITCHES

AUDIENCE_KIND: Final = "audience"
SWITCHES_KIND: Final = "switches"
# A document without offers has nothing that runs out; far beyond any clock.
NEVER: Final = 1 << 40

_Document = TypeVar("_Document")


class Shelf(Protocol):
    """What else is published now, in the store's thread."""

    def find(self, name: DocumentName) -> tuple[Record, bool] | None:
        """Returns a document's current record; None without one."""

    def read_kind(self, kind: str) -> Iterable[Record]:
        """Returns the current records of all documents of a kind."""


class Kind(Protocol[_Document]):
    """One kind of document. Whatever is wrong with one is a BadDocumentError with the JSON path."""

    def read_author(self, body: bytes, id_: str) -> _Document:
        """Returns the document that an author has sent under a name."""

    def parse(self, author: bytes) -> _Document:
        """Returns a document from what was kept of it."""

    def complete(self, author: _Document, current: _Document | None, randomness: bytes) -> _Document:
        """Returns an author's document with what the publisher fills in."""

    def judge(self, document: _Document, current: _Document | None, now: int, shelf: Shelf) -> Sequence[Doubt]:
        """Returns what in a complete document is hardly meant, if it can be published at all."""

    def check_packages(self, document: _Document) -> None:
        """Returns if devices would take what the document names under the present root."""

    def sign(self, document: _Document, position: Position, now: int) -> Signed:
        """Returns a complete document, signed for a position."""

    def read_back(self, name: DocumentName, envelope: bytes) -> Record:
        """Returns the record of what a publisher of this workspace has published; see `Signer.open`."""

    def list_places(self, document: _Document, base: str) -> Mapping[Place, str]:
        """Returns the files that have to be there before the document is published, with their JSON paths."""


@dataclass(frozen=True, slots=True)
class ProgramKind:
    """Programs, with their packages and releases.

    Args:
        signer: signs.
        key: the name of the fingerprint key that new windows get; empty where the publisher has none.
    """

    signer: Signer
    key: str

    def read_author(self, body: bytes, id_: str) -> Program:
        """See `Kind`."""
        return read_author(body, id_)

    def parse(self, author: bytes) -> Program:
        """See `Kind`."""
        return parse_program(author)

    def complete(self, author: Program, current: Program | None, randomness: bytes) -> Program:
        """See `Kind`."""
        return complete(author, current, randomness, self.key)

    def judge(self, document: Program, current: Program | None, now: int, shelf: Shelf) -> Sequence[Doubt]:
        """See `Kind`."""
        compiled = compile_draft(document)
        check_floor(document, compiled)
        check_windows(document, current, now)
        for release in compiled.releases:
            if release.state != "ended":
                _check_audiences(release.audiences, f"{release.path}.who.audiences", shelf)
        doubts = find_doubts(document, compiled, now)
        self.signer.check_packages(document)
        return doubts

    def check_packages(self, document: Program) -> None:
        """See `Kind`."""
        self.signer.check_packages(document)

    def sign(self, document: Program, position: Position, now: int) -> Signed:
        """See `Kind`."""
        return self.signer.sign(document, position, now)

    def read_back(self, name: DocumentName, envelope: bytes) -> Record:
        """See `Kind`."""
        return self.signer.read(name, envelope)

    def list_places(self, document: Program, base: str) -> Mapping[Place, str]:
        """See `Kind`."""
        return list_places(document, base)


@dataclass(frozen=True, slots=True)
class AudienceKind:
    """Audiences.

    Args:
        signer: signs.
        keys: the names of the fingerprint keys that edges have, too.
    """

    signer: Signer
    keys: Sequence[str]

    def read_author(self, body: bytes, id_: str) -> AudienceDocument:
        """See `Kind`."""
        audience = parse_author(parse_audience, body)
        check_id("audience", audience.audience, id_)
        return audience

    def parse(self, author: bytes) -> AudienceDocument:
        """See `Kind`."""
        return parse_audience(author)

    def complete(self, author: AudienceDocument, _current: AudienceDocument | None, _random: bytes) -> AudienceDocument:
        """See `Kind`."""
        return author

    def judge(
        self, document: AudienceDocument, _current: AudienceDocument | None, _now: int, shelf: Shelf
    ) -> Sequence[Doubt]:
        """See `Kind`."""
        try:
            check_audience(document)
        except DocumentError as error:
            raise BadDocumentError(error.path, error.message) from error
        if document.key and document.key not in self.keys:
            expected = (
                f"one of {', '.join(self.keys)}" if self.keys else "none, since the publisher has no fingerprint_keys"
            )
            raise BadDocumentError("$.key", f"expected {expected}, got {document.key!r}")
        if document.removed:
            _check_unused(document.audience, shelf)
        return ()

    def check_packages(self, document: AudienceDocument) -> None:
        """See `Kind`."""

    def sign(self, document: AudienceDocument, position: Position, _now: int) -> Signed:
        """See `Kind`."""
        return _sign_plain(self.signer, document, position, encode_audience)

    def read_back(self, name: DocumentName, envelope: bytes) -> Record:
        """See `Kind`."""
        audience = parse_audience(self.signer.open(envelope))
        self.signer.check_name(
            name, DocumentName(AUDIENCE_KIND, audience.audience), audience.workspace, _locate(audience)
        )
        return _keep_plain(self.signer, name, audience, envelope, encode_audience)

    def list_places(self, document: AudienceDocument, base: str) -> Mapping[Place, str]:
        """See `Kind`."""
        return list_audience_places(document, base)


@dataclass(frozen=True, slots=True)
class SwitchesKind:
    """Switch sets.

    Args:
        signer: signs.
    """

    signer: Signer

    def read_author(self, body: bytes, id_: str) -> SwitchesDocument:
        """See `Kind`."""
        document = parse_author(parse_switches, body)
        check_id("switches", document.switches, id_)
        return document

    def parse(self, author: bytes) -> SwitchesDocument:
        """See `Kind`."""
        return parse_switches(author)

    def complete(
        self, author: SwitchesDocument, current: SwitchesDocument | None, randomness: bytes
    ) -> SwitchesDocument:
        """See `Kind`."""
        return complete_switches(author, current, randomness)

    def judge(
        self, document: SwitchesDocument, _current: SwitchesDocument | None, now: int, shelf: Shelf
    ) -> Sequence[Doubt]:
        """See `Kind`."""
        compiled = compile_set(document)
        _check_keys(document, shelf)
        for switch in compiled.switches:
            for rule in switch.rules:
                if rule.state != "ended":
                    _check_audiences(rule.audiences, f"{rule.path}.who.audiences", shelf)
        return find_switch_doubts(compiled, now)

    def check_packages(self, document: SwitchesDocument) -> None:
        """See `Kind`."""

    def sign(self, document: SwitchesDocument, position: Position, _now: int) -> Signed:
        """See `Kind`."""
        return _sign_plain(self.signer, document, position, encode_switches)

    def read_back(self, name: DocumentName, envelope: bytes) -> Record:
        """See `Kind`."""
        document = parse_switches(self.signer.open(envelope))
        self.signer.check_name(
            name, DocumentName(SWITCHES_KIND, document.switches), document.workspace, _locate(document)
        )
        return _keep_plain(self.signer, name, document, envelope, encode_switches)

    def list_places(self, _document: SwitchesDocument, _base: str) -> Mapping[Place, str]:
        """See `Kind`."""
        return {}


class Kinds:
    """The kinds that a publisher knows.

    Args:
        signer: signs.
        keys: the names of its fingerprint keys; new windows get the last one.
    """

    def __init__(self, signer: Signer, keys: Sequence[str] = ()) -> None:
        self._kinds: Mapping[str, Kind[Any]] = {
            PROGRAM_KIND: ProgramKind(signer, keys[-1] if keys else ""),
            AUDIENCE_KIND: AudienceKind(signer, keys),
            SWITCHES_KIND: SwitchesKind(signer),
        }

    def find(self, kind: str) -> Kind[Any]:
        """Returns the kind of that name.

        Raises:
            UnknownDocumentError: there is none.
        """
        found = self._kinds.get(kind)
        if found is None:
            raise UnknownDocumentError(
                f"expected a document of kind {' or '.join(map(repr, self._kinds))}, got {kind!r}"
            )
        return found


def _locate(document: Any) -> Position:
    return Position(document.epoch, document.revision)


def _sign_plain(signer: Signer, document: Any, position: Position, encode: Callable[[Any], bytes]) -> Signed:
    """A document that has no offers: it gets its place in the workspace, and nothing of it runs out."""
    published = replace(document, workspace=signer.workspace, epoch=position.epoch, revision=position.revision)
    return signer.seal(encode(document), encode(published), NEVER)


def _keep_plain(
    signer: Signer, name: DocumentName, published: Any, envelope: bytes, encode: Callable[[Any], bytes]
) -> Record:
    """The record of a document that has no offers, as its author wrote it."""
    author = replace(published, workspace="", epoch=0, revision=0)
    return Record(name, _locate(published), signer.keep(encode(author), envelope, NEVER))


def _check_audiences(names: Iterable[str], path: str, shelf: Shelf) -> None:
    """An audience that nobody has published would hold nobody, unnoticed."""
    for i, name in enumerate(names):
        found = shelf.find(DocumentName(AUDIENCE_KIND, name))
        if found is None or parse_audience(found[0].signed.author).removed:
            raise BadDocumentError(f"{path}[{i}]", f"expected an audience that is published, got {name!r}")


def _check_unused(audience: str, shelf: Shelf) -> None:
    for user, names in _list_users(shelf):
        if audience in names:
            raise BadDocumentError("$.removed", f"expected nothing that names it, got {user}")


def _list_users(shelf: Shelf) -> Iterator[tuple[str, Sequence[str]]]:
    """All that has not ended and may name audiences, and what it names."""
    for record in shelf.read_kind(PROGRAM_KIND):
        for release in parse_program(record.signed.author).releases:
            if release.state != "ended" and release.who:
                yield f"release {release.id!r} of program {record.name.id}", release.who.audiences or ()
    for record in shelf.read_kind(SWITCHES_KIND):
        for key, switch in parse_switches(record.signed.author).flags.items():
            for rule in switch.rules:
                if rule.state != "ended" and rule.who:
                    yield f"rule {rule.id!r} of switch {key!r} in {record.name.id!r}", rule.who.audiences or ()


def _check_keys(document: SwitchesDocument, shelf: Shelf) -> None:
    """A key is one switch of the workspace, and whoever asks in bulk is told of all of them."""
    count = len(document.flags)
    for record in shelf.read_kind(SWITCHES_KIND):
        if record.name.id == document.switches:
            continue
        others = parse_switches(record.signed.author).flags
        count += len(others)
        for key in document.flags:
            if key in others:
                message = f"expected a key that no other set has, got one of switch set {record.name.id!r}"
                raise BadDocumentError(f"$.flags[{key!r}]", message)
    if count > MAX_SWITCHES:
        raise BadDocumentError("$.flags", f"expected at most {MAX_SWITCHES} switches a workspace, got {count}")
