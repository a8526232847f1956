"""Trials: tokens that give named users a version before it is released, verified once and remembered. PURE.

The publisher's channel key signs them, so that the newest root says whose are believed. One that gives nothing is no
error: its device is answered as one without it.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import Struct

from edge.allowance import Allowance
from edge.memory import Memory
from ruleset import VersionError, parse_version
from trust import Role, TrustError, read_root, verify_trial

# A token for a hundred users with ids of usual length; more would fill a question.
MAX_TRIAL_CHARS: Final = 8_192
# Tokens that a worker remembers for a workspace, genuine and made-up ones, of some KiB each at most.
MAX_REMEMBERED: Final = 1_024
# Verified a second, for a workspace in a worker: only who is proven to be somebody can make it verify at all.
MAX_FRESH: Final = 500


class _Trial(Struct, frozen=True, gc=False):
    """What is remembered of a token; of one that is not genuine, that it gives nobody anything."""

    program: str = ""
    version: int = 0
    users: frozenset[str] = frozenset()
    expires: int = 0


_NOTHING: Final = _Trial()


class Trials:
    """Says what trials give, in one workspace.

    Args:
        workspace: that their tokens have to name.
    """

    def __init__(self, workspace: str) -> None:
        self._workspace = workspace
        self._role: Role | None = None
        self._known: Memory[bytes, _Trial] = Memory(MAX_REMEMBERED)
        self._fresh = Allowance(MAX_FRESH, "new trials")

    def follow(self, root: bytes) -> None:
        """Believes the channel keys of a root document from now on, and nobody where it is none."""
        try:
            self._role = read_root(root).role("channel")
        except TrustError:
            self._role = None
        self._known.clear()

    def find(self, tokens: Iterable[str], user: str, now: int) -> Mapping[str, int]:
        """Returns the versions that tokens give a proven user, by program; of several for one program the highest.

        Raises:
            RefusedError: `overloaded`, too many of them have come in this second that were never seen before.
        """
        found: dict[str, int] = {}
        for token in tokens:
            trial = self._read(token, now)
            if now < trial.expires and user in trial.users:
                found[trial.program] = max(trial.version, found.get(trial.program, 0))
        return found

    def _read(self, token: str, now: int) -> _Trial:
        name = hashlib.blake2b(token.encode(), digest_size=16).digest()
        known = self._known.find(name)
        if known is None:
            self._fresh.spend(now)
            known = self._known.keep(name, self._verify(token))
        return known

    def _verify(self, token: str) -> _Trial:
        if self._role is None:
            return _NOTHING
        try:
            claim = verify_trial(token, self._role)
            version = parse_version(claim.version)
        except (TrustError, VersionError):
            return _NOTHING
        if claim.workspace != self._workspace:
            return _NOTHING
        return _Trial(claim.program, version, frozenset(claim.users), claim.expires)
