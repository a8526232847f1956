"""The root document: believed when enough of its own root keys have signed it, and never otherwise."""

import base64
import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from trust import ROLES, PrivateKey, RootError, make_root, read_root, sign
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
        (changed(more=1), "expected a root document: Object contains unknown field `more`"),
        (changed_role("offer", keys=[]), "expected a root document: Expected `array` of length >= 1"),
        (changed_role("offer", threshold=0), "expected a root document: Expected `int` >= 1"),
        (changed_role("offer", threshold=2), "role offer: expected a threshold of at most its 1 keys, got 2"),
        (
            changed_role("offer", keys=[A.public.jwk()] * 2),
            "role offer: expected different keys, got one of them twice",
        ),
        (
            changed_role("offer", keys=[{"kty": "RSA"}]),
            "role offer: expected an Ed25519 JSON Web Key: Invalid enum value 'RSA' - at `$.kty`",
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
