"""A window as a worker knows it: whom it has admitted, and whether it is worth asking about anybody else.

No socket, clock or Redis is known here: members and news come in, places go out. Who is a member once stays one.
"""

from typing import Final

from edge.ledger import EMPTY, is_among
from ruleset import Place
from ruleset.compiler import CompiledWindow
from ruleset.fingerprint import compute_fingerprint

_MEMBER, _OPEN, _SHUT = Place.MEMBER, Place.OPEN, Place.SHUT


class HostWindow:
    """One window.

    Args:
        rule: what the document says of it.
        key: the fingerprint key that it names.
    """

    __slots__ = ("_elsewhere", "_key", "_members", "_recent", "rule")

    def __init__(self, rule: CompiledWindow, key: bytes) -> None:
        self.rule = rule
        self._key = key
        self._members = EMPTY
        self._recent: set[int] = set()
        self._elsewhere = _SHUT

    def find(self, identity: str) -> Place:
        """Returns how somebody stands to it: MEMBER, or what `judge` has said of everybody else."""
        fingerprint = compute_fingerprint(self._key, identity)
        if fingerprint in self._recent or is_among(self._members, fingerprint):
            return _MEMBER
        return self._elsewhere

    def compute(self, identity: str) -> int:
        """Returns by what somebody is known here."""
        return compute_fingerprint(self._key, identity)

    def take(self, members: memoryview) -> None:
        """Takes the host's list; who is not on it yet is remembered until there is a list with them."""
        self._members = members
        self._recent = {one for one in self._recent if not is_among(members, one)}

    def admit(self, fingerprint: int) -> None:
        """Remembers somebody who is told of a place."""
        self._recent.add(fingerprint)

    def judge(self, *, can_ask: bool) -> None:
        """Says what becomes of those who are not known: nobody is asked about where all places are given."""
        is_full = len(self._members) >= self.rule.limit
        self._elsewhere = _OPEN if can_ask and not is_full else _SHUT


class _Keyless:
    """A window under a key that this host has not: whom it has admitted cannot be told, and nobody is admitted."""

    __slots__ = ()

    def find(self, identity: str) -> Place:  # noqa: ARG002 - as every window's
        """Returns SHUT."""
        return _SHUT


KEYLESS: Final = _Keyless()
