"""What the publisher signs, and what it refuses to sign. It holds the signing keys; time comes in as a value."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

import trust
from channel import DOCUMENT_TYPE, DocumentName, Position, check_epoch, encode_head, make_head, open_envelope, seal
from custody import CustodyError
from publisher.errors import BadDocumentError, KeyMismatchError, SigningError
from publisher.offer import Terms, check_offers, make_offers
from publisher.store import Record, Signed
from ruleset.document import MAX_DOCUMENT_BYTES, encode, parse_program
from ruleset.model import Package, Program
from trust import PackageClaim, Root, TrustError, verify_package

DAY_S = 86_400
# The one kind of document that this version knows.
PROGRAM_KIND = "program"


class Signer:
    """Signs a workspace's documents and heads.

    Args:
        root: whose `offer` and `channel` keys are these, and whose `package` keys are the only ones trusted.
        offer_keys: all sign every offer; as many as the root wants, or more.
        channel_key: signs documents and heads.
        offer_days: how long an offer lasts.

    Raises:
        KeyMismatchError: the root does not name these keys, or wants more of them.
    """

    def __init__(
        self, root: Root, offer_keys: Sequence[trust.Signer], channel_key: trust.Signer, offer_days: int
    ) -> None:
        for role, key in (*(("offer", key) for key in offer_keys), ("channel", channel_key)):
            if key.public.kid not in root.keys(role):
                kid = key.public.kid
                raise KeyMismatchError(f"expected a key that root {root.number} names for {role}, got {kid!r}")
        kids, wanted = {key.public.kid for key in offer_keys}, root.role("offer").threshold
        if not wanted <= len(kids) == len(offer_keys):
            got = f"{len(offer_keys)}, of which {len(kids)} differ"
            raise KeyMismatchError(f"expected {wanted} or more different offer keys, as the root wants, got {got}")
        self._root, self._offer_keys, self._channel_key = root, offer_keys, channel_key
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
            SigningError: a key could not be used.
        """
        with _report():
            return self._sign(program, position, now)

    def _sign(self, program: Program, position: Position, now: int) -> Signed:
        terms = Terms(self._root.workspace, program.program, position, now, now + self._offer_life_s)
        published = replace(
            program,
            workspace=self._root.workspace,
            epoch=position.epoch,
            revision=position.revision,
            offers=make_offers(program, terms, self._offer_keys),
        )
        payload = encode(published)
        if len(payload) > MAX_DOCUMENT_BYTES:
            raise BadDocumentError("$", f"expected at most {MAX_DOCUMENT_BYTES} bytes with offers, got {len(payload)}")
        envelope = seal(payload, self._channel_key, DOCUMENT_TYPE)
        return Signed(encode(program), envelope, now + self._offer_life_s // 2, self._root.number)

    def sign_head(self, position: Position, documents: int, now: int) -> bytes:
        """Returns the signed head of the workspace at a position, with so many documents; raises SigningError."""
        with _report():
            return encode_head(make_head(self._root.workspace, position, documents, now), self._channel_key)

    def read(self, name: DocumentName, envelope: bytes) -> Record:
        """Returns the record of a document that a publisher of this workspace has published in the root's epoch.

        A channel key alone is not enough: who has stolen it, and no offer key, makes no publisher take over anything.

        Raises:
            EnvelopeError: no channel key of the root has signed it, or it is of a later epoch.
            DocumentError: it cannot be read.
            BadDocumentError: it is another document than its name says, of an earlier epoch, or not properly offered.
        """
        program = parse_program(open_envelope(envelope, self._root.keys("channel"), DOCUMENT_TYPE))
        if (PROGRAM_KIND, program.program) != name or program.workspace != self._root.workspace:
            got = f"{program.program} of {program.workspace!r}"
            raise BadDocumentError("$", f"expected {name} of workspace {self._root.workspace!r}, got {got}")
        position = Position(program.epoch, program.revision)
        check_epoch(position, self._root.epoch)
        if position.epoch < self._root.epoch:
            raise BadDocumentError("$.epoch", f"expected {self._root.epoch} as the root has it, got {position.epoch}")
        check_offers(program, self._root.role("offer"))
        author = replace(program, workspace="", epoch=0, revision=0, offers=None)
        renew_at = max(0, (program.offers.expires if program.offers else 0) - self._offer_life_s // 2)
        return Record(name, position, Signed(encode(author), envelope, renew_at, self._root.number))

    def _check_package(self, program_id: str, version: str, package: Package) -> None:
        path = f"$.packages[{version!r}]"
        try:
            claim = verify_package(package.signature, self._root.role("package"))
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


@contextmanager
def _report() -> Iterator[None]:
    try:
        yield
    except CustodyError as error:
        raise SigningError(f"a key could not be used: {error}") from error
