"""Where private keys are kept: a file, the environment, a token that never gives them out; not what is signed."""

from custody.address import find_file, open_public, open_signer
from custody.errors import CustodyError

__all__ = ["CustodyError", "find_file", "open_public", "open_signer"]
