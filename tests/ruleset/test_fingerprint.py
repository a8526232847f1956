"""Fingerprints: the file's format byte by byte, the look-up, what is refused, and how seldom a stranger is let in."""

import struct
from fractions import Fraction
from hashlib import blake2b
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ruleset.errors import FingerprintError
from ruleset.fingerprint import (
    HEADER,
    MAX_FINGERPRINTS,
    Fingerprinter,
    Fingerprints,
    choose_index_bits,
    compute_fingerprint,
    compute_mark,
    compute_odds,
    measure_index,
)
from ruleset.roster import Roster

KEY = bytes(range(32))
MARK = compute_mark(KEY)


def make_file(prints: list[int], **members: object) -> bytes:
    """A file by the words of its format, whatever the fingerprints are; members of the header may be others."""
    bits = choose_index_bits(len(prints))
    entries = [sum(value < entry << 64 - bits for value in prints) for entry in range((1 << bits) + 1)]
    header = {"magic": b"gwprints", "format": 1, "bits": bits, "count": len(prints), "mark": MARK, **members}
    index = struct.pack(f"<{len(entries)}I", *entries).ljust(measure_index(bits), b"\0")
    return struct.pack("<8sIIQQ", *header.values()) + index + struct.pack(f"<{len(prints)}Q", *prints)


def make_spread(count: int) -> list[int]:
    return sorted(compute_fingerprint(KEY, f"u-{i}") for i in range(count))


def test_fingerprint_of_an_id() -> None:
    """Keyed BLAKE2b of 8 bytes over the id in UTF-8, read big-endian; a published value, which never changes."""
    assert compute_fingerprint(KEY, "u-1042") == 0x13AC52388ACF862F
    assert compute_fingerprint(KEY, "杭州") == int(blake2b("杭州".encode(), key=KEY, digest_size=8).hexdigest(), 16)


@given(st.lists(st.text(max_size=256), max_size=8))
def test_a_fingerprinter_remembers_nothing_wrong(identities: list[str]) -> None:
    """Asked again, or after another, it says what the function says, also for equal texts that are two objects."""
    made = Fingerprinter(KEY)
    for identity in [*identities, *identities]:
        for asked in (identity, identity, identity.encode().decode()):
            assert made.compute(asked) == compute_fingerprint(KEY, identity)
    assert made.mark == compute_fingerprint(KEY, "")


@pytest.mark.parametrize("length", [0, 16, 33, 64])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """The message has both lengths."""
    with pytest.raises(FingerprintError, match=rf"^expected a fingerprint key of 32 bytes, got {length}$"):
        Fingerprinter(bytes(length))


@given(st.sets(st.integers(0, 2**64 - 1), min_size=1, max_size=200), st.integers(0, 2**64 - 1))
def test_exactly_the_members_are_held(prints: set[int], other: int) -> None:
    """Whatever the fingerprints are: each of them, none of their neighbours, and no other."""
    held = Fingerprints(make_file(sorted(prints)))
    held.check()
    assert (held.count, list(held.values)) == (len(prints), sorted(prints))
    known = SimpleNamespace(start=Fingerprinter(KEY).start, last="u-1", fingerprint=0)
    ask = held.make_look(known)

    def look(value: int) -> bool:
        known.fingerprint = value
        return ask(known.last)

    for value in prints:
        assert held.holds(value)
        assert look(value)
        for near in (max(0, value - 1), min(2**64 - 1, value + 1), value ^ 1 << 63):
            assert held.holds(near) == look(near) == (near in prints)
    assert held.holds(other) == (other in prints)


@pytest.mark.parametrize(
    ("count", "bits"),
    [(1, 0), (15, 0), (16, 1), (31, 1), (32, 2), (1_000, 6), (10_000_000, 20), (MAX_FINGERPRINTS, 23)],
)
def test_index_grows_with_the_count(count: int, bits: int) -> None:
    """8 to 16 fingerprints lie behind an entry, so that the search is short and the file stays small."""
    assert choose_index_bits(count) == bits
    assert count < 16 << bits
    assert bits == 0 or count >= 8 << bits


def test_a_list_of_ten_million_is_small() -> None:
    """It has less than 85 MB, so that all workers of a host have it in 90 MB."""
    count = 10_000_000
    assert HEADER.size + measure_index(choose_index_bits(count)) + 8 * count < 85_000_000


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected a header of 32 bytes, got 0"),
        (make_file([1])[:31], "expected a header of 32 bytes, got 31"),
        (make_file([1], magic=b"GWPRINTS"), "expected a file of fingerprints, which begins with b'gwprints', got"),
        (make_file([1], format=2), "expected format 1, got 2: a newer graywave made it"),
        (make_file([]), "expected 1 to 100000000 fingerprints, got 0"),
        (make_file([1], count=MAX_FINGERPRINTS + 1), "expected 1 to 100000000 fingerprints, got 100000001"),
        (make_file([1], bits=1), "expected an index over 0 bits, got 1"),
        (make_file([1], bits=2**32 - 1), "expected an index over 0 bits, got 4294967295"),
        (make_file([1])[:-1], "expected 48 bytes for 1 fingerprints, got 47"),
        (make_file([1]) + b"\0", "expected 48 bytes for 1 fingerprints, got 49"),
    ],
)
def test_what_is_no_file_is_refused(data: bytes, message: str) -> None:
    """Before anything is asked of it; the message names the fault."""
    with pytest.raises(FingerprintError, match=message.replace("(", r"\(")):
        Fingerprints(data)


def test_a_machine_of_another_byte_order_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is read as it lies, which would give other numbers there."""
    monkeypatch.setattr("ruleset.fingerprint.sys.byteorder", "big")
    with pytest.raises(FingerprintError, match=r"^expected a little-endian machine, as the file is, got a big-endian"):
        Fingerprints(make_file([1]))


@pytest.mark.parametrize("prints", [[2, 1], [1, 1], [*make_spread(300), 1]])
def test_fingerprints_that_do_not_ascend_are_refused(prints: list[int]) -> None:
    """Wherever the fault is, within a stretch or between two, and doubles are one."""
    with pytest.raises(FingerprintError, match=r"^expected fingerprints that ascend, got others from number"):
        Fingerprints(make_file(prints)).check()


def test_a_fault_between_two_stretches_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last of one stretch is compared with the first of the next."""
    monkeypatch.setattr("ruleset.fingerprint.STRETCH", 2)
    Fingerprints(make_file([1, 2, 3, 4])).check()
    with pytest.raises(FingerprintError, match=r"^expected fingerprints that ascend, got others from number 2 on$"):
        Fingerprints(make_file([1, 3, 2, 4])).check()


@pytest.mark.parametrize("stretch", [3, 16_384])
def test_any_other_index_is_refused(monkeypatch: pytest.MonkeyPatch, stretch: int) -> None:
    """Each entry has one right value; one less, one more and one far off are seen wherever they are."""
    monkeypatch.setattr("ruleset.fingerprint.STRETCH", stretch)
    prints = make_spread(256)
    right = make_file(prints)
    Fingerprints(right).check()
    bits = choose_index_bits(len(prints))
    for entry in range((1 << bits) + 1):
        place = HEADER.size + 4 * entry
        (value,) = struct.unpack_from("<I", right, place)
        for wrong in {value + 1, max(0, value - 1), 0, 256, 2**32 - 1} - {value}:
            data = bytearray(right)
            struct.pack_into("<I", data, place, wrong)
            with pytest.raises(FingerprintError, match=r"^expected an index that fits the fingerprints, got another"):
                Fingerprints(bytes(data)).check()


def test_an_index_damaged_later_lets_nobody_in_and_breaks_nothing() -> None:
    """A disk that changes what was checked makes a check answer as if the user were not there."""
    data = bytearray(make_file([5]))
    held = Fingerprints(data)
    assert held.holds(5)
    struct.pack_into("<I", data, HEADER.size + 4, 2**32 - 1)
    assert not held.holds(6)
    assert not held.make_look(Fingerprinter(KEY))("u-1")


def test_odds_of_a_stranger() -> None:
    """A list of ten million lets one stranger in of 1.8 million million, and no other list is worse than its count."""
    assert Fraction(compute_odds(10_000_000)) == Fraction(10_000_000, 2**64)
    assert 1 / compute_odds(10_000_000) > 1.8e12
    assert compute_odds(MAX_FINGERPRINTS) < 1e-11


@pytest.mark.parametrize("width", [20, 24])
@pytest.mark.parametrize("place", [0, 20, 40])
def test_odds_hold_for_any_part_of_a_fingerprint(width: int, place: int) -> None:
    """Cut to few bits, strangers are let in as often as the formula says: so all bits are as good as drawn.

    The odds of all 64 cannot be seen in a test. Those of any 20 or 24 of them can: 4,096 members and 262,144 strangers
    make 1,024 or 64 matches on average; farther off than six times the root of that is one case of 500 million.
    """
    cut, shift = (1 << width) - 1, place
    members = {compute_fingerprint(KEY, f"member-{i}") >> shift & cut for i in range(4_096)}
    found = sum(compute_fingerprint(KEY, f"stranger-{i}") >> shift & cut in members for i in range(262_144))
    expected = 262_144 * len(members) / (1 << width)
    assert abs(found - expected) < 6 * expected**0.5


def test_a_look_makes_the_fingerprint_itself() -> None:
    """Asked one after the other, again, and of several lists with one fingerprinter, each answer is its own."""
    lists = []
    for first in (0, 100):
        roster = Roster(KEY)
        roster.add(f"u-{i}" for i in range(first, first + 100))
        lists.append(Fingerprints(b"".join(roster.build().chunks)))
    made = Fingerprinter(KEY)
    looks = [held.make_look(made) for held in lists]
    for i in range(250):
        user = f"u-{i}"
        assert [look(user) for look in looks] == [i < 100, 100 <= i < 200]
        assert [look(f"u-{i}") for look in looks[::-1]] == [100 <= i < 200, i < 100]


def test_another_key_makes_another_list() -> None:
    """Nobody on a list of one key is found under another."""
    roster = Roster(KEY)
    roster.add(f"u-{i}" for i in range(1_000))
    held = Fingerprints(b"".join(roster.build().chunks))
    other = Fingerprinter(bytes(32))
    assert not any(held.holds(other.compute(f"u-{i}")) for i in range(1_000))
