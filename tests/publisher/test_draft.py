"""Drafts: whoever was inside a percentage stays inside, and what is hardly meant is said."""

from collections.abc import Callable
from typing import Any

import orjson
import pytest

from publisher.draft import check_floor, check_windows, compile_draft, complete, find_doubts, read_author
from publisher.errors import BadDocumentError
from ruleset.model import Program

PROGRAM = "2021000000000001"
RANDOM, OTHER = b"r" * 32, b"o" * 32


@pytest.fixture
def read(workshop: Any) -> Callable[..., Program]:
    """Reads a document with these releases, each of package 1.0.0.0 unless it says otherwise."""

    def run(*releases: Any, **members: Any) -> Program:
        filled = [{"id": f"r{i}", "package": "1.0.0.0", **release} for i, release in enumerate(releases)]
        document = workshop.document(*filled, versions=("1.0.0.0", "2.0.0.0", "3.0.0.0"), **members)
        return read_author(orjson.dumps(document), PROGRAM)

    return run


def percent(salt: str = "", parts: int = 100) -> Any:
    """A percentage with this salt, or none."""
    return {"percent": {"parts": parts, **({"salt": salt} if salt else {})}}


def salts(program: Program) -> list[str]:
    """The salts of a program's releases."""
    return [one.who.percent.salt for one in program.releases if one.who and one.who.percent]


@pytest.mark.parametrize(
    ("member", "value"), [("workspace", "demo"), ("epoch", 1), ("revision", 7), ("offers", {"expires": 1})]
)
def test_publishers_members_are_refused(read: Any, member: str, value: Any) -> None:
    """An author cannot say what only the publisher may say."""
    with pytest.raises(BadDocumentError) as caught:
        read(**{member: value})
    assert str(caught.value) == f"$.{member}: expected none in an author's document: the publisher sets it"


def test_other_program_is_refused(workshop: Any) -> None:
    """A document is published under its own name only."""
    with pytest.raises(BadDocumentError) as caught:
        read_author(orjson.dumps(workshop.document()), "2021000000000002")
    assert str(caught.value) == "$.program: expected '2021000000000002' as in the address, got '2021000000000001'"


def test_unreadable_document_is_refused_with_its_path() -> None:
    """What the rules cannot read is refused with the place."""
    with pytest.raises(BadDocumentError) as caught:
        read_author(b'{"format":2}', PROGRAM)
    assert caught.value.path == "$.format"


def test_given_salt_is_kept(read: Any) -> None:
    """A salt that the author gives is the author's business."""
    assert salts(complete(read({"who": percent("mine")}), None, RANDOM)) == ["mine"]


def test_new_salts_are_random(read: Any) -> None:
    """Releases that are new have salts of their own, which nobody can foresee."""
    author = read({"who": percent()}, {"who": percent()})
    first, other = (salts(complete(author, None, randomness)) for randomness in (RANDOM, OTHER))
    assert len({*first, *other}) == 4
    assert all(len(salt) == 16 for salt in first)


def test_salt_stays_with_its_release(read: Any) -> None:
    """Raising the parts of a release keeps its salt."""
    current = complete(read({"who": percent(parts=1)}), None, RANDOM)
    assert salts(complete(read({"who": percent(parts=2)}), current, OTHER)) == salts(current)


def test_salt_is_continued_from_the_current_document(read: Any) -> None:
    """A release that continues one of the current document has its salt, rather than that of its own name."""
    current = complete(read({"who": percent("old")}, {"who": percent("own")}), None, RANDOM)
    author = read({"id": "r1", "who": percent(), "continues": "r0"})
    assert salts(complete(author, current, OTHER)) == ["old"]


def test_salt_is_continued_within_the_document(read: Any) -> None:
    """What a release of the same document says goes before what the current one says."""
    current = complete(read({"who": percent("old")}), None, RANDOM)
    author = read({"who": percent("new")}, {"who": percent(), "continues": "r0"})
    assert salts(complete(author, current, OTHER)) == ["new", "new"]


def test_salt_is_continued_along_a_chain(read: Any) -> None:
    """A salt is handed on through releases that have none of their own."""
    author = read({"who": percent(), "continues": "r1"}, {"continues": "r2"}, {"who": percent("far")})
    assert salts(complete(author, None, RANDOM)) == ["far", "far"]


def test_ring_of_releases_ends(read: Any) -> None:
    """Releases that continue each other get new salts."""
    author = read({"who": percent(), "continues": "r1"}, {"who": percent(), "continues": "r0"})
    assert all(salts(complete(author, None, RANDOM)))


def test_chain_that_leaves_the_documents_ends(read: Any) -> None:
    """A release that continues one which itself continues a forgotten one keeps or gets a salt."""
    author = read({"who": percent(), "continues": "r1"}, {"continues": "forgotten"})
    assert all(salts(complete(author, None, RANDOM)))


def test_release_that_continues_an_unknown_one_is_refused(read: Any) -> None:
    """A misspelt name does not draw the devices anew, unnoticed."""
    with pytest.raises(BadDocumentError) as caught:
        complete(read({"who": percent(), "continues": "r-17"}), None, RANDOM)
    wanted = "expected a release of this document or of the one it replaces, got 'r-17'"
    assert str(caught.value) == f"$.releases[0].continues: {wanted}"


def test_known_release_may_continue_a_forgotten_one(read: Any) -> None:
    """A release keeps its salt after the one that it continues has left the document."""
    current = complete(read({"who": percent("s")}), None, RANDOM)
    author = read({"who": percent(), "continues": "forgotten"})
    assert salts(complete(author, current, OTHER)) == ["s"]


def test_contradictions_are_refused_with_their_path(read: Any) -> None:
    """What no edge would compile is not published."""
    with pytest.raises(BadDocumentError) as caught:
        compile_draft(read({"package": "9.0.0.0"}))
    assert str(caught.value) == "$.releases[0].package: expected a version under $.packages, got '9.0.0.0'"


def find(program: Program, now: int = 1_000) -> list[tuple[str, str]]:
    """Path and message of each doubt."""
    return [(doubt.path, doubt.message) for doubt in find_doubts(program, compile_draft(program), now)]


@pytest.mark.parametrize(
    "above",
    [
        {"package": "2.0.0.0", "who": {"users": ["u"]}},
        {"package": "2.0.0.0", "when": [{"attribute": "city", "op": "in", "values": ["x"]}]},
        {"package": "2.0.0.0", "clients": {"ios": {}}},
        {"package": "2.0.0.0", "opens_at": 2_000},
        {"package": "2.0.0.0", "closes_at": 2_000},
        {"package": "2.0.0.0", "state": "paused"},
        {"package": "2.0.0.0", "state": "ended"},
    ],
)
def test_limited_release_hides_nothing(read: Any, above: Any) -> None:
    """Below a release that does not take everybody, always, there is something to reach."""
    assert find(read(above, {"package": "1.0.0.0"})) == []


@pytest.mark.parametrize("below", [{"package": "1.0.0.0"}, {"package": "2.0.0.0", "who": {"users": ["u"]}}])
def test_hidden_release_is_told(read: Any, below: Any) -> None:
    """Below a release for everybody nothing of the same or a lower version is ever reached."""
    wanted = ("$.releases[1]", "it reaches nobody: release 'r0' above it takes every device")
    assert find(read({"package": "2.0.0.0"}, below)) == [wanted]


@pytest.mark.parametrize(
    "below",
    [
        {"package": "3.0.0.0"},
        {"package": "1.0.0.0", "rollback": {"from": ["3.0.0.0"]}},
        {"package": "1.0.0.0", "state": "paused"},
    ],
)
def test_reachable_release_is_not_told(read: Any, below: Any) -> None:
    """A device on a higher version passes the release for everybody by; a paused release is not meant to be reached."""
    assert find(read({"package": "2.0.0.0"}, below)) == []


def test_closed_release_is_told(read: Any) -> None:
    """A release that is live and already closed is hardly meant; one that closes later is."""
    wanted = ("$.releases[0].closes_at", "it closed at 1000, which is past (now 1000)")
    assert find(read({"closes_at": 1_000})) == [wanted]
    assert find(read({"closes_at": 1_001})) == []


def check(program: Program) -> None:
    """Checks the floor of a document."""
    check_floor(program, compile_draft(program))


@pytest.mark.parametrize(
    ("floor", "releases"),
    [
        ("", [{"package": "1.0.0.0"}]),
        ("2.0", [{"package": "2.0.0.0"}]),
        ("2.0", [{"package": "1.0.0.0"}, {"package": "2.0.0.0", "who": {"users": ["u"]}}]),
        ("3.0", [{"package": "2.0.0.0", "state": "paused"}]),
        ("9.0", [{"state": "ended"}]),
        ("2.0", [{"package": "2.0.0.0", "rollback": {"from": ["3.0.0.0"]}}]),
        ("2.0", [{"package": "2.0.0.0"}, {"state": "paused", "rollback": {"from": ["3.0.0.0"]}}]),
    ],
)
def test_floor_that_can_be_passed_is_taken(read: Any, floor: str, releases: Any) -> None:
    """A floor is taken where a live release gives it or more, or none is live."""
    check(read(*releases, floor=floor))


@pytest.mark.parametrize(
    ("floor", "releases"),
    [
        ("2.0.0.1", [{"package": "2.0.0.0"}]),
        ("3.0", [{"package": "2.0.0.0"}, {"package": "1.0.0.0", "who": {"users": ["u"]}}]),
        ("3.0", [{"package": "2.0.0.0"}, {"package": "3.0.0.0", "state": "paused"}]),
    ],
)
def test_floor_that_nobody_can_pass_is_refused(read: Any, floor: str, releases: Any) -> None:
    """A program that no device could open is taken down in plain words, or not at all."""
    with pytest.raises(BadDocumentError) as caught:
        check(read(*releases, floor=floor))
    wanted = "expected at most the highest version that a live release gives"
    assert str(caught.value) == f"$.floor: {wanted}, got {floor!r}: nobody could open the program"
    check(read(*releases, floor=floor, taken_down=True))


def test_rollback_below_the_floor_is_refused(read: Any) -> None:
    """Devices are not sent to a version that they may not open."""
    releases = [{"package": "3.0.0.0"}, {"rollback": {"from": ["3.0.0.0"]}}]
    with pytest.raises(BadDocumentError) as caught:
        check(read(*releases, floor="2.0"))
    wanted = "expected a rollback to 2.0, the floor, or above, got one to a lower version"
    assert str(caught.value) == f"$.releases[1].rollback: {wanted}"


def test_release_below_the_floor_is_told(read: Any) -> None:
    """A live release of a version that devices may not open is hardly meant."""
    program = read({"package": "2.0.0.0"}, {"package": "1.0.0.0", "who": {"users": ["u"]}}, floor="2.0")
    assert ("$.releases[1].package", "devices may not open what it gives: the floor is 2.0") in find(program)
    assert find(read({"package": "2.0.0.0"}, floor="2.0")) == []


def test_trial_below_the_floor_is_told(read: Any) -> None:
    """A trial of a version that devices may not open is hardly meant."""
    releases, told = {"package": "2.0.0.0"}, ("$.trials[1]", "devices may not open what it gives: the floor is 2.0")
    assert find(read(releases, floor="2.0", trials=["2.0.0.0", "1.0.0.0"])) == [told]
    assert find(read(releases, trials=["2.0.0.0", "1.0.0.0"])) == []


def test_floor_without_a_live_release_is_told(read: Any) -> None:
    """Who is below a floor, and can be given nothing, opens nothing."""
    assert find(read({"state": "paused"}, floor="2.0")) == [("$.floor", "no live release gives anything above it")]
    assert find(read(floor="2.0", taken_down=True)) == []


def window(**members: Any) -> Any:
    """A window for ten."""
    return {"window": {"limit": 10, "closes_at": 2_000, **members}}


def windows(program: Program) -> list[tuple[str, str]]:
    """The ids and keys of the windows of a program's releases."""
    return [(one.who.window.id, one.who.window.key) for one in program.releases if one.who and one.who.window]


def test_new_windows_get_an_id_and_the_newest_key(read: Any) -> None:
    """Each window has members of its own, under an id that nobody can foresee."""
    author = read({"who": {**window(), **percent()}}, {"who": window()})
    completed = complete(author, None, RANDOM, "k2")
    (first, key), (second, _) = windows(completed)
    assert len({first, second, windows(complete(author, None, OTHER, "k2"))[0][0], *salts(completed)}) == 4
    assert (len(first), key) == (16, "k2")


def test_window_stays_with_its_release(read: Any) -> None:
    """Raising a limit forgets nobody, also where the publisher has a newer key by now."""
    current = complete(read({"who": window()}), None, RANDOM, "k1")
    assert windows(complete(read({"who": window(limit=20)}), current, OTHER, "k2")) == windows(current)


def test_window_is_continued(read: Any) -> None:
    """A release that continues another has its members."""
    current = complete(read({"who": window()}), None, RANDOM, "k1")
    author = read({"id": "r9", "who": window(), "continues": "r0"})
    assert windows(complete(author, current, OTHER, "k1")) == windows(current)


def test_window_that_was_read_back_is_kept(read: Any) -> None:
    """An author may send the id and the key that a window has."""
    current = complete(read({"who": window()}), None, RANDOM, "k1")
    ((id_, key),) = windows(current)
    author = read({"id": "r9", "who": window(id=id_, key=key)})
    assert windows(complete(author, current, OTHER, "k2")) == [(id_, key)]


@pytest.mark.parametrize("members", [{"id": "00" * 8, "key": "k1"}, {"key": "k1"}, {"id": "00" * 8}])
def test_window_of_somebody_else_is_refused(read: Any, members: Any) -> None:
    """Another id would mix the members of two windows, another key forget them."""
    current = complete(read({"who": window()}), None, RANDOM, "k1")
    with pytest.raises(BadDocumentError) as caught:
        complete(read({"who": window(**members)}), current, OTHER, "k1")
    got = f"{members.get('id', '')!r} and {members.get('key', '')!r}"
    expected = "expected no id and key, or those of a window before"
    assert str(caught.value) == f"$.releases[0].who.window: {expected}, got {got}"


def test_window_without_a_key_is_refused(read: Any) -> None:
    """A publisher that has no fingerprint key cannot hide a window's members."""
    with pytest.raises(BadDocumentError) as caught:
        complete(read({}, {"who": window()}), None, RANDOM)
    expected = "expected fingerprint_keys in the publisher's settings: a window needs one"
    assert str(caught.value) == f"$.releases[1].who.window: {expected}"


def test_window_that_continues_nobody_is_refused(read: Any) -> None:
    """A misspelt name would begin with no members, unnoticed."""
    with pytest.raises(BadDocumentError) as caught:
        complete(read({"who": window(), "continues": "r8"}), None, RANDOM, "k1")
    assert caught.value.path == "$.releases[0].continues"


def test_window_that_has_closed_is_refused(read: Any) -> None:
    """A window that could admit nobody is refused, unless it is one that has closed since it was published."""
    draft = complete(read({"who": window()}), None, RANDOM, "k1")
    check_windows(draft, None, 1_999)
    check_windows(draft, draft, 2_000)
    with pytest.raises(BadDocumentError) as caught:
        check_windows(draft, None, 2_000)
    expected = "expected a time that is to come, got 2000 (now 2000)"
    assert str(caught.value) == f"$.releases[0].who.window.closes_at: {expected}"


def test_paused_window_may_have_closed(read: Any) -> None:
    """What is not live is no mistake yet."""
    check_windows(complete(read({"who": window(), "state": "paused"}), None, RANDOM, "k1"), None, 3_000)
