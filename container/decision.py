"""Whether to believe an update, and what it means: PURE; files, sockets and clocks are elsewhere.

1. The offer is signed by an offer key of the pinned root.
2. It is for this workspace, program, action, version and digest.
3. It is not older than one seen before: else it is stale, which is no attack.
4. It has not expired.
5. An install goes up; only a rollback goes down.
6. The package is signed by a package key, and is the one offered.
7. The transfer is one of those offered.
"""

from dataclasses import dataclass

from container.errors import VerificationError
from container.wire import Transfer, Update
from trust import Offer, PackageClaim, Root, TrustError, verify_offer, verify_package

Order = tuple[int, int]
# What this version can unpack; deltas (dcz) come later.
FORMATS = ("zstd",)


@dataclass(frozen=True, slots=True)
class Held:
    """What a container has of a program: the active version, empty if none, and the highest (epoch, revision) seen."""

    version: str
    seen: Order


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, believed: a `package` by a `transfer`, or neither for a remove."""

    offer: Offer
    package: PackageClaim | None = None
    transfer: Transfer | None = None

    @property
    def order(self) -> Order:
        """Where the offer stands among all."""
        return self.offer.epoch, self.offer.revision


def read_offer(update: Update, workspace: str, root: Root) -> Offer:
    """Returns the offer of an update once steps 1 and 2 hold.

    Raises:
        VerificationError: "offer_refused".
    """
    try:
        offer = verify_offer(update.offer, root.keys("offer"))
    except TrustError as error:
        raise VerificationError(f"{update.program}: offer: {error}", "offer_refused") from error
    wanted = (workspace, update.program, update.action, update.version, update.sha256)
    got = (offer.workspace, offer.program, offer.action, offer.version, offer.sha256)
    if got != wanted:
        raise VerificationError(f"{update.program}: expected an offer of {wanted}, got one of {got}", "offer_refused")
    return offer


def is_stale(offer: Offer, held: Held) -> bool:
    """Says whether a newer offer has been seen (step 3): an edge that is behind, not an attack."""
    return (offer.epoch, offer.revision) < held.seen


def make_plan(update: Update, offer: Offer, root: Root, held: Held, now: int) -> Plan:
    """Returns what to do once steps 4 to 7 hold; `now` is the later of the clock and the newest signed time seen.

    Raises:
        VerificationError: "offer_expired", "offer_refused", "package_refused" or "no_transfer".
    """
    if now >= offer.expires:
        raise VerificationError(
            f"{update.program}: expected an offer valid now ({now}), got one that expired at {offer.expires}",
            "offer_expired",
        )
    if offer.action == "remove":
        return Plan(offer)
    if offer.action == "install" and held.version and _rank(offer.version) <= _rank(held.version):
        raise VerificationError(
            f"{update.program}: expected an install above {held.version}, got {offer.version}", "offer_refused"
        )
    return Plan(offer, _read_package(update, offer, root), _choose_transfer(update, offer))


def _read_package(update: Update, offer: Offer, root: Root) -> PackageClaim:
    try:
        claim = verify_package(update.signature, root.keys("package"))
    except TrustError as error:
        raise VerificationError(f"{update.program}: package signature: {error}", "package_refused") from error
    wanted = (offer.workspace, offer.program, offer.version, offer.sha256, update.size)
    got = (claim.workspace, claim.program, claim.version, claim.sha256, claim.size)
    if got != wanted:
        raise VerificationError(
            f"{update.program}: expected a package signature of {wanted}, got one of {got}", "package_refused"
        )
    return claim


def _choose_transfer(update: Update, offer: Offer) -> Transfer:
    offered = {(transfer.format, transfer.size, transfer.sha256) for transfer in offer.transfers}
    for transfer in update.transfers:
        if transfer.format in FORMATS and (transfer.format, transfer.size, transfer.sha256) in offered:
            return transfer
    formats = [transfer.format for transfer in update.transfers]
    raise VerificationError(
        f"{update.program}: expected an offered transfer in one of {FORMATS}, got {formats!r:.200}", "no_transfer"
    )


def _rank(version: str) -> tuple[int, ...]:
    parts = [int(part) for part in version.split(".")]
    return (*parts, *[0] * (4 - len(parts)))
