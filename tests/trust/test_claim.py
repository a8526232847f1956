"""Claims: what packager and publisher may say, and that nothing else is signed or read."""

from typing import Any

import msgspec
import pytest

from trust import (
    ClaimError,
    Offer,
    PackageClaim,
    PrivateKey,
    SignatureError,
    TransferClaim,
    sign,
    sign_offer,
    sign_package,
    verify_offer,
    verify_package,
)
from trust.claim import MAX_INTEGER, MAX_TRANSFERS, OFFER_TYPE, PACKAGE_TYPE

KEY = PrivateKey.generate()
KEYS = {KEY.kid: KEY.public}
SHA = "0123456789abcdef" * 4
PACKAGE = PackageClaim(workspace="demo", program="2021000000000001", version="2.3.1.0", sha256=SHA, size=10240)
TRANSFER = TransferClaim(format="zstd", size=1000, sha256=SHA)
DELTA = TransferClaim(format="dcz", size=10, sha256=SHA, from_sha256=SHA)
OFFER = Offer(
    workspace="demo",
    program="2021000000000001",
    action="install",
    version="2.3.1.0",
    sha256=SHA,
    epoch=1,
    revision=812,
    issued=1_794_000_000,
    expires=1_796_592_000,
    transfers=(DELTA, TRANSFER),
)
REMOVE: dict[str, Any] = {"action": "remove", "version": "", "sha256": "", "transfers": []}


def offer_json(**changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(OFFER), **changes})


def package_json(**changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(PACKAGE), **changes})


def read_offer(payload: bytes) -> Offer:
    return verify_offer(sign(payload, KEY, OFFER_TYPE), KEYS)


def read_package(payload: bytes) -> PackageClaim:
    return verify_package(sign(payload, KEY, PACKAGE_TYPE), KEYS)


def test_package_claim_is_read_as_signed() -> None:
    """A package signature says what was claimed, permissions included."""
    claim = msgspec.structs.replace(PACKAGE, permissions={"camera": {"why": "scan"}})
    assert verify_package(sign_package(claim, KEY), KEYS) == claim


def test_offer_is_read_as_signed() -> None:
    """An offer says what was offered, each transfer included."""
    assert verify_offer(sign_offer(OFFER, KEY), KEYS) == OFFER


def test_remove_offer_names_no_package() -> None:
    """An offer to remove is read, and names neither version nor digest nor transfer."""
    offer = read_offer(offer_json(**REMOVE))
    assert (offer.action, offer.version, offer.sha256, offer.transfers) == ("remove", "", "", ())


def test_permissions_may_be_absent() -> None:
    """A package signature without permissions grants none."""
    payload = msgspec.to_builtins(PACKAGE)
    del payload["permissions"]
    assert read_package(msgspec.json.encode(payload)).permissions == {}


def test_one_claim_is_never_taken_for_the_other() -> None:
    """A package signature is no offer, nor an offer a package signature."""
    with pytest.raises(SignatureError, match="expected typ 'graywave-offer' in the token's header, got 'graywave-pack"):
        verify_offer(sign_package(PACKAGE, KEY), KEYS)
    with pytest.raises(SignatureError, match="expected typ 'graywave-package' in the token's header, got 'graywave-of"):
        verify_package(sign_offer(OFFER, KEY), KEYS)


BAD_MEMBERS: list[tuple[dict[str, Any], str]] = [
    ({"workspace": ""}, "`$.workspace`"),
    ({"workspace": "../x"}, "`$.workspace`"),
    ({"program": "202100000000000"}, "`$.program`"),
    ({"program": "202100000000000\u0661"}, "`$.program`"),
    ({"program": "20210000\n"}, "`$.program`"),
    ({"version": "1.2.3.4.5"}, "`$.version`"),
    ({"version": "1.2-beta"}, "`$.version`"),
    ({"sha256": SHA.upper()}, "`$.sha256`"),
    ({"sha256": SHA + "\n"}, "`$.sha256`"),
    ({"sha256": SHA[1:]}, "`$.sha256`"),
    ({"surprise": 1}, "Object contains unknown field `surprise`"),
]


@pytest.mark.parametrize(("changes", "where"), BAD_MEMBERS)
def test_bad_member_is_named(changes: dict[str, Any], where: str) -> None:
    """A member that is unknown or out of bounds is refused by its path, in either claim, however well signed."""
    for read, payload in ((read_offer, offer_json(**changes)), (read_package, package_json(**changes))):
        with pytest.raises(ClaimError, match=r"^expected a claim of type (Offer|PackageClaim): ") as caught:
            read(payload)
        assert where in str(caught.value)


@pytest.mark.parametrize("size", [0, -1, True, 1.5, "1", None, MAX_INTEGER + 1])
def test_size_is_a_positive_integer(size: Any) -> None:
    """A size is from 1 to 2^53 - 1."""
    with pytest.raises(ClaimError, match=r"`\$.size`"):
        read_package(package_json(size=size))


@pytest.mark.parametrize("member", ["workspace", "program", "version", "sha256", "size"])
def test_absent_member_is_named(member: str) -> None:
    """A package signature without one of its members says nothing."""
    payload = msgspec.to_builtins(PACKAGE)
    del payload[member]
    with pytest.raises(ClaimError, match=f"Object missing required field `{member}`"):
        read_package(msgspec.json.encode(payload))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": "upgrade"}, "Invalid enum value 'upgrade' - at `$.action`"),
        ({"version": ""}, "expected version, sha256 and transfers, and none of them with remove, got install"),
        ({"sha256": ""}, "expected version, sha256 and transfers, and none of them with remove, got install"),
        ({"transfers": []}, "expected version, sha256 and transfers, and none of them with remove, got install"),
        (
            {**REMOVE, "version": "1"},
            "expected version, sha256 and transfers, and none of them with remove, got remove",
        ),
        ({**REMOVE, "sha256": SHA}, "expected version, sha256 and transfers, and none of them with remove, got remove"),
        ({"expires": 1_794_000_000}, "expected expires after issued (1794000000), got 1794000000"),
        ({"transfers": [{}]}, "Object missing required field `format` - at `$.transfers[0]`"),
        ({"transfers": [msgspec.to_builtins(TRANSFER)] * (MAX_TRANSFERS + 1)}, "Expected `array` of length <= 32"),
    ],
)
def test_offer_is_consistent(changes: dict[str, Any], message: str) -> None:
    """An offer that contradicts itself is refused."""
    with pytest.raises(ClaimError) as caught:
        read_offer(offer_json(**changes))
    assert message in str(caught.value)


@pytest.mark.parametrize(("format_", "base"), [("zstd", SHA), ("dcz", "")])
def test_only_a_delta_has_a_base(format_: Any, base: str) -> None:
    """A delta names the tar that it starts from, a full transfer none."""
    transfer = {"format": format_, "size": 1, "sha256": SHA, "from_sha256": base}
    with pytest.raises(ClaimError, match=f"expected from_sha256 with dcz and only there, got '{base}' with {format_}"):
        read_offer(offer_json(transfers=[transfer]))


def test_nothing_is_signed_that_would_not_be_read() -> None:
    """A claim that is out of bounds is refused on the signer's side already."""
    with pytest.raises(ClaimError, match=r"`\$.workspace`"):
        sign_package(msgspec.structs.replace(PACKAGE, workspace=""), KEY)
    with pytest.raises(ClaimError, match=r"`\$.epoch`"):
        sign_offer(msgspec.structs.replace(OFFER, epoch=-1), KEY)


@pytest.mark.parametrize("payload", [b"", b"[]", b"\xff", b'{"permissions":' + b"[" * 20_000])
def test_payload_that_is_no_claim_is_refused(payload: bytes) -> None:
    """A signed payload that is something else is a claim error and nothing worse."""
    with pytest.raises(ClaimError, match=r"^expected a claim of type PackageClaim: "):
        read_package(payload)
