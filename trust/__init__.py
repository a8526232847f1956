"""Keys, signatures, the root document and what is claimed about packages: pure, without file, clock or socket."""

from trust.claim import Offer, PackageClaim, TransferClaim, sign_offer, sign_package, verify_offer, verify_package
from trust.errors import ClaimError, KeyFormatError, RootError, SignatureError, TrustError, UnknownKeyError
from trust.jws import sign, sign_detached, verify, verify_detached
from trust.key import PrivateKey, PublicKey
from trust.root import ROLES, Role, Root, make_root, read_root

__all__ = [
    "ROLES",
    "ClaimError",
    "KeyFormatError",
    "Offer",
    "PackageClaim",
    "PrivateKey",
    "PublicKey",
    "Role",
    "Root",
    "RootError",
    "SignatureError",
    "TransferClaim",
    "TrustError",
    "UnknownKeyError",
    "make_root",
    "read_root",
    "sign",
    "sign_detached",
    "sign_offer",
    "sign_package",
    "verify",
    "verify_detached",
    "verify_offer",
    "verify_package",
]
