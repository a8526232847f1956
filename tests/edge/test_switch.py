"""A board of switches: what is told, and what its entity tag covers."""

from typing import Any

import msgspec
import orjson
import pytest

from edge.switch import NO_SWITCHES, Board, SwitchSet, compile_set
from ruleset import NOTHING_KNOWN, Device, DocumentError, parse_switches
from tests.edge.press import NOW, make_switches

DEVICE = Device(id="d-1", platform="android")
VIP = {"when": [{"attribute": "tags.vip", "op": "in", "values": ["1"]}]}


def load(**members: Any) -> SwitchSet:
    """A set as a worker holds it."""
    return compile_set(parse_switches(orjson.dumps(make_switches(**members))))


def tell(board: Board, **device: Any) -> dict[str, Any]:
    """What a device is told of all switches, by key."""
    told = board.tell_all(msgspec.structs.replace(DEVICE, **device), NOW, NOTHING_KNOWN)
    return {flag["key"]: flag for flag in orjson.loads(b"[" + b",".join([one.item for one in told]) + b"]")}


def test_tells_everybody_and_each() -> None:
    """What is the same for everybody and what is not are told side by side, over all sets."""
    board = Board({"app": load(a={}, b=VIP), "zoo": load(name="zoo", c={})})
    assert [tell(board)[key]["reason"] for key in "abc"] == ["TARGETING_MATCH", "UNKNOWN", "TARGETING_MATCH"]
    assert tell(board, tags={"vip": "1"})["b"] == {
        "key": "b", "value": True, "reason": "TARGETING_MATCH", "variant": "on",
    }  # fmt: skip
    assert tell(NO_SWITCHES) == {}


def test_one_and_all_are_the_same() -> None:
    """One switch is told in the words of the whole list; a check's member has them without the key."""
    board = Board({"app": load(a=VIP)})
    told = board.tell("a", DEVICE, NOW, NOTHING_KNOWN)
    assert told is not None
    assert orjson.loads(told.item) == tell(board)["a"]
    assert told.member == b'"a":{"value":false,"reason":"UNKNOWN","variant":"off"}'
    assert board.tell("b", DEVICE, NOW, NOTHING_KNOWN) is None


def test_a_fixed_switch_is_encoded_once() -> None:
    """Switches without rules cost nothing at a question, however many there are."""
    board = Board({"app": load(a=None, b=None)})
    (told,) = board.tell_all(DEVICE, NOW, NOTHING_KNOWN)
    assert told.item.count(b'"STATIC"') == 2
    assert told.member == (
        b'"a":{"value":false,"reason":"STATIC","variant":"off"},"b":{"value":false,"reason":"STATIC","variant":"off"}'
    )


@pytest.mark.parametrize(
    "said",
    [
        *({name: "x"} for name in Device.__struct_fields__[:-1]),
        {"tags": {"vip": "1"}},
        {"user": ""},
    ],
)
def test_tag_covers_all_that_is_said(said: dict[str, Any]) -> None:
    """Another word for anything that a condition could ask for is another tag."""
    board = Board({"app": load(a=VIP)})
    assert board.make_etag(msgspec.structs.replace(DEVICE, **said), NOW) != board.make_etag(DEVICE, NOW)


def test_tag_does_not_mix_members_up() -> None:
    """The same words in other places are another device."""
    board = Board({"app": load()})
    tags = {board.make_etag(msgspec.structs.replace(DEVICE, **said), NOW) for said in ({"city": "x"}, {"region": "x"})}
    assert len(tags) == 2


def test_tag_stays_where_nothing_that_counts_changes() -> None:
    """A tag that no condition asks for, and the time between two changes, change nothing; nor does another worker."""
    board, other = (Board({"app": load(a=VIP, b={"opens_at": NOW + 2})}) for _ in range(2))
    noisy = msgspec.structs.replace(DEVICE, tags={"session": "91f2"})
    assert board.make_etag(noisy, NOW + 1) == other.make_etag(DEVICE, NOW)


def test_tag_changes_with_time_documents_and_audiences() -> None:
    """A rule that opens, a set published anew, one more set, other audiences, other keys: each is another tag."""
    rule = {"opens_at": NOW + 2}
    one = load(a=rule)
    boards = [
        Board({"app": one}),
        Board({"app": load(a=rule, revision=2)}),
        Board({"app": one, "zoo": load(name="zoo")}),
        Board({"app": one}, b"qa 1.7"),
    ]
    tags = [board.make_etag(DEVICE, NOW) for board in boards]
    tags += [boards[0].make_etag(DEVICE, NOW + 2), boards[0].make_etag(DEVICE, NOW, ["a"])]
    assert len(set(tags)) == 6
    assert tags[0].startswith(b'"%b-0-' % boards[0].mark)
    assert tags[4].startswith(b'"%b-%d-' % (boards[0].mark, NOW + 2))


def test_set_that_does_not_compile() -> None:
    """It is refused with its place, and changes nothing."""
    with pytest.raises(DocumentError, match=r"^\$\.flags\['a'\]\.rules\[0\]\.closes_at: expected a time after"):
        load(a={"opens_at": 5, "closes_at": 5})
