"""Tests of edge/trial.py."""

from typing import Any

import pytest

from edge import trial
from edge.errors import RefusedError
from edge.trial import Trials
from ruleset import parse_version
from tests.edge.press import KEYS, NEXT_KEYS, NOW, OTHER_PROGRAM, PROGRAM, ROOT_BYTES, WORKSPACE, make_successor
from trust import Offer, TransferClaim, TrialClaim, sign_offer, sign_trial

USER = "u-777"
DAY_S = 86_400


def make_token(role: str = "channel", **members: Any) -> str:
    """A trial of version 2.0 for USER and another, for a day, by a key of a role."""
    claim: dict[str, Any] = {
        "workspace": WORKSPACE,
        "program": PROGRAM,
        "version": "2.0",
        "users": (USER, "u-778"),
        "id": "8f0c2d1e",
        "issued": NOW,
        "expires": NOW + DAY_S,
        **members,
    }
    return sign_trial(TrialClaim(**claim), KEYS[role])


@pytest.fixture
def trials() -> Trials:
    """What trials give where the root is ROOT."""
    trials = Trials(WORKSPACE)
    trials.follow(ROOT_BYTES)
    return trials


def find(trials: Trials, *tokens: str, user: str = USER, now: int = NOW) -> dict[str, int]:
    """What tokens give."""
    return dict(trials.find(tokens, user, now))


def test_what_a_trial_gives(trials: Trials) -> None:
    """Each user that is named gets the version of the program, until the token expires."""
    token = make_token()
    for user in (USER, "u-778"):
        assert find(trials, token, user=user, now=NOW + DAY_S - 1) == {PROGRAM: parse_version("2.0.0.0")}
    assert find(trials, token, user="u-779") == {}
    assert find(trials, token, user="") == {}
    assert find(trials, token, now=NOW + DAY_S) == {}
    assert find(trials) == {}


def test_several_trials(trials: Trials) -> None:
    """Of several for one program the highest version counts, whichever comes first; others are of other programs."""
    tokens = [make_token(version=version) for version in ("2.10", "2.9")]
    other = make_token(program=OTHER_PROGRAM, version="1")
    wanted = {PROGRAM: parse_version("2.10"), OTHER_PROGRAM: parse_version("1")}
    assert find(trials, *tokens, other) == find(trials, other, *reversed(tokens)) == wanted


def test_trial_that_gives_nothing_hides_none(trials: Trials) -> None:
    """A token that gives nothing leaves the others as they are."""
    tokens = [make_token(expires=NOW + 1), "nonsense", make_token()]
    assert find(trials, *tokens, now=NOW + 1) == {PROGRAM: parse_version("2.0")}


def make_offer() -> str:
    """An offer of the same version, by a key that may sign trials."""
    transfer = TransferClaim(format="zstd", size=1, sha256="7f" * 32)
    offer = Offer(
        workspace=WORKSPACE, program=PROGRAM, action="install", version="2.0", sha256="5e" * 32, epoch=1, revision=1,
        issued=NOW, expires=NOW + 1, transfers=(transfer,),
    )  # fmt: skip
    return sign_offer(offer, KEYS["channel"])


@pytest.mark.parametrize(
    "token",
    [
        "",
        "nonsense",
        "ü" * 100,
        make_token()[:-3] + "AAA",
        make_token("offer"),
        make_token("package"),
        make_token(workspace="shop"),
        make_token(version="99999"),
        make_offer(),
        sign_trial(
            TrialClaim(workspace=WORKSPACE, program=PROGRAM, version="2", users=(USER,), id="12345678", issued=NOW,
                       expires=NOW + 1),
            NEXT_KEYS["channel"],
        ),
    ],
    ids=["empty", "nonsense", "letters", "spoilt", "offer", "package", "workspace", "version", "type", "stranger"],
)  # fmt: skip
def test_token_that_is_none(trials: Trials, token: str) -> None:
    """What no channel key of the root has signed as a trial of this workspace gives nobody anything."""
    assert find(trials, token) == {}


def test_next_root_decides(trials: Trials) -> None:
    """When a root takes the key away, what it has signed gives nothing any more, though it was known."""
    token = make_token()
    assert find(trials, token) != {}
    trials.follow(make_successor())
    assert find(trials, token) == {}
    trials.follow(ROOT_BYTES)
    assert find(trials, token) != {}
    trials.follow(b"no root")
    assert find(trials, token) == {}


def test_before_there_is_a_root() -> None:
    """Without a root nobody is believed."""
    assert find(Trials(WORKSPACE), make_token()) == {}


def test_new_trials_have_their_share_of_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are verified a second; who comes later is asked to retry, and what is known is given."""
    monkeypatch.setattr(trial, "MAX_FRESH", 2)
    trials = Trials(WORKSPACE)
    trials.follow(ROOT_BYTES)
    token = make_token()
    assert find(trials, token, "made up") == {PROGRAM: parse_version("2.0")}
    with pytest.raises(RefusedError, match="expected at most 2 new trials a second, got more") as caught:
        find(trials, "made up, too")
    assert caught.value.code == "overloaded"
    assert find(trials, token, "made up") == {PROGRAM: parse_version("2.0")}
    assert find(trials, "made up, too", now=NOW + 1) == {}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tokens come, only so many are remembered."""
    monkeypatch.setattr(trial, "MAX_REMEMBERED", 3)
    trials = Trials(WORKSPACE)
    trials.follow(ROOT_BYTES)
    for n in range(10):
        find(trials, f"token {n}")
    assert len(trials._known) == 3
