"""What the publisher signs, and what it refuses to sign. It holds the signing keys; time comes in as a value."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from msgspec.structs import replace

import trust
from channel import DOCUMENT_TYPE, DocumentName, Position, check_epoch, encode_head, make_head, open_envelope, seal
from custody import CustodyError
from publisher.errors import BadDocumentError, BadRequestError, KeyMismatchError, SigningError
from publisher.offer import Terms, check_offers, make_offers
from publisher.store import Record, Signed
from publisher.trial import MAX_TOKEN_CHARS
from ruleset.document import MAX_DOCUMENT_BYTES, encode, parse_program
from ruleset.model import Package, Program
from trust import PackageClaim, Root, TrialClaim, TrustError, sign_trial, verify_package

DAY_S = 86_400
PROGRAM_KIND = "program"


class Signer:
    """Signs a workspace's documents and heads.

    Args:
        root: whose `offer` and `channel` keys are these, and whose `package` keys are the only ones trusted.
        offer_keys: all sign every offer; as many as the root wants, or more.
        channel_key: signs documents, heads and trials.
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
        return self._seal(encode(program), encode(published), now + self._offer_life_s // 2)

    @property
    def workspace(self) -> str:
        """The workspace that this signs for."""
        return self._root.workspace

    def seal(self, author: bytes, payload: bytes, renew_at: int) -> Signed:
        """Returns a published document under the channel's signature, beside what its author wrote.

        Raises:
            BadDocumentError: it is too large.
            SigningError: a key could not be used.
        """
        with _report():
            return self._seal(author, payload, renew_at)

    def _seal(self, author: bytes, payload: bytes, renew_at: int) -> Signed:
        if len(payload) > MAX_DOCUMENT_BYTES:
            raise BadDocumentError("$", f"expected at most {MAX_DOCUMENT_BYTES} bytes with offers, got {len(payload)}")
        return self.keep(author, seal(payload, self._channel_key, DOCUMENT_TYPE), renew_at)

    def keep(self, author: bytes, envelope: bytes, renew_at: int) -> Signed:
        """Returns what is kept of a document that was sealed under the present root."""
        return Signed(author, envelope, renew_at, self._root.number)

    def sign_head(self, position: Position, documents: int, now: int) -> bytes:
        """Returns the signed head of the workspace at a position, with so many documents; raises SigningError."""
        with _report():
            return encode_head(make_head(self._root.workspace, position, documents, now), self._channel_key)

    def sign_trial(self, claim: TrialClaim) -> str:
        """Returns a trial under the channel's signature.

        Raises:
            BadRequestError: a member is out of its bounds, or the token is too long for an edge.
            SigningError: the key could not be used.
        """
        with _report():
            try:
                token = sign_trial(claim, self._channel_key)
            except TrustError as error:
                raise BadRequestError(str(error)) from error
        if len(token) > MAX_TOKEN_CHARS:
            got = f"{len(token)} for {len(claim.users)} users"
            raise BadRequestError(f"expected a token of at most {MAX_TOKEN_CHARS} characters, got {got}: name fewer")
        return token

    def open(self, envelope: bytes) -> bytes:
        """Returns the payload of a document that a publisher of this workspace has published in the root's epoch.

        A channel key alone is not enough for a program: who has stolen it, and no offer key, makes no publisher take
        over a package.

        Raises:
            EnvelopeError: no channel key of the root has signed it.
        """
        return open_envelope(envelope, self._root.keys("channel"), DOCUMENT_TYPE)

    def check_name(self, wanted: DocumentName, got: DocumentName, workspace: str, position: Position) -> None:
        """Returns if a document is what its name says, of this workspace and of the root's epoch.

        Raises:
            EpochError: it is of a later epoch.
            BadDocumentError: it is another document, or of an earlier epoch.
        """
        if got != wanted or workspace != self._root.workspace:
            told = f"{got.id} of {workspace!r}"
            raise BadDocumentError("$", f"expected {wanted} of workspace {self._root.workspace!r}, got {told}")
        check_epoch(position, self._root.epoch)
        if position.epoch < self._root.epoch:
            raise BadDocumentError("$.epoch", f"expected {self._root.epoch} as the root has it, got {position.epoch}")

    def read(self, name: DocumentName, envelope: bytes) -> Record:
        """Returns the record of a program that a publisher of this workspace has published in the root's epoch.

        Raises:
            EnvelopeError: no channel key of the root has signed it, or it is of a later epoch.
            DocumentError: it cannot be read.
            BadDocumentError: it is another document than its name says, of an earlier epoch, or not properly offered.
        """
        program = parse_program(self.open(envelope))
        position = Position(program.epoch, program.revision)
        self.check_name(name, DocumentName(PROGRAM_KIND, program.program), program.workspace, position)
        check_offers(program, self._root.role("offer"))
        author = replace(program, workspace="", epoch=0, revision=0, offers=None)
        renew_at = max(0, (program.offers.expires if program.offers else 0) - self._offer_life_s // 2)
        return Record(name, position, self.keep(encode(author), envelope, renew_at))

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
