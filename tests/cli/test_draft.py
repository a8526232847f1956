"""Documents changed: what each edit changes, what it leaves, and what it refuses."""

from typing import Any

import pytest

from cli.draft import (
    change_release,
    choose_who,
    continue_release,
    find_release,
    insert_release,
    move_release,
    name_release,
    ramp_release,
    read_ramp,
    roll_back,
)
from cli.exit import CommandError, Exit

Json = dict[str, Any]

NOW = 1_000
SALT = {"salt": "0123456789abcdef", "by": "device"}


def make(*releases: Json, **members: Any) -> Json:
    """Returns a document with these releases, r1 on top."""
    return {
        "program": "2021000000000001",
        "packages": {"1.0": {}, "2.0": {}},
        "releases": [{"id": f"r{i}", "package": "1.0", **release} for i, release in enumerate(releases, 1)],
        **members,
    }


def list_ids(document: Json) -> list[str]:
    """Returns the ids of releases, in order."""
    return [release["id"] for release in document["releases"]]


@pytest.mark.parametrize(
    ("text", "steps"),
    [
        ("5%@2000", [(2_000, 50_000)]),
        ("5@+1h,20.5%@+1d", [(4_600, 50_000), (87_400, 205_000)]),
        ("5%@2000, 5%@3000 ,100%@1970-01-01T01:00", [(2_000, 50_000), (3_000, 50_000), (3_600, 1_000_000)]),
    ],
)
def test_ramps(text: str, steps: list[tuple[int, int]]) -> None:
    """Percentages at times, which rise."""
    assert read_ramp(text, NOW) == [{"at": at, "parts": parts} for at, parts in steps]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a ramp such as 5%@+1h,20%@2026-01-31T09:00, got ''"),
        ("5%", "expected a ramp such as"),
        ("5%@+1h,", "expected a ramp such as"),
        ("5%@soon", "expected seconds since 1970"),
        ("500%@+1h", "expected a percentage from 0 to 100"),
        ("5%@+2h,20%@+1h", "expected a ramp whose times and percentages rise"),
        ("5%@+1h,20%@+1h", "expected a ramp whose times and percentages rise"),
        ("20%@+1h,5%@+2h", "expected a ramp whose times and percentages rise"),
    ],
)
def test_what_is_no_ramp(text: str, message: str) -> None:
    """Anything else is the caller's mistake."""
    with pytest.raises(CommandError) as caught:
        read_ramp(text, NOW)
    assert caught.value.message.startswith(message)
    assert caught.value.exit_code == Exit.USAGE


def test_whom_a_release_is_for() -> None:
    """Each part stands where it was given; nothing given is everybody, and a ramp alone begins with nobody."""
    step, window = {"at": 2_000, "parts": 9}, {"limit": 1, "closes_at": 2_000}
    assert choose_who() is None
    assert choose_who(0) == {"percent": {"parts": 0}}
    assert choose_who(steps=[step]) == {"percent": {"parts": 0, "steps": [step]}}
    assert choose_who(5, [step], ["u"], ["qa"], window) == {
        "users": ["u"], "percent": {"parts": 5, "steps": [step]}, "audiences": ["qa"], "window": window,
    }  # fmt: skip


def test_a_release_is_named_by_the_next_number() -> None:
    """The first number that is free."""
    assert name_release(make()) == "r1"
    assert name_release(make({}, {"id": "r3"})) == "r2"
    assert name_release(make({}, {})) == "r3"


def test_a_release_is_inserted() -> None:
    """On top, or right below another one; the document before is left as it was."""
    document = make({}, {})
    assert list_ids(insert_release(document, {"id": "new"})) == ["new", "r1", "r2"]
    assert list_ids(insert_release(document, {"id": "new"}, "r1")) == ["r1", "new", "r2"]
    assert list_ids(insert_release(document, {"id": "new"}, "r2")) == ["r1", "r2", "new"]
    assert list_ids(document) == ["r1", "r2"]


def test_a_release_is_moved() -> None:
    """On top, or below another one."""
    document = make({}, {}, {})
    assert list_ids(move_release(document, "r3")) == ["r3", "r1", "r2"]
    assert list_ids(move_release(document, "r1", "r2")) == ["r2", "r1", "r3"]
    assert list_ids(move_release(document, "r1", "r3")) == ["r2", "r3", "r1"]
    assert list_ids(document) == ["r1", "r2", "r3"]
    with pytest.raises(CommandError, match="expected another release than r1 for --below"):
        move_release(document, "r1", "r1")


def test_members_are_replaced() -> None:
    """What is not given stays."""
    document = make({"state": "live", "urgency": "prompt"}, {})
    changed = change_release(document, "r1", {"state": "paused"})
    assert changed["releases"] == [document["releases"][0] | {"state": "paused"}, document["releases"][1]]
    assert document["releases"][0]["state"] == "live"


def test_a_release_that_is_none() -> None:
    """It is told with those that there are."""
    for document, named in ((make({}, {}), "r1, r2"), (make(), "none")):
        with pytest.raises(CommandError) as caught:
            find_release(document, "other")
        assert caught.value.message == f"expected a release of {named}, got other"
        assert caught.value.exit_code == Exit.USAGE


@pytest.mark.parametrize(
    ("steps", "given", "parts"),
    [
        ([], None, 10),
        ([(NOW + 1, 20)], None, 10),
        ([(NOW, 20)], None, 20),
        ([(NOW - 9, 20), (NOW, 30), (NOW + 1, 40)], None, 30),
        ([(NOW, 20)], 25, 25),
    ],
)
def test_a_ramp_goes_on_from_where_it_is(steps: list[tuple[int, int]], given: int | None, parts: int) -> None:
    """New steps, or none, never take back what those before have come to; the salt stays."""
    made = [{"at": at, "parts": to} for at, to in steps]
    document = make({"who": {"percent": {"parts": 10, "steps": made, **SALT}, "users": ["u"]}})
    for fresh in ([], [{"at": NOW + 5, "parts": 99}]):
        who = ramp_release(document, "r1", given, fresh, NOW)["releases"][0]["who"]
        assert who == {"percent": {"parts": parts, "steps": fresh, **SALT}, "users": ["u"]}


@pytest.mark.parametrize("who", [None, {"users": ["u"]}])
def test_what_has_no_percentage_is_not_ramped(who: Json | None) -> None:
    """A ramp of everybody, or of users, is a mistake."""
    with pytest.raises(CommandError, match="expected a release with a percentage, got r1"):
        ramp_release(make({"who": who}), "r1", 5, [], NOW)


def test_a_hotfix_is_for_whom_the_gray_is() -> None:
    """What is not given of whom it is for is the continued release's, its salt and its window's id with it."""
    who = {"percent": {"parts": 5, **SALT}, "window": {"id": "0" * 16, "key": "k1"}}
    gray = {"who": who, "when": [{"attribute": "os"}], "clients": {"ios": {}}, "urgency": "force", "opens_at": 5}
    document = make(gray, {"when": [], "clients": None, "who": None})
    assert continue_release(document, "r1", {}) == {
        "who": who, "when": [{"attribute": "os"}], "clients": {"ios": {}}, "continues": "r1",
    }  # fmt: skip
    given = continue_release(document, "r1", {"who": {"users": ["u"]}, "urgency": "prompt"})
    assert (given["who"], given["urgency"], given["when"]) == ({"users": ["u"]}, "prompt", [{"attribute": "os"}])
    assert continue_release(document, "r2", {}) == {"continues": "r2"}


def test_a_rollback() -> None:
    """It is a release of an older version, on top unless told otherwise."""
    document = make({"package": "2.0"}, {})
    rolled = roll_back(document, "1.0", ["2.0", "1.5"], {"id": "back"})
    assert rolled["releases"][0] == {"id": "back", "package": "1.0", "rollback": {"from": ["2.0", "1.5"]}}
    assert list_ids(roll_back(document, "1.0", ["2.0"], {"id": "back"}, "r1")) == ["r1", "back", "r2"]
    for packages, named in ({"1.0": {}}, "1.0"), ({}, "none"):
        with pytest.raises(CommandError) as caught:
            roll_back(document | {"packages": packages}, "3.0", ["4.0"], {"id": "back"})
        assert caught.value.message == f"expected a version of {named}, got 3.0"
