"""Tests of edge/held.py by a loop whose time a test sets; what devices see is in tests/wire/test_held.py."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from edge.held import (
    AT_ONCE,
    END_WITHIN_S,
    MAX_BYTES,
    MAX_TOPICS,
    STEP_S,
    SWITCH_TOPIC,
    HeldCheck,
    HeldChecks,
    Topic,
)
from edge.sender import NOBODY, Sender

SPREAD_S = 2.0
MANY = 15_000


@dataclass
class Clockwork:
    """A loop that does what is due when a test says how late it is; `judged` is what was looked at, and when."""

    now: float = 100.0
    due: list[tuple[float, Callable[[], Any]]] = field(default_factory=list)
    judged: list[tuple[float, HeldCheck]] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    answers_all: bool = True

    def time(self) -> float:
        """Returns the time."""
        return self.now

    def call_soon(self, callback: Callable[[], Any]) -> object:
        """Calls back at once."""
        return self.call_later(0.0, callback)

    def call_later(self, delay_s: float, callback: Callable[[], Any]) -> object:
        """Calls back then."""
        self.due.append((self.now + delay_s, callback))
        return callback

    def turn(self, late_s: float = 0.0) -> bool:
        """Does what is due next; says whether there was anything."""
        if not self.due:
            return False
        at, callback = self.due.pop(0)
        self.now = max(self.now, at) + late_s
        before = len(self.judged)
        callback()
        self.steps.append(len(self.judged) - before)
        return True

    def run(self) -> float:
        """Does all that is to do; returns how long it took."""
        began = self.now
        while self.turn():
            pass
        return self.now - began


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    """The running loop."""
    clockwork = Clockwork()
    monkeypatch.setattr("edge.held.asyncio.get_running_loop", lambda: clockwork)
    return clockwork


@pytest.fixture
def held(clockwork: Clockwork) -> HeldChecks:
    """Held checks whose judge answers each, where the test does not say otherwise."""

    def judge(check: HeldCheck) -> None:
        clockwork.judged.append((clockwork.now, check))
        if clockwork.answers_all or check.is_over:
            held.forget(check)

    held = HeldChecks(judge)
    held.limit, held.spread_s = MANY * 2, SPREAD_S
    return held


def make_check(*topics: Topic, workspace: str = "demo", body: bytes = b"{}", sender: Sender = NOBODY) -> HeldCheck:
    """A check that wants to hear of these."""
    return HeldCheck(workspace, topics or ("p",), body, sender, lambda _: None)


def hold(held: HeldChecks, count: int, *topics: Topic) -> list[HeldCheck]:
    """So many checks, held."""
    checks = [make_check(*topics) for _ in range(count)]
    assert all(held.hold(check) for check in checks)
    return checks


def list_judged(clockwork: Clockwork) -> set[HeldCheck]:
    """What was looked at."""
    return {check for _, check in clockwork.judged}


def test_change_wakes_whom_it_concerns(held: HeldChecks, clockwork: Clockwork) -> None:
    """Of all that are held those are looked at, once, that want to hear of something that has changed."""
    (both,), (one,), (other,) = hold(held, 1, "p", "q"), hold(held, 1, "p"), hold(held, 1, "r", SWITCH_TOPIC)
    stranger = make_check("p", workspace="shop")
    held.hold(stranger)
    held.wake("demo", ["p", "q", "unknown"])
    clockwork.run()
    assert list_judged(clockwork) == {both, one}
    assert (len(clockwork.judged), len(held)) == (2, 2)
    held.wake("demo", [SWITCH_TOPIC])
    clockwork.run()
    assert list_judged(clockwork) == {both, one, other}
    assert (held.list_topics("demo"), held.list_topics("shop"), held.list_topics("none")) == (set(), {"p"}, set())


def test_what_goes_on_being_held_is_looked_at_again(held: HeldChecks, clockwork: Clockwork) -> None:
    """A check that nothing was told of is looked at with each change, once a change."""
    clockwork.answers_all = False
    hold(held, 3)
    for times in (1, 2):
        held.wake("demo", ["p"])
        held.wake("demo", ["p"])
        clockwork.run()
        assert (len(clockwork.judged), len(held)) == (3 * times, 3)


@pytest.mark.parametrize("count", [1, AT_ONCE])
def test_few_are_looked_at_at_once(held: HeldChecks, clockwork: Clockwork, count: int) -> None:
    """The spread is for crowds: a few wait for nothing but the turn of the loop."""
    hold(held, count)
    held.wake("demo", ["p"])
    assert clockwork.judged == []  # not while the change is being applied
    assert clockwork.run() == 0.0
    assert len(clockwork.judged) == count


def test_crowd_is_spread(held: HeldChecks, clockwork: Clockwork) -> None:
    """A crowd is looked at evenly within the spread, some in each step, so that no other check waits for long."""
    hold(held, MANY)
    held.wake("demo", ["p"])
    assert clockwork.run() == pytest.approx(SPREAD_S, rel=0.1)
    assert max(clockwork.steps) == AT_ONCE
    half = sum(at <= 100.0 + SPREAD_S / 2 for at, _ in clockwork.judged)
    assert half == pytest.approx(MANY / 2, rel=0.1)


def test_late_loop_makes_up_for_it(held: HeldChecks, clockwork: Clockwork) -> None:
    """Where the loop was late those that were due meanwhile have their turns at once, others' between them."""
    hold(held, MANY)
    held.wake("demo", ["p"])
    clockwork.turn()
    clockwork.turn(late_s=0.5)
    until = clockwork.now
    while clockwork.due[0][0] <= until:
        clockwork.turn()
    assert len(clockwork.judged) == pytest.approx(MANY * 0.5 / SPREAD_S, rel=0.1)
    assert max(clockwork.steps) == AT_ONCE


def test_further_changes_put_nobody_off(held: HeldChecks, clockwork: Clockwork) -> None:
    """Who waits for its turn keeps it, however many come behind it."""
    first = set(hold(held, 10_000, "p"))
    held.wake("demo", ["p"])
    hold(held, 10_000, "q")
    while clockwork.now < 100.0 + SPREAD_S / 2:
        assert clockwork.turn()
    held.wake("demo", ["q"])
    clockwork.run()
    assert max(at for at, check in clockwork.judged if check in first) <= 100.0 + SPREAD_S * 1.05
    assert max(at for at, _ in clockwork.judged) <= 100.0 + SPREAD_S * 1.55


def test_end_of_its_time(held: HeldChecks, clockwork: Clockwork) -> None:
    """Those whose time is over are looked at within END_WITHIN_S, and are known by it."""
    clockwork.answers_all = False
    checks = hold(held, MANY)
    for check in checks[:9_000]:
        held.end(check)
    assert clockwork.run() <= END_WITHIN_S * 1.05
    assert list_judged(clockwork) == set(checks[:9_000])
    assert len(held) == 6_000


def test_end_while_it_is_due(held: HeldChecks, clockwork: Clockwork) -> None:
    """A check that waits for its turn when its time ends is looked at once."""
    clockwork.answers_all = False
    (check,) = hold(held, 1)
    held.wake("demo", ["p"])
    held.end(check)
    clockwork.run()
    assert (len(clockwork.judged), len(held)) == (1, 0)


def test_closing(held: HeldChecks, clockwork: Clockwork) -> None:
    """All are answered within the spread, and no other is held."""
    clockwork.answers_all = False
    hold(held, MANY)
    held.close()
    assert clockwork.run() <= SPREAD_S * 1.05
    assert len(held) == 0
    assert not held.hold(make_check())


def test_who_has_gone_costs_nothing(held: HeldChecks, clockwork: Clockwork) -> None:
    """A check that was let go while it waited for its turn is passed over, and counts for none of the step's."""
    gone, stays = hold(held, 50), hold(held, AT_ONCE)
    held.wake("demo", ["p"])
    for check in gone:
        held.forget(check)
        held.forget(check)
    assert clockwork.turn()
    assert list_judged(clockwork) == set(stays)
    assert held.list_topics("demo") == set()


def test_no_spread(held: HeldChecks, clockwork: Clockwork) -> None:
    """A spread of nothing is as fast as the loop turns."""
    held.spread_s = 0.0
    hold(held, 1_000)
    held.wake("demo", ["p"])
    assert clockwork.run() <= 2 * STEP_S
    assert max(clockwork.steps) == AT_ONCE


def test_as_many_as_the_limit(held: HeldChecks) -> None:
    """There is room for so many and not for one more, until one goes."""
    held.limit = 2
    first, _ = hold(held, 2)
    assert not held.hold(make_check())
    held.forget(first)
    assert held.hold(make_check())


@pytest.mark.parametrize(
    ("fits", "check"),
    [
        (True, make_check(body=b"x" * MAX_BYTES)),
        (False, make_check(body=b"x" * (MAX_BYTES + 1))),
        (True, make_check(body=b"x" * (MAX_BYTES - 9), sender=Sender({b"a": [b"xxxx", b"xxx"], b"b": [b"xx"]}, ""))),
        (False, make_check(body=b"x" * (MAX_BYTES - 8), sender=Sender({b"a": [b"xxxx", b"xxx"], b"b": [b"xx"]}, ""))),
        (True, make_check(*map(str, range(MAX_TOPICS)))),
        (False, make_check(*map(str, range(MAX_TOPICS + 1)))),
    ],
)
def test_large_questions_are_not_held(held: HeldChecks, check: HeldCheck, *, fits: bool) -> None:
    """A question has so many bytes, with what is kept of its head, and so many programs, or is answered at once."""
    assert held.hold(check) is fits
    assert len(held) == fits


def test_checks_share_the_names_of_programs() -> None:
    """However many ask about a program its id is kept once."""
    ids = [str(int("20210001")) for _ in range(2)]
    first, second = (make_check(name, SWITCH_TOPIC) for name in ids)
    assert ids[0] is not ids[1]
    assert first.topics[0] is second.topics[0]
    assert first.topics[1] is SWITCH_TOPIC


def test_judgement_that_surprises(clockwork: Clockwork) -> None:
    """A check that cannot be judged keeps no other from its turn."""
    judged: list[HeldCheck] = []

    def judge(check: HeldCheck) -> None:
        judged.append(check)
        raise ZeroDivisionError

    held = HeldChecks(judge)
    held.limit = MANY
    checks = hold(held, 3)
    held.wake("demo", ["p"])
    for _ in checks:
        with pytest.raises(ZeroDivisionError):
            clockwork.turn()
    assert set(judged) == set(checks)
