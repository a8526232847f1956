"""Claims: what packager and publisher may say, and that nothing else is signed or read."""

from typing import Any

import msgspec
import pytest

from trust import (
    ClaimError,
    ClientClaim,
    ClientDefaults,
    Offer,
    PackageClaim,
    PrivateKey,
    Role,
    SignatureError,
    TransferClaim,
    TrialClaim,
    UnknownKeyError,
    read_unverified_package,
    sign,
    sign_client,
    sign_offer,
    sign_package,
    sign_trial,
    verify_client,
    verify_offer,
    verify_package,
    verify_trial,
)
from trust.claim import (
    CLIENT_TYPE,
    MAX_EDGES,
    MAX_INTEGER,
    MAX_POLL_AFTER_S,
    MAX_PROGRAMS,
    MAX_TRANSFERS,
    MAX_TRIAL_S,
    MAX_TRIAL_USERS,
    OFFER_TYPE,
    PACKAGE_TYPE,
    TRIAL_TYPE,
)

KEY = PrivateKey.generate()
ROLE = Role(1, {KEY.kid: KEY.public})
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
OTHER, STRANGER = PrivateKey.generate("ES256"), PrivateKey.generate()
BOTH = Role(2, {KEY.kid: KEY.public, OTHER.kid: OTHER.public})
CLIENT = ClientClaim(
    workspace="demo",
    issued=1_794_000_000,
    edges=("https://one.example", "http://10.0.0.7:8080/graywave"),
    domain="apps.example",
    defaults=ClientDefaults(poll_after=300, programs=("2021000000000001", "20210001")),
)
TRIAL = TrialClaim(
    workspace="demo",
    program="2021000000000001",
    version="2.3.1.0",
    users=("u-777", "u-778"),
    id="8f0c2d1e",
    issued=1_794_000_000,
    expires=1_794_086_400,
)
REMOVE: dict[str, Any] = {"action": "remove", "version": "", "sha256": "", "transfers": []}


def offer_json(**changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(OFFER), **changes})


def package_json(**changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(PACKAGE), **changes})


def read_offer(payload: bytes) -> Offer:
    return verify_offer(sign(payload, KEY, OFFER_TYPE), ROLE)


def read_package(payload: bytes) -> PackageClaim:
    return verify_package(sign(payload, KEY, PACKAGE_TYPE), ROLE)


def test_package_claim_is_read_as_signed() -> None:
    """A package signature says what was claimed, permissions included."""
    claim = msgspec.structs.replace(PACKAGE, permissions={"camera": {"why": "scan"}})
    assert verify_package(sign_package(claim, KEY), ROLE) == claim


def test_offer_is_read_as_signed() -> None:
    """An offer says what was offered, each transfer included."""
    assert verify_offer(sign_offer(OFFER, KEY), ROLE) == OFFER


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
        verify_offer(sign_package(PACKAGE, KEY), ROLE)
    with pytest.raises(SignatureError, match="expected typ 'graywave-package' in the token's header, got 'graywave-of"):
        verify_package(sign_offer(OFFER, KEY), ROLE)


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


def client_json(**changes: Any) -> bytes:
    return msgspec.json.encode({**msgspec.to_builtins(CLIENT), **changes})


def read_client(payload: bytes) -> ClientClaim:
    return verify_client(sign(payload, KEY, CLIENT_TYPE), ROLE)


def test_each_claim_wants_its_threshold() -> None:
    """Package, offer and client claim are believed with both keys' signatures, and with one and a stranger's not."""
    assert verify_package(sign_package(PACKAGE, KEY, OTHER), BOTH) == PACKAGE
    assert verify_offer(sign_offer(OFFER, OTHER, KEY), BOTH) == OFFER
    assert verify_client(sign_client(CLIENT, OTHER, KEY, STRANGER), BOTH) == CLIENT
    for check in (
        lambda: verify_package(sign_package(PACKAGE, KEY), BOTH),
        lambda: verify_offer(sign_offer(OFFER, KEY, KEY), BOTH),
        lambda: verify_client(sign_client(CLIENT, KEY), BOTH),
    ):
        with pytest.raises(SignatureError, match="expected signatures of 2 keys of the role, got 1"):
            check()
    with pytest.raises(UnknownKeyError, match="got 1, and 1 by unknown keys"):
        verify_package(sign_package(PACKAGE, KEY, STRANGER), BOTH)


def test_claim_without_a_signer_is_not_made() -> None:
    """Nothing is handed out that nobody has signed."""
    with pytest.raises(SignatureError, match="expected 1 to 16 signatures in a token, got 0"):
        sign_package(PACKAGE)


@pytest.mark.parametrize("floor", ["", "1", "2.3.1.0", "65535.65535.65535.65535"])
def test_offer_says_its_floor(floor: str) -> None:
    """An offer tells the version below which the program may not be opened; a remove may, too."""
    assert read_offer(offer_json(floor=floor)).floor == floor
    assert read_offer(offer_json(**REMOVE, floor=floor)).floor == floor


def test_floor_may_be_absent() -> None:
    """An offer without a floor has none."""
    payload = msgspec.to_builtins(OFFER)
    del payload["floor"]
    assert read_offer(msgspec.json.encode(payload)).floor == ""


@pytest.mark.parametrize("floor", ["1.", "v1", "1.2.3.4.5", " ", "1\n", "1.*", None, 1])
def test_floor_is_a_version(floor: Any) -> None:
    """A floor that is no version is refused."""
    with pytest.raises(ClaimError, match=r"`\$.floor`"):
        read_offer(offer_json(floor=floor))


def test_client_claim_is_read_as_signed() -> None:
    """A client claim says where edges are, the domain and the defaults."""
    assert verify_client(sign_client(CLIENT, KEY), ROLE) == CLIENT


def test_client_claim_has_defaults() -> None:
    """Domain and defaults may be absent."""
    claim = read_client(b'{"workspace":"demo","issued":0,"edges":["https://a"]}')
    assert (claim.domain, claim.defaults.poll_after, claim.defaults.programs) == ("", 1800, ())


def test_client_claim_is_of_its_own_type() -> None:
    """An offer is no client claim, nor a client claim an offer, by whomever signed."""
    with pytest.raises(SignatureError, match="expected typ 'graywave-client'"):
        verify_client(sign_offer(OFFER, KEY), ROLE)
    with pytest.raises(SignatureError, match="expected typ 'graywave-offer'"):
        verify_offer(sign_client(CLIENT, KEY), ROLE)


@pytest.mark.parametrize(
    "address",
    [
        "https://a",
        "http://[::1]:8080",
        "https://cdn.example:443/base/path/",
        "https://" + "a" * 2040,
        "https://xn--bcher-kva.example/%C3%BC",
    ],
)
def test_edges_are_base_addresses(address: str) -> None:
    """Host names, addresses, ports and paths do, up to the bound."""
    assert read_client(client_json(edges=[address])).edges == (address,)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ftp://a",
        "https:",
        "https://",
        "https:///path",
        "//a",
        "https://a?b",
        "https://a#b",
        "https://user@a",
        "https://user:secret@a",
        "https://a:0",
        "https://a:65536",
        "https://a:port",
        "https://[::1",
        "https://a b",
        "https://a\n",
        "https://b\u00fccher.example",
        "https://" + "a" * 2041,
        "HTTPS://a",
        " https://a",
    ],
)
def test_edge_that_is_no_base_address_is_refused(address: str) -> None:
    """Other schemes, userinfo, queries, fragments, blanks and wrong ports are refused."""
    with pytest.raises(ClaimError, match=r"^expected a claim of type ClientClaim: "):
        read_client(client_json(edges=["https://a", address]))


@pytest.mark.parametrize("domain", ["a", "apps.example", "a-1.b2.example", ".".join(["a" * 59] * 3 + ["a" * 56])])
def test_domain_is_a_host_name(domain: str) -> None:
    """Host names of lower-case labels do, up to the bound."""
    assert read_client(client_json(domain=domain)).domain == domain


@pytest.mark.parametrize(
    "domain",
    [".", "a.", ".a", "a..b", "-a", "a-", "A.example", "a_b", "a/b", "a:1", "a\n", "a" * 64, ".".join(["a" * 59] * 4)],
)
def test_domain_that_is_none_is_refused(domain: str) -> None:
    """Anything but lower-case labels of at most 63 characters, with room for a program before them, is refused."""
    with pytest.raises(ClaimError, match=r"`\$.domain`"):
        read_client(client_json(domain=domain))


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"edges": []}, "Expected `array` of length >= 1 - at `$.edges`"),
        ({"edges": ["https://a"] * (MAX_EDGES + 1)}, "Expected `array` of length <= 16 - at `$.edges`"),
        ({"issued": -1}, "`$.issued`"),
        ({"issued": MAX_INTEGER + 1}, "`$.issued`"),
        ({"workspace": "Demo"}, "`$.workspace`"),
        ({"defaults": {"poll_after": -1}}, "`$.defaults.poll_after`"),
        ({"defaults": {"poll_after": MAX_POLL_AFTER_S + 1}}, "`$.defaults.poll_after`"),
        ({"defaults": {"programs": ["1"]}}, "`$.defaults.programs[0]`"),
        ({"defaults": {"programs": ["20210001"] * (MAX_PROGRAMS + 1)}}, "`$.defaults.programs`"),
        ({"defaults": {"more": 1}}, "unknown field `more`"),
        ({"more": 1}, "unknown field `more`"),
    ],
)
def test_client_claim_is_strict(changes: dict[str, Any], where: str) -> None:
    """A member that is unknown or out of bounds is named, however well signed."""
    with pytest.raises(ClaimError) as caught:
        read_client(client_json(**changes))
    assert where in str(caught.value)


def test_client_claim_at_its_bounds() -> None:
    """As many edges and programs as are allowed are read."""
    changes = {"edges": ["https://a"] * MAX_EDGES, "defaults": {"programs": ["20210001"] * MAX_PROGRAMS}}
    claim = read_client(client_json(**changes))
    assert (len(claim.edges), len(claim.defaults.programs)) == (MAX_EDGES, MAX_PROGRAMS)


def test_trial_is_read_as_signed() -> None:
    """A trial says who may have which version until when, and is of its own type."""
    token = sign_trial(TRIAL, KEY)
    assert verify_trial(token, ROLE) == TRIAL
    with pytest.raises(SignatureError, match="expected typ 'graywave-offer'"):
        verify_offer(token, ROLE)
    with pytest.raises(SignatureError, match="expected typ 'graywave-trial'"):
        verify_trial(sign_offer(OFFER, KEY), ROLE)
    with pytest.raises(UnknownKeyError):
        verify_trial(sign_trial(TRIAL, STRANGER), ROLE)


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"users": []}, "`$.users`"),
        ({"users": ["u"] * (MAX_TRIAL_USERS + 1)}, "`$.users`"),
        ({"users": [""]}, "`$.users[0]`"),
        ({"users": ["u" * 257]}, "`$.users[0]`"),
        ({"id": "short"}, "`$.id`"),
        ({"id": "with blank"}, "`$.id`"),
        ({"version": "2.*"}, "`$.version`"),
        ({"program": "1"}, "`$.program`"),
        ({"workspace": "Demo"}, "`$.workspace`"),
        (
            {"expires": 1_794_000_000},
            "expected expires within 2592000 seconds after issued (1794000000), got 1794000000",
        ),
        ({"expires": 1_794_000_000 + MAX_TRIAL_S + 1}, "expected expires within 2592000 seconds"),
        ({"release": "r1"}, "unknown field `release`"),
    ],
)
def test_trial_is_strict(changes: dict[str, Any], where: str) -> None:
    """A member that is unknown or out of bounds is named, however well signed."""
    payload = msgspec.json.encode({**msgspec.to_builtins(TRIAL), **changes})
    with pytest.raises(ClaimError) as caught:
        verify_trial(sign(payload, KEY, TRIAL_TYPE), ROLE)
    assert where in str(caught.value)


def test_trial_at_its_bounds() -> None:
    """As many users as are allowed, and as long a life, are read."""
    users = tuple(f"u-{n}" for n in range(MAX_TRIAL_USERS))
    longest = msgspec.structs.replace(TRIAL, users=users, expires=TRIAL.issued + MAX_TRIAL_S)
    assert verify_trial(sign_trial(longest, KEY), ROLE) == longest


def test_unverified_package_is_shown() -> None:
    """What a stranger has claimed can be read, to be shown; another type of token cannot."""
    assert read_unverified_package(sign_package(PACKAGE, STRANGER)) == PACKAGE
    with pytest.raises(SignatureError, match="expected typ 'graywave-package'"):
        read_unverified_package(sign_offer(OFFER, KEY))
    with pytest.raises(ClaimError, match="expected a claim of type PackageClaim"):
        read_unverified_package(sign(b"{}", KEY, PACKAGE_TYPE))
