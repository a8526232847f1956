"""Tests of edge/exchange.py."""

import time
from typing import Any

import orjson
import pytest

from channel import Position
from edge import exchange
from edge.answer import Unanswered, Workspace
from edge.body import MAX_BODY_BYTES
from edge.budget import Purpose
from edge.cors import ORIGIN, Cors
from edge.errors import FloodError, RefusedError
from edge.exchange import INTERACTIVE, WINDOW_S, Rules, read_length, refuse_head
from edge.held import MAX_NEW, SWITCH_TOPIC, HeldCheck, Outcome
from edge.metrics import Counters
from edge.proof import Prover
from edge.question import parse_question
from edge.quota import Quota
from edge.reception import Reception
from edge.sender import NOBODY, Sender
from edge.switch import compile_set
from ruleset import Device, parse_switches
from tests.edge.press import (
    NOW,
    OTHER_PROGRAM,
    PROGRAM,
    ROOT_BYTES,
    WORKSPACE,
    make_entry,
    make_question,
    make_switches,
)


@pytest.fixture
def rules() -> Rules:
    """Two workspaces, one of them without rules yet."""
    rules = Rules({name: Workspace(name, {3: ROOT_BYTES}) for name in (WORKSPACE, "empty")}, Counters())
    rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry()}, Position(1, 5))
    return rules


def refuse_check(rules: Rules, **members: Any) -> RefusedError:
    """The refusal that a check gets."""
    with pytest.raises(RefusedError) as caught:
        rules.check(orjson.dumps(make_question(**members)), NOW)
    return caught.value


def test_check_is_answered_and_counted(rules: Rules) -> None:
    """A check is answered from its workspace, and counted."""
    answer = orjson.loads(rules.check(orjson.dumps(make_question()), NOW))
    assert [update["program"] for update in answer["updates"]] == [PROGRAM]
    assert answer["revision"] == 5
    assert rules.counters.checks == 1


def test_unknown_workspace(rules: Rules) -> None:
    """A workspace that is not served is named."""
    error = refuse_check(rules, workspace="shop\n")
    assert (error.code, error.message) == ("unknown_workspace", "no workspace 'shop\\n' is served here")


def test_workspace_without_rules(rules: Rules) -> None:
    """A host that has nothing yet says so, instead of that nothing is to be done."""
    error = refuse_check(rules, workspace="empty")
    assert (error.code, error.message) == ("no_ruleset", "the rules of 'empty' have not arrived yet")


def test_bad_question(rules: Rules) -> None:
    """A question that is none is refused with its own code."""
    assert refuse_check(rules, programs={}).code == "bad_field"


def test_refused_question_is_no_sample(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a version should stand a device may have put anything: what is kept for an hour has been understood."""
    drawn: list[Any] = []
    monkeypatch.setattr(rules.sampler, "take", lambda question, *_: drawn.append(question.programs))
    rules.tick(NOW)
    assert refuse_check(rules, programs={PROGRAM: "u-777"}).code == "bad_field"
    assert drawn == []
    rules.check(orjson.dumps(make_question()), NOW)
    assert len(drawn) == 1


IDLE = orjson.dumps(make_question(programs={PROGRAM: "1.0.0.0"}))


class Porter(Reception):
    """Proves whatever user a device names, as long as a test says so."""

    def __init__(self) -> None:
        super().__init__({WORKSPACE: Prover("issuer", "audience")})
        self.proves, self.is_busy = True, False

    def receive(self, workspace: str, device: Device, sender: Sender, now: int) -> tuple[Device, bool]:
        """Returns the device."""
        if self.is_busy:
            raise RefusedError("overloaded", "too many new proofs of users")
        return device, self.proves


async def hold(rules: Rules, sender: Sender = NOBODY) -> tuple[HeldCheck, list[Outcome]]:
    """A check that is held, and what it is told."""
    told: list[Outcome] = []
    rules.held.limit, rules.now = 1, NOW
    answer = rules.check(IDLE, NOW, sender)
    assert isinstance(answer, bytes)
    check = rules.hold(answer, NOW, IDLE, sender, told.append)
    assert check is not None
    return check, told


async def test_held_check_counts_once(rules: Rules) -> None:
    """However often a held check is looked at it is one check, and is counted as told when it is told of something."""
    check, told = await hold(rules)
    rules.look_again(check)
    rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry(version="2.0.0.0", revision=6)}, Position(1, 6))
    rules.look_again(check)
    (answer,) = told
    assert isinstance(answer, bytes)
    assert orjson.loads(answer)["updates"][0]["version"] == "2.0.0.0"
    assert (rules.counters.checks, rules.counters.held_told, len(rules.held)) == (1, 1, 0)


async def test_held_check_whose_proof_has_expired(rules: Rules) -> None:
    """A user who is proven no more is answered as anybody: the device may come back with another proof."""
    porter = Porter()
    rules.attend(porter)
    check, told = await hold(rules, Sender({b"authorization": [b"Bearer a.b.c"]}, ""))
    rules.look_again(check)
    assert told == []
    porter.proves = False
    rules.look_again(check)
    assert len(told) == 1
    assert rules.counters.held_told == 0


async def test_held_check_without_a_proof(rules: Rules) -> None:
    """Who has shown no proof has none to lose."""
    porter = Porter()
    porter.proves = False
    rules.attend(porter)
    check, told = await hold(rules)
    rules.look_again(check)
    assert told == []


async def test_held_check_with_a_token_that_proves_nobody(rules: Rules) -> None:
    """It proved nobody when it came: that it does not now either is no news."""
    porter = Porter()
    porter.proves = False
    rules.attend(porter)
    check, told = await hold(rules, Sender({b"authorization": [b"Bearer a.b.c"]}, ""))
    rules.look_again(check)
    assert told == []


async def test_held_check_whose_proof_has_to_wait(rules: Rules) -> None:
    """More tokens than can be read in a second: it is held on, and looked at again; at its end it is refused."""
    porter = Porter()
    rules.attend(porter)
    check, told = await hold(rules, Sender({b"authorization": [b"Bearer a.b.c"]}, ""))
    porter.is_busy = True
    rules.look_again(check)
    assert (told, check.is_due, len(rules.held)) == ([], True, 1)
    check.is_over = True
    rules.look_again(check)
    (refused,) = told
    assert isinstance(refused, RefusedError)
    assert (refused.code, len(rules.held)) == ("overloaded", 0)


@pytest.mark.parametrize(("unknown", "is_held"), [(MAX_NEW, True), (MAX_NEW + 1, False)])
async def test_made_up_programs_are_not_waited_for(rules: Rules, unknown: int, *, is_held: bool) -> None:
    """A few may come, and are waited for; many are made up, and each would have a place of its own in memory."""
    rules.held.limit, rules.now = 1, NOW
    programs = {PROGRAM: "1.0.0.0"} | {f"made-up-{i}": "" for i in range(unknown)}
    body = orjson.dumps(make_question(programs=programs))
    answer = rules.check(body, NOW)
    assert isinstance(answer, bytes)
    assert (rules.hold(answer, NOW, body, NOBODY, lambda _: None) is not None) is is_held


async def test_clock_walks_what_changes_alone(rules: Rules, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each second the programs are walked that devices wait for and that change by the clock, and no others."""
    asked: list[Any] = []
    monkeypatch.setattr(exchange, "_has_passed", lambda changes, *_: asked.append(changes))
    opening = make_entry(releases=[{"id": "r1", "package": "1.0.0.0", "opens_at": NOW + 5}])
    rules.workspaces[WORKSPACE].apply({PROGRAM: make_entry(), OTHER_PROGRAM: opening}, Position(1, 6))
    rules.held.limit = 1
    assert rules.held.hold(HeldCheck(WORKSPACE, [PROGRAM, OTHER_PROGRAM, "made-up"], b"{}", NOBODY, lambda _: None))
    rules.tick(NOW)
    assert [changes for changes in asked if changes] == [opening.changes]  # those of switches are empty
    assert len(asked) == 1 + len(rules.workspaces)


async def test_answer_of_an_earlier_second(rules: Rules) -> None:
    """Where the clock has gone on while a window was asked, the check is looked at again: nobody has told of that."""
    check, _ = await hold(rules)
    assert not check.is_due
    rules.held.forget(check)
    answer = rules.check(IDLE, NOW)
    assert isinstance(answer, bytes)
    late = rules.hold(answer, NOW - 1, IDLE, NOBODY, lambda _: None)
    assert late is not None
    assert late.is_due


async def test_answer_of_an_earlier_revision(rules: Rules) -> None:
    """Where something was published after the answer was made and before it is held, the check is looked at again."""
    rules.held.limit, rules.now = 1, NOW
    answer = rules.check(IDLE, NOW)
    assert isinstance(answer, bytes)
    rules.workspaces[WORKSPACE].apply({OTHER_PROGRAM: make_entry(revision=6)}, Position(1, 6))
    late = rules.hold(answer, NOW, IDLE, NOBODY, lambda _: None)
    assert late is not None
    assert late.is_due


async def test_clock_wakes_switches(rules: Rules) -> None:
    """A switch's rule that opens concerns who wants to hear of switches."""
    opening = compile_set(parse_switches(orjson.dumps(make_switches(a={"opens_at": NOW + 5}))))
    rules.workspaces[WORKSPACE].hang({"app": opening})
    rules.held.limit = 1
    check = HeldCheck(WORKSPACE, [SWITCH_TOPIC], b"{", NOBODY, lambda _: None)
    assert rules.held.hold(check)
    rules.tick(NOW)
    rules.tick(NOW + 4)
    assert not check.is_due
    rules.tick(NOW + 5)
    assert check.is_due


HEAD = {"has_host": True, "length": b"5", "content_type": b"application/json", "encoding": b"", "expect": b""}


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"content_type": b"Application/JSON; charset=utf-8"},
        {"content_type": b"application/json ;x"},
        {"expect": b"100-Continue"},
        {"length": b"0"},
        {"length": str(MAX_BODY_BYTES).encode()},
    ],
)
def test_head_of_a_check(members: dict[str, Any]) -> None:
    """What clients write in a head is accepted."""
    refuse_head(**{**HEAD, **members})


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"has_host": False}, "malformed_request", "expected one Host field, got none"),
        ({"length": b""}, "length_required", "expected a Content-Length and no Transfer-Encoding"),
        ({"encoding": b"chunked"}, "length_required", "expected a Content-Length and no Transfer-Encoding"),
        ({"length": b"-5"}, "malformed_request", "expected a Content-Length in digits"),
        ({"length": b"+5"}, "malformed_request", "expected a Content-Length in digits"),
        ({"length": b"5 5"}, "malformed_request", "expected a Content-Length in digits"),
        (
            {"content_type": b""},
            "unsupported_media_type",
            "expected Content-Type application/json, got ''",
        ),
        (
            {"content_type": b"text/\xff"},
            "unsupported_media_type",
            r"expected Content-Type application/json, got 'text/\\xff'",
        ),
        ({"expect": b"200-ok"}, "expectation_failed", "expected no Expect but 100-continue"),
    ],
)
def test_head_is_refused(members: dict[str, Any], code: str, message: str) -> None:
    """What is not the head of a check is refused with its code, and the connection ends."""
    with pytest.raises(RefusedError) as caught:
        refuse_head(**{**HEAD, **members})
    assert (caught.value.code, caught.value.message, caught.value.closes) == (code, message, True)


@pytest.mark.parametrize("length", [str(MAX_BODY_BYTES + 1).encode(), b"9" * 19, b"9" * 20, b"9" * 8_000])
def test_length_is_bounded(length: bytes) -> None:
    """A length beyond the bound is refused without being counted with, and cut in the message."""
    with pytest.raises(RefusedError) as caught:
        read_length(length)
    assert caught.value.code == "too_large"
    assert caught.value.message == f"expected a body of at most {MAX_BODY_BYTES} bytes, got {length.decode()[:19]}"


def test_length_is_read() -> None:
    """A length is a number in digits, with zeros before it too."""
    assert (read_length(b"0"), read_length(b"0042"), read_length(b"65536")) == (0, 42, MAX_BODY_BYTES)


def use_up(rules: Rules) -> None:
    """Leaves no time for costly work, now and in the next seconds."""
    rules.budget.admits(Purpose.INTERACTIVE, time.monotonic())
    rules.budget.spend(1_000.0)


COSTLY = orjson.dumps(make_question(programs={f"20210000{number:08}": "1.0" for number in range(200)}))


@pytest.mark.parametrize(
    ("said", "wait_s", "field"),
    [([b"1"], 1, "shed_interactive"), ([b"0"], 5, "shed_background"), ([], 5, "shed_background")],
)
def test_costly_check_is_shed(rules: Rules, said: list[bytes], wait_s: int, field: str) -> None:
    """Where there is no time a costly check is refused before it is read, counted, and told when to come again."""
    sender = Sender({INTERACTIVE: said}, "")
    assert b'"unknown"' in rules.check_costly(COSTLY, NOW, sender)
    use_up(rules)
    with pytest.raises(RefusedError) as caught:
        rules.check_costly(b"no JSON", NOW, sender)
    assert (caught.value.code, caught.value.status) == ("overloaded", 503)
    assert caught.value.retry_after_s >= wait_s
    assert (getattr(rules.counters, field), rules.counters.checks) == (1, 1)
    assert rules.check(orjson.dumps(make_question()), NOW)


def test_costly_work_is_paid_for(rules: Rules) -> None:
    """What costly work has taken is taken from the stock, also where it fails."""
    before = rules.budget._stock_s
    with pytest.raises(RefusedError, match="expected"):
        rules.check_costly(b"no JSON", NOW, NOBODY)
    assert rules.budget._stock_s < before
    assert rules.budget._spent_s > 0


def test_window_is_not_asked_without_time(rules: Rules) -> None:
    """A check that has to wait for Redis is refused like one for many programs."""
    question = parse_question(orjson.dumps(make_question()))
    unanswered = Unanswered(rules.workspaces[WORKSPACE], question, NOW, is_proven=False, trials=None, asks=[])
    assert rules.ask(unanswered, print) is not None
    assert rules.budget._spent_s == WINDOW_S
    use_up(rules)
    with pytest.raises(RefusedError) as caught:
        rules.ask(unanswered, print)
    assert (caught.value.status, rules.counters.shed_interactive) == (503, 1)


def test_flood_of_a_workspace(rules: Rules) -> None:
    """A workspace that has its checks gets no more, and who is unknown counts for nobody; all is counted."""
    rules.attend(quota=Quota({WORKSPACE: 1}, {}))
    sender = Sender({}, "", object())
    body = orjson.dumps(make_question())
    rules.now = NOW
    assert rules.check(body, NOW, sender)
    for _ in range(2):
        with pytest.raises(FloodError):
            rules.check(body, NOW, sender)
    assert refuse_check(rules, workspace="shop").code == "unknown_workspace"
    assert rules.counters.limited == 2
    rules.now += 1
    assert rules.check(body, NOW, sender)


def test_who_is_wanted(rules: Rules) -> None:
    """Where nothing asks for it nobody looks who sends a check; a quota wants the connection, and no field."""
    assert (rules.wanted, rules.wanted_of_costly) == (None, (INTERACTIVE,))
    rules.attend(quota=Quota({WORKSPACE: 1}, {}))
    assert (rules.wanted, rules.wanted_of_costly) == ((), (INTERACTIVE,))
    rules.attend(cors=Cors(["*"]))
    assert (rules.wanted, rules.wanted_of_costly) == ((ORIGIN,), (ORIGIN, INTERACTIVE))
