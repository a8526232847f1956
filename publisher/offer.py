"""The offers of a document: the signed word that its packages may be installed now. Pure: time comes in as a value."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from channel import Position
from publisher.errors import BadDocumentError
from ruleset.model import Offers, Package, Program
from trust import ClaimError, Offer, PrivateKey, TransferClaim, sign_offer


@dataclass(frozen=True, slots=True)
class Terms:
    """What all offers of one publication have in common; times in seconds."""

    workspace: str
    program: str
    position: Position
    issued: int
    expires: int


def make_offers(program: Program, terms: Terms, key: PrivateKey) -> Offers:
    """Returns the offers of a complete document: for every package that a release may give, and for a take-down.

    Raises:
        BadDocumentError: a package cannot be offered as it stands.
    """
    releases = [release for release in program.releases if release.state != "ended"]
    return Offers(
        expires=terms.expires,
        install=_offer_each("install", {release.package for release in releases}, program, terms, key),
        rollback=_offer_each("rollback", {one.package for one in releases if one.rollback}, program, terms, key),
        remove=_sign("remove", terms, key) if program.taken_down else "",
    )


def _offer_each(
    action: Literal["install", "rollback"], versions: Iterable[str], program: Program, terms: Terms, key: PrivateKey
) -> dict[str, str]:
    offers = {}
    for version in sorted(versions):
        try:
            offers[version] = _sign(action, terms, key, version, program.packages[version])
        except (ClaimError, ValueError) as error:
            raise BadDocumentError(f"$.packages[{version!r}]", f"it cannot be offered: {error}") from error
    return offers


def _sign(
    action: Literal["install", "rollback", "remove"],
    terms: Terms,
    key: PrivateKey,
    version: str = "",
    package: Package | None = None,
) -> str:
    offer = Offer(
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
    )
    return sign_offer(offer, key)


def _list_transfers(package: Package) -> tuple[TransferClaim, ...]:
    return tuple(
        TransferClaim(format=one.format, size=one.size, sha256=one.sha256, from_sha256=one.from_sha256)
        for one in package.transfers
    )
