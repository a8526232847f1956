"""The lists of a vector or an example, as the oracle takes them, in the shape in which the compiled evaluator asks."""

from collections.abc import Collection
from dataclasses import dataclass

from contract.oracle import Json
from ruleset import Circumstances, Place, parse_version


@dataclass(frozen=True, slots=True)
class ListedAudience:
    """An audience of a few users."""

    users: Collection[str]

    def holds(self, user: str) -> bool:
        """Says whether a user is one of them."""
        return user in self.users


@dataclass(frozen=True, slots=True)
class ListedWindow:
    """A window of a few members."""

    members: Collection[str]
    is_open: bool

    def find(self, identity: str) -> Place:
        """Says how somebody stands to it."""
        if identity in self.members:
            return Place.MEMBER
        return Place.OPEN if self.is_open else Place.SHUT


def surround(lists: Json) -> Circumstances:
    """Returns the circumstances that lists say."""
    return Circumstances(
        {name: ListedAudience(users) for name, users in lists.get("audiences", {}).items()},
        {id_: ListedWindow(one["members"], one["is_open"]) for id_, one in lists.get("windows", {}).items()},
        lists.get("proven", False),
        {program: parse_version(version) for program, version in lists["trials"].items()}
        if lists.get("proven") and "trials" in lists
        else None,
    )
