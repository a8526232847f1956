"""The signer: signs what packagers have signed, with keys that the root names, and nothing else."""

from typing import Any

import orjson
import pytest

from channel import DOCUMENT_TYPE, DocumentName, EnvelopeError, EpochError, Position, decode_head, open_envelope, seal
from custody import CustodyError
from publisher import BadDocumentError, KeyMismatchError, SigningError
from publisher.draft import read_author
from publisher.signer import Signer
from ruleset.document import MAX_DOCUMENT_BYTES, parse_program
from trust import PackageClaim, PrivateKey, make_root, read_root, sign_package

PROGRAM = "2021000000000001"
NAME = DocumentName("program", PROGRAM)
POSITION = Position(1, 7)
DAY_S = 86_400


def read(document: Any) -> Any:
    """A document as its author sent it."""
    return read_author(orjson.dumps(document), PROGRAM)


@pytest.mark.parametrize("role", ["offer", "channel"])
def test_keys_that_the_root_does_not_name_are_refused(workshop: Any, role: str) -> None:
    """A publisher whose signatures nobody would believe does not start."""
    stranger = PrivateKey.generate()
    keys = {**workshop.keys, role: stranger}
    with pytest.raises(KeyMismatchError) as caught:
        Signer(workshop.root, [keys["offer"]], keys["channel"], 30)
    assert str(caught.value) == f"expected a key that root 1 names for {role}, got {stranger.kid!r}"


def test_published_form_is_the_authors_and_more(workshop: Any) -> None:
    """What is published is what the author wrote, with workspace, position and offers, signed by the channel key."""
    author = read(workshop.document())
    signed = workshop.signer().sign(author, POSITION, now=1_000)
    payload = open_envelope(signed.envelope, workshop.root.keys("channel"), DOCUMENT_TYPE)
    assert payload == orjson.dumps(orjson.loads(payload), option=orjson.OPT_SORT_KEYS)
    published = orjson.loads(payload)
    added = {name: published.pop(name) for name in ("workspace", "epoch", "revision", "offers")}
    assert published == orjson.loads(signed.author)
    assert (added["workspace"], added["epoch"], added["revision"]) == ("demo", 1, 7)
    assert added["offers"]["expires"] == 1_000 + 30 * DAY_S
    assert signed.renew_at == 1_000 + 15 * DAY_S
    assert parse_program(payload).revision == 7


def test_head_is_signed(workshop: Any) -> None:
    """The head is signed by the channel key."""
    head = decode_head(workshop.signer().sign_head(POSITION, 3, 1_000), workshop.root.keys("channel"), "demo")
    assert (head.position, head.documents, head.issued) == (POSITION, 3, 1_000)


def test_true_packages_pass(workshop: Any) -> None:
    """A document whose packages are what their packager has signed passes."""
    workshop.signer().check_packages(read(workshop.document(versions=("1.0", "2.0"))))


def test_package_of_a_stranger_is_refused(workshop: Any) -> None:
    """A package that no packager of the root has signed is not published."""
    claim = PackageClaim(workspace="demo", program=PROGRAM, version="1.0", sha256="5e" * 32, size=700)
    package = workshop.package("1.0", signature=sign_package(claim, PrivateKey.generate()))
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().check_packages(read(workshop.document(versions=("1.0",), packages={"1.0": package})))
    assert caught.value.path == "$.packages['1.0'].signature"
    assert caught.value.message.startswith("expected the kid of a known key in the token's header, got ")


def test_offer_key_signs_no_package(workshop: Any) -> None:
    """The publisher's own keys do not make packages genuine."""
    claim = PackageClaim(workspace="demo", program=PROGRAM, version="1.0", sha256="5e" * 32, size=700)
    package = workshop.package("1.0", signature=sign_package(claim, workshop.keys["offer"]))
    with pytest.raises(BadDocumentError):
        workshop.signer().check_packages(read(workshop.document(versions=("1.0",), packages={"1.0": package})))


@pytest.mark.parametrize(
    ("member", "value", "path"),
    [
        ("sha256", "6f" * 32, "$.packages['1.0'].sha256"),
        ("size", 701, "$.packages['1.0'].size"),
        ("permissions", {"camera": True}, "$.packages['1.0'].permissions"),
    ],
)
def test_package_that_was_changed_is_refused(workshop: Any, member: str, value: Any, path: str) -> None:
    """A document says of a package what its packager has signed, or is refused at the place."""
    package = workshop.package("1.0")
    signed = package.get(member, {})
    package[member] = value
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().check_packages(read(workshop.document(versions=("1.0",), packages={"1.0": package})))
    assert str(caught.value) == f"{path}: expected {member} {signed!r} as the packager signed it, got {value!r}"


@pytest.mark.parametrize(
    ("member", "value", "got"),
    [("workspace", "test", "demo"), ("program", "2021000000000002", PROGRAM), ("version", "2.0", "1.0")],
)
def test_signature_of_another_package_is_refused(workshop: Any, member: str, value: str, got: str) -> None:
    """A true signature cannot be carried to another workspace, program or version."""
    claim = {"workspace": "demo", "program": PROGRAM, "version": "1.0", "sha256": "5e" * 32, "size": 700}
    moved = PackageClaim(**{**claim, member: value})
    package = workshop.package("1.0", signature=sign_package(moved, workshop.keys["package"]))
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().check_packages(read(workshop.document(versions=("1.0",), packages={"1.0": package})))
    wanted = f"expected {member} {value!r} as the packager signed it, got {got!r}"
    assert str(caught.value) == f"$.packages['1.0'].signature: {wanted}"


def test_document_that_grows_too_large_is_refused(workshop: Any) -> None:
    """A document that fits as its author wrote it, and not with its offers, is refused."""
    document = workshop.document()
    document["packages"]["1.0.0.0"]["extra"] = {"x": "x" * (MAX_DOCUMENT_BYTES - 1_500)}
    with pytest.raises(BadDocumentError, match=r"^\$: expected at most 1048576 bytes with offers, got \d+$"):
        workshop.signer().sign(read(document), POSITION, now=1_000)


def test_own_document_is_read_back(workshop: Any) -> None:
    """A document that was published comes back as what was kept of it."""
    signed = workshop.signer().sign(read(workshop.document()), POSITION, now=1_000)
    record = workshop.signer().read(NAME, signed.envelope)
    assert (record.name, record.position, record.signed) == (NAME, POSITION, signed)


def test_document_under_another_name_is_not_believed(workshop: Any) -> None:
    """A signed document cannot be put in another's place."""
    signed = workshop.signer().sign(read(workshop.document()), POSITION, now=1_000)
    other = DocumentName("program", "2021000000000002")
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().read(other, signed.envelope)
    wanted = f"expected program:2021000000000002 of workspace 'demo', got {PROGRAM} of 'demo'"
    assert str(caught.value) == f"$: {wanted}"


def test_document_of_a_stranger_is_not_believed(workshop: Any) -> None:
    """What no channel key has sealed is not read."""
    signed = workshop.signer().sign(read(workshop.document()), POSITION, now=1_000)
    payload = signed.envelope.split(b"\n", 1)[1]
    with pytest.raises(EnvelopeError):
        workshop.signer().read(NAME, seal(payload, PrivateKey.generate(), DOCUMENT_TYPE))


def test_authors_form_under_seal_is_not_believed(workshop: Any) -> None:
    """A sealed document without offers was never published."""
    author = orjson.dumps({**workshop.document(), "workspace": "demo", "epoch": 1, "revision": 7})
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().read(NAME, seal(author, workshop.keys["channel"], DOCUMENT_TYPE))
    assert str(caught.value) == "$.offers: expected a published document, got one without offers"


def test_as_many_offer_keys_as_the_root_wants(workshop: Any) -> None:
    """A publisher that cannot reach the threshold does not start; more keys than it wants all sign."""
    keys = [workshop.keys["offer"], PrivateKey.generate()]
    public = {role: [key.public] for role, key in workshop.keys.items()}
    public["offer"] = [key.public for key in keys]
    roots = [
        read_root(make_root("demo", 1, 2_000_000_000, public, [workshop.keys["root"]], thresholds={"offer": wanted}))
        for wanted in (1, 2)
    ]
    for given in ([], keys[:1], [keys[0], keys[0]]):
        with pytest.raises(KeyMismatchError) as caught:
            Signer(roots[1], given, workshop.keys["channel"], 30)
        wanted = "expected 2 or more different offer keys, as the root wants"
        assert str(caught.value) == f"{wanted}, got {len(given)}, of which {len(set(given))} differ"
    for root in roots:
        signer = Signer(root, keys, workshop.keys["channel"], 30)
        record = signer.read(NAME, signer.sign(read(workshop.document()), POSITION, now=1_000).envelope)
        offers = parse_program(record.signed.envelope.split(b"\n", 1)[1]).offers
        assert offers is not None
        assert len(offers.install["1.0.0.0"].split(" ")) == 2


def test_signatures_name_their_root(workshop: Any) -> None:
    """What is signed and what is read back is known to be of the root that is worked by."""
    workshop.follow_root()
    signed = workshop.signer().sign(read(workshop.document()), POSITION, now=1_000)
    assert signed.root == workshop.signer().read(NAME, signed.envelope).signed.root == 2


def test_document_of_another_epoch_is_not_believed(workshop: Any) -> None:
    """A later epoch than the root's is forged, an earlier one is over."""
    signed = {epoch: workshop.signer().sign(read(workshop.document()), Position(epoch, 7), 1_000) for epoch in (1, 3)}
    workshop.follow_root(epoch=2)
    with pytest.raises(EpochError, match=r"^expected an epoch of at most 2, as the root has it, got 3-7$"):
        workshop.signer().read(NAME, signed[3].envelope)
    with pytest.raises(BadDocumentError) as caught:
        workshop.signer().read(NAME, signed[1].envelope)
    assert str(caught.value) == "$.epoch: expected 2 as the root has it, got 1"


def test_offers_of_a_replaced_key_are_not_believed(workshop: Any) -> None:
    """A document with offers that devices refuse is not taken over, though its seal is true."""
    signed = workshop.signer().sign(read(workshop.document()), POSITION, now=1_000)
    workshop.follow_root("offer")
    with pytest.raises(BadDocumentError, match=r"^\$\.offers\.install\['1\.0\.0\.0'\]: "):
        workshop.signer().read(NAME, signed.envelope)


class LostKey:
    """A key in a token that has been pulled out."""

    def __init__(self, key: PrivateKey) -> None:
        self.public = key.public

    def sign(self, data: bytes) -> bytes:
        raise CustodyError(f"pkcs11:token=hsm: it does not sign {len(data)} bytes")


@pytest.mark.parametrize("role", ["offer", "channel"])
def test_key_that_does_not_sign_is_told(workshop: Any, role: str) -> None:
    """A token that is away keeps documents and heads from being signed, and the error says which it is."""
    keys = {**workshop.keys, role: LostKey(workshop.keys[role])}
    signer = Signer(workshop.root, [keys["offer"]], keys["channel"], 30)
    with pytest.raises(SigningError, match=r"^a key could not be used: pkcs11:token=hsm: it does not sign"):
        signer.sign(read(workshop.document()), POSITION, now=1_000)
    if role == "channel":
        with pytest.raises(SigningError):
            signer.sign_head(POSITION, 1, 1_000)
