"""Whether to believe an update, and what it means: PURE; files, sockets and clocks are elsewhere.

1. The offer is signed by enough offer keys of the newest root.
2. It is for this workspace, program, action, version and digest.
3. It is of no later epoch than the root's.
4. It is not older than one seen before, nor of an earlier epoch than the root's: else it is stale, which is no attack.
5. The package did not fail to come up here before: else it is declined, which is no attack either.
6. It has not expired.
7. An install goes up; only a rollback goes down.
8. The package is signed by enough package keys, is the one offered, and has a size that a package may have.
9. The transfers are among those offered, and no larger than the package can make them. First those that start from
   the active tar, then the whole.
"""

from dataclasses import dataclass

from bundle.archive import MAX_ARCHIVE_BYTES
from container.errors import VerificationError
from container.wire import Transfer, Update
from trust import Offer, PackageClaim, Root, TransferClaim, TrustError, verify_offer, verify_package

Order = tuple[int, int]
# How far a clock may be ahead of the newest signed time, in seconds: 400 days. One that is farther ahead is wrong, or
# was off for so long; what is signed counts instead. Whoever replays old answers gains no more than that, from those.
MAX_LEAD_S = 400 * 86_400
# What zstd and age add at most to bytes that cannot be compressed: 1 in 256, and headers. Whoever has stolen an offer
# key could else fill devices' disks with a transfer.
_OVERHEAD_SHARE = 256
_OVERHEAD_BYTES = 64 * 1024
# How many ways are tried in one update. An edge that names many bad addresses would keep a device busy.
MAX_WAYS = 4


@dataclass(frozen=True, slots=True)
class Held:
    """What a container has of a program: the active version, empty if none, and the highest (epoch, revision) seen.

    `sha256` is the active tar's, `declined` those of packages that did not come up.
    """

    version: str
    seen: Order
    sha256: str = ""
    declined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Way:
    """A transfer, and the digest of the tar that it starts from; empty for the whole package."""

    transfer: Transfer
    base: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do, believed: a `package`, and the ways to get it in the order to try them; neither for a remove."""

    offer: Offer
    package: PackageClaim | None = None
    ways: tuple[Way, ...] = ()

    @property
    def order(self) -> Order:
        """Where the offer stands among all."""
        return self.offer.epoch, self.offer.revision

    @property
    def transfer(self) -> Transfer | None:
        """The transfer to try first."""
        return self.ways[0].transfer if self.ways else None


def tell_time(clock: float, signed: int) -> int:
    """Returns the time to judge by, in seconds: the clock's, where it is plausible, else the newest signed time."""
    return int(clock) if signed <= clock <= signed + MAX_LEAD_S else signed


def read_offer(update: Update, workspace: str, root: Root) -> Offer:
    """Returns the offer of an update once steps 1 to 3 hold.

    Raises:
        VerificationError: "offer_refused".
    """
    try:
        offer = verify_offer(update.offer, root.role("offer"))
    except TrustError as error:
        raise VerificationError(f"{update.program}: offer: {error}", "offer_refused") from error
    wanted = (workspace, update.program, update.action, update.version, update.sha256)
    got = (offer.workspace, offer.program, offer.action, offer.version, offer.sha256)
    if got != wanted:
        raise VerificationError(f"{update.program}: expected an offer of {wanted}, got one of {got}", "offer_refused")
    if offer.epoch > root.epoch:
        raise VerificationError(
            f"{update.program}: expected an offer of epoch {root.epoch}, as in root {root.number}, got {offer.epoch}",
            "offer_refused",
        )
    return offer


def is_stale(offer: Offer, held: Held, epoch: int = 0) -> bool:
    """Says whether a newer offer has been seen, or a newer `epoch` (step 4): an edge that is behind, not an attack."""
    return (offer.epoch, offer.revision) < held.seen or offer.epoch < epoch


def is_declined(offer: Offer, held: Held) -> bool:
    """Says whether the package did not come up here before (step 5)."""
    return bool(offer.sha256) and offer.sha256 in held.declined


def make_plan(update: Update, offer: Offer, root: Root, held: Held, now: int) -> Plan:
    """Returns what to do once steps 6 to 9 hold; `now` is what `tell_time` says.

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
    if offer.action == "install" and held.version and rank(offer.version) <= rank(held.version):
        raise VerificationError(
            f"{update.program}: expected an install above {held.version}, got {offer.version}", "offer_refused"
        )
    claim = _read_package(update, offer, root)
    return Plan(offer, claim, _choose_ways(update, offer, claim, held))


def _read_package(update: Update, offer: Offer, root: Root) -> PackageClaim:
    try:
        claim = verify_package(update.signature, root.role("package"))
    except TrustError as error:
        raise VerificationError(f"{update.program}: package signature: {error}", "package_refused") from error
    wanted = (offer.workspace, offer.program, offer.version, offer.sha256, update.size)
    got = (claim.workspace, claim.program, claim.version, claim.sha256, claim.size)
    if got != wanted:
        raise VerificationError(
            f"{update.program}: expected a package signature of {wanted}, got one of {got}", "package_refused"
        )
    if claim.size > MAX_ARCHIVE_BYTES:
        raise VerificationError(
            f"{update.program}: expected a package of at most {MAX_ARCHIVE_BYTES} bytes, got {claim.size}",
            "package_refused",
        )
    return claim


def _choose_ways(update: Update, offer: Offer, claim: PackageClaim, held: Held) -> tuple[Way, ...]:
    offered = {_name(transfer): transfer for transfer in offer.transfers}
    limit = claim.size + claim.size // _OVERHEAD_SHARE + _OVERHEAD_BYTES
    found = [
        Way(transfer, offered[_name(transfer)].from_sha256)
        for transfer in update.transfers
        if _name(transfer) in offered and transfer.size <= limit
    ]
    deltas = [way for way in found if way.base and way.base == held.sha256]
    ways = (*deltas[:1], *(way for way in found if not way.base))[:MAX_WAYS]
    if not ways:
        formats = [transfer.format for transfer in update.transfers]
        raise VerificationError(
            f"{update.program}: expected an offered transfer, whole or from the active version, got {formats!r:.200}",
            "no_transfer",
        )
    return ways


def _name(transfer: Transfer | TransferClaim) -> tuple[str, int, str]:
    return transfer.format, transfer.size, transfer.sha256


def rank(version: str) -> tuple[int, ...]:
    """Returns a version as numbers that compare as versions do; an empty text as lower than any."""
    if not version:
        return ()
    parts = [int(part) for part in version.split(".")]
    return (*parts, *[0] * (4 - len(parts)))


def is_below(version: str, floor: str) -> bool:
    """Says whether a version may not be opened."""
    return rank(version) < rank(floor)
