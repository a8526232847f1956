"""Building an audience's file: the same bytes from the same set, unions, differences, and what is refused."""

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ruleset.errors import FingerprintError
from ruleset.fingerprint import HEADER, Fingerprints, compute_fingerprint, measure_index
from ruleset.roster import Roster

KEY = bytes(range(32))
IDS = st.lists(st.text(min_size=1, max_size=12), min_size=1, max_size=60)


def build(*parts: list[str], key: bytes = KEY) -> bytes:
    roster = Roster(key)
    for part in parts:
        roster.add(part)
    return b"".join(roster.build().chunks)


@given(IDS)
def test_a_file_holds_exactly_what_was_added(identities: list[str]) -> None:
    """It is well formed, has each once, and says how large it is before it is written."""
    roster = Roster(KEY)
    roster.add(identities)
    built = roster.build()
    data = b"".join(built.chunks)
    held = Fingerprints(data)
    held.check()
    assert list(held.values) == sorted({compute_fingerprint(KEY, identity) for identity in identities})
    assert (built.count, built.size) == (held.count, len(data))


@pytest.mark.parametrize("count", [1, 15, 16, 100, 5_000, 20_000])
def test_files_of_all_sizes_are_well_formed(count: int) -> None:
    """With an index of few bits, of as many as there are heaps by, and of more."""
    held = Fingerprints(build([f"u-{i}" for i in range(count)]))
    held.check()
    assert held.count == count


@given(IDS, st.randoms(use_true_random=False))
def test_the_same_set_makes_the_same_bytes(identities: list[str], shuffle: random.Random) -> None:
    """In whatever order, in whatever parts, and however often each comes."""
    other = [*identities, *identities[:3]]
    shuffle.shuffle(other)
    assert build(identities) == build(other[:10], other[10:])


def test_the_bytes_are_pinned() -> None:
    """A builder of another version makes the same file, or every host would fetch each list anew."""
    data = build([f"u-{i}" for i in range(1_000)])
    assert hashlib.sha256(data).hexdigest() == "7179017318dd5d816ff4787b92a5676d6679e9aaebe401aceb7d4bfc89b6df75"


@settings(max_examples=50)
@given(IDS, IDS)
def test_union_and_difference(first: list[str], second: list[str]) -> None:
    """Files and ids are united; without those of a second roster they are a difference, byte for byte the set's."""
    united = Roster(KEY)
    united.add_file(Fingerprints(build(first)))
    united.add_file(Fingerprints(build(second)))
    assert b"".join(united.build().chunks) == build(first, second)
    without, whole = Roster(KEY), Roster(KEY)
    without.add(second)
    whole.add_file(Fingerprints(build(first, ["somebody"])))
    rest = [identity for identity in [*first, "somebody"] if identity not in second]
    if rest:
        assert b"".join(whole.build(without).chunks) == build(rest)


def test_nobody_is_no_list() -> None:
    """Neither at the start, nor after all have been taken away."""
    with pytest.raises(FingerprintError, match=r"^expected 1 to 100000000 users, got 0$"):
        Roster(KEY).build()
    roster, without = Roster(KEY), Roster(KEY)
    roster.add(["a"])
    without.add(["a", "b"])
    with pytest.raises(FingerprintError, match=r"^expected 1 to 100000000 users, got 0$"):
        roster.build(without)


def test_a_list_has_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """One user more is refused before anything is written."""
    monkeypatch.setattr("ruleset.roster.MAX_FINGERPRINTS", 3)
    build(["a", "b", "c", "c"])
    with pytest.raises(FingerprintError, match=r"^expected 1 to 3 users, got 4$"):
        build(["a", "b", "c", "d"])


def test_files_of_another_key_cannot_be_united() -> None:
    """Their fingerprints would be nobody's."""
    roster = Roster(KEY)
    with pytest.raises(
        FingerprintError, match=r"^expected a file that was made under the same key, got one of another$"
    ):
        roster.add_file(Fingerprints(build(["a"], key=bytes(32))))


def test_a_key_of_another_length_is_refused() -> None:
    """As everywhere that a key is taken."""
    with pytest.raises(FingerprintError, match=r"^expected a fingerprint key of 32 bytes, got 31$"):
        Roster(bytes(31))


def test_building_says_how_far_it_is() -> None:
    """Heap by heap, to the last."""
    told: list[tuple[int, int]] = []
    roster = Roster(KEY)
    roster.add(["a"])
    roster.build(show=lambda done, total: told.append((done, total)))
    assert told == [(done, 256) for done in range(1, 257)]


def test_index_is_filled_up_to_whole_words() -> None:
    """Fingerprints begin at a multiple of 8, with zeros before them."""
    data = build([f"u-{i}" for i in range(100)])
    end = HEADER.size + measure_index(3)
    assert (end % 8, data[HEADER.size + 9 * 4 : end]) == (0, bytes(4))
