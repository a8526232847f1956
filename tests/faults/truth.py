"""What may be answered: each state of a workspace that was published, by revision, and the oracle's word on it. PURE.

An answer names its revision, so that it is right if it is what the oracle says of that state, and of no other. What is
just being published has no revision yet that anybody knows: such answers are kept, and judged when it is known.
"""

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from contract.oracle import answer as ask_oracle

Json = dict[str, Any]

SECONDS_AN_HOUR = 3_600
ROOT = 1
# How many wrong answers are shown in full.
SHOWN = 5


@dataclass(frozen=True, slots=True)
class Said:
    """An answer: to which question, of which revision, in which bytes, and in which seconds it was on its way."""

    question: int
    revision: int
    body: bytes
    asked_at: int
    answered_at: int


@dataclass(slots=True)
class Truth:
    """One workspace, whose revisions come one after the other.

    Args:
        questions: all that are asked of it; answers name theirs by its place.
    """

    questions: list[Json]
    newest: int = 0
    is_open: bool = False
    judged: int = 0
    wrong: list[str] = field(default_factory=list)
    _revisions: list[int] = field(default_factory=list)
    _states: list[Mapping[str, Json]] = field(default_factory=list)
    _right: dict[tuple[int, ...], set[bytes]] = field(default_factory=dict)
    _kept: list[Said] = field(default_factory=list)

    def begin(self) -> None:
        """Something is being published: revisions beyond the newest may be answered, and cannot be judged yet."""
        self.is_open = True

    def note(self, revision: int, documents: Mapping[str, Json]) -> None:
        """A state: the documents that changed with this revision, as they were published; none where none did."""
        if revision <= self.newest:
            raise ValueError(f"expected a revision beyond {self.newest}, got {revision}")
        self._states.append({**(self._states[-1] if self._states else {}), **documents})
        self._revisions.append(revision)
        self.newest = revision

    def settle(self) -> None:
        """Nothing is being published any more: what was kept is judged."""
        self.is_open = False
        kept, self._kept = self._kept, []
        for said in kept:
            self._judge(said)

    def hear(self, said: Said) -> None:
        """Judges an answer, now or as soon as its revision is known."""
        if said.revision > self.newest and self.is_open:
            self._kept.append(said)
        else:
            self._judge(said)

    def _judge(self, said: Said) -> None:
        self.judged += 1
        hours = said.asked_at // SECONDS_AN_HOUR, said.answered_at // SECONDS_AN_HOUR
        right = self._right.setdefault((said.question, said.revision, *hours), set())
        if said.body in right:
            return
        expected = self._expect(said)
        if orjson.loads(said.body) in expected:
            right.add(said.body)
        else:
            self.wrong.append(
                _describe(self.questions[said.question], said, expected) if len(self.wrong) < SHOWN else ""
            )

    def _expect(self, said: Said) -> list[Json]:
        """What is right: by the hour, which may have struck on the way. Nothing is, of a revision that never was."""
        place = bisect_right(self._revisions, said.revision)
        if not place or said.revision > self.newest:
            return []
        times = {now // SECONDS_AN_HOUR: now for now in (said.asked_at, said.answered_at)}
        state, question = self._states[place - 1], self.questions[said.question]
        return [ask_oracle(state, said.revision, ROOT, question, now) for now in times.values()]


def read_revision(body: bytes) -> int:
    """Returns the revision that an answer begins with; raises ValueError where it does not."""
    return int(body[len(b'{"revision":') : body.index(b",")])


def _describe(question: Json, said: Said, expected: list[Json]) -> str:
    wanted = " or ".join(orjson.dumps(one).decode() for one in expected) or "no such revision"
    return f"asked {orjson.dumps(question).decode()}: expected {wanted}, got {said.body.decode(errors='replace')}"
