"""Held checks: which devices wait for news of what, and when each one's question is looked at again.

It knows no socket and no rule. Whoever serves a connection leaves a check here; who judges it is told of one after the
other, spread so that fifteen thousand cost no other check its time. A judge that finds nothing new leaves it held.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Set as AbstractSet
from sys import intern
from typing import Final

from edge.errors import RefusedError
from edge.sender import Sender

# How long it takes to look at all that one change concerns, in seconds, where a setting says nothing else.
SPREAD_S: Final = 2.0
# At most this for those whose time is over, which are noticed so long before it.
END_WITHIN_S: Final = 1.0
# Looks in one turn of the loop, so that whoever comes just then waits for these and no more; and the time to the next
# turn, in seconds, where it is in time. A loop that is late takes its turns one after the other, and others between.
AT_ONCE: Final = 4
STEP_S: Final = 0.001
# Of the connections that a worker may have, at most this share is held: the others are for those who just ask.
SHARE: Final = 0.8
# A question and what is kept of its head, in bytes, and the programs that it asks about: a device's has 300 and a few.
# One that is longer is answered at once, since made-up ones would fill the memory of a worker.
MAX_BYTES: Final = 2_048
MAX_TOPICS: Final = 32
# Of these, programs that the workspace has not (yet): what nobody else waits for has a set of its own.
MAX_NEW: Final = 4

# What a check wants to hear of: the id of a program, or None for switches.
Topic = str | None
SWITCH_TOPIC: Final = None
Outcome = bytes | RefusedError


class HeldCheck:
    """A check that is held.

    Args:
        workspace: that it asks.
        topics: what it wants to hear of.
        body: of its request.
        sender: of its request.
        tell: called with its answer, once.
    """

    __slots__ = ("body", "is_due", "is_over", "is_proven", "is_told", "sender", "tell", "topics", "workspace")

    def __init__(
        self, workspace: str, topics: Iterable[Topic], body: bytes, sender: Sender, tell: Callable[[Outcome], None]
    ) -> None:
        self.workspace, self.body, self.sender = workspace, body, sender
        self.topics = tuple([intern(topic) if topic else topic for topic in topics])  # the same text for all devices
        self.tell = tell
        self.is_due = self.is_over = self.is_proven = self.is_told = False


class HeldChecks:
    """The held checks of a worker.

    Args:
        judge: looks at one again: tells it, and lets it go, where there is something to tell or its time is over.
    """

    def __init__(self, judge: Callable[[HeldCheck], None]) -> None:
        self.limit, self.spread_s = 0, SPREAD_S
        self._judge = judge
        self._held: set[HeldCheck] = set()
        self._by_topic: dict[str, dict[Topic, set[HeldCheck]]] = {}
        self._due: deque[HeldCheck] = deque()
        self._rate, self._stepped_at = 0.0, 0.0
        self._timer: asyncio.Handle | None = None

    def __len__(self) -> int:
        return len(self._held)

    def hold(self, check: HeldCheck) -> bool:
        """Takes a check until there is news for it, or `end`; says whether there is room."""
        size = len(check.body) + sum(len(value) for values in check.sender.fields.values() for value in values)
        if len(self._held) >= self.limit or size > MAX_BYTES or len(check.topics) > MAX_TOPICS:
            return False
        self._held.add(check)
        topics = self._by_topic.setdefault(check.workspace, {})
        for topic in check.topics:
            topics.setdefault(topic, set()).add(check)
        return True

    def forget(self, check: HeldCheck) -> None:
        """Lets a check go; one that is not held is no error."""
        check.is_told = True
        if check not in self._held:
            return
        self._held.remove(check)
        topics = self._by_topic[check.workspace]
        for topic in check.topics:
            topics[topic].remove(check)
            if not topics[topic]:
                del topics[topic]

    def list_topics(self, workspace: str) -> AbstractSet[Topic]:
        """Returns what those in a workspace want to hear of."""
        return self._by_topic.get(workspace, {}).keys()

    def wake(self, workspace: str, topics: Iterable[Topic]) -> None:
        """Something has changed: all that want to hear of it are looked at within the spread."""
        held = self._by_topic.get(workspace, {})
        for topic in topics:
            self._put(held.get(topic, ()), self.spread_s)

    def look(self, check: HeldCheck) -> None:
        """Has one looked at soon."""
        self._put([check], END_WITHIN_S)

    def end(self, check: HeldCheck) -> None:
        """A check's time is over: it is answered, whatever there is to say."""
        check.is_over = True
        self.look(check)

    def close(self) -> None:
        """Has all of them answered within the spread, and holds no other."""
        self.limit = 0
        for check in self._held:
            check.is_over = True
        self._put(self._held, self.spread_s)

    def _put(self, checks: Iterable[HeldCheck], within_s: float) -> None:
        """Who came first is looked at first; as the rate never falls before nobody waits, each has its turn in time."""
        for check in checks:
            if not check.is_due:
                check.is_due = True
                self._due.append(check)
        if self._due:
            self._rate = max(self._rate, len(self._due) / max(within_s, STEP_S))
            if self._timer is None:
                loop = asyncio.get_running_loop()
                self._stepped_at, self._timer = loop.time(), loop.call_soon(self._step)

    def _step(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            for check in self._take(AT_ONCE):
                self._judge(check)
        finally:  # one judgement that surprises must not leave all others unjudged
            now = loop.time()
            self._stepped_at = min(self._stepped_at + AT_ONCE / self._rate, now)
            if not self._due:
                self._timer, self._rate = None, 0.0
            elif self._stepped_at < now:
                self._timer = loop.call_soon(self._step)
            else:
                self._timer = loop.call_later(STEP_S, self._step)

    def _take(self, count: int) -> Iterator[HeldCheck]:
        """Yields the next that are due; those that have gone meanwhile cost nothing."""
        while count and self._due:
            check = self._due.popleft()
            check.is_due = False
            if not check.is_told:
                count -= 1
                yield check
