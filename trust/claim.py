"""What packager and publisher sign about a package, and how it is read; whether to act on it is not decided here."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from trust import jws
from trust.errors import ClaimError
from trust.key import PrivateKey, PublicKey

PACKAGE_TYPE = "graywave-package"
OFFER_TYPE = "graywave-offer"
# Larger integers do not survive JSON in every language (RFC 8259, section 6).
MAX_INTEGER = 2**53 - 1
# A package has one full transfer and a few deltas; each is a look-up for every device.
MAX_TRANSFERS = 32

# \Z and not $, which lets a newline follow.
Workspace = Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9._-]{0,62}\Z")]
Program = Annotated[str, Meta(pattern=r"^([0-9]{16}|[0-9]{8})\Z")]
Version = Annotated[str, Meta(pattern=r"^[0-9]{1,5}(\.[0-9]{1,5}){0,3}\Z")]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
MaybeVersion = Annotated[str, Meta(pattern=r"^([0-9]{1,5}(\.[0-9]{1,5}){0,3})?\Z")]
MaybeSha256 = Annotated[str, Meta(pattern=r"^([0-9a-f]{64})?\Z")]
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

    def __post_init__(self) -> None:
        named = (bool(self.version), bool(self.sha256), bool(self.transfers))
        if named != (self.action != "remove",) * 3:
            raise ValueError(f"expected version, sha256 and transfers, and none of them with remove, got {self.action}")
        if self.expires <= self.issued:
            raise ValueError(f"expected expires after issued ({self.issued}), got {self.expires}")


def sign_package(claim: PackageClaim, key: PrivateKey) -> str:
    """Returns the package signature, a compact JWS.

    Raises:
        ClaimError: a member is out of its bounds.
    """
    return jws.sign(_encode(claim), key, PACKAGE_TYPE)


def verify_package(token: str, keys: Mapping[str, PublicKey]) -> PackageClaim:
    """Returns what one of the keys has claimed about a package.

    Raises:
        SignatureError: none of the keys has signed this as a package signature.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(jws.verify(token, keys, PACKAGE_TYPE), PackageClaim)


def sign_offer(offer: Offer, key: PrivateKey) -> str:
    """Returns the signed offer, a compact JWS.

    Raises:
        ClaimError: a member is out of its bounds.
    """
    return jws.sign(_encode(offer), key, OFFER_TYPE)


def verify_offer(token: str, keys: Mapping[str, PublicKey]) -> Offer:
    """Returns what one of the keys has offered; its time and place in the order are the caller's to judge.

    Raises:
        SignatureError: none of the keys has signed this as an offer.
        ClaimError: a member is unknown, absent or out of its bounds.
    """
    return _decode(jws.verify(token, keys, OFFER_TYPE), Offer)


_Kind = TypeVar("_Kind", bound=_Claim)


def _encode(claim: _Claim) -> bytes:
    payload = msgspec.json.encode(claim, order="deterministic")
    _decode(payload, type(claim))  # nothing is signed that would not be read
    return payload


def _decode(payload: bytes, kind: type[_Kind]) -> _Kind:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (ValueError, RecursionError) as error:
        raise ClaimError(f"expected a claim of type {kind.__name__}: {error}") from error
