"""Roles: which keys may sign one kind of thing, and how many of them have to; what is signed is not known."""

from collections.abc import Mapping
from dataclasses import dataclass

from trust.key import PublicKey

ROLES = ("root", "package", "offer", "channel")


@dataclass(frozen=True, slots=True)
class Role:
    """The keys of a role by kid, and how many of them have to sign."""

    threshold: int
    keys: Mapping[str, PublicKey]
