"""The state's steps: each returns a new value, what was seen is never forgotten, and marks say what is active."""

import itertools
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from container.decision import Held
from container.state import MAX_DECLINED, Installed, Kind, Mark, Ready, Record, State
from container.wire import MAX_EVENTS, Event
from trust import Offer, Root, TransferClaim

PROGRAM, OTHER = "2021000000000001", "2021000000000002"
A, B, C = "a" * 64, "b" * 64, "c" * 64


def offer(sha256: str = A, version: str = "1.0", revision: int = 1, issued: int = 100, floor: str = "") -> Offer:
    transfers = (TransferClaim(format="zstd", size=1, sha256=sha256),)
    return Offer(
        workspace="demo", program=PROGRAM, action="install", version=version, sha256=sha256, epoch=1,
        revision=revision, issued=issued, expires=1000, transfers=transfers, floor=floor,
    )  # fmt: skip


def version(sha256: str, number: str = "1.0", release: str = "r1", copy: int = 0) -> Installed:
    return Installed(version=number, sha256=sha256, release=release, copy=copy)


def active(state: State, *marks: Kind) -> State:
    """Returns the state once these happened to the active version."""
    activation = state.record(PROGRAM).activation
    return state.settle(frozenset(Mark(PROGRAM, activation, kind) for kind in marks))[0]


def event(nonce: str) -> Event:
    return Event(program=PROGRAM, before="", after="1.0", release="r", outcome="activated", at=1, nonce=nonce)


ONE = active(State().with_active(PROGRAM, version(A)), "opened", "confirmed")
TWO = ONE.with_active(PROGRAM, version(B, "1.1", "r2"))


def test_unknown_program_has_nothing() -> None:
    """Of a program never met, nothing is held and nothing was seen."""
    assert State().held(PROGRAM) == Held("", (0, 0))
    assert State().record(PROGRAM).places == frozenset()


def test_seen_offer_moves_order_time_and_floor_on() -> None:
    """A believed offer counts, whatever becomes of it, and the newest signed time never goes back."""
    state = State(issued=150).with_seen(offer(revision=7, floor="0.9"))
    assert (state.held(PROGRAM), state.issued) == (Held("", (1, 7)), 150)
    assert state.record(PROGRAM).floor == "0.9"
    state = state.with_seen(offer(revision=8, issued=200))
    assert (state.issued, state.record(PROGRAM).floor) == (200, "")


def test_new_version_is_to_be_confirmed() -> None:
    """An activation is not confirmed; what was confirmed before it is where it goes back to."""
    record = TWO.record(PROGRAM)
    assert (record.version, record.release, record.is_confirmed) == ("1.1", "r2", False)
    assert record.back == version(A)
    assert record.places == {A, B}
    assert TWO.held(PROGRAM) == Held("1.1", (0, 0), B)


def test_confirmed_version_stays() -> None:
    """A confirmed version is settled, whatever is said of it later."""
    state, told = TWO.settle(frozenset({Mark(PROGRAM, TWO.record(PROGRAM).activation, "confirmed")}))
    assert [(one.outcome, one.before, one.after, one.release) for one in told] == [("confirmed", "1.1", "1.1", "r2")]
    assert active(state, "opened", "declined") == state
    assert state.record(PROGRAM).version == "1.1"


def test_declined_version_goes_back() -> None:
    """A version that did not come up makes way for the one before, is told of, and its bytes are remembered."""
    state, told = TWO.settle(frozenset({Mark(PROGRAM, TWO.record(PROGRAM).activation, "declined")}))
    record = state.record(PROGRAM)
    assert (record.version, record.sha256, record.release, record.is_confirmed) == ("1.0", A, "r1", True)
    assert (record.declined, record.places) == ((B,), {A, B})
    assert [(one.outcome, one.before, one.after, one.reason) for one in told] == [
        ("fell_back", "1.1", "1.0", "not_confirmed")
    ]
    assert active(state, "opened", "declined") == state


def test_first_version_goes_back_to_nothing() -> None:
    """Where nothing was confirmed, nothing is left to open."""
    state = active(State().with_active(PROGRAM, version(A)), "declined")
    record = state.record(PROGRAM)
    assert (record.version, record.sha256, record.declined) == ("", "", (A,))
    assert state.held(PROGRAM) == Held("", (0, 0), declined=(A,))


def test_version_that_works_after_all_stays() -> None:
    """Confirmed and declined at once, it is confirmed."""
    assert active(TWO, "declined", "confirmed").record(PROGRAM).version == "1.1"


def test_unconfirmed_version_is_not_gone_back_to() -> None:
    """A third version, activated before the second came up, goes back to the first; the second may still be running."""
    three = TWO.with_active(PROGRAM, version(C, "1.2"))
    assert three.record(PROGRAM).places == {A, B, C}
    assert active(three, "declined").record(PROGRAM).version == "1.0"


def test_marks_of_another_activation_say_nothing() -> None:
    """A mark counts for the activation that it names, and the same package activated again is another."""
    three = TWO.with_active(PROGRAM, version(C, "1.2"))
    old = TWO.record(PROGRAM).activation
    marks = frozenset({Mark(PROGRAM, old, "declined"), Mark(OTHER, three.record(PROGRAM).activation, "declined")})
    assert three.settle(marks) == (three, ())


def test_rollback_to_what_was_confirmed() -> None:
    """A version that came up here before needs not do so again; what was taken back is not gone back to."""
    state = active(TWO, "confirmed").with_active(PROGRAM, version(A, release="r3"), is_rollback=True)
    record = state.record(PROGRAM)
    assert (record.version, record.release, record.is_confirmed, record.back) == ("1.0", "r3", True, None)
    assert record.places == {A, B}


def test_rollback_to_something_new() -> None:
    """A lower version that never was here has to come up; if not, what was taken back is not opened either."""
    state = active(TWO, "confirmed").with_active(PROGRAM, version(C, "0.9"), is_rollback=True)
    assert not state.record(PROGRAM).is_confirmed
    assert active(state, "declined").record(PROGRAM).version == ""


def test_mended_version_is_the_same() -> None:
    """A new copy of the active package changes its place and release alone; the damaged one may still be open."""
    state = active(TWO, "confirmed").with_active(PROGRAM, version(B, "1.1", "r4", copy=1))
    record = state.record(PROGRAM)
    assert (record.place, record.former, record.release, record.is_confirmed) == (f"{B}.1", B, "r4", True)
    assert record.back == version(A)


def test_released_again() -> None:
    """The active package under another release stays in its place, and the one before it stays, too."""
    state = TWO.with_active(PROGRAM, version(B, "1.1", "r4"))
    record = state.record(PROGRAM)
    assert (record.place, record.former, record.release) == (B, A, "r4")
    assert active(state, "declined").record(PROGRAM).version == "1.0"


def test_ready_version_waits() -> None:
    """What is ready is not active until the user wants it; then it has to come up as any other."""
    state = ONE.with_ready(PROGRAM, version(B, "1.1"), expires=500)
    record = state.record(PROGRAM)
    assert (record.version, record.places) == ("1.0", {A, B})
    assert record.ready == Ready(version="1.1", sha256=B, release="r1", number=2, expires=500)
    applied = frozenset({Mark(PROGRAM, 2, "applied")})
    state, told = state.settle(applied)
    assert [(one.outcome, one.before, one.after) for one in told] == [("activated", "1.0", "1.1")]
    record = state.record(PROGRAM)
    assert (record.version, record.activation, record.ready, record.is_confirmed) == ("1.1", 2, None, False)
    assert state.settle(applied) == (state, ())
    assert active(state, "declined").record(PROGRAM).version == "1.0"


def test_applied_and_opened_before_it_was_written() -> None:
    """Marks count together: applied, opened and not come up is told as both."""
    state = ONE.with_ready(PROGRAM, version(B, "1.1"), expires=500)
    back, told = state.settle(frozenset({Mark(PROGRAM, 2, "applied"), Mark(PROGRAM, 2, "declined")}))
    assert [one.outcome for one in told] == ["activated", "fell_back"]
    assert back.record(PROGRAM).version == "1.0"


def test_ready_again_keeps_its_number() -> None:
    """The same version told of again is what the user was asked about; another one is not."""
    state = ONE.with_ready(PROGRAM, version(B, "1.1"), 500)
    assert state.with_ready(PROGRAM, version(B, "1.1"), 600).record(PROGRAM).numbers == state.record(PROGRAM).numbers
    assert state.with_ready(PROGRAM, version(C, "1.2"), 600).record(PROGRAM).ready != state.record(PROGRAM).ready
    assert state.with_ready(PROGRAM, version(C, "1.2"), 600).record(PROGRAM).numbers == {1, 3}


def test_activation_ends_what_is_ready() -> None:
    """Whatever is activated, the user is not asked about something else any more."""
    state = ONE.with_ready(PROGRAM, version(B, "1.1"), 500).with_active(PROGRAM, version(C, "1.2"))
    assert state.record(PROGRAM).ready is None
    assert state.record(PROGRAM).numbers == {3}


def test_nothing_offered_ends_what_is_not_finished() -> None:
    """What an edge does not tell of any more is neither ready, nor wanted, nor forced; nor is a record made for it."""
    state = ONE.with_ready(PROGRAM, version(B, "1.1"), 500).with_wanted(PROGRAM, [C], is_forced=True)
    record = state.with_nothing_offered([PROGRAM, OTHER]).record(PROGRAM)
    assert (record.ready, record.wanted, record.is_forced, record.version) == (None, (), False, "1.0")
    assert list(state.with_nothing_offered([PROGRAM, OTHER]).programs) == [PROGRAM]
    assert state.with_nothing_offered([OTHER]) == state


def test_removal_keeps_what_was_seen() -> None:
    """A removed program has no version, the order of its offers, and numbers that no old mark has."""
    state = State().with_seen(offer(revision=7, floor="2")).with_active(PROGRAM, version(A)).without(PROGRAM)
    assert state.record(PROGRAM) == Record(epoch=1, revision=7, floor="2", number=1)
    again = state.with_active(PROGRAM, version(A))
    assert active(again) == again
    assert again.settle(frozenset({Mark(PROGRAM, 1, "declined")})) == (again, ())


def test_few_that_did_not_come_up_are_remembered() -> None:
    """The list of declined packages has an end, and the newest are on it."""
    state = ONE
    names = [f"{number:064x}" for number in range(MAX_DECLINED + 3)]
    for sha256 in names:
        state = active(state.with_active(PROGRAM, version(sha256, "2")), "declined")
    assert state.record(PROGRAM).declined == tuple(names[-MAX_DECLINED:])
    assert state.record(PROGRAM).version == "1.0"


def root(number: int, epoch: int = 1) -> Root:
    return Root("demo", number, 10**9, {}, epoch)


def test_new_root_ends_what_is_ready() -> None:
    """What was judged by an older root has to be offered again; the same root changes nothing."""
    state = ONE.with_root(root(1)).with_ready(PROGRAM, version(B, "1.1"), 500)
    assert state.with_root(root(1)) == state
    assert state.with_root(root(2)).record(PROGRAM).ready is None


def test_offer_of_another_package_ends_what_is_ready() -> None:
    """What the user was asked about is not activated once something else was offered, with a floor above it."""
    state = State().with_ready(PROGRAM, version(B, "2"), 500)
    ready = state.record(PROGRAM).ready
    assert ready is not None
    assert state.with_seen(offer(revision=8, sha256=ready.sha256)).record(PROGRAM).ready == ready
    assert state.with_seen(offer(revision=8, floor="3", sha256="f" * 64)).record(PROGRAM).ready is None


def test_new_epoch_forgets_stolen_time_and_floors() -> None:
    """Signed times and floors of an older epoch may be a thief's; those of the same epoch stay."""
    state = State(root=1).with_seen(offer(issued=900, floor="9"))
    same, later = state.with_root(root(2)), state.with_root(root(2, epoch=2))
    assert (same.issued, same.record(PROGRAM).floor) == (900, "9")
    assert (later.issued, later.record(PROGRAM).floor, later.epoch) == (0, "", 2)
    assert later.with_root(root(3, epoch=2)).with_seen(offer(issued=50)).issued == 50


def test_outbox_has_an_end() -> None:
    """Events wait to be reported, the newest hundred of them, and go once they were."""
    state = State().with_events(event(str(number)) for number in range(MAX_EVENTS + 5))
    assert [one.nonce for one in state.outbox] == [str(number) for number in range(5, MAX_EVENTS + 5)]
    assert [one.nonce for one in state.without_events(state.outbox[1:]).outbox] == ["5"]


def test_file_of_the_first_form_is_read() -> None:
    """A state that the first version of this SDK wrote is read: its version counts as confirmed."""
    old = {"version": "1.1", "sha256": B, "former": A, "release": "r2", "epoch": 1, "revision": 3}
    state = msgspec.json.decode(msgspec.json.encode({"format": 1, "issued": 5, "programs": {PROGRAM: old}}), type=State)
    record = state.record(PROGRAM)
    assert (record.version, record.places, record.is_confirmed) == ("1.1", {A, B}, True)
    assert state.with_active(PROGRAM, version(C, "1.2")).record(PROGRAM).back == version(B, "1.1", "r2")


STEPS = ("activate", "rollback", "prepare", "remove", "nothing", *get_args(Kind))


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.sampled_from([A, B, C])), max_size=12), st.data())
def test_whatever_happens_the_state_is_sound(steps: list[tuple[str, str]], data: st.DataObject) -> None:
    """After any steps and marks: what is active has a folder that is kept, and folding twice is folding once."""
    state, marks = State(), set[Mark]()
    for step, sha256 in steps:
        state = take(state, marks, step, sha256)
        if data.draw(st.booleans()):
            state = state.settle(frozenset(marks))[0]
    settled, _ = state.settle(frozenset(marks))
    assert settled.settle(frozenset(marks)) == (settled, ())
    record = settled.record(PROGRAM)
    assert bool(record.version) == bool(record.sha256)
    assert record.places >= ({record.place} - {""})
    assert record.places <= state.record(PROGRAM).places, "nothing is opened that the written state would let be swept"
    assert record.sha256 not in record.declined or not record.sha256
    assert msgspec.json.decode(msgspec.json.encode(settled), type=State) == settled


def take(state: State, marks: set[Mark], step: str, sha256: str) -> State:
    """Takes one step as an updater or a launcher would."""
    record = state.settle(frozenset(marks))[0].record(PROGRAM)
    new: dict[str, Any] = {"activate": {}, "rollback": {"is_rollback": True}}
    if step in new and sha256 not in record.declined:
        return state.settle(frozenset(marks))[0].with_active(PROGRAM, version(sha256), **new[step])
    if step == "prepare" and sha256 not in (*record.declined, record.sha256):
        return state.settle(frozenset(marks))[0].with_ready(PROGRAM, version(sha256), 500)
    if step == "remove":
        return state.without(PROGRAM)
    if step in get_args(Kind):
        number = record.ready.number if step == "applied" and record.ready else record.activation
        marks.add(Mark(PROGRAM, number, step))  # a Kind
    return state


@pytest.mark.parametrize("place", ["../x", "a" * 63, A + ".", A + ".x", A + "/b", A + "\n", A + ".99999"])
def test_place_that_leads_elsewhere_is_refused(place: str) -> None:
    """A state names folders by digest and number alone."""
    data = msgspec.json.encode({"programs": {PROGRAM: {"former": place}}})
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(data, type=State)


def test_numbers_are_never_used_twice() -> None:
    """Each activation and each preparation has a number of its own."""
    state, numbers = State(), []
    for sha256, prepares in itertools.product([A, B, C], [False, True]):
        if prepares:
            state = state.with_ready(PROGRAM, version(sha256 + "", "3"), 1).without(PROGRAM)
        else:
            state = state.with_active(PROGRAM, version(sha256, "2"))
        numbers.append(state.record(PROGRAM).number)
    assert numbers == sorted(set(numbers))
