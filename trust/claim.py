"""What packager, publisher and workspace sign, and how it is read; whether to act on it is not decided here."""

from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta

from trust.errors import ClaimError
from trust.key import Signer
from trust.role import Role
from trust.token import read_unverified_token, sign_token, verify_token

PACKAGE_TYPE = "graywave-package"
OFFER_TYPE = "graywave-offer"
CLIENT_TYPE = "graywave-client"
TRIAL_TYPE = "graywave-trial"
# Whoever needs more wants a release.
MAX_TRIAL_USERS = 100
# A token that has got lost gives its version away no longer than that, in seconds: 30 days.
MAX_TRIAL_S = 30 * 86_400
# Larger integers do not survive JSON in every language (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1
# A package has one full transfer and a few deltas; each is a look-up for every device.
MAX_TRANSFERS = 32
# A device tries one edge after the other; more of them would keep it trying.
MAX_EDGES = 16
# As many as a check may ask about.
MAX_PROGRAMS = 200
MAX_POLL_AFTER_S = 86_400

# \Z and not $, which lets a newline follow.
Workspace = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Program = Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,5}(\.[0-9]{1,5}){0,3}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
User = Annotated[str, Meta(min_length=1, max_length=256)]
MaybeVersion = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5}){0,3})?\Z")]
MaybeSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
# http(s), a host name, and perhaps port and path: visible ASCII without userinfo, query and fragment.
Address = Annotated[str, Meta(max_length=2048, pattern=r"^https?://[!-\"$->A-~]+\Z")]
# Lower-case labels; with a program before it, still a host name.
Domain = Annotated[
    str,
    Meta(max_length=236, pattern=r"^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*)?\Z"),
]
Positive = Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]


class _Claim(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A claim refuses members that it does not know: to ignore one could be to ignore a restriction."""


class PackageClaim(_Claim, frozen=True):
    """The packager's word: these bytes (`sha256` and `size` of the tar) are this version of this program."""

    workspace: Workspace
    program: Program
    version: Version
    sha256: Sha256
    size: Positive
    permissions: dict[str, Any] = {}


class TransferClaim(_Claim, frozen=True):
    """One way to move a package. Where it lies is not covered: a CDN may rename, the digest finds it out.

    `from_sha256` is the tar that a delta (dcz) starts from, and empty for a full transfer (zstd).
    """

    format: Literal["zstd", "dcz"]
    size: Positive
    sha256: Sha256
    from_sha256: MaybeSha256 = ""

    def __post_init__(self) -> None:
        if (self.format == "dcz") != bool(self.from_sha256):
            raise ValueError(
                f"expected from_sha256 with dcz and only there, got {self.from_sha256!r} with {self.format}"
            )


class Offer(_Claim, frozen=True):
    """The publisher's word, valid from `issued` until `expires` (seconds): this action may be done now.

    Offers are ordered by (`epoch`, `revision`); a remove names no version, digest or transfer, others all three.
    `floor` is the version below which the program may not be opened any more; empty for none.
    """

    workspace: Workspace
    program: Program
    action: Literal["install", "rollback", "remove"]
    version: MaybeVersion
    sha256: MaybeSha256
    epoch: Count
    revision: Count
    issued: Count
    expires: Count
    transfers: Annotated[tuple[TransferClaim, ...], Meta(max_length=MAX_TRANSFERS)]
    floor: MaybeVersion = ""

    def __post_init__(self) -> None:
        named = (bool(self.version), bool(self.sha256), bool(self.transfers))
        if named != (self.action != "remove",) * 3:
            raise ValueError(f"expected version, sha256 and transfers, and none of them with remove, got {self.action}")
        if self.expires <= self.issued:
            raise ValueError(f"expected expires after issued ({self.issued}), got {self.expires}")


class TrialClaim(_Claim, frozen=True):
    """The publisher's word: until `expires` (seconds) these users may have this version, before it is released.

    `id` names the trial where it is told of; the token itself is shown nowhere.
    """

    workspace: Workspace
    program: Program
    version: Version
    users: Annotated[tuple[User, ...], Meta(min_length=1, max_length=MAX_TRIAL_USERS)]
    id: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,64}\Z")]
    issued: Count
    expires: Count

    def __post_init__(self) -> None:
        if not 0 < self.expires - self.issued <= MAX_TRIAL_S:
            raise ValueError(
                f"expected expires within {MAX_TRIAL_S} seconds after issued ({self.issued}), got {self.expires}"
            )


class ClientDefaults(_Claim, frozen=True):
    """What a container goes by until an edge has answered: seconds between checks, and programs to check for."""

    poll_after: Annotated[int, Meta(ge=0, le=MAX_POLL_AFTER_S)] = 1800
    programs: Annotated[tuple[Program, ...], Meta(max_length=MAX_PROGRAMS)] = ()


class ClientClaim(_Claim, frozen=True):
    """The workspace's word to its host apps, given at `issued` (seconds): where its edges are, and what to start with.

    `edges` are base addresses; programs are shown under `domain`, a host name, or empty.
    """

    workspace: Workspace
    issued: Count
    edges: Annotated[tuple[Address, ...], Meta(min_length=1, max_length=MAX_EDGES)]
    domain: Domain = ""
    defaults: ClientDefaults = ClientDefaults()

    def __post_init__(self) -> None:
        for edge in self.edges:
            _check_address(edge)


def sign_package(claim: PackageClaim, *signers: Signer) -> str:
    """Returns the package signature, a token with a signature of each signer.

    Raises:
        ClaimError: a member is out of its bounds.
        SignatureError: no signer, or too many.
    """
    return _sign(claim, PACKAGE_TYPE, signers)


def verify_package(token: str, role: Role) -> PackageClaim:
    """Returns what enough keys of the role have claimed about a package.

    Raises:
        SignatureError: too few keys of the role have signed this as a package signature.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(verify_token(token, role, PACKAGE_TYPE), PackageClaim)


def read_unverified_package(token: str) -> PackageClaim:
    """Returns what somebody has claimed about a package: to show or to sign it too, NEVER to believe it.

    Raises:
        SignatureError: the token is malformed, or no package signature.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(read_unverified_token(token, PACKAGE_TYPE), PackageClaim)


def sign_offer(offer: Offer, *signers: Signer) -> str:
    """Returns the signed offer, a token with a signature of each signer.

    Raises:
        ClaimError: a member is out of its bounds.
        SignatureError: no signer, or too many.
    """
    return _sign(offer, OFFER_TYPE, signers)


def verify_offer(token: str, role: Role) -> Offer:
    """Returns what enough keys of the role have offered; its time and place in the order are the caller's to judge.

    Raises:
        SignatureError: too few keys of the role have signed this as an offer.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(verify_token(token, role, OFFER_TYPE), Offer)


def sign_trial(claim: TrialClaim, *signers: Signer) -> str:
    """Returns the signed trial, a token with a signature of each signer.

    Raises:
        ClaimError: a member is out of its bounds.
        SignatureError: no signer, or too many.
    """
    return _sign(claim, TRIAL_TYPE, signers)


def verify_trial(token: str, role: Role) -> TrialClaim:
    """Returns what enough keys of the role, which is `channel`, let some users try; its time is the caller's to judge.

    Raises:
        SignatureError: too few keys of the role have signed this as a trial.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(verify_token(token, role, TRIAL_TYPE), TrialClaim)


def sign_client(claim: ClientClaim, *signers: Signer) -> str:
    """Returns the signed part of a client configuration, a token with a signature of each signer.

    Raises:
        ClaimError: a member is out of its bounds.
        SignatureError: no signer, or too many.
    """
    return _sign(claim, CLIENT_TYPE, signers)


def verify_client(token: str, role: Role) -> ClientClaim:
    """Returns what enough keys of the role, which is `root`, tell the workspace's host apps.

    Raises:
        SignatureError: too few keys of the role have signed this as a client configuration.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(verify_token(token, role, CLIENT_TYPE), ClientClaim)


_Kind = TypeVar("_Kind", bound=_Claim)


def _sign(claim: _Claim, typ: str, signers: tuple[Signer, ...]) -> str:
    payload = msgspec.json.encode(claim, order="deterministic")
    _decode(payload, type(claim))  # nothing is signed that would not be read
    return sign_token(payload, typ, *signers)


def _decode(payload: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"expected a claim of type {kind.__name__}: {error}") from error


def _check_address(address: str) -> None:
    try:
        parts = urlsplit(address)
        is_fine = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise ValueError(f"expected http(s)://host[:port][/path] as an edge, got {address[:200]!r}")
