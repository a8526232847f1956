"""The chain of roots: nobody goes back, nothing is left out, and a head in Redis is worth what they say."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from channel import EnvelopeError, FoundHead, Position, encode_head, make_head
from publisher import RootChainError
from publisher.chain import Chain, accept_found_root, is_successor, judge_found, link_roots, name_root
from trust import PrivateKey, RootError, add_root_signature, make_root

NOW = 1_800_000_000
LATER = NOW + 1_000
NAMES = ("root", "package", "offer", "channel")


class Office:
    """Makes roots that follow each other, each under channel and root keys of its own."""

    def __init__(self, workspace: str = "demo") -> None:
        self.workspace = workspace
        self.keys: list[dict[str, PrivateKey]] = []
        self.documents: dict[int, bytes] = {}

    def make(self, epoch: int = 1, expires: int = LATER, *, replaced: tuple[str, ...] = NAMES) -> bytes:
        """The next root, under new keys for these roles."""
        before = self.keys[-1] if self.keys else {}
        now = {role: PrivateKey.generate() if role in replaced or not before else before[role] for role in NAMES}
        signers = [now["root"], before["root"]] if before and "root" in replaced else [now["root"]]
        number = len(self.keys) + 1
        public = {role: [key.public] for role, key in now.items()}
        self.documents[number] = make_root(self.workspace, number, expires, public, signers, epoch=epoch)
        self.keys.append(now)
        return self.documents[number]

    def link(
        self, number: int, seen: Mapping[int, bytes] | None = None, beside: Mapping[int, bytes] | None = None
    ) -> Chain:
        """The chain up to a root, for a store that has seen these, with those in the folder."""
        return link_roots(self.documents[number], seen or {}, (beside or {}).get, NOW)


@pytest.fixture
def office() -> Office:
    """An office with three roots, the last of them in epoch 2."""
    office = Office()
    office.make()
    office.make()
    office.make(epoch=2)
    return office


def only(office: Office, *numbers: int) -> dict[int, bytes]:
    """Some of the roots."""
    return {number: office.documents[number] for number in numbers}


def test_first_root_is_a_chain(office: Office) -> None:
    """A new store begins with the root that it is given."""
    chain = office.link(1)
    assert (chain.documents, chain.root.number, chain.newest) == (only(office, 1), 1, office.documents[1])
    assert chain.former_keys == {}


def test_next_root_is_followed(office: Office) -> None:
    """A store that has seen a root follows its successor, and remembers whose keys are no longer named."""
    chain = office.link(2, seen=only(office, 1))
    assert chain.documents == only(office, 1, 2)
    assert list(chain.former_keys) == [office.keys[0]["channel"].kid]


def test_same_root_is_kept(office: Office) -> None:
    """Starting again with the same root changes nothing."""
    assert office.link(2, seen=only(office, 1, 2)).documents == only(office, 1, 2)


def test_same_root_with_another_signature_is_the_same(office: Office) -> None:
    """What was signed once more says no other thing; the document that was seen first stays."""
    signed = {2: add_root_signature(office.documents[2], PrivateKey.generate())}
    assert office.link(2, seen={**only(office, 1), **signed}).documents == {**only(office, 1), **signed}


def test_key_that_came_back_is_not_former(office: Office) -> None:
    """A key that the newest root names is believed, whatever the roots between said."""
    office = Office()
    office.make()
    office.make(replaced=())
    assert office.link(2, seen=only(office, 1)).former_keys == {}


def test_gap_is_filled_from_the_folder(office: Office) -> None:
    """The roots between the last that was seen and the newest lie beside it."""
    chain = office.link(3, seen=only(office, 1), beside=only(office, 2))
    assert chain.documents == only(office, 1, 2, 3)
    assert chain.former_keys.keys() == {keys["channel"].kid for keys in office.keys[:2]}


def test_gap_is_named(office: Office) -> None:
    """The operator learns which file is missing."""
    office.make(epoch=2)
    with pytest.raises(RootChainError) as caught:
        office.link(4, seen=only(office, 1), beside=only(office, 3))
    between = "root 4 does not follow root 1, the last that this store has seen"
    assert str(caught.value) == f"expected root.2.json beside the root, found none: {between}"


def test_new_store_takes_earlier_roots_as_far_as_there_are_any(office: Office) -> None:
    """Edges that know an older root need those between; where they are not, the chain begins later."""
    assert office.link(3, beside=only(office, 2)).documents == only(office, 2, 3)
    assert office.link(3, beside=only(office, 1, 2)).documents == only(office, 1, 2, 3)
    assert office.link(3, beside=only(office, 1)).documents == only(office, 3)


def test_older_root_is_refused(office: Office) -> None:
    """Nobody goes back behind a root: its keys may have been stolen."""
    with pytest.raises(RootChainError) as caught:
        office.link(2, seen=only(office, 1, 2, 3))
    assert str(caught.value) == "expected root 3, which this store has seen, or a later one, got 2"


def test_other_root_of_the_same_number_is_refused(office: Office) -> None:
    """Two roots of one number are two workspaces, or a mistake."""
    other = Office()
    other.make()
    with pytest.raises(RootChainError) as caught:
        other.link(1, seen=only(office, 1))
    assert str(caught.value) == "expected root 1 as this store has seen it, got another one of that number"


def test_root_that_does_not_follow_is_refused(office: Office) -> None:
    """A root that the keys before it have not signed is none of this workspace."""
    other = Office()
    other.make()
    other.make()
    with pytest.raises(RootChainError, match=r"^root 2: expected signatures of 1 of the root keys of root 1, got 0$"):
        other.link(2, seen=only(office, 1))


def test_lower_epoch_is_refused(office: Office) -> None:
    """A root does not bring back an epoch that was left."""
    office.make(epoch=1)
    with pytest.raises(RootChainError, match=r"^root 4: expected an epoch of at least 2, got 1$"):
        office.link(4, seen=only(office, 1, 2, 3))


def test_misnamed_file_is_refused(office: Office) -> None:
    """A file with another root than its name says is told."""
    with pytest.raises(RootChainError, match=r"^root 2: expected root 2 to follow root 1, got root 3$"):
        office.link(3, seen=only(office, 1), beside={2: office.documents[3]})
    with pytest.raises(RootChainError, match=r"^expected root 2 in its file, got root 1$"):
        office.link(3, beside={2: office.documents[1]})


def test_expired_root_is_refused(office: Office) -> None:
    """The newest root may not have expired; those before it may."""
    office = Office()
    office.make(expires=NOW)
    with pytest.raises(RootError, match=r"^expected a root that has not expired"):
        office.link(1)
    office.make()
    assert office.link(2, seen=only(office, 1)).root.number == 2


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("root.json", "root.7.json"),
        ("root.3.json", "root.7.json"),
        ("wallet-prod.root.json", "wallet-prod.root.7.json"),
        ("root", "root.7.json"),
    ],
)
def test_roots_lie_beside_each_other(name: str, wanted: str) -> None:
    """The other roots have the newest one's name and their numbers."""
    assert name_root(Path("/etc/graywave") / name, 7) == Path("/etc/graywave") / wanted


def find(key: PrivateKey, position: Position, **fields: bytes) -> FoundHead:
    """A head as it lies in Redis."""
    signed = encode_head(make_head("demo", position, 1, NOW), key)
    found = FoundHead(b"%d" % position.epoch, b"%d" % position.revision, signed)
    return found._replace(**fields)


def judge(office: Office, found: FoundHead) -> tuple[bool, Position | None]:
    """Whether a publisher with root 3, of epoch 2, believes a head, and where that claims to be."""
    judged = judge_found(found, office.link(3, beside=office.documents))
    assert judged.head is None or judged.head.position == judged.claimed
    return judged.head is not None, judged.claimed


def test_heads_are_judged(office: Office) -> None:
    """Believed is what the newest root's key has signed, up to its epoch; else it is known where it claims to be."""
    newest, before, first = (office.keys[number]["channel"] for number in (2, 1, 0))
    assert judge(office, find(newest, Position(2, 7))) == (True, Position(2, 7))
    assert judge(office, find(newest, Position(1, 7))) == (True, Position(1, 7))
    assert judge(office, find(newest, Position(3, 7))) == (False, Position(3, 7))
    assert judge(office, find(before, Position(2, 7))) == (False, Position(2, 7))
    assert judge(office, find(first, Position(1, 7))) == (False, Position(1, 7))


def test_head_beyond_counting_is_nowhere(office: Office) -> None:
    """A truly signed head that cannot be read is not believed, and claims nothing."""
    for keys in (office.keys[2], office.keys[0]):
        assert judge(office, find(keys["channel"], Position(2, 1 << 62))) == (False, None)


def test_strangers_head_is_not_ours_to_judge(office: Office) -> None:
    """A head that no key of the chain has signed may be another publisher's: the operator decides."""
    with pytest.raises(EnvelopeError) as caught:
        judge(office, find(PrivateKey.generate(), Position(1, 1)))
    assert str(caught.value).endswith(": redis has another's head; if nobody else publishes there, delete it")


def test_head_with_other_fields_is_not_believed(office: Office) -> None:
    """A true head whose place was written over is known where it was signed, and not believed."""
    found = find(office.keys[2]["channel"], Position(2, 7), revision=b"8")
    assert judge(office, found) == (False, Position(2, 7))


def test_successor_is_recognized(office: Office) -> None:
    """Only what follows counts as a newer root: everything else in its place is rubbish."""
    root = office.link(2, seen=only(office, 1)).root
    assert is_successor(office.documents[3], root)
    for document in (None, b"", b"rubbish", office.documents[1], office.documents[2]):
        assert not is_successor(document, root)


def test_found_roots_are_compared(office: Office) -> None:
    """A root in Redis that says the same will do; what nobody would follow is in the way; another root is an alarm."""
    chain = office.link(2, seen=only(office, 1))
    assert accept_found_root(add_root_signature(office.documents[2], PrivateKey.generate()), 2, chain)
    stranger = Office()
    stranger.make()
    stranger.make()
    assert not accept_found_root(b"rubbish", 2, chain)
    assert not accept_found_root(stranger.documents[2], 2, chain)
    with pytest.raises(RootChainError) as caught:
        accept_found_root(stranger.documents[1], 1, chain)
    assert str(caught.value) == "expected root 1 in redis as it is here, got another: of a second publisher?"


def test_second_root_under_the_same_keys_is_an_alarm(office: Office) -> None:
    """Two successors of one root would divide the devices: the publisher does not choose."""
    chain = office.link(2, seen=only(office, 1))
    office.keys, office.documents = office.keys[:1], only(office, 1)
    with pytest.raises(RootChainError, match=r"^expected root 2 in redis as it is here, got another"):
        accept_found_root(office.make(), 2, chain)
