"""What a worker's provers live on: key sets read from files, and again when these change; counters; a few log lines.

It acts for `edge.proof`, which decides. Nothing of a token is logged, and no user's id.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from edge.metrics import Counters
from edge.proof import MAX_KEYS_BYTES, Doubt, Prover, read_key_set
from edge.settings import EdgeSettings
from edge.watch import Watch

# A back end that signs wrongly, or somebody who makes tokens up, fills no log: a line for each reason in this time.
TELL_EVERY_S: Final = 60

_log = logging.getLogger("graywave.edge")


def make_provers(settings: EdgeSettings) -> Mapping[str, Prover]:
    """Returns the provers of the workspaces whose users have to be proven; they have no keys yet."""
    return {name: Prover(settings.proof_issuers[name], settings.proof_audiences[name]) for name in settings.proof_keys}


class Keyring:
    """Keeps provers at what their key files hold.

    Args:
        settings: name the files.
        provers: by workspace.
        counters: what they do is counted there.
    """

    def __init__(self, settings: EdgeSettings, provers: Mapping[str, Prover], counters: Counters) -> None:
        self._provers, self._counters = provers, counters
        self._files = [Watch(settings.proof_keys[name], make_reader(prover)) for name, prover in provers.items()]
        self._told: dict[tuple[str, Doubt], tuple[int, int]] = {}

    def tick(self, now: int) -> None:
        """Once a second: reads what has changed, counts, and tells why tokens were refused."""
        for file in self._files:
            file.look()
        provers = self._provers.values()
        self._counters.proof_keys_problem = sum(bool(file.problem) for file in self._files)
        self._counters.proven = sum(prover.proven for prover in provers)
        self._counters.proofs_verified = sum(prover.verified for prover in provers)
        self._counters.proofs_refused = sum(prover.doubts.total() for prover in provers)
        for name, prover in self._provers.items():
            for doubt, count in prover.doubts.items():
                self._tell(name, doubt, count, now)

    def _tell(self, workspace: str, doubt: Doubt, count: int, now: int) -> None:
        before, told_at = self._told.get((workspace, doubt), (0, 0))
        if count > before and now >= told_at + TELL_EVERY_S:
            self._told[workspace, doubt] = count, now
            _log.warning("%d tokens prove no user of %s: %s", count - before, workspace, doubt)


def make_reader(prover: Prover) -> Callable[[Path], None]:
    """Returns what gives a prover the keys of a file."""

    def take(path: Path) -> None:
        with path.open("rb") as file:
            prover.follow(read_key_set(file.read(MAX_KEYS_BYTES + 1)))

    return take
