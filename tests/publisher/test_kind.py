"""The kinds of documents: audiences beside programs, and what each wants of the other."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from channel import DOCUMENT_TYPE, DocumentName, EpochError, Position, seal
from publisher import BadDocumentError
from publisher.errors import UnknownDocumentError
from publisher.kind import Kinds
from publisher.precondition import Precondition
from publisher.proposal import Proposal, Wish
from publisher.store import Place, Record
from ruleset import condition

QA = DocumentName("audience", "qa")
ATTRIBUTES = ", ".join((*condition.ATTRIBUTES, "tags.<name>"))
APP = DocumentName("switches", "app")
PROGRAM = DocumentName("program", "2021000000000001")
FILE = {"key": "k1", "count": 2, "size": 56, "sha256": "5e" * 32, "url": "/v1/files/" + "5e" * 32}
Json = dict[str, Any]
Publish = Callable[[DocumentName, Json], Record]


class Records:
    """What is published, as a store would tell it."""

    def __init__(self) -> None:
        self.records: dict[DocumentName, Record] = {}

    def find(self, name: DocumentName) -> tuple[Record, bool] | None:
        """Returns a record, if it is there."""
        return (self.records[name], True) if name in self.records else None

    def read_kind(self, kind: str) -> list[Record]:
        """Returns all records of a kind."""
        return [record for name, record in self.records.items() if name.kind == kind]


@pytest.fixture
def kinds(workshop: Any) -> Kinds:
    """The kinds of a publisher with one fingerprint key."""
    return Kinds(workshop.signer(), ["k1"])


@pytest.fixture
def publish(kinds: Kinds) -> Publish:
    """Publishes a document beside those before it, and returns its record."""
    shelf = Records()

    def run(name: DocumentName, document: Json) -> Record:
        current = shelf.records.get(name)
        precondition = Precondition.read("*" if current else None, None)
        wish = Wish(name, orjson.dumps(document), precondition)
        proposal = Proposal(wish, kinds.find(name.kind), shelf, b"r" * 32, now=1_000)
        position = Position(1, len(shelf.records) + 1)
        signed = proposal.build(current, position)
        assert signed is not None
        shelf.records[name] = Record(name, position, signed)
        return shelf.records[name]

    return run


def audience(**members: Any) -> Json:
    """An author's audience document."""
    return {"format": 1, "audience": "qa", **(members or FILE)}


def refuse(publish: Publish, name: DocumentName, document: Json) -> str:
    """How a document is refused."""
    with pytest.raises(BadDocumentError) as caught:
        publish(name, document)
    return str(caught.value)


def test_unknown_kind(kinds: Kinds) -> None:
    """A kind that this publisher does not know is named, with those that it does."""
    with pytest.raises(UnknownDocumentError) as caught:
        kinds.find("songs")
    assert str(caught.value).startswith("expected a document of kind 'program' or 'audience'")
    assert str(caught.value).endswith("got 'songs'")


def test_audience_is_signed_and_read_back(publish: Publish, kinds: Kinds) -> None:
    """An audience is published with its place in the workspace, and taken over as its author wrote it."""
    record = publish(QA, audience(**FILE, patterns=["qa-*"]))
    published = orjson.loads(record.signed.envelope.split(b"\n", 1)[1])
    assert (published["workspace"], published["epoch"], published["revision"]) == ("demo", 1, 1)
    assert kinds.find("audience").read_back(QA, record.signed.envelope) == record
    assert orjson.loads(record.signed.author) == audience(**FILE, patterns=["qa-*"])


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ({}, "$: expected sha256 or patterns, got neither: an audience of nobody (removed says that)"),
        ({**FILE, "key": ""}, "$.key: expected one with sha256"),
        ({**FILE, "count": 0}, "$.count: expected one with sha256"),
        ({**FILE, "url": ""}, "$.url: expected one with sha256"),
        ({"patterns": ["a"], "size": 1}, "$.size: expected none without sha256"),
        ({**FILE, "removed": True}, "$.removed: expected neither a file nor patterns in an audience that is removed"),
        ({**FILE, "key": "k9"}, "$.key: expected one of k1, got 'k9'"),
        ({**FILE, "workspace": "demo"}, "$.workspace: expected none in an author's document: the publisher sets it"),
        ({**FILE, "audience": "qb"}, "$.audience: expected 'qa' as in the address, got 'qb'"),
        ({**FILE, "colour": 1}, "$: object contains unknown field `colour`"),
        ({**FILE, "sha256": "x"}, "$.sha256: expected `str` matching regex '^([0-9a-f]{64})?\\\\Z'"),
    ],
)
def test_audiences_that_are_refused(publish: Publish, members: Json, said: str) -> None:
    """What does not fit together is refused with its place."""
    assert refuse(publish, QA, {"format": 1, "audience": "qa", **members}) == said


def test_publisher_without_keys_takes_patterns_alone(workshop: Any) -> None:
    """No host could look in fingerprints under a key that nobody has."""
    kind = Kinds(workshop.signer()).find("audience")
    assert kind.judge(kind.read_author(orjson.dumps(audience(patterns=["a"])), "qa"), None, 0, Records()) == ()
    with pytest.raises(BadDocumentError, match="the publisher has no fingerprint_keys"):
        kind.judge(kind.read_author(orjson.dumps(audience()), "qa"), None, 0, Records())


def test_file_of_an_audience_has_to_be_there(kinds: Kinds) -> None:
    """The file is looked for where devices' hosts will; patterns alone need none."""
    kind = kinds.find("audience")
    document = kind.read_author(orjson.dumps(audience()), "qa")
    place = Place(f"https://cdn.example{FILE['url']}", 56, str(FILE["sha256"]))
    assert kind.list_places(document, "https://cdn.example") == {place: "$.url"}
    assert kind.list_places(kind.read_author(orjson.dumps(audience(patterns=["a"])), "qa"), "") == {}


def test_release_of_an_unknown_audience_is_refused(publish: Publish, workshop: Any) -> None:
    """A misspelt audience would hold nobody, unnoticed; one that was removed likewise. An ended release may name it."""
    release = {"id": "r1", "package": "1.0.0.0", "who": {"audiences": ["qa"]}}
    said = "$.releases[0].who.audiences[0]: expected an audience that is published, got 'qa'"
    assert refuse(publish, PROGRAM, workshop.document(release)) == said
    publish(QA, audience())
    publish(PROGRAM, workshop.document(release))
    publish(PROGRAM, workshop.document({**release, "state": "ended"}))
    publish(QA, audience(removed=True))
    assert refuse(publish, PROGRAM, workshop.document(release)) == said


def test_audience_in_use_is_not_removed(publish: Publish, workshop: Any) -> None:
    """A release that names it would reach nobody any more."""
    publish(QA, audience())
    publish(PROGRAM, workshop.document({"id": "r1", "package": "1.0.0.0", "who": {"audiences": ["qa"]}}))
    used = f"release 'r1' of program {PROGRAM.id}"
    said = f"$.removed: expected nothing that names it, got {used}"
    assert refuse(publish, QA, audience(removed=True)) == said
    publish(QA, audience(patterns=["qa-*"]))


@pytest.mark.parametrize(
    ("members", "error"),
    [
        ({"audience": "qb"}, BadDocumentError),
        ({"workspace": "shop"}, BadDocumentError),
        ({"epoch": 2}, EpochError),
        ({"epoch": 0}, BadDocumentError),
    ],
)
def test_audience_that_is_not_taken_over(kinds: Kinds, workshop: Any, members: Json, error: type[Exception]) -> None:
    """What a channel key signed under another name, workspace or epoch is not believed."""
    published = {**audience(), "workspace": "demo", "epoch": 1, "revision": 4}
    kind, key = kinds.find("audience"), workshop.keys["channel"]
    assert kind.read_back(QA, seal(orjson.dumps(published), key, DOCUMENT_TYPE)).position == Position(1, 4)
    with pytest.raises(error):
        kind.read_back(QA, seal(orjson.dumps({**published, **members}), key, DOCUMENT_TYPE))


def switches(name: str = "app", key: str = "new-home", **rule: Any) -> Json:
    """An author's switch set of one switch."""
    flag = {"type": "boolean", "variants": {"on": True, "off": False}, "default": "off"}
    rules = [{"id": "r1", "variant": "on", **rule}] if rule else []
    return {"format": 1, "switches": name, "flags": {key: {**flag, "rules": rules}}}


def test_switch_set_is_signed_and_read_back(publish: Publish, kinds: Kinds) -> None:
    """A switch set is published complete, with its place in the workspace, and taken over as its author wrote it."""
    record = publish(APP, switches(who={"percent": {"parts": 1}}))
    published = orjson.loads(record.signed.envelope.split(b"\n", 1)[1])
    assert (published["workspace"], published["epoch"], published["revision"]) == ("demo", 1, 1)
    assert published["flags"]["new-home"]["rules"][0]["who"]["percent"]["salt"]
    kind = kinds.find("switches")
    assert kind.read_back(APP, record.signed.envelope) == record
    assert kind.list_places(kind.parse(record.signed.author), "https://cdn.example") == {}
    assert publish(APP, {"format": 1, "switches": "app", "removed": True}).position > record.position


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {**switches(), "workspace": "demo"},
            "$.workspace: expected none in an author's document: the publisher sets it",
        ),
        (switches(name="other"), "$.switches: expected 'app' as in the address, got 'other'"),
        (
            switches(when=[{"attribute": "colour", "op": "in", "values": ["x"]}]),
            f"$.flags['new-home'].rules[0].when[0].attribute: expected one of {ATTRIBUTES}, got 'colour'",
        ),
        (
            switches(who={"audiences": ["qa"]}),
            "$.flags['new-home'].rules[0].who.audiences[0]: expected an audience that is published, got 'qa'",
        ),
    ],
)
def test_switch_sets_that_are_refused(publish: Publish, document: Json, said: str) -> None:
    """What cannot be published is refused with its place."""
    assert refuse(publish, APP, document) == said


def test_key_of_another_set_is_refused(publish: Publish) -> None:
    """A key is one switch of the workspace; a set may be changed, and another may take the key when it is free."""
    publish(APP, switches())
    publish(APP, switches(state="paused"))
    other = DocumentName("switches", "other")
    said = "$.flags['new-home']: expected a key that no other set has, got one of switch set 'app'"
    assert refuse(publish, other, switches(name="other")) == said
    publish(APP, switches(key="old-home"))
    publish(other, switches(name="other"))


def test_workspace_has_so_many_switches(publish: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks in bulk is told of all of them."""
    monkeypatch.setattr("publisher.kind.MAX_SWITCHES", 1)
    publish(APP, switches())
    said = "$.flags: expected at most 1 switches a workspace, got 2"
    assert refuse(publish, DocumentName("switches", "other"), switches(name="other", key="b")) == said


def test_audience_of_a_switch_is_not_removed(publish: Publish) -> None:
    """A live rule that names it would reach nobody any more; an ended one may."""
    publish(QA, audience())
    publish(APP, switches(who={"audiences": ["qa"]}))
    said = "$.removed: expected nothing that names it, got rule 'r1' of switch 'new-home' in 'app'"
    assert refuse(publish, QA, audience(removed=True)) == said
    publish(APP, switches(who={"audiences": ["qa"]}, state="ended"))
    publish(QA, audience(removed=True))


def test_switch_set_that_is_not_taken_over(kinds: Kinds, workshop: Any) -> None:
    """What a channel key signed under another name is not believed."""
    published = {**switches(name="other"), "workspace": "demo", "epoch": 1, "revision": 4}
    with pytest.raises(BadDocumentError):
        kinds.find("switches").read_back(APP, seal(orjson.dumps(published), workshop.keys["channel"], DOCUMENT_TYPE))
