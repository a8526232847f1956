"""Keys, signatures, the root document and what is claimed about packages: pure, without file, clock or socket."""

from trust.claim import (
    ClientClaim,
    ClientDefaults,
    Offer,
    PackageClaim,
    TransferClaim,
    read_unverified_package,
    sign_client,
    sign_offer,
    sign_package,
    verify_client,
    verify_offer,
    verify_package,
)
from trust.errors import ClaimError, KeyFormatError, RootError, SignatureError, TrustError, UnknownKeyError
from trust.jws import sign, sign_detached, verify, verify_detached
from trust.key import ALGORITHMS, AlgorithmName, PrivateKey, PublicKey, Signer
from trust.role import ROLES, Role
from trust.root import (
    Root,
    add_root_signature,
    draft_root,
    find_root_signers,
    follow_roots,
    make_root,
    read_draft,
    read_root,
    read_successor,
)
from trust.token import add_signature

__all__ = [
    "ALGORITHMS",
    "ROLES",
    "AlgorithmName",
    "ClaimError",
    "ClientClaim",
    "ClientDefaults",
    "KeyFormatError",
    "Offer",
    "PackageClaim",
    "PrivateKey",
    "PublicKey",
    "Role",
    "Root",
    "RootError",
    "SignatureError",
    "Signer",
    "TransferClaim",
    "TrustError",
    "UnknownKeyError",
    "add_root_signature",
    "add_signature",
    "draft_root",
    "find_root_signers",
    "follow_roots",
    "make_root",
    "read_draft",
    "read_root",
    "read_successor",
    "read_unverified_package",
    "sign",
    "sign_client",
    "sign_detached",
    "sign_offer",
    "sign_package",
    "verify",
    "verify_client",
    "verify_detached",
    "verify_offer",
    "verify_package",
]
