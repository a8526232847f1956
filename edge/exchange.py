"""One request's law, the same on the lane and in aiohttp: what its head must say, and its answer's status and body.

It knows no transport: a head's few deciding fields and a body come in, a status and bytes go out.
"""

import time
from bisect import bisect_right
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final, Protocol

from msgspec.structs import replace

from channel import NOWHERE
from edge.answer import Entry, Unanswered, Workspace, is_idle
from edge.body import MAX_BODY_BYTES
from edge.budget import Budget, Purpose
from edge.cors import ORIGIN, Cors
from edge.errors import FloodError, RefusedError
from edge.held import MAX_NEW, SWITCH_TOPIC, HeldCheck, HeldChecks, Outcome, Topic
from edge.metrics import Counters
from edge.question import Question, parse_question
from edge.quota import Quota
from edge.reception import Reception
from edge.sample import Sampler
from edge.sender import NOBODY, Sender

# A head of a device behind two proxies has 500 bytes; more is somebody filling memory.
MAX_HEAD_BYTES = 8 * 1024
JSON = "application/json"
# Says with a 1 that somebody waits for the answer; all else is done in the background.
INTERACTIVE: Final = b"x-graywave-interactive"
# What a question to Redis for a place in a window takes of a worker, in seconds: it is asked and told
# in other turns of the loop.
WINDOW_S: Final = 1e-4
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
# int() of a long text of digits takes quadratic time.
MAX_LENGTH_DIGITS = 19


class Asker(Protocol):
    """Whoever asks windows for checks that cannot be answered without."""

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Returns the answer where it need not wait; else None, and calls `tell` with it, once, later."""


class _Nobody:
    """Asks nobody: who is not known has no place."""

    __slots__ = ()

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes:  # noqa: ARG002 - as every asker's
        """Returns the answer."""
        return unanswered.give_up()


class Rules:
    """What a worker answers from: its workspaces by name, the second it is, whether it serves, and its counters.

    `asker` asks windows for checks that meet one. `held` are the checks that wait for news.

    `reception` is there where a setting asks for more than devices say of themselves: proof of users, places.
    `cors` is there where answers may be shown to web pages, `quota` where workspaces have limits. `wanted` are the
    fields of a head that these want to see, in small letters; None where nobody wants to know who asks.
    `budget` says which costly work is done.
    `sample_at` is the number of the check that `sampler` draws next.

    The one mutable reference of a worker: the syncer's changes go in by `Workspace.apply`, checks only read.
    """

    __slots__ = (
        "asker",
        "budget",
        "cors",
        "counters",
        "held",
        "now",
        "quota",
        "ready",
        "reception",
        "sample_at",
        "sampler",
        "wanted",
        "wanted_of_costly",
        "workspaces",
    )

    def __init__(
        self,
        workspaces: Mapping[str, Workspace],
        counters: Counters,
        reception: Reception | None = None,
        cors: Cors | None = None,
        quota: Quota | None = None,
    ) -> None:
        self.workspaces = dict(workspaces)
        self.budget = Budget()
        self.attend(reception, cors, quota)
        self.asker: Asker = _Nobody()
        self.held = HeldChecks(self.look_again)
        self.ready = False
        self.now = 0
        self.counters = counters
        self.sampler = Sampler()
        self.sample_at = self.sampler.next

    def attend(self, reception: Reception | None = None, cors: Cors | None = None, quota: Quota | None = None) -> None:
        """Says what is made of requests beyond their bodies."""
        self.reception, self.cors, self.quota = reception, cors, quota
        fields = (*(reception.wanted if reception else ()), *((ORIGIN,) if cors else ()))
        self.wanted = fields if fields or quota else None
        self.wanted_of_costly = (*fields, INTERACTIVE)

    def check(self, body: bytes, now: int, sender: Sender = NOBODY) -> bytes | Unanswered:
        """Returns the answer to the body of a check, or what has to be asked before.

        Args:
            body: as it came.
            now: seconds since 1970.
            sender: of the request, where a field of its head is wanted.

        Raises:
            RefusedError: with the code that the device is told.
        """
        question = parse_question(body)
        workspace = self.workspaces.get(question.workspace) or self.find_workspace(question.workspace)
        self.counters.checks += 1
        if self.quota is not None:
            self.limit(workspace.name, sender)
        if workspace.position is NOWHERE:
            raise RefusedError("no_ruleset", f"the rules of {question.workspace!r} have not arrived yet")
        is_proven, trials = False, None
        if self.reception is not None:  # a call less where there is none
            question, is_proven, trials = self._receive(workspace, question, sender, now)
        answer = workspace.answer(question, now, is_proven=is_proven, trials=trials)
        if self.counters.checks >= self.sample_at:  # behind the answer: what is refused is no sample
            self.draw(question, workspace, is_proven=is_proven)
        return answer

    def _receive(
        self, workspace: Workspace, question: Question, sender: Sender, now: int
    ) -> tuple[Question, bool, Mapping[str, int] | None]:
        """The question as it is to be answered, whether its user is proven, and what the user's trials give."""
        if self.reception is None:
            return question, False, None
        device, is_proven = self.reception.receive(question.workspace, question.device, sender, now)
        question = replace(question, device=device)
        trials = (
            workspace.trials.find(question.trials, device.user or "", now) if is_proven and question.trials else None
        )
        return question, is_proven, trials

    def check_costly(self, body: bytes, now: int, sender: Sender) -> bytes | Unanswered:
        """Returns what `check` does for a body of more than COSTLY_BYTES, where there is time for it.

        Raises:
            RefusedError: as `check` does, or `overloaded`.
        """
        with self.spending(find_purpose(sender)):
            return self.check(body, now, sender)

    @contextmanager
    def spending(self, purpose: Purpose) -> Iterator[None]:
        """Does costly work, where there is time for it.

        Raises:
            RefusedError: `overloaded`, before it has begun.
        """
        self.afford(purpose)
        started = time.thread_time()
        try:
            yield
        finally:
            self.budget.spend(time.thread_time() - started)

    def afford(self, purpose: Purpose) -> None:
        """Returns where there is time for costly work; raises RefusedError `overloaded` where there is none."""
        if self.budget.admits(purpose, time.monotonic()):
            return
        field = _SHED[purpose]
        setattr(self.counters, field, getattr(self.counters, field) + 1)
        raise self.budget.refuse(purpose)

    def ask(self, unanswered: Unanswered, tell: Callable[[bytes], None]) -> bytes | None:
        """Asks windows, as `Asker.ask`, where there is time for it; raises RefusedError `overloaded`."""
        self.afford(Purpose.INTERACTIVE)
        self.budget.spend(WINDOW_S)
        return self.asker.ask(unanswered, tell)

    def limit(self, workspace: str, sender: Sender) -> None:
        """Counts a request for a workspace where these are counted; raises FloodError where there are too many."""
        if self.quota is None:
            return
        try:
            self.quota.admit(workspace, sender.connection, self.now)
        except FloodError:
            self.counters.limited += 1
            raise

    def hold(
        self, answer: bytes, now: int, body: bytes, sender: Sender, tell: Callable[[Outcome], None]
    ) -> HeldCheck | None:
        """Holds a check until there is something to do; None where there is already, or no room: then answer it now.

        Args:
            answer: to the check.
            now: the time by which that was found.
            body: of the check.
            sender: of the check.
            tell: called once, later, with what the check is answered, or refused with.
        """
        if not (is_idle(answer) and self.held.limit and self.budget.admits(Purpose.BACKGROUND, time.monotonic())):
            return None
        question = parse_question(body)
        workspace = self.find_workspace(question.workspace)
        if sum(program not in workspace for program in question.programs) > MAX_NEW:
            return None
        topics: list[Topic] = [*question.programs, *((SWITCH_TOPIC,) if question.switches else ())]
        check = HeldCheck(workspace.name, topics, body, sender, tell)
        try:
            _, check.is_proven, _ = self._receive(workspace, question, sender, self.now)
        except RefusedError:  # more tokens than can be read; that of this one was forgotten meanwhile
            return None
        if not self.held.hold(check):
            return None
        # A window was asked meanwhile, and nobody has told of what has come by the clock, or was published.
        if now != self.now or not workspace.is_of_now(answer):
            self.held.look(check)
        return check

    def look_again(self, check: HeldCheck) -> None:
        """Answers a held check where there is something to do, or its time is over; else it goes on being held.

        It is judged as it was when it came, as one of its sender's, at the time of now.
        """
        try:
            question = parse_question(check.body)
            workspace = self.find_workspace(question.workspace)
            question, is_proven, trials = self._receive(workspace, question, check.sender, self.now)
            if check.is_proven and not is_proven:
                check.is_over = True  # its proof has expired: it may come back with another
            answer = workspace.answer(question, self.now, is_proven=is_proven, trials=trials)
        except RefusedError as error:
            if error.code == "overloaded" and not check.is_over:
                self.held.look(check)  # more tokens than can be read in a second, after their keys were replaced
            else:
                self._let_go(check, error)
            return
        told = self._ask_again(answer, check) if isinstance(answer, Unanswered) else answer
        if told is not None:
            self._settle(check, told)

    def _ask_again(self, unanswered: Unanswered, check: HeldCheck) -> bytes | None:
        """Where there is no time for it a held check goes without a place, as one does that nobody answers."""
        try:
            return self.ask(unanswered, partial(self._settle, check))
        except RefusedError:
            return unanswered.give_up()

    def _settle(self, check: HeldCheck, answer: bytes) -> None:
        has_news = not is_idle(answer)
        if check.is_told or not (has_news or check.is_over):
            return
        self.counters.held_told += has_news
        self._let_go(check, answer)

    def _let_go(self, check: HeldCheck, outcome: Outcome) -> None:
        self.held.forget(check)
        check.tell(outcome)

    def wake_by_audiences(self, workspace: Workspace, names: Collection[str]) -> None:
        """Audiences have changed: the programs and switches that ask for one of them concern whoever waits for news."""
        changed = frozenset(names)
        self._wake(workspace, workspace.listed, lambda entry: not changed.isdisjoint(entry.audiences))
        self.held.wake(workspace.name, [SWITCH_TOPIC])

    def _wake_by_clock(self, before: int, now: int) -> None:
        for workspace in self.workspaces.values():
            self._wake(workspace, workspace.timed, lambda entry: _has_passed(entry.changes, before, now))
            if _has_passed(workspace.switches.changes, before, now):
                self.held.wake(workspace.name, [SWITCH_TOPIC])

    def _wake(self, workspace: Workspace, entries: Mapping[str, Entry], is_concerned: Callable[[Entry], bool]) -> None:
        """Of what devices wait for and of these entries, the fewer are walked: once a second, with all held at hand."""
        programs = self.held.list_topics(workspace.name) & entries.keys()
        self.held.wake(workspace.name, [program for program in programs if program and is_concerned(entries[program])])

    def draw(self, question: Question, workspace: Workspace, *, is_proven: bool) -> None:
        """Keeps a question as one of the hour's sample."""
        around = workspace.around_proven if is_proven else workspace.around
        self.sampler.take(question, around, self.now, self.counters.checks)
        self.sample_at = self.sampler.next

    def tick(self, now: int) -> None:
        """Goes by another second."""
        before, self.now = self.now, now
        self._wake_by_clock(before, now)
        self.sampler.tick(now, self.counters.checks)
        self.sample_at = self.sampler.next

    def find_workspace(self, name: str) -> Workspace:
        """Returns the workspace of that name.

        Raises:
            RefusedError: `unknown_workspace`.
        """
        workspace = self.workspaces.get(name)
        if workspace is None:
            raise RefusedError("unknown_workspace", f"no workspace {name!r} is served here")
        return workspace


_SHED: Final = {
    Purpose.INTERACTIVE: "shed_interactive",
    Purpose.BACKGROUND: "shed_background",
    Purpose.REPORT: "shed_reports",
}


def find_purpose(sender: Sender) -> Purpose:
    """Returns what a costly request is for, as its sender says."""
    return Purpose.INTERACTIVE if sender.find_one(INTERACTIVE) == b"1" else Purpose.BACKGROUND


def _has_passed(changes: Sequence[int], before: int, now: int) -> bool:
    """Whether something has changed by itself after one second and up to another."""
    return bool(changes) and bisect_right(changes, before) != bisect_right(changes, now)


def refuse_head(length: bytes, content_type: bytes, encoding: bytes, expect: bytes, *, has_host: bool) -> None:
    """Refuses what is not the head of a check; the values are as they came, empty where the field did not.

    Raises:
        RefusedError: `malformed_request`, `length_required`, `too_large`, `unsupported_media_type` or
            `expectation_failed`.
    """
    if not has_host:
        raise RefusedError("malformed_request", "expected one Host field, got none", closes=True)
    if not length or encoding:
        raise RefusedError("length_required", "expected a Content-Length and no Transfer-Encoding", closes=True)
    read_length(length)
    if content_type.partition(b";")[0].strip().lower() != JSON.encode():
        got = content_type.decode("ascii", "backslashreplace")
        raise RefusedError("unsupported_media_type", f"expected Content-Type {JSON}, got {got!r}", closes=True)
    if expect and expect.lower() != b"100-continue":
        raise RefusedError("expectation_failed", "expected no Expect but 100-continue", closes=True)


def read_length(length: bytes) -> int:
    """Returns the number of bytes that a Content-Length promises.

    Raises:
        RefusedError: `malformed_request` or `too_large`.
    """
    if not length.isdigit():
        raise RefusedError("malformed_request", "expected a Content-Length in digits", closes=True)
    if len(length) > MAX_LENGTH_DIGITS or int(length) > MAX_BODY_BYTES:
        message = f"expected a body of at most {MAX_BODY_BYTES} bytes, got {length.decode()[:MAX_LENGTH_DIGITS]}"
        raise RefusedError("too_large", message, closes=True)
    return int(length)
