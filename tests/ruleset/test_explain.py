"""Explain: each step as it fails, in the author's words, and every part of a *who*."""

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from ruleset.bucket import compute_hash, find_bucket
from ruleset.circumstance import NOTHING_KNOWN, Circumstances, Place
from ruleset.compiler import compile_program
from ruleset.document import parse_program
from ruleset.evaluator import Reason
from ruleset.explain import Explanation, Failure, Standing, Verdict, explain
from ruleset.model import Device
from ruleset.version import NOT_INSTALLED, parse_version

Json = dict[str, Any]
Explain = Callable[..., Explanation]

NOW = 1_000
WINDOW_ID = "0" * 16


class List:
    """An audience of the user u-1, and a window as it is told to be."""

    def __init__(self, place: Place = Place.SHUT) -> None:
        self.place = place

    def holds(self, user: str) -> bool:
        """Says whether it is u-1."""
        return user == "u-1"

    def find(self, _identity: str) -> Place:
        """Says what it was told."""
        return self.place


@pytest.fixture
def ask(make_document: Callable[..., Json], make_device: Callable[..., Device]) -> Explain:
    """Explains releases to the device d-1, which has nothing installed."""

    def ask(
        *releases: Json, installed: str = "", around: Circumstances = NOTHING_KNOWN,
        refused: frozenset[str] = frozenset(), members: Json = MappingProxyType({}), **facts: Any,
    ) -> Explanation:  # fmt: skip
        document = parse_program(orjson.dumps(make_document(*releases, **members)))
        key = parse_version(installed) if installed else NOT_INSTALLED
        return explain(compile_program(document), document, make_device(**facts), key, NOW, around, refused)

    return ask


def window(**members: Any) -> Json:
    """Returns a release with a window."""
    return {"who": {"window": {"limit": 2_000, "closes_at": NOW + 1, "id": WINDOW_ID, "key": "k1", **members}}}


def know(place: Place, *, is_proven: bool = False) -> Circumstances:
    """Returns circumstances with the window of `window`, and the audience qa."""
    return Circumstances({"qa": List()}, {WINDOW_ID: List(place)}, is_proven)


def test_the_deciding_release_ends_the_search(ask: Explain) -> None:
    """What is below the release that decided was not reached; it is told all the same whether it would decide."""
    told = ask({"state": "paused"}, {"package": "3"}, {}, {"state": "ended"})
    assert (told.release, told.version, told.reason) == ("r1", "3.0.0.0", Reason.INSTALL)
    assert [one.verdict for one in told.releases] == [
        Verdict.FAILED, Verdict.DECIDED, Verdict.UNREACHED, Verdict.UNREACHED,
    ]  # fmt: skip
    assert [one.failed and one.failed.attribute for one in told.releases] == ["state", None, None, "state"]
    assert (told.installed, told.now, told.program) == (None, NOW, "2021000000000001")


@pytest.mark.parametrize(("installed", "reason"), [("", Reason.GONE), ("1", Reason.REMOVE)])
def test_a_take_down_reaches_no_release(ask: Explain, installed: str, reason: Reason) -> None:
    """A program that is taken down is decided before its releases."""
    told = ask({}, installed=installed, members={"taken_down": True})
    assert (told.release, told.reason) == (None, reason)
    assert [one.verdict for one in told.releases] == [Verdict.UNREACHED]


def condition(attribute: str, op: str, *values: str) -> Json:
    """Returns a release with one condition, after one that every Android device satisfies."""
    first = {"attribute": "platform", "op": "in", "values": ["android"]}
    return {"when": [first, {"attribute": attribute, "op": op, "values": list(values)}]}


WHEN = "$.releases[0].when[1]"


@pytest.mark.parametrize(
    ("release", "facts", "failed"),
    [
        ({"state": "ended"}, {}, Failure(3, "$.releases[0].state", "state", "is", ["live"], "ended", "ended")),
        (
            {"opens_at": NOW + 1}, {},
            Failure(3, "$.releases[0].opens_at", "time", "from", ["1001"], "1000", "1000"),
        ),
        ({"closes_at": NOW}, {}, Failure(3, "$.releases[0].closes_at", "time", "before", ["1000"], "1000", "1000")),
        (
            {"clients": {"ios": {}}}, {},
            Failure(4, "$.releases[0].clients", "platform", "in", ["ios"], "android", "android"),
        ),
        (
            {"clients": {"android": {"min": "10.*"}}}, {"app": "9"},
            Failure(4, "$.releases[0].clients.android", "app", "between", ["10.*", "any"], "9", "9.0.0.0"),
        ),
        (
            {"clients": {"android": {"max": "10"}}}, {},
            Failure(4, "$.releases[0].clients.android", "app", "between", ["any", "10"], None, None),
        ),
        (
            condition("model", "in", "MI 10"), {"model": " Mi 11 "},
            Failure(5, WHEN, "model", "in", ["MI 10"], " Mi 11 ", "mi 11"),
        ),
        (condition("model", "not_in", "MI 10"), {}, Failure(5, WHEN, "model", "not_in", ["MI 10"])),
        (condition("os", "in", "14.*"), {"os": "14."}, Failure(5, WHEN, "os", "in", ["14.*"], "14.")),
        (
            condition("os", "between", "12", "14.*"), {"os": "15"},
            Failure(5, WHEN, "os", "between", ["12", "14.*"], "15", "15.0.0.0"),
        ),
        (
            condition("tags.vip", "prefix", "Y"), {"tags": {"vip": "No"}},
            Failure(5, WHEN, "tags.vip", "prefix", ["Y"], "No", "no"),
        ),
        (condition("tags.vip", "prefix", "Y"), {}, Failure(5, WHEN, "tags.vip", "prefix", ["Y"])),
        (condition("installed", "in", "3"), {}, Failure(5, WHEN, "installed", "in", ["3"])),
        (
            condition("installed", "in", "3"), {"installed": "1"},
            Failure(5, WHEN, "installed", "in", ["3"], "1.0.0.0", "1.0.0.0"),
        ),
        ({"who": {"users": ["u-1"]}}, {}, Failure(6, "$.releases[0].who", "who", "any of", ["users"])),
        (
            {"package": "2"}, {"installed": "3"},
            Failure(8, "$.releases[0].package", "installed", "at most", ["2"], "3.0.0.0", "3.0.0.0"),
        ),
        (
            {"package": "2", "rollback": {"from": ["2.5"]}}, {"installed": "3"},
            Failure(8, "$.releases[0].rollback.from", "installed", "in", ["2.5"], "3.0.0.0", "3.0.0.0"),
        ),
    ],
)  # fmt: skip
def test_each_step_says_what_it_asked_and_saw(ask: Explain, release: Json, facts: Json, failed: Failure) -> None:
    """Path, operator and values are the document's; what was seen is told as said and as read."""
    told = ask(release, **facts)
    assert told.releases[0].failed == failed
    assert (told.releases[0].verdict, told.reason) == (Verdict.FAILED, Reason.NO_RELEASE)


def test_the_first_failure_is_told(ask: Explain) -> None:
    """A release that fails several steps fails the first of them in the contract's order."""
    failing = {"clients": {"ios": {}}, "who": {"users": ["u-1"]}, "package": "1"}
    told = ask(
        {"state": "paused", **failing}, failing, condition("os", "in", "1") | {"who": failing["who"]}, installed="2"
    )
    assert [one.failed and one.failed.step for one in told.releases] == [3, 4, 5]


def tell_part(told: Explanation) -> tuple[str, Standing, str]:
    """Returns the one part of the one release."""
    ((part,),) = (one.who for one in told.releases)
    return part.kind, part.standing, part.why


@pytest.mark.parametrize(
    ("user", "standing", "why"),
    [
        ("u-1", Standing.INSIDE, "the user is named"),
        ("u-2", Standing.OUTSIDE, "the user is not named"),
        (None, Standing.OUTSIDE, "the device says no user"),
    ],
)
def test_users(ask: Explain, user: str | None, standing: Standing, why: str) -> None:
    """Inline users, held or not."""
    assert tell_part(ask({"who": {"users": ["u-1"]}}, user=user)) == ("users", standing, why)


def test_a_percentage_shows_the_bucket(ask: Explain) -> None:
    """The bucket is the contract's, and inside where it is below the parts."""
    bucket = find_bucket(compute_hash("s", "d-1"))
    for parts, standing, compared in [(bucket, "outside", "is not below"), (bucket + 1, "inside", "is below")]:
        ((part,),) = (one.who for one in ask({"who": {"percent": {"parts": parts, "salt": "s"}}}).releases)
        assert (part.bucket, part.parts, part.standing) == (bucket, parts, standing)
        assert part.why == f"the device's bucket {bucket:,} {compared} {parts:,} of 1,000,000"


def test_a_percentage_by_user(ask: Explain) -> None:
    """By user, the user's bucket counts, and a device without one is outside."""
    release = {"who": {"percent": {"parts": 1_000_000, "salt": "s", "by": "user"}}}
    bucket = find_bucket(compute_hash("s", "u-1"))
    why = f"the user's bucket {bucket:,} is below 1,000,000 of 1,000,000"
    assert tell_part(ask(release, user="u-1")) == ("percent", Standing.INSIDE, why)
    assert tell_part(ask(release)) == ("percent", Standing.OUTSIDE, "the device says no user")


@pytest.mark.parametrize(("at", "parts"), [(NOW + 1, 1), (NOW, 2), (NOW - 1, 2)])
def test_a_ramp_is_told_as_of_now(ask: Explain, at: int, parts: int) -> None:
    """The parts are those of the last step that has come."""
    percent = {"parts": 1, "salt": "s", "steps": [{"at": at, "parts": 2}, {"at": NOW + 2, "parts": 9}]}
    ((part,),) = (one.who for one in ask({"who": {"percent": percent}}).releases)
    assert part.parts == parts


@pytest.mark.parametrize(
    ("name", "user", "standing", "why"),
    [
        ("qa", "u-1", Standing.INSIDE, "the user is on the list"),
        ("qa", "u-2", Standing.OUTSIDE, "the user is not on the list"),
        ("qa", "", Standing.OUTSIDE, "the device says no user"),
        ("staff", "u-1", Standing.UNKNOWN, "no such audience is known here"),
    ],
)
def test_audiences(ask: Explain, name: str, user: str, standing: Standing, why: str) -> None:
    """An audience is held, not held, or not known."""
    told = ask({"who": {"audiences": [name]}}, user=user, around=know(Place.SHUT))
    assert tell_part(told) == ("audience", standing, why)
    assert (told.release is not None) == (standing is Standing.INSIDE)


@pytest.mark.parametrize(
    ("members", "place", "installed", "standing", "why"),
    [
        ({}, Place.MEMBER, "", Standing.INSIDE, "admitted before, and stays so"),
        ({}, Place.OPEN, "", Standing.ASK, "open until 1001: it has to be asked for one of 2,000 places"),
        ({}, Place.SHUT, "", Standing.OUTSIDE, "no place is left of 2,000, or nobody new is admitted now"),
        ({"closes_at": NOW}, Place.OPEN, "", Standing.OUTSIDE, "closed at 1000"),
        ({"closes_at": NOW}, Place.MEMBER, "", Standing.INSIDE, "admitted before, and stays so"),
        ({"opens_at": NOW + 1, "closes_at": NOW + 2}, Place.OPEN, "", Standing.OUTSIDE, "not open before 1001"),
        ({}, Place.OPEN, "2", Standing.INSIDE, "not asked: the device has the version already"),
        ({}, Place.OPEN, "3", Standing.OUTSIDE, "not asked: the device has a higher version"),
        ({"proven": True}, Place.OPEN, "", Standing.OUTSIDE, "not asked: the user is not proven"),
        ({"id": "1" * 16}, Place.OPEN, "", Standing.UNKNOWN, "no such window is known here: nobody new is admitted"),
    ],
)
def test_windows(ask: Explain, members: Json, place: Place, installed: str, standing: Standing, why: str) -> None:
    """How the device stands to a window, and why; explaining asks nobody."""
    told = ask(window(**members), installed=installed, around=know(place))
    assert tell_part(told) == ("window", standing, why)
    if standing is Standing.ASK:
        assert (told.release, told.reason) == ("r0", Reason.ASK)


def test_a_window_of_proven_users(ask: Explain) -> None:
    """It is the user who has to be known, and proven."""
    around = know(Place.OPEN, is_proven=True)
    assert tell_part(ask(window(proven=True), around=around))[2] == "the device says no user"
    assert tell_part(ask(window(proven=True), around=around, user="u-1"))[1] is Standing.ASK


def test_a_window_that_had_no_place(ask: Explain) -> None:
    """A window that was asked and refused fails its release, and the search goes on."""
    told = ask(window(), {"package": "1"}, around=know(Place.OPEN), refused=frozenset([WINDOW_ID]))
    assert told.releases[0].who[0].why == "asked, and there was no place"
    assert (told.releases[0].failed or Failure(0, "", "", "", [])).step == 6
    assert (told.release, told.reason) == ("r1", Reason.INSTALL)


def test_a_rollback_decides(ask: Explain) -> None:
    """A device on a version that the release takes back is taken back."""
    told = ask({"rollback": {"from": ["3"]}}, installed="3")
    assert (told.release, told.reason) == ("r0", Reason.ROLLBACK)
