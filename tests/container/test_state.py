"""The state's steps: each returns a new value, and what was seen is never forgotten."""

from container.decision import Held
from container.state import Record, State
from trust import Offer, TransferClaim

PROGRAM = "2021000000000001"
A, B = "a" * 64, "b" * 64


def offer(sha256: str, version: str = "1.0", revision: int = 1, issued: int = 100) -> Offer:
    transfers = (TransferClaim(format="zstd", size=1, sha256=sha256),)
    return Offer(
        workspace="demo", program=PROGRAM, action="install", version=version, sha256=sha256, epoch=1,
        revision=revision, issued=issued, expires=1000, transfers=transfers,
    )  # fmt: skip


def test_unknown_program_has_nothing() -> None:
    """Of a program never met, nothing is held and nothing was seen."""
    assert State().held(PROGRAM) == Held("", (0, 0))


def test_seen_offer_moves_order_and_time_on() -> None:
    """A believed offer counts, whatever becomes of it, and the newest signed time never goes back."""
    state = State(issued=150).with_seen(offer(A, revision=7))
    assert (state.held(PROGRAM), state.issued) == (Held("", (1, 7)), 150)
    assert state.with_seen(offer(A, revision=8, issued=200)).issued == 200


def test_activation_remembers_the_former_version() -> None:
    """The version before the active one is the former one; activating the same again does not change that."""
    state = State().with_active(offer(A), "r1").with_active(offer(B, "1.1"), "r2")
    assert state.record(PROGRAM) == Record(version="1.1", sha256=B, former=A, release="r2")
    assert state.with_active(offer(B, "1.1"), "r3").record(PROGRAM).former == A


def test_removal_keeps_what_was_seen() -> None:
    """A removed program has no version, and the order of its offers."""
    state = State().with_seen(offer(A, revision=7)).with_active(offer(A), "r1").without(PROGRAM)
    assert state.record(PROGRAM) == Record(epoch=1, revision=7)
