"""Heads and positions: an order that nobody can forge."""

import pytest

from channel import (
    HEAD_LIFE_S,
    HEAD_TYPE,
    NOWHERE,
    EnvelopeError,
    EpochError,
    FoundHead,
    Position,
    SourceError,
    check_epoch,
    decode_head,
    encode_head,
    make_head,
    open_head,
    seal,
)
from channel.head import MAX_COUNTER
from trust import PrivateKey


def test_positions_are_ordered_by_epoch_first() -> None:
    """A higher epoch is higher, whatever the revision."""
    assert NOWHERE < Position(1, 0) < Position(1, 9) < Position(1, 10) < Position(2, 0)


def test_position_is_read_back() -> None:
    """A position is the same after a way through Redis."""
    for position in (NOWHERE, Position(1, 812), Position(MAX_COUNTER, MAX_COUNTER)):
        assert Position.parse(str(position).encode()) == position
    assert str(Position(1, 812)) == "1-812"
    assert Position(1, 812).next == Position(1, 813)


@pytest.mark.parametrize("text", [b"", b"1", b"1-", b"-1", b"1-2-3", b"1--2", b"a-b", b"+1-2", b"1-9007199254740992"])
def test_position_is_refused(text: bytes) -> None:
    """What is no position is refused with what was expected."""
    with pytest.raises(SourceError) as caught:
        Position.parse(text)
    assert str(caught.value) == f"expected a position like 1-812, got {text[:40]!r}"


def test_head_is_read_back(key: PrivateKey) -> None:
    """A head comes back as it was signed, and is believed for seven days."""
    head = make_head("demo", Position(1, 7), documents=3, now=1_000)
    assert decode_head(encode_head(head, key), {key.kid: key.public}, "demo") == head
    assert head.expires == 1_000 + HEAD_LIFE_S == 1_000 + 7 * 86_400
    assert head.position == Position(1, 7)


def test_head_of_a_stranger_is_refused(key: PrivateKey) -> None:
    """A head that no key of the workspace has signed is not believed."""
    signed = encode_head(make_head("demo", Position(1, 7), 3, 1_000), PrivateKey.generate())
    with pytest.raises(EnvelopeError):
        decode_head(signed, {key.kid: key.public}, "demo")


def test_head_of_another_workspace_is_refused(key: PrivateKey) -> None:
    """A head cannot be carried from one workspace to another that shares a key."""
    signed = encode_head(make_head("test", Position(1, 7), 3, 1_000), key)
    with pytest.raises(EnvelopeError) as caught:
        decode_head(signed, {key.kid: key.public}, "demo")
    assert str(caught.value) == "expected a head of workspace 'demo', got one of 'test'"


@pytest.mark.parametrize("payload", [b"", b"{}", b"[]", b'{"workspace":"demo","epoch":-1}'])
def test_signed_nonsense_is_no_head(key: PrivateKey, payload: bytes) -> None:
    """Something that is signed as a head and is none is refused."""
    with pytest.raises(EnvelopeError, match=r"^expected a head: "):
        decode_head(seal(payload, key, HEAD_TYPE), {key.kid: key.public}, "demo")


def test_found_head_is_opened(key: PrivateKey) -> None:
    """A head is believed where its signature is known, its epoch begun, and its fields are those that were signed."""
    signed = encode_head(make_head("demo", Position(2, 7), 3, 1_000), key)
    keys = {key.kid: key.public}
    assert open_head(FoundHead(b"2", b"7", signed), keys, "demo", 2).position == Position(2, 7)
    with pytest.raises(EpochError, match=r"^expected an epoch of at most 1, as the root has it, got 2-7$"):
        open_head(FoundHead(b"2", b"7", signed), keys, "demo", 1)
    with pytest.raises(EnvelopeError):
        open_head(FoundHead(b"2", b"7", signed), {}, "demo", 2)
    for epoch, revision in ((b"2", b"8"), (b"1", b"7"), (b"", b"7"), (b"2", b"07")):
        with pytest.raises(SourceError) as caught:
            open_head(FoundHead(epoch, revision, signed), keys, "demo", 2)
        assert str(caught.value) == f"expected a head at 2-7 as signed, got {epoch!r} and {revision!r}"


def test_epochs_that_were_begun_are_believed() -> None:
    """Everything up to the root's epoch may be believed, however high its revision."""
    check_epoch(Position(1, MAX_COUNTER), 1)
    check_epoch(Position(1, 1), 2)
    with pytest.raises(EpochError):
        check_epoch(Position(2, 0), 1)
