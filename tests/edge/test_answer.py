"""Tests of edge/answer.py."""

import tracemalloc
from collections.abc import Iterable
from typing import Any

import orjson
import pytest

from channel import NOWHERE, Position
from edge import answer as answer_module
from edge.answer import Workspace, compile_entry, is_idle
from edge.errors import RefusedError
from edge.question import parse_question
from ruleset import DEFAULT_POLL_AFTER_S, DocumentError, Sheet, parse_program, spread_poll
from tests.edge.press import (
    NOW,
    OTHER_PROGRAM,
    PROGRAM,
    ROOT_BYTES,
    WORKSPACE,
    YEAR_S,
    Json,
    make_document,
    make_entry,
    make_package,
    make_question,
)


def make_workspace(*documents: Json) -> Workspace:
    """A workspace that has come to 1-812 with these documents."""
    workspace = Workspace(WORKSPACE, {3: ROOT_BYTES})
    entries = {document["program"]: compile_entry(parse_program(orjson.dumps(document))) for document in documents}
    workspace.apply(entries, Position(1, 812))
    return workspace


def ask(workspace: Workspace, installed: str = "", now: int = NOW, **programs: str) -> Any:
    """What a device is told that has this version of PROGRAM, or these programs."""
    return orjson.loads(answer(workspace, programs or {PROGRAM: installed}, now))


def answer(workspace: Workspace, programs: dict[str, str], now: int = NOW) -> bytes:
    """The bytes of an answer."""
    return workspace.answer(parse_question(orjson.dumps(make_question(programs=programs))), now)


def test_install_is_told_in_full() -> None:
    """A device that should have a package is told all that it needs to get it."""
    package = make_package(download="wifi", install="preload", extra={"note": [1, None]})
    release = {"id": "r1", "package": "1.0.0.0", "urgency": "force"}
    document = make_document(packages={"1.0.0.0": package}, releases=[release], poll_after=300)
    assert ask(make_workspace(document)) == {
        "revision": 812,
        "root": 3,
        "poll_after": spread_poll(300, "d-1", NOW),
        "updates": [
            {
                "program": PROGRAM,
                "version": "1.0.0.0",
                "release": "r1",
                "action": "install",
                "urgency": "force",
                "download": "wifi",
                "install": "preload",
                "size": 700,
                "sha256": "5e" * 32,
                "signature": "signed",
                "offer": "offer of 1.0.0.0",
                "transfers": [{"format": "zstd", "url": "/v1/files/a", "size": 190, "sha256": "7f" * 32}],
                "extra": {"note": [1, None]},
            }
        ],
    }


def test_device_that_is_current_is_told_nothing() -> None:
    """A device that has the package, however it writes the version, or a newer one, has nothing to do."""
    workspace = make_workspace(make_document())
    for installed in ("1.0.0.0", "1", "1.0", "1.0.0.1"):
        told = ask(workspace, installed)
        assert told["updates"] == []
        assert "unknown" not in told


def test_rollback_has_its_own_offer() -> None:
    """A device on a version that is rolled back is told to go back, with the offer for that; others are not."""
    release = {"id": "r2", "package": "1.0.0.0", "rollback": {"from": ["2.0.0.0"]}}
    offers = {"expires": NOW + YEAR_S, "install": {"1.0.0.0": "in"}, "rollback": {"1.0.0.0": "back"}}
    workspace = make_workspace(make_document(releases=[release], offers=offers))
    (update,) = ask(workspace, "2.0.0.0")["updates"]
    assert (update["action"], update["offer"], update["version"]) == ("rollback", "back", "1.0.0.0")
    assert ask(workspace, "3.0.0.0")["updates"] == []
    assert ask(workspace, "0.9")["updates"][0]["offer"] == "in"


def test_removal_is_told_where_it_is_installed() -> None:
    """A program that was taken down is removed where it is, and nothing is told where it is not."""
    workspace = make_workspace(make_document(taken_down=True, offers={"expires": NOW + YEAR_S, "remove": "away"}))
    assert ask(workspace, "1.0.0.0")["updates"] == [{"program": PROGRAM, "action": "remove", "offer": "away"}]
    assert ask(workspace, "")["updates"] == []


def test_expired_offers_are_left_out() -> None:
    """From the second on at which its offers expire, a program has no update."""
    offers = {"expires": NOW, "install": {"1.0.0.0": "in"}}
    workspace = make_workspace(make_document(offers=offers))
    assert len(ask(workspace, now=NOW - 1)["updates"]) == 1
    assert ask(workspace, now=NOW)["updates"] == []


def test_own_delta_comes_first_and_others_are_left_out() -> None:
    """A delta from the device's version stands before the whole package; deltas from other versions do not stand."""
    whole = make_package()["transfers"][0]
    deltas = [
        {"format": "dcz", "from": base, "from_sha256": "6d" * 32, "url": f"/{base}", "size": 1, "sha256": "7e" * 32}
        for base in ("0.9", "0.8")
    ]
    workspace = make_workspace(make_document(packages={"1.0.0.0": make_package(transfers=[whole, *deltas])}))

    def list_urls(installed: str) -> list[str]:
        return [transfer["url"] for transfer in ask(workspace, installed)["updates"][0]["transfers"]]

    assert list_urls("0.9.0") == ["/0.9", "/v1/files/a"]
    assert list_urls("0.8") == ["/0.8", "/v1/files/a"]
    assert list_urls("0.7") == list_urls("") == ["/v1/files/a"]
    assert ask(workspace, "0.9")["updates"][0]["transfers"][0]["from"] == "0.9"


def test_unknown_programs_are_named() -> None:
    """Programs that the workspace does not have are named, beside the updates of others, whatever they are called."""
    told = ask(make_workspace(make_document()), **{PROGRAM: "", 'ü"\\': "1", "x": ""})
    assert told["unknown"] == ['ü"\\', "x"]
    assert len(told["updates"]) == 1


def test_poll_interval_is_the_smallest_known() -> None:
    """The smallest interval of the programs known counts, also above the default; unknown ones do not."""
    workspace = make_workspace(make_document(poll_after=7_200), make_document(program=OTHER_PROGRAM, poll_after=3_600))
    assert ask(workspace)["poll_after"] == spread_poll(7_200, "d-1", NOW)
    both = {PROGRAM: "1", OTHER_PROGRAM: "1"}
    assert ask(workspace, **both)["poll_after"] == spread_poll(3_600, "d-1", NOW)
    assert ask(workspace, x="1")["poll_after"] == spread_poll(DEFAULT_POLL_AFTER_S, "d-1", NOW)


def test_version_that_is_none_is_refused() -> None:
    """An installed version that is none is refused, for a program that is unknown too."""
    workspace = make_workspace()
    with pytest.raises(RefusedError, match=r"one\.two"):
        ask(workspace, "one.two")


def test_idle_answers_are_remembered_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer with nothing to do is the same bytes again, fewer than the bound, and gone with the next change."""
    monkeypatch.setattr(answer_module, "MAX_IDLE_ANSWERS", 2)
    workspace = make_workspace(make_document())
    first = answer(workspace, {PROGRAM: "1"})
    assert answer(workspace, {PROGRAM: "1"}) is first
    for hour in range(50):
        told = orjson.loads(answer(workspace, {PROGRAM: "1"}, NOW + hour * 3_600))
        assert told["poll_after"] == spread_poll(DEFAULT_POLL_AFTER_S, "d-1", NOW + hour * 3_600)
        assert len(workspace._idle) <= 2
    workspace.apply({}, Position(1, 813))
    assert orjson.loads(answer(workspace, {PROGRAM: "1"}))["revision"] == 813


def test_change_replaces_one_entry() -> None:
    """A change is in the next answer, and other programs stay as they are."""
    workspace = make_workspace(make_document(), make_document(program=OTHER_PROGRAM))
    workspace.apply({PROGRAM: make_entry(version="2.0.0.0", revision=813)}, Position(1, 813))
    told = ask(workspace, **{PROGRAM: "", OTHER_PROGRAM: ""})
    assert [update["version"] for update in told["updates"]] == ["2.0.0.0", "1.0.0.0"]
    assert told["revision"] == 813


def test_roots_are_followed() -> None:
    """Another root's number is in the next answer, remembered ones included; nothing else has changed."""
    workspace = make_workspace(make_document())
    before = [orjson.loads(answer(workspace, {PROGRAM: version})) for version in ("", "1.0.0.0")]
    workspace.follow_roots({3: ROOT_BYTES, 5: b"five", 4: b"four"})
    after = [orjson.loads(answer(workspace, {PROGRAM: version})) for version in ("", "1.0.0.0")]
    assert [told["root"] for told in (*before, *after)] == [3, 3, 5, 5]
    assert [told | {"root": 3} for told in after] == before


def test_packages_follow_their_programs() -> None:
    """A package is on the shelf as long as its program's document has it."""
    here = {"format": "zstd", "url": f"/v1/files/{'7f' * 32}", "size": 190, "sha256": "7f" * 32}
    packages = {"1.0.0.0": make_package(transfers=[here])}
    workspace = make_workspace(
        make_document(packages=packages), make_document(packages=packages, program=OTHER_PROGRAM)
    )
    assert [packed.whole for packed in workspace.shelf.find("5e" * 32)] == ["7f" * 32] * 2
    workspace.apply({PROGRAM: make_entry(revision=813)}, Position(1, 813))
    assert len(workspace.shelf.find("5e" * 32)) == 1
    workspace.apply({OTHER_PROGRAM: make_entry(revision=814, program=OTHER_PROGRAM)}, Position(1, 814))
    assert workspace.shelf.find("5e" * 32) == ()


def test_new_workspace_stands_nowhere() -> None:
    """Before anything has come a workspace stands at NOWHERE itself: that is how a check finds out."""
    assert Workspace(WORKSPACE, {3: ROOT_BYTES}).position is NOWHERE


def test_encoded_updates_take_no_more_memory_than_their_bytes() -> None:
    """What is encoded stays for as long as the program does: its buffer must not."""
    document = parse_program(orjson.dumps(make_document()))
    sheet = Sheet()
    compile_entry(document, sheet)
    tracemalloc.start()
    kept = [compile_entry(document, sheet) for _ in range(20)]
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / len(kept) < 3_000


def test_programs_that_are_owed() -> None:
    """Those that a question names are brought before it is answered; each once, and none that is there."""
    workspace = make_workspace(make_document())
    asked: list[set[str]] = []

    def bring(programs: Iterable[str]) -> None:
        asked.append(set(programs))
        for program in asked[-1]:
            workspace.settle(program, make_entry(program=program) if program == OTHER_PROGRAM else None)

    workspace.owe([OTHER_PROGRAM, "2021000000000003", "2021000000000004"], bring)
    told = ask(workspace, **{PROGRAM: "", OTHER_PROGRAM: "", "2021000000000003": ""})
    assert ([one["program"] for one in told["updates"]], told["unknown"]) == (
        [PROGRAM, OTHER_PROGRAM],
        ["2021000000000003"],
    )
    assert (asked, workspace.owed) == ([{OTHER_PROGRAM, "2021000000000003"}], {"2021000000000004"})
    workspace.apply({"2021000000000004": make_entry(program="2021000000000004")}, Position(1, 9))
    assert workspace.owed == set()
    ask(workspace, **{OTHER_PROGRAM: ""})
    assert len(asked) == 1


def test_newer_entry_is_known() -> None:
    """An entry is older than a held one of a higher position, and not than the same or none."""
    workspace = make_workspace(make_document(revision=5))
    assert workspace.has_newer(PROGRAM, make_entry(revision=4))
    assert not workspace.has_newer(PROGRAM, make_entry(revision=5))
    assert not workspace.has_newer(PROGRAM, make_entry(revision=1, epoch=2))
    assert not workspace.has_newer(OTHER_PROGRAM, make_entry(revision=1))


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"offers": None}, "$.offers: expected the publisher's offers, got none"),
        (
            {"offers": {"expires": NOW, "install": {}}},
            "$.offers.install: expected an offer for '1.0.0.0', got none",
        ),
        (
            {
                "releases": [{"id": "r1", "package": "1.0.0.0", "rollback": {"from": ["2.0.0.0"]}}],
                "offers": {"expires": NOW, "install": {"1.0.0.0": "in"}},
            },
            "$.offers.rollback: expected an offer for '1.0.0.0', got none",
        ),
        (
            {"taken_down": True, "offers": {"expires": NOW}},
            "$.offers.remove: expected an offer for the take-down, got none",
        ),
    ],
)
def test_offer_that_is_needed_and_missing(members: dict[str, Any], message: str) -> None:
    """A document without an offer that its rules need is refused when it is loaded, not when a device asks."""
    with pytest.raises(DocumentError) as caught:
        compile_entry(parse_program(orjson.dumps(make_document(**members))))
    assert str(caught.value) == message


def test_version_that_trials_may_give_twice() -> None:
    """A version that stands twice among the trials is as good as once: the contract does not forbid it."""
    document = make_document(trials=["1.0.0.0", "1.0.0.0"])
    entry = compile_entry(parse_program(orjson.dumps(document)))
    trial = entry.trials[1 << 48]
    assert (trial.path, "install") in entry.updates


def test_release_that_is_not_live_needs_no_offer() -> None:
    """Only live releases are ever answered with."""
    release = {"id": "r1", "package": "1.0.0.0", "state": "ended"}
    workspace = make_workspace(make_document(releases=[release], offers={"expires": NOW + YEAR_S}))
    assert ask(workspace)["updates"] == []


def test_entry_cannot_be_changed() -> None:
    """An entry is replaced whole."""
    entry = make_entry()
    with pytest.raises(AttributeError):
        entry.poll_after = 1


@pytest.mark.parametrize(
    ("rest", "idle"),
    [
        (b'"updates":[]}', True),
        (b'"updates":[],"unknown":["a\\",\\"switches\\":{","]"]}', True),
        (b'"updates":[{"program":"p","extra":{"updates":[]}}]}', False),
        (b'"updates":[],"switches":{},"switches_etag":"e"}', False),
        (b'"updates":[],"unknown":["a"],"switches":{"s":{}},"switches_etag":"e"}', False),
    ],
)
def test_answer_with_nothing_to_do(rest: bytes, *, idle: bool) -> None:
    """An update or switches are something to do; programs that are unknown are not, whatever they are called."""
    assert is_idle(b'{"revision":1,"root":1,"poll_after":30,' + rest) is idle
