"""The offers of a document: the signed word that its packages may be installed now. Pure: time comes in as a value."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from channel import Position
from publisher.errors import BadDocumentError
from ruleset.model import Offers, Package, Program
from trust import ClaimError, Offer, Role, SignatureError, Signer, TransferClaim, TrustError, sign_offer, verify_offer

_Action = Literal["install", "rollback", "remove"]


@dataclass(frozen=True, slots=True)
class Terms:
    """What all offers of one publication have in common; times in seconds."""

    workspace: str
    program: str
    position: Position
    issued: int
    expires: int


def make_offers(program: Program, terms: Terms, keys: Sequence[Signer]) -> Offers:
    """Returns the offers of a complete document: for every package that a release may give, and for a take-down.

    Each is signed by all of the keys, and carries the document's floor.

    Raises:
        BadDocumentError: a package cannot be offered as it stands.
    """
    signed: dict[_Action, dict[str, str]] = {"install": {}, "rollback": {}, "remove": {}}
    for action, version in _list_wanted(program):
        try:
            signed[action][version] = sign_offer(_make(action, version, program, terms), *keys)
        except (ClaimError, SignatureError, ValueError) as error:
            path = f"$.packages[{version!r}]" if version else "$"
            raise BadDocumentError(path, f"it cannot be offered: {error}") from error
    return Offers(terms.expires, signed["install"], signed["rollback"], signed["remove"].get("", ""))


def check_offers(program: Program, role: Role) -> None:
    """Returns if a published document has every offer that it should have, each about this very document.

    Raises:
        BadDocumentError: names the first place where not.
    """
    offers = program.offers
    if offers is None:
        raise BadDocumentError("$.offers", "expected a published document, got one without offers")
    position = Position(program.epoch, program.revision)
    tokens = {"install": offers.install, "rollback": offers.rollback, "remove": {"": offers.remove}}
    for action, version in _list_wanted(program):
        path = f"$.offers.{action}[{version!r}]" if version else f"$.offers.{action}"
        try:
            claim = verify_offer(tokens[action].get(version, ""), role)
            terms = Terms(program.workspace, program.program, position, claim.issued, offers.expires)
            is_true = claim == _make(action, version, program, terms)
        except (TrustError, KeyError, ValueError) as error:
            raise BadDocumentError(path, f"expected an offer of just what the document says: {error}") from error
        if not is_true:
            raise BadDocumentError(path, "expected an offer of just what the document says, got another")


def _list_wanted(program: Program) -> list[tuple[_Action, str]]:
    """What a document is to have offers for: each action with its version, which a removal has not."""
    releases = [release for release in program.releases if release.state != "ended"]
    wanted: list[tuple[_Action, str]] = []
    given = {release.package for release in releases} | set(program.trials)
    wanted += [("install", version) for version in sorted(given)]
    wanted += [("rollback", version) for version in sorted({one.package for one in releases if one.rollback})]
    return [*wanted, ("remove", "")] if program.taken_down else wanted


def _make(action: _Action, version: str, program: Program, terms: Terms) -> Offer:
    package = program.packages[version] if version else None
    return Offer(
        workspace=terms.workspace,
        program=terms.program,
        action=action,
        version=version,
        sha256=package.sha256 if package else "",
        epoch=terms.position.epoch,
        revision=terms.position.revision,
        issued=terms.issued,
        expires=terms.expires,
        transfers=_list_transfers(package) if package else (),
        floor=program.floor,
    )


def _list_transfers(package: Package) -> tuple[TransferClaim, ...]:
    return tuple(
        TransferClaim(format=one.format, size=one.size, sha256=one.sha256, from_sha256=one.from_sha256)
        for one in package.transfers
    )
