"""The root document: believed when enough of its own root keys have signed it, and never otherwise."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust import (
    ALGORITHMS,
    ROLES,
    PrivateKey,
    Role,
    Root,
    RootError,
    add_root_signature,
    draft_root,
    find_root_signers,
    follow_roots,
    make_root,
    read_draft,
    read_root,
    read_successor,
    sign,
)
from trust.root import MAX_KEYS_A_ROLE, MAX_ROOT_BYTES, MAX_SIGNATURES, ROOT_TYPE

A, B, C = (PrivateKey.generate() for _ in range(3))
STRANGER = PrivateKey.generate()
LATER = 1_900_000_000
ROLE_KEYS = {"root": [A, B, C], "package": [B], "offer": [C], "channel": [A]}
PUBLIC = {name: [key.public for key in keys] for name, keys in ROLE_KEYS.items()}


def make(signers: Sequence[PrivateKey] = (A,), thresholds: Mapping[str, int] | None = None) -> bytes:
    return make_root("demo", 1, LATER, PUBLIC, signers, thresholds=thresholds or {})


def payload_of(document: bytes) -> dict[str, Any]:
    encoded = json.loads(document)["payload"]
    content: dict[str, Any] = json.loads(base64.urlsafe_b64decode(encoded + "=="))
    return content


def forge(content: Any, signers: Sequence[PrivateKey] = (A,), typ: str = ROOT_TYPE) -> bytes:
    """Returns a document with any content, properly signed."""
    payload = json.dumps(content).encode()
    tokens = [sign(payload, signer, typ).split(".") for signer in signers]
    signatures = [{"protected": token[0], "signature": token[2]} for token in tokens]
    return json.dumps({"payload": tokens[0][1], "signatures": signatures}).encode()


def changed(**members: Any) -> bytes:
    return forge({**payload_of(make()), **members})


def changed_role(name: str, **members: Any) -> bytes:
    content = payload_of(make())
    content["roles"][name].update(members)
    return forge(content)


def refusal(document: bytes, now: int | None = None) -> str:
    with pytest.raises(RootError) as caught:
        read_root(document, now)
    return str(caught.value)


def test_root_is_read_as_made() -> None:
    """A root says workspace, number, expiry, and the keys and threshold of each role."""
    root = read_root(make([A, B], {"root": 2}))
    assert (root.workspace, root.number, root.expires) == ("demo", 1, LATER)
    assert {name: set(root.keys(name).values()) for name in ROLES} == {name: set(PUBLIC[name]) for name in ROLES}
    assert [root.roles[name].threshold for name in ROLES] == [2, 1, 1, 1]


def test_root_is_json_of_the_general_serialization() -> None:
    """The document is a JWS in the general JSON serialization and survives being written again."""
    document = json.loads(make([A, B]))
    assert set(document) == {"payload", "signatures"}
    assert [set(signature) for signature in document["signatures"]] == [{"protected", "signature"}] * 2
    assert read_root(json.dumps(document, indent=2).encode()) == read_root(make([A, B]))


def test_unknown_role_has_no_keys() -> None:
    """Asking for a role that does not exist is a programming error."""
    with pytest.raises(KeyError):
        read_root(make()).keys("offers")


def test_threshold_counts_keys() -> None:
    """A threshold of two wants two of the root keys: one, or one twice, or one and a stranger are too few."""
    content = payload_of(make([A, B], {"root": 2}))
    for signers in ([A], [A, A], [A, STRANGER]):
        assert refusal(forge(content, signers)) == "expected signatures of 2 of its root keys, got 1"
    for enough in ([A, B], [C, A, STRANGER], [A, B, C]):
        assert read_root(forge(content, enough)).number == 1


def test_root_without_its_own_signature_is_refused() -> None:
    """A root signed by keys that it does not name, or by none, is nobody's."""
    content = payload_of(make())
    assert refusal(forge(content, [STRANGER])) == "expected signatures of 1 of its root keys, got 0"
    unsigned = json.loads(make()) | {"signatures": []}
    assert refusal(json.dumps(unsigned).encode()) == "expected signatures of 1 of its root keys, got 0"


def test_key_of_another_role_does_not_sign_roots() -> None:
    """A packager's key signs packages, not roots."""
    content = payload_of(make())
    content["roles"]["root"]["keys"] = [A.public.jwk()]
    assert refusal(forge(content, [B])) == "expected signatures of 1 of its root keys, got 0"


def test_expired_root_is_refused_at_its_second() -> None:
    """A root is good until the second before it expires, and always where no time is given."""
    assert read_root(make(), LATER - 1) == read_root(make())
    assert refusal(make(), LATER) == f"expected a root that has not expired, got one that did at {LATER} (now {LATER})"


def test_each_changed_byte_fails() -> None:
    """A document with any one byte changed is refused."""
    document = make()
    for index in range(len(document)):
        broken = document[:index] + bytes([document[index] ^ 1]) + document[index + 1 :]
        assert refusal(broken)


def test_wrong_signature_is_named() -> None:
    """A signature that claims to be by a root key and is not spoils the document."""
    document = json.loads(make([A, B]))
    document["signatures"][1]["signature"] = document["signatures"][0]["signature"]
    message = f"signature 1: the signature is not one of key '{B.kid}' over these bytes"
    assert refusal(json.dumps(document).encode()) == message


def test_token_of_another_type_signs_no_root() -> None:
    """A root key's signature on something else does not count."""
    message = "signature 0: expected typ 'graywave-root' in the token's header, got 'graywave-offer'"
    assert refusal(forge(payload_of(make()), typ="graywave-offer")) == message


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"", "expected a root document: Input data was truncated"),
        (b"[]", "expected a root document: Expected `object`, got `array`"),
        (b"\xff", "expected a root document: JSON is malformed"),
        (b'{"payload":"","signatures":[],"x":1}', "expected a root document: Object contains unknown field `x`"),
        (b'{"payload":"e","signatures":[]}', "expected a root document: its payload is not base64url: "),
        (b'{"payload":"\\u00e9","signatures":[]}', "expected a root document: its payload is not base64url: "),
        (b'{"payload":"e30","signatures":[]}', "expected a root document: Object missing required field `workspace`"),
        (changed(number=0), "expected a root document: Expected `int` >= 1 - at `$.number`"),
        (changed(expires=-1), "expected a root document: Expected `int` >= 0 - at `$.expires`"),
        (changed(workspace=""), "expected a root document: Expected `str` matching regex"),
        (changed(roles={}), "expected a root document: Object missing required field `root` - at `$.roles`"),
        (changed(epoch=0), "expected a root document: Expected `int` >= 1 - at `$.epoch`"),
        (changed(epoch=1 << 53), "expected a root document: Expected `int` <= 9007199254740991 - at `$.epoch`"),
        (
            changed_role("channel", keys=[A.public.jwk(), B.public.jwk()], threshold=2),
            "role channel: expected a thresh",
        ),
        (changed(more=1), "expected a root document: Object contains unknown field `more`"),
        (changed_role("offer", keys=[]), "expected a root document: Expected `array` of length >= 1"),
        (changed_role("offer", threshold=0), "expected a root document: Expected `int` >= 1"),
        (changed_role("offer", threshold=2), "role offer: expected a threshold of at most its 1 keys, got 2"),
        (
            changed_role("offer", keys=[A.public.jwk()] * 2),
            "role offer: expected different keys, got one of them twice",
        ),
        (
            changed_role("offer", keys=[{"kty": "oct", "k": "AA"}]),
            "role offer: expected a JSON Web Key of Ed25519, P-256 or RSA: Invalid value 'oct' - at `$.kty`",
        ),
        (
            changed_role("package", keys=[A.public.jwk()] * (MAX_KEYS_A_ROLE + 1)),
            "expected a root document: Expected `array` of length <= 16",
        ),
        (forge(payload_of(make()), [A] * (MAX_SIGNATURES + 1)), "expected a root document: Expected `array` of length"),
        (
            b" " * (MAX_ROOT_BYTES + 1),
            f"expected a root document of at most {MAX_ROOT_BYTES} bytes, got {MAX_ROOT_BYTES + 1}",
        ),
    ],
)
def test_root_is_strict(document: bytes, message: str) -> None:
    """A document that is malformed, unbounded or contradicts itself is refused by name."""
    assert refusal(document).startswith(message)


def test_root_that_would_not_be_read_is_not_made() -> None:
    """Making a root with too few signers, too high a threshold or a role left out fails at once."""
    with pytest.raises(RootError, match="expected signatures of 2 of its root keys, got 1"):
        make([A], {"root": 2})
    with pytest.raises(RootError, match="role package: expected a threshold of at most its 1 keys, got 2"):
        make([A], {"package": 2})
    with pytest.raises(RootError, match="expected at least one key to sign the root, got none"):
        make([])
    with pytest.raises(RootError, match="Object missing required field `channel`"):
        make_root("demo", 1, LATER, {name: PUBLIC[name] for name in ROLES[:3]}, [A])


def test_role_has_keys_and_threshold() -> None:
    """A root tells a role's keys with their threshold."""
    root = read_root(make([A, B], {"root": 2}))
    assert (root.role("root").threshold, set(root.role("root").keys)) == (2, {A.kid, B.kid, C.kid})
    with pytest.raises(KeyError):
        root.role("offers")


def test_epoch_is_read_and_one_where_absent() -> None:
    """A root says the epoch that the workspace publishes in; one without is of the first."""
    assert read_root(make_root("demo", 1, LATER, PUBLIC, [A], epoch=7)).epoch == 7
    content = payload_of(make())
    del content["epoch"]
    assert read_root(forge(content)).epoch == 1


def test_keys_of_each_kind_sign_a_root() -> None:
    """Root keys may be of different kinds."""
    keys = [PrivateKey.generate(name) for name in ALGORITHMS]
    public = {**PUBLIC, "root": [key.public for key in keys]}
    assert read_root(make_root("demo", 1, LATER, public, keys, thresholds={"root": 3})).role("root").threshold == 3


# A draft, and signatures that come one after the other.


def test_draft_is_signed_one_by_one() -> None:
    """A draft is read as such, believed by nobody, and once two of three have signed it, by everybody."""
    draft = draft_root("demo", 1, LATER, PUBLIC, thresholds={"root": 2}, epoch=3)
    role = read_draft(draft).role("root")
    assert find_root_signers(draft, role) == frozenset()
    assert refusal(draft) == "expected signatures of 2 of its root keys, got 0"
    one = add_root_signature(draft, B)
    assert find_root_signers(one, role) == {B.kid}
    assert refusal(one) == "expected signatures of 2 of its root keys, got 1"
    assert read_root(add_root_signature(one, C)) == read_draft(draft)


def test_signing_again_adds_nothing() -> None:
    """A key's second signature takes the place of its first."""
    document = make()
    assert len(json.loads(add_root_signature(document, A))["signatures"]) == 1


def test_signature_of_a_root_is_found_only_for_its_role() -> None:
    """Signers that a role does not have are not told."""
    document = make([A, STRANGER])
    assert find_root_signers(document, Role(1, {STRANGER.kid: STRANGER.public})) == {STRANGER.kid}
    assert find_root_signers(document, Role(1, {})) == frozenset()


@pytest.mark.parametrize("document", [b"", b"{}", b'{"payload":"e30","signatures":[]}', b" " * (MAX_ROOT_BYTES + 1)])
def test_only_a_root_is_signed(document: bytes) -> None:
    """What is no root document is neither signed nor shown."""
    for use in (read_draft, lambda data: add_root_signature(data, A)):
        with pytest.raises(RootError, match="expected a root document"):
            use(document)


def test_signatures_of_a_root_are_bounded() -> None:
    """No signature is added beyond the bound."""
    document = make([A, *(PrivateKey.generate() for _ in range(MAX_SIGNATURES - 1))])
    with pytest.raises(RootError, match="Expected `array` of length <= 32"):
        add_root_signature(document, B)


def test_draft_that_nobody_could_believe_is_not_made() -> None:
    """A draft with too high a threshold, a role left out or two channel signers fails at once."""
    with pytest.raises(RootError, match="role offer: expected a threshold of at most its 1 keys, got 2"):
        draft_root("demo", 1, LATER, PUBLIC, thresholds={"offer": 2})
    two = {**PUBLIC, "channel": [A.public, B.public]}
    with pytest.raises(RootError, match="role channel: expected a threshold of 1, got 2"):
        draft_root("demo", 1, LATER, two, thresholds={"channel": 2})


# Successors. The root before has A, B and C, two of whom have to sign; the one after has B, D and E.
D, E = PrivateKey.generate("ES256"), PrivateKey.generate()
BEFORE = read_root(make_root("demo", 4, LATER, PUBLIC, [A, B], thresholds={"root": 2}, epoch=3))
NEXT = {**PUBLIC, "root": [key.public for key in (B, D, E)]}


def follow(*signers: PrivateKey, **changes: Any) -> bytes:
    """Returns a root after BEFORE, signed by whom you like."""
    members: dict[str, Any] = {"workspace": "demo", "number": 5, "expires": LATER, "roles": NEXT, **changes}
    document = draft_root(**{"thresholds": {"root": 2}, "epoch": 3, **members})
    for signer in signers:
        document = add_root_signature(document, signer)
    return document


def successor_refusal(document: bytes, before: Root = BEFORE) -> str:
    with pytest.raises(RootError) as caught:
        read_successor(document, before)
    return str(caught.value)


def test_successor_is_signed_by_both_thresholds() -> None:
    """Two keys of the root before and two of its own make a successor; one key may be of both."""
    for signers in ([A, C, D, E], [A, B, D], [C, B, E], [A, B, C, D, E, STRANGER]):
        assert read_successor(follow(*signers), BEFORE).keys("root").keys() == {B.kid, D.kid, E.kid}


@given(st.sets(st.sampled_from("ABCDEX")))
def test_successor_counts_both(names: set[str]) -> None:
    """Whoever signs: it is a successor exactly if two of A, B, C and two of B, D, E have."""
    everybody = {"A": A, "B": B, "C": C, "D": D, "E": E, "X": STRANGER}
    document = follow(*(everybody[name] for name in sorted(names)))
    if len(names & set("ABC")) >= 2 and len(names & set("BDE")) >= 2:
        assert read_successor(document, BEFORE).number == 5
    else:
        assert successor_refusal(document).startswith("expected signatures of 2 of ")


def test_successor_signed_by_one_side_is_refused() -> None:
    """Only the old threshold, only the new one, or one key twice for the old are too few, and the error says whose."""
    new, old = "its root keys, got", "the root keys of root 4, got"
    assert successor_refusal(follow(A, C)) == f"expected signatures of 2 of {new} 0"
    assert successor_refusal(follow(D, E)) == f"expected signatures of 2 of {old} 0"
    assert successor_refusal(follow(A, D, E)) == f"expected signatures of 2 of {old} 1"
    twice = json.loads(follow(A, D, E))
    twice["signatures"].append(twice["signatures"][0])
    assert successor_refusal(json.dumps(twice).encode()) == f"expected signatures of 2 of {old} 1"


def test_stolen_key_cannot_lower_the_threshold() -> None:
    """One of two root keys signs a root that wants itself alone: the old threshold is missing."""
    mine = follow(A, roles={**PUBLIC, "root": [A.public]}, thresholds={})
    assert read_root(mine).role("root").threshold == 1
    assert successor_refusal(mine) == "expected signatures of 2 of the root keys of root 4, got 1"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"number": 6}, "expected root 5 to follow root 4, got root 6"),
        ({"number": 4}, "expected root 5 to follow root 4, got root 4"),
        ({"number": 3}, "expected root 5 to follow root 4, got root 3"),
        ({"epoch": 2}, "expected an epoch of at least 3, got 2"),
        ({"workspace": "other"}, "expected a root of workspace 'demo', got one of 'other'"),
    ],
)
def test_successor_goes_one_step_ahead(changes: dict[str, Any], message: str) -> None:
    """A skipped, equal or lower number, a lower epoch and another workspace are refused, however well signed."""
    assert successor_refusal(follow(A, B, D, **changes)) == message


@pytest.mark.parametrize("epoch", [3, 4, 2**53 - 1])
def test_successor_may_begin_an_epoch(epoch: int) -> None:
    """The epoch stays or grows."""
    assert read_successor(follow(A, B, D, epoch=epoch), BEFORE).epoch == epoch


def test_expired_successor_is_refused_where_time_is_given() -> None:
    """With a time, an expired successor is refused; without, it is a step on the way."""
    expired = follow(A, B, D, expires=1)
    assert read_successor(expired, BEFORE).expires == 1
    with pytest.raises(RootError, match="expected a root that has not expired"):
        read_successor(expired, BEFORE, 2)


def chain(length: int) -> list[bytes]:
    """Returns roots 5, 6, … after BEFORE, each with the same keys; all but the last have expired."""
    ends = [1] * (length - 1) + [LATER]
    return [follow(A, B, roles=PUBLIC, number=5 + index, expires=end) for index, end in enumerate(ends)]


def test_chain_is_followed() -> None:
    """Roots that follow each other lead to the last, and none leads nowhere else."""
    assert follow_roots(BEFORE, chain(3)).number == 7
    assert follow_roots(BEFORE, []) == BEFORE


def test_only_the_last_roots_expiry_counts() -> None:
    """Roots on the way may have expired long ago; the last may not, where a time is given."""
    assert follow_roots(BEFORE, chain(3), now=LATER - 1).number == 7
    with pytest.raises(RootError, match="expected a root that has not expired"):
        follow_roots(BEFORE, chain(3)[:2], now=2)
    with pytest.raises(RootError, match="expected a root that has not expired"):
        follow_roots(BEFORE, [], now=LATER)


def test_chain_with_a_gap_is_refused() -> None:
    """A missing or exchanged link breaks the chain."""
    first, second, third = chain(3)
    for documents in ([first, third], [second], [first, third, second], [first, first]):
        with pytest.raises(RootError, match=r"expected root \d to follow root \d, got root \d"):
            follow_roots(BEFORE, documents)


@given(st.integers(min_value=0), st.integers(1, 255))
def test_each_changed_byte_of_a_successor_fails(place: int, change: int) -> None:
    """A successor with any byte changed in any way is refused."""
    document = follow(A, B, D)
    index = place % len(document)
    broken = document[:index] + bytes([document[index] ^ change]) + document[index + 1 :]
    assert successor_refusal(broken)
