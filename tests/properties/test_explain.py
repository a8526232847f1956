"""Explain decides as evaluate does, and what it names as failed does fail, whatever document, device and time."""

import json
from collections.abc import Collection

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from contract.oracle import Json, decide
from ruleset import NOT_INSTALLED, Device, compile_program, evaluate, explain, parse_program, parse_version
from ruleset.circumstance import NOTHING_KNOWN, Circumstances
from ruleset.explain import Explanation, ReleaseExplanation, Standing, Verdict
from tests.contract.lists import surround
from tests.properties.strategies import (
    NOW,
    PROGRAM,
    WINDOWS,
    cases,
    devices,
    lists,
    publish_package,
    text_conditions,
    thorough,
    version_conditions,
    versions,
)

refusals = st.frozensets(st.sampled_from(WINDOWS))


def explain_compiled(
    document: Json,
    question: Json,
    now: int,
    around: Circumstances = NOTHING_KNOWN,
    refused: Collection[str] = (),
) -> Explanation:
    """Returns the explanation, after seeing that evaluate decides the same."""
    read = parse_program(json.dumps(document).encode())
    program = compile_program(read)
    device = msgspec.json.decode(json.dumps(question["device"]), type=Device)
    text = question["programs"][PROGRAM]
    installed = parse_version(text) if text else NOT_INSTALLED
    explained = explain(program, read, device, installed, now, around, refused)
    release, reason = evaluate(program, device, installed, now, around, refused)
    assert (explained.release, explained.reason) == (None if release is None else release.id, reason)
    return explained


@thorough
@given(cases(), lists(), refusals)
def test_explain_decides_as_evaluate(case: tuple[Json, Json, int], known: Json, refused: Collection[str]) -> None:
    """The decision is evaluate's, what is above the deciding release failed, and each failure is one for the oracle."""
    document, question, now = case
    explained = explain_compiled(document, question, now, surround(known), refused)
    trial = check_trial(explained, document, known)
    released = explained.releases[len(trial) :]
    assert [told.id for told in released] == [release["id"] for release in document["releases"]]
    verdicts = [told.verdict for told in explained.releases]
    assert verdicts == sorted(verdicts, key=[Verdict.FAILED, Verdict.DECIDED, Verdict.UNREACHED].index)
    decided = [told.id for told in explained.releases if told.verdict is Verdict.DECIDED]
    assert decided == ([explained.release] if explained.release else [])
    alone = {**known, "trials": {}}
    for told, release in zip(released, document["releases"], strict=True):
        found = decide(document | {"releases": [release], "taken_down": False}, question, PROGRAM, now, alone, refused)
        assert (told.failed is None) == (found["release"] is not None)
        check_condition(told, release.get("when", []), question)
        check_who(told)


def check_trial(explained: Explanation, document: Json, known: Json) -> list[ReleaseExplanation]:
    """A proven user's trial of the program is told of first, and nobody else's; returns what is told."""
    has_trial = known["proven"] and PROGRAM in known.get("trials", {})
    told = [one for one in explained.releases if one.id == "trial"]
    assert told == explained.releases[: int(has_trial)]
    if told and told[0].failed is None:
        keys = [parse_version(version) for version in document["trials"]]
        assert parse_version(told[0].version) in keys
    return told


def check_condition(told: ReleaseExplanation, when: list[Json], question: Json) -> None:
    """For the oracle, the conditions before one that is named hold for the device, and this one does not."""
    if told.failed is not None and told.failed.step == 5:
        at = int(told.failed.path.removeprefix(f"{told.path}.when[").removesuffix("]"))
        assert told.failed.asked == when[at]["values"]
        assert [holds(condition, question) for condition in when[: at + 1]] == [True] * at + [False]


def holds(condition: Json, question: Json) -> bool:
    """Says whether the oracle lets a device through to a release with this one condition."""
    release = {"id": "r", "package": "65535.65535.65535.65535", "when": [condition]}
    return decide({"releases": [release]}, question, PROGRAM, NOW)["release"] is not None


def check_who(told: ReleaseExplanation) -> None:
    """A release fails its *who* only where the device is in no part of it, and none of them has to be asked."""
    is_in = any(part.standing in (Standing.INSIDE, Standing.ASK) for part in told.who)
    if told.failed is None:
        assert is_in or not told.who
    elif told.failed.step == 6:
        assert not is_in


@thorough
@given(text_conditions() | version_conditions(), devices(), st.just("") | versions)
def test_a_condition_alone_fails_as_for_the_oracle(condition: Json, device: Json, installed: str) -> None:
    """Each condition by itself: explain names it where the oracle says that it does not hold, and nowhere else."""
    version = "65535.65535.65535.65535"
    release = {"id": "r", "package": version, "when": [condition]}
    document = {"format": 1, "program": PROGRAM, "packages": {version: publish_package(version)}, "releases": [release]}
    question = {"workspace": "demo", "device": device, "programs": {PROGRAM: installed}}
    (told,) = explain_compiled(document, question, NOW).releases
    assert (told.failed is None) == holds(condition, question)
