"""What can be wrong with something signed; each error says who has to act."""


class TrustError(Exception):
    """The base of every error that `trust` raises."""


class KeyFormatError(TrustError):
    """A key cannot be read: its holder must bring a proper Ed25519 JWK."""


class SignatureError(TrustError):
    """A token is malformed or not signed as it should be: its sender must act, or is hostile."""


class UnknownKeyError(SignatureError):
    """The signer is not among the keys at hand: get a newer root, or distrust the sender."""


class RootError(TrustError):
    """A root document cannot be believed: the operator of the workspace must bring another."""


class ClaimError(TrustError):
    """A properly signed claim says something impossible: its signer must act."""
