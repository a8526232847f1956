"""Trials: a proven user's token gives what is not released, the same on both lanes."""

from collections.abc import Callable, Iterator
from typing import Any

import orjson
import pytest

from edge.allowance import Allowance
from edge.answer import Unanswered, compile_entry
from edge.reception import Reception
from ruleset import parse_program
from tests.contract.lists import ListedWindow
from tests.edge.passport import NOW, USER, BackEnd
from tests.wire.client import Answer, ask, make_check
from tests.wire.conftest import make_packages, publish_usual
from tests.wire.server import WireServer
from trust import PrivateKey, TrialClaim, sign_trial

BACK_END = BackEnd()
PROGRAM, OTHER = "2021000000000099", "2021000000000098"
WINDOW = "00112233445566ff"


@pytest.fixture
def trying(server: WireServer) -> Iterator[WireServer]:
    """A server that wants proof of users, with a version that trials may give and that is not released."""
    document = make_packages()
    document["trials"] = ["3.0"]
    document["offers"]["install"]["3.0"] = "an offer of a trial"
    server.publish([document], 1, 1, NOW)
    server.call(lambda: server.rules.attend(Reception({"demo": BACK_END.make_prover()})))
    yield server
    server.call(server.rules.attend)
    publish_usual(server)


def make_token(key: PrivateKey, **members: Any) -> str:
    """A trial of 3.0 for USER."""
    claim: dict[str, Any] = {
        "workspace": "demo",
        "program": PROGRAM,
        "version": "3.0",
        "users": (USER,),
        "id": "8f0c2d1e",
        "issued": NOW,
        "expires": NOW + 600,
        **members,
    }
    return sign_trial(TrialClaim(**claim), key)


def send(server: WireServer, trials: Any, installed: str = "", *, is_proven: bool = True) -> Answer:
    """The answer to USER's question."""
    device = {"id": "d1", "platform": "android", "user": USER}
    question = {"workspace": "demo", "device": device, "programs": {PROGRAM: installed}, "trials": trials}
    fields = b"Authorization: Bearer %b\r\n" % BACK_END.sign() if is_proven else b""
    (answer,) = ask(server, make_check(orjson.dumps(question), fields))
    return answer


def read_release(answer: Answer) -> tuple[str, str] | None:
    """Version and release that an answer tells of."""
    assert answer.status == 200, answer
    updates: Any = orjson.loads(answer.body)["updates"]
    return (updates[0]["version"], updates[0]["release"]) if updates else None


def test_trial_of_a_proven_user(trying: WireServer, channel_key: PrivateKey) -> None:
    """A proven user gets what the trial gives, with its offer and its key; who has it has nothing to do."""
    token = make_token(channel_key)
    answer = send(trying, [token])
    assert read_release(answer) == ("3.0", "trial")
    (update,) = orjson.loads(answer.body)["updates"]
    assert (update["action"], update["offer"], update["urgency"]) == ("install", "an offer of a trial", "silent")
    assert update["key"].startswith("AGE-SECRET-KEY-1")
    assert read_release(send(trying, [token], "2.0")) == ("3.0", "trial")
    assert read_release(send(trying, [token], "3.0")) is None
    assert read_release(send(trying, ["nonsense", token])) == ("3.0", "trial")


def test_trial_that_gives_nothing(trying: WireServer, channel_key: PrivateKey) -> None:
    """Who is not proven or not named, and whose token is none, is told of what is released."""
    released = ("2.0", "r1")
    assert read_release(send(trying, [make_token(channel_key)], is_proven=False)) == released
    assert read_release(send(trying, [make_token(channel_key, users=("u-1",))])) == released
    assert read_release(send(trying, [make_token(channel_key, version="2.5")])) == released
    assert read_release(send(trying, [])) == released
    assert read_release(send(trying, [make_token(PrivateKey.generate())])) == released
    assert read_release(send(trying, None)) == released


def test_trial_ends_in_time(trying: WireServer, channel_key: PrivateKey) -> None:
    """At the second of its end a trial gives nothing more."""
    token = make_token(channel_key)
    for now, release in ((NOW + 599, ("3.0", "trial")), (NOW + 600, ("2.0", "r1"))):
        trying.call(lambda now=now: setattr(trying.rules, "now", now))
        assert read_release(send(trying, [token])) == release


def test_no_proof_no_trials(trying: WireServer, channel_key: PrivateKey) -> None:
    """Where the edge wants no proof of users, trials give nothing."""
    trying.call(trying.rules.attend)
    assert read_release(send(trying, [make_token(channel_key)])) == ("2.0", "r1")


def test_too_many_new_trials(trying: WireServer, channel_key: PrivateKey) -> None:
    """More new tokens than a second has time for are asked to retry."""
    trying.call(lambda: setattr(trying.rules.workspaces["demo"].trials, "_fresh", Allowance(0, "new trials")))
    answer = send(trying, [make_token(channel_key)])
    assert (answer.status, answer.code) == (503, "overloaded")


class Forgetter:
    """Asks no window, and lets the server forget every trial, with no time left to verify one, before it answers."""

    def ask(self, unanswered: Unanswered, _tell: Callable[[bytes], None]) -> bytes:
        """Returns the answer without a place."""
        unanswered.workspace.trials.follow(b"no root")
        unanswered.workspace.trials._fresh = Allowance(0, "new trials")
        return unanswered.give_up()


def test_trial_beside_a_window(trying: WireServer, channel_key: PrivateKey) -> None:
    """A check that has to ask a window knows its trials by then: waiting neither loses nor refuses them."""
    document = {**make_packages(), "program": OTHER}
    window = {"limit": 5, "closes_at": 1 << 39, "id": WINDOW, "key": "k1"}
    document["releases"] = [{"id": "r1", "package": "2.0", "who": {"window": window}}]

    def prepare() -> None:
        workspace = trying.rules.workspaces["demo"]
        workspace.apply({OTHER: compile_entry(parse_program(orjson.dumps(document)))}, workspace.position)
        workspace.surround(windows={WINDOW: ListedWindow((), is_open=True)})
        trying.rules.asker = Forgetter()

    before = trying.rules.asker
    trying.call(prepare)
    question = {
        "workspace": "demo",
        "device": {"id": "d1", "platform": "android"},
        "programs": {OTHER: "", PROGRAM: ""},
        "trials": [make_token(channel_key)],
    }
    fields = b"Authorization: Bearer %b\r\n" % BACK_END.sign()
    (answer,) = ask(trying, make_check(orjson.dumps(question), fields))
    trying.call(lambda: setattr(trying.rules, "asker", before))
    assert read_release(answer) == ("3.0", "trial")
