"""What the publisher signs, and what it refuses to sign. It holds the private keys; time comes in as a value."""

from msgspec.structs import replace

from channel import DOCUMENT_TYPE, DocumentName, Position, encode_head, make_head, open_envelope, seal
from publisher.errors import BadDocumentError, KeyMismatchError
from publisher.offer import Terms, make_offers
from publisher.store import Record, Signed
from ruleset.document import MAX_DOCUMENT_BYTES, encode, parse_program
from ruleset.model import Package, Program
from trust import PackageClaim, PrivateKey, Root, TrustError, verify_package

DAY_S = 86_400
# The one kind of document that this version knows.
PROGRAM_KIND = "program"


class Signer:
    """Signs a workspace's documents and heads.

    Args:
        root: whose `offer` and `channel` keys are these, and whose `package` keys are the only ones trusted.
        offer_key: signs offers.
        channel_key: signs documents and heads.
        offer_days: how long an offer lasts.

    Raises:
        KeyMismatchError: the root does not name these keys.
    """

    def __init__(self, root: Root, offer_key: PrivateKey, channel_key: PrivateKey, offer_days: int) -> None:
        for role, key in (("offer", offer_key), ("channel", channel_key)):
            if key.kid not in root.keys(role):
                raise KeyMismatchError(f"expected a key that root {root.number} names for {role}, got {key.kid!r}")
        self._root, self._offer_key, self._channel_key = root, offer_key, channel_key
        self._offer_life_s = offer_days * DAY_S

    def check_packages(self, program: Program) -> None:
        """Returns if a packager has signed every package of a document as just what the document says it is.

        Raises:
            BadDocumentError: names the first place where not.
        """
        for version, package in program.packages.items():
            self._check_package(program.program, version, package)

    def sign(self, program: Program, position: Position, now: int) -> Signed:
        """Returns a complete author's document as it is published: with its offers, under the channel's signature.

        Raises:
            BadDocumentError: with its offers it would be too large, or a package cannot be offered as it stands.
        """
        terms = Terms(self._root.workspace, program.program, position, now, now + self._offer_life_s)
        published = replace(
            program,
            workspace=self._root.workspace,
            epoch=position.epoch,
            revision=position.revision,
            offers=make_offers(program, terms, self._offer_key),
        )
        payload = encode(published)
        if len(payload) > MAX_DOCUMENT_BYTES:
            raise BadDocumentError("$", f"expected at most {MAX_DOCUMENT_BYTES} bytes with offers, got {len(payload)}")
        envelope = seal(payload, self._channel_key, DOCUMENT_TYPE)
        return Signed(encode(program), envelope, renew_at=now + self._offer_life_s // 2)

    def sign_head(self, position: Position, documents: int, now: int) -> bytes:
        """Returns the signed head of the workspace at a position, with so many documents."""
        return encode_head(make_head(self._root.workspace, position, documents, now), self._channel_key)

    def read(self, name: DocumentName, envelope: bytes) -> Record:
        """Returns the record of a document that a publisher of this workspace has sealed.

        Raises:
            EnvelopeError: no channel key of the root has signed it.
            DocumentError: it cannot be read.
            BadDocumentError: it is another document than its name says, or was never published.
        """
        program = parse_program(open_envelope(envelope, self._root.keys("channel"), DOCUMENT_TYPE))
        if (PROGRAM_KIND, program.program) != name or program.workspace != self._root.workspace:
            got = f"{program.program} of {program.workspace!r}"
            raise BadDocumentError("$", f"expected {name} of workspace {self._root.workspace!r}, got {got}")
        if program.offers is None:
            raise BadDocumentError("$.offers", "expected a published document, got one without offers")
        author = replace(program, workspace="", epoch=0, revision=0, offers=None)
        renew_at = max(0, program.offers.expires - self._offer_life_s // 2)
        return Record(name, Position(program.epoch, program.revision), Signed(encode(author), envelope, renew_at))

    def _check_package(self, program_id: str, version: str, package: Package) -> None:
        path = f"$.packages[{version!r}]"
        try:
            claim = verify_package(package.signature, self._root.keys("package"))
        except TrustError as error:
            raise BadDocumentError(f"{path}.signature", str(error)) from error
        stated = PackageClaim(
            workspace=self._root.workspace,
            program=program_id,
            version=version,
            sha256=package.sha256,
            size=package.size,
            permissions=package.permissions,
        )
        for member in stated.__struct_fields__:
            signed, got = getattr(claim, member), getattr(stated, member)
            if signed != got:
                place = f"{path}.{member}" if hasattr(package, member) else f"{path}.signature"
                raise BadDocumentError(place, f"expected {member} {signed!r} as the packager signed it, got {got!r}")
